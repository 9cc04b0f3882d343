// SPDX-License-Identifier: Apache-2.0
//
// Steps and breakpoints of a tracing parent: see ptrace_test.cc.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>

#include <cstring>

#include "conformance/tracee.h"

namespace enclume::test {
namespace {

// ---- Single steps ----

TEST(TracedStepTest, OptOutEnclaveIsOneStep) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return sum_is_seven(probe); });
  tracee.run_to(vdso_enclu());
  EXPECT_EQ(tracee.registers().rax, kEenter);
  tracee.step();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
  const user_regs_struct registers = tracee.registers();
  EXPECT_EQ(registers.rip, vdso_enclu() + kEncluLength);
  EXPECT_EQ(registers.rax, kEexit);
  EXPECT_EQ(registers.eflags & kFlagTf, 0u) << "what the tracer sets it does not see";
  EXPECT_EQ(tracee.signal().si_code, TRAP_TRACE);
  tracee.step();
  EXPECT_TRUE(tracee.stopped_by(SIGTRAP));
  EXPECT_TRUE(in_vdso_function(tracee.rip()));
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0));
}

TEST(TracedStepTest, WholeCallStepByStepShowsNoSignalButSigtrap) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return sum_is_seven(probe); });
  tracee.run_to(reinterpret_cast<std::uint64_t>(vdso_function()));
  bool entered = false;
  for (int i = 0; i < 200 && in_vdso_function(tracee.rip()); ++i) {
    const bool at_enclu = tracee.rip() == vdso_enclu();
    tracee.step();
    ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
    if (at_enclu) {
      EXPECT_EQ(tracee.rip(), vdso_enclu() + kEncluLength);
      entered = true;
    }
  }
  EXPECT_TRUE(entered);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0));
}

TEST(TracedStepTest, FaultInTheEnclaveEndsTheStepInTheFixup) {
  const ProbeEnclave probe;
  Tracee tracee([&] {
    const CallResult result = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2});
    return result.faulted() && result.run.exception_vector == kVectorUd ? 0 : 1;
  });
  tracee.run_to(vdso_enclu());
  tracee.step();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
  const user_regs_struct registers = tracee.registers();
  EXPECT_TRUE(in_vdso_function(registers.rip));
  EXPECT_NE(registers.rip, vdso_enclu());
  EXPECT_NE(registers.rip, vdso_enclu() + kEncluLength);
  EXPECT_EQ(registers.rax, kEresume);
  EXPECT_EQ(registers.rdi, static_cast<std::uint64_t>(kVectorUd));
  EXPECT_EQ(registers.eflags & kFlagTf, 0u);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0));
}

TEST(TracedStepTest, OptInEnclaveIsSteppedFromOentryOn) {
  const DebuggedProbe probe(true);
  Tracee tracee([&] { return sum_is_seven(probe); });
  tracee.run_to(vdso_enclu());
  tracee.step();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP));
  EXPECT_EQ(tracee.rip(), vdso_enclu()) << "the AEP";
  EXPECT_EQ(tracee.registers().rax, kEresume);
  Gprsgx frame = newest_frame(tracee, probe);
  EXPECT_EQ(frame.rip, probe.base() + probe_labels().entry);
  EXPECT_EQ(frame.exitinfo, exitinfo_hardware(kVectorDb));
  for (int i = 0; i < 10; ++i) {
    const std::uint64_t before = frame.rip;
    tracee.step();
    ASSERT_TRUE(tracee.stopped_by(SIGTRAP));
    ASSERT_EQ(tracee.rip(), vdso_enclu());
    frame = newest_frame(tracee, probe);
    EXPECT_GT(frame.rip, before) << "the entry code is a straight line";
    EXPECT_LE(frame.rip, before + 15);
  }
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

void handler_of_usr1(int, siginfo_t*, void*) {
  asm volatile("");
}

TEST(TracedStepTest, SignalOfTheProgramIsSteppedIntoItsHandler) {
  const ProbeEnclave probe;
  for (const int signal : {SIGUSR1, SIGFPE}) {
    Tracee tracee([&] {
      const ScopedSigaction handler(signal, handler_of_usr1);
      if (sum_is_seven(probe) != 0) return 1;
      raise(signal);
      return 0;
    });
    tracee.go_on();
    ASSERT_TRUE(tracee.stopped_by(signal)) << signal;
    tracee.step(signal);
    ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << signal << ' ' << std::hex << tracee.status();
    EXPECT_EQ(tracee.rip(), reinterpret_cast<std::uint64_t>(&handler_of_usr1))
        << "no instruction of it has run";
    EXPECT_EQ(tracee.registers().rdi, static_cast<std::uint64_t>(signal));
    EXPECT_EQ(tracee.signal().si_code, SIGTRAP) << "a stop, not a signal";
    tracee.go_on(SIGTRAP);
    EXPECT_TRUE(tracee.exited_with(0))
        << "what is passed on there is ignored: " << std::hex << tracee.status();
  }
}

TEST(TracedStepTest, CpuidIsOneStep) {
  Tracee tracee([] {
    std::uint32_t eax = 0, ecx = 0;
    asm volatile("int3\n\tcpuid\n\tnop" : "+a"(eax), "+c"(ecx) : : "rbx", "rdx");
    return eax >= 0x12 ? 0 : 1;
  });
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP));
  EXPECT_EQ(tracee.signal().si_code, kSiKernel);
  const std::uint64_t cpuid = tracee.rip();
  tracee.step();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
  EXPECT_EQ(tracee.rip(), cpuid + 2);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0));
}

// ---- INT3 in the enclave ----

TEST(TracedInt3Test, OptOutIsNotTheTracersBusiness) {
  const ProbeEnclave probe;
  Tracee tracee([&] {
    const CallResult result = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_INT3});
    return result.faulted() && result.run.exception_vector == kVectorUd ? 0 : 1;
  });
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

TEST(TracedInt3Test, OptInIsABreakpointAtTheAep) {
  const DebuggedProbe probe(true);
  Tracee tracee([&] { return probe.call(PROBE_OP_RAISE, {PROBE_RAISE_INT3}).exited() ? 0 : 1; });
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
  EXPECT_EQ(tracee.signal().si_code, kSiKernel);
  EXPECT_EQ(tracee.rip(), vdso_enclu());
  const Gprsgx frame = newest_frame(tracee, probe);
  EXPECT_EQ(frame.rip, probe.base() + raise_site(PROBE_RAISE_INT3).instruction);
  EXPECT_EQ(frame.exitinfo, exitinfo_software(kVectorBp));
  // The debugger goes on behind it.
  const std::uint64_t rip_word =
      probe.tcs() + PROBE_SSA + probe.frame_size() - sizeof frame + offsetof(Gprsgx, rip);
  EXPECT_EQ(tracee.poke(rip_word, probe.base() + raise_site(PROBE_RAISE_INT3).next), 0);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

// ---- Debug registers ----

class TracedBreakpointTest : public ::testing::Test {
 protected:
  // Not every machine lets a process have them.
  static bool have_debug_registers() {
    try {
      Tracee tracee([] { return 0; });
      tracee.watch(0, address_of(&tracee), Watch::Write);
      return true;
    } catch (const std::system_error&) {
      return false;
    }
  }
  void SetUp() override {
    if (!have_debug_registers()) GTEST_SKIP() << "no debug registers here";
  }
  static void expect_hit_at_aep(const Tracee& tracee, std::uint64_t matches) {
    ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
    EXPECT_EQ(tracee.signal().si_code, kTrapHwBreakpoint);
    EXPECT_EQ(tracee.signal().si_addr, reinterpret_cast<void*>(vdso_enclu()));
    EXPECT_EQ(tracee.rip(), vdso_enclu());
    EXPECT_EQ(tracee.registers().rax, kEresume);
    EXPECT_EQ(tracee.matches(), matches);
  }
};

TEST_F(TracedBreakpointTest, OnTheEnclu) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return sum_is_seven(probe); });
  tracee.watch(0, vdso_enclu(), Watch::Code);
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
  EXPECT_EQ(tracee.signal().si_code, kTrapHwBreakpoint);
  EXPECT_EQ(tracee.rip(), vdso_enclu());
  EXPECT_EQ(tracee.registers().rax, kEenter);
  EXPECT_EQ(tracee.matches(), 1u);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

TEST_F(TracedBreakpointTest, OnTheAep) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return raise_by_own_enclu(probe); });
  tracee.watch(1, address_of(enclume_test_aep), Watch::Code);
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGILL));
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP)) << std::hex << tracee.status();
  EXPECT_EQ(tracee.rip(), address_of(enclume_test_aep));
  EXPECT_EQ(tracee.registers().rax, kEresume);
  EXPECT_EQ(tracee.matches(), 2u);
}

TEST_F(TracedBreakpointTest, InsideAnOptOutEnclaveNothingMatches) {
  const ProbeEnclave probe;
  const std::uint64_t code = probe.base() + probe_labels().plain_return;
  Tracee tracee([&] {
    probe.write(probe.scratch(), 7);
    return probe.call(PROBE_OP_CALL, {code}).exited() ? 0 : 1;
  });
  tracee.watch(0, code, Watch::Code);
  tracee.watch(1, probe.scratch(), Watch::Write);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

TEST_F(TracedBreakpointTest, CodeInsideAnOptInEnclave) {
  const DebuggedProbe probe(true);
  const std::uint64_t code = probe.base() + probe_labels().plain_return;
  Tracee tracee([&] { return probe.call(PROBE_OP_CALL, {code}).exited() ? 0 : 1; });
  tracee.watch(0, code, Watch::Code);
  tracee.go_on();
  expect_hit_at_aep(tracee, 1);
  EXPECT_EQ(newest_frame(tracee, probe).rip, code);
}

TEST_F(TracedBreakpointTest, DataInsideAnOptInEnclave) {
  const DebuggedProbe probe(true);
  Tracee tracee([&] {
    probe.write(probe.scratch(), 7);
    return 0;
  });
  tracee.watch(2, probe.scratch(), Watch::Write);
  tracee.go_on();
  expect_hit_at_aep(tracee, 4);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

alignas(16) std::uint64_t g_words[2];

TEST_F(TracedBreakpointTest, DataOutsideIsSeenWhateverTheEntry) {
  for (const bool opt_in : {false, true}) {
    const DebuggedProbe probe(opt_in);
    Tracee tracee([&] {
      probe.call(PROBE_OP_WRITE, {address_of(&g_words[0]), 7});
      return g_words[0] == 7 ? 0 : 1;
    });
    tracee.watch(0, address_of(&g_words[0]), Watch::Write);
    tracee.go_on();
    expect_hit_at_aep(tracee, 1);
    EXPECT_EQ(newest_frame(tracee, probe).exitinfo, exitinfo_hardware(kVectorDb));
    tracee.go_on();
    EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
  }
}

TEST_F(TracedBreakpointTest, TwoAtOnceAreBothInDr6) {
  const ProbeEnclave probe;
  Tracee tracee([&] {
    probe.call(PROBE_OP_WRITE, {address_of(&g_words[0]), 7});
    return 0;
  });
  tracee.watch(0, address_of(&g_words[0]), Watch::Write);
  tracee.watch(3, address_of(&g_words[0]), Watch::ReadWrite);
  tracee.go_on();
  expect_hit_at_aep(tracee, 9);
}

TEST_F(TracedBreakpointTest, OneInsideAndOneOutsideByTheSameInstruction) {
  // PROBE_OP_COPY of a word into the enclave: REP MOVSB reads outside and writes inside.
  for (const bool opt_in : {false, true}) {
    const DebuggedProbe probe(opt_in);
    Tracee tracee([&] {
      probe.call(PROBE_OP_COPY, {probe.scratch(), address_of(&g_words[1]), 1});
      return 0;
    });
    tracee.watch(0, probe.scratch(), Watch::Write);
    tracee.watch(1, address_of(&g_words[1]), Watch::ReadWrite);
    tracee.go_on();
    expect_hit_at_aep(tracee, opt_in ? 3 : 2);
  }
}

}  // namespace
}  // namespace enclume::test
