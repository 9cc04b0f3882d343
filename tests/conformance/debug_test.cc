// SPDX-License-Identifier: Apache-2.0
//
// Debug exceptions and the enclave boundary: a thread that single-steps itself, INT3 and INT1 inside, and the
// debugger's access to a debug enclave. Sources: Intel SDM volume 3D (June 2016), chapter 43; Linux 6.12
// arch/x86/kernel/traps.c, arch/x86/entry/vdso/extable.c, arch/x86/kernel/cpu/sgx/encl.c (sgx_vma_access).
#include <Zydis/Zydis.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "conformance/debug_support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint64_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint64_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint64_t>(Leaf::kEexit);
constexpr int kSiKernel = 0x80;
constexpr std::uint64_t kEncluLength = 3;

// ---- TF set by the program itself ----

TEST(SelfStepTest, ReachesTheVdsosEnclu) {
  const ProbeEnclave probe;
  const auto steps = step_through([&] { probe.call(PROBE_OP_NOP); });
  const std::size_t at = find_step(steps, vdso_enclu(), kEenter);
  ASSERT_LT(at, steps.size()) << "no SIGTRAP before the ENCLU";
  EXPECT_EQ(steps[at].code, TRAP_TRACE);
  EXPECT_EQ(steps[at].address, vdso_enclu());
  EXPECT_EQ(steps[at].reg(REG_TRAPNO), kVectorDb);
  EXPECT_EQ(steps[at].reg(REG_RBX), probe.tcs());
  EXPECT_EQ(steps[at].reg(REG_RCX), vdso_enclu());
  EXPECT_NE(steps[at].reg(REG_EFL) & kFlagTf, 0u);
}

TEST(SelfStepTest, OptOutEnclaveIsOneInstruction) {
  const ProbeEnclave probe;
  CallResult result;
  const auto steps = step_through([&] { result = probe.call(PROBE_OP_SUM, {3, 4}); });
  EXPECT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0], 7u);
  const std::size_t at = find_step(steps, vdso_enclu(), kEenter);
  ASSERT_LT(at + 1, steps.size());
  EXPECT_EQ(steps[at + 1].rip(), vdso_enclu() + kEncluLength);
  EXPECT_EQ(steps[at + 1].reg(REG_RAX), kEexit);
  EXPECT_EQ(steps[at + 1].code, TRAP_TRACE);
  EXPECT_EQ(steps[at + 1].address, vdso_enclu() + kEncluLength);
  EXPECT_NE(steps[at + 1].reg(REG_EFL) & kFlagTf, 0u);
}

TEST(SelfStepTest, OptOutEnclaveIsOneInstructionForAnEncluOfOurOwn) {
  const ProbeEnclave probe;
  ProbeArgs args{};
  RegisterFile in{}, out{};
  in.rax = kEenter;
  in.rbx = probe.tcs();
  in.rdi = PROBE_OP_NOP;
  in.rsi = address_of(&args);
  in.rflags = 0x302;
  const StepOptions options{
      .watched =
          [](std::uint64_t rip) {
            return rip >= address_of(enclume_test_enclu) && rip <= address_of(enclume_test_enclu_done);
          },
      .last = [](const Step& step) { return step.rip() == address_of(enclume_test_enclu_done); },
      .set_tf = false,
  };
  const auto steps = step_through([&] { enclume_test_raw_enclu(&in, &out); }, options);
  // The stop before the ENCLU, the one behind it, and the one where its JMP leads.
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[0].rip(), address_of(enclume_test_enclu));
  EXPECT_EQ(steps[1].rip(), address_of(enclume_test_enclu) + kEncluLength);
  EXPECT_EQ(steps[1].reg(REG_RAX), kEexit);
  EXPECT_EQ(steps[1].reg(REG_RCX), address_of(enclume_test_aep));
}

TEST(SelfStepTest, FaultInAnOptOutEnclaveIsFixedUpAndTheStepEndsInTheFixup) {
  const ProbeEnclave probe;
  CallResult result;
  const auto steps = step_through([&] { result = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}); });
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.function, kEresume);
  EXPECT_EQ(result.run.exception_vector, kVectorUd);
  const std::size_t at = find_step(steps, vdso_enclu(), kEenter);
  ASSERT_LT(at + 1, steps.size());
  const Step& next = steps[at + 1];
  EXPECT_NE(next.rip(), vdso_enclu());
  EXPECT_NE(next.rip(), vdso_enclu() + kEncluLength);
  // One instruction of the fixup has run: the registers are still those that the kernel put there.
  EXPECT_EQ(next.reg(REG_RAX), kEresume);
  EXPECT_EQ(next.reg(REG_RDI), kVectorUd);
  EXPECT_EQ(next.code, TRAP_TRACE);
}

TEST(SelfStepTest, FaultAtEenterIsFixedUpAndTheStepEndsInTheFixup) {
  const ProbeEnclave probe;
  sgx_enclave_run run{};
  run.tcs = probe.tcs() + 1;
  const auto steps = step_through([&] { enclume_test_call_vdso(0, 0, 0, 2, 0, 0, &run, vdso_function()); });
  EXPECT_EQ(run.exception_vector, kVectorGp);
  const std::size_t at = find_step(steps, vdso_enclu(), kEenter);
  ASSERT_LT(at + 1, steps.size());
  EXPECT_NE(steps[at + 1].rip(), vdso_enclu() + kEncluLength);
  EXPECT_EQ(steps[at + 1].reg(REG_RAX), kEenter);
  EXPECT_EQ(steps[at + 1].reg(REG_RDI), kVectorGp);
}

TEST(SelfStepTest, EresumeOfAnOptOutEnclaveIsOneInstruction) {
  const ProbeEnclave probe;
  ASSERT_TRUE(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted());
  probe.set_ssa_rip(probe.base() + probe_labels().finish);
  sgx_enclave_run run{};
  int status = -1;
  const auto steps = step_through([&] { status = probe.resume(run); });
  ASSERT_EQ(status, 0);
  const std::size_t at = find_step(steps, vdso_enclu(), kEresume);
  ASSERT_LT(at + 1, steps.size());
  EXPECT_EQ(steps[at + 1].rip(), vdso_enclu() + kEncluLength);
  EXPECT_EQ(steps[at + 1].reg(REG_RAX), kEexit);
}

// Distance of an instruction of the probe to the next one in memory; 0 if it is a branch.
std::uint64_t fall_through(std::uint64_t offset) {
  const auto code = probe_code().subspan(offset);
  ZydisDisassembledInstruction instruction;
  if (!ZYAN_SUCCESS(
          ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0, code.data(), code.size(), &instruction))) {
    return 0;
  }
  switch (instruction.info.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
      return 0;
    default:
      return instruction.info.length;
  }
}

// What the thread's own debugger sees of an opt-in enclave: the offsets of SSA.RIP, stop by stop. Checks what
// is the same at each of them.
std::vector<std::uint64_t> offsets_inside(const DebuggedProbe& probe, std::span<const Step> steps) {
  std::vector<std::uint64_t> offsets;
  for (const Step& step : steps) {
    if (!step.framed) continue;
    constexpr std::uint8_t kPopf = 0x9d;
    const bool popped = !offsets.empty() && probe_code()[offsets.back()] == kPopf;
    offsets.push_back(step.frame.rip - probe.base());
    EXPECT_EQ(step.rip(), vdso_enclu()) << "the AEP";
    EXPECT_EQ(step.code, TRAP_TRACE);
    EXPECT_EQ(step.address, vdso_enclu());
    EXPECT_EQ(step.reg(REG_RBX), probe.tcs());
    EXPECT_EQ((step.reg(REG_EFL) & kFlagTf) != 0, !popped) << "an AEX leaves TF as it was inside";
    EXPECT_EQ(step.frame.rflags & kFlagTf, 0u) << "SSA.TF is 0";
    EXPECT_EQ(step.frame.exitinfo, exitinfo_hardware(kVectorDb));
  }
  return offsets;
}

TEST(SelfStepTest, OptInEnclaveIsSteppedFromItsEntryPointInstructionByInstruction) {
  const DebuggedProbe probe(true);
  CallResult result;
  const auto steps = step_through([&] { result = probe.call(PROBE_OP_SUM, {3, 4}); }, {.probe = &probe});
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0], 7u);

  const auto offsets = offsets_inside(probe, steps);
  ASSERT_GT(offsets.size(), 40u);
  EXPECT_EQ(offsets.front(), probe_labels().entry) << "the first stop is before the first instruction";
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    if (const std::uint64_t length = fall_through(offsets[i]); length != 0) {
      EXPECT_EQ(offsets[i + 1], offsets[i] + length) << "after stop " << i;
    }
  }
  // The last instruction inside is the ENCLU of EEXIT: TF is still set behind it.
  const std::size_t behind = find_step(steps, vdso_enclu() + kEncluLength, kEexit);
  ASSERT_LT(behind, steps.size());
  EXPECT_TRUE(steps[behind - 1].framed);
  EXPECT_EQ(steps[behind].code, TRAP_TRACE);
  EXPECT_EQ(probe.cssa(), 0u);
}

TEST(SelfStepTest, PlainEresumeOfAnOptInEnclaveTrapsAfterOneInstruction) {
  const DebuggedProbe probe(true);
  ASSERT_TRUE(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted());
  const std::uint64_t finish = probe.base() + probe_labels().finish;
  probe.set_newest_rip(finish);
  sgx_enclave_run run{};
  int status = -1;
  const auto steps = step_through([&] { status = probe.resume(run); }, {.probe = &probe});
  ASSERT_EQ(status, 0);
  // resume() enters once more before (PROBE_OP_ADOPT); the ERESUME is the stop at the ENCLU behind that exit.
  const std::size_t adopted = find_step(steps, vdso_enclu() + kEncluLength, kEexit);
  const std::size_t at = find_step(steps, vdso_enclu(), kEresume, adopted);
  ASSERT_LT(at + 1, steps.size());
  EXPECT_EQ(steps[at + 1].rip(), vdso_enclu());
  ASSERT_TRUE(steps[at + 1].framed);
  EXPECT_EQ(steps[at + 1].frame.rip, finish + fall_through(probe_labels().finish));
}

TEST(SelfStepTest, LeafInsideAnOptInEnclaveTrapsBehindItself) {
  const DebuggedProbe probe(true);
  Targetinfo target{};
  probe.copy(probe.scratch(), address_of(&target), sizeof target);
  CallResult result;
  const auto steps = step_through(
      [&] {
        result = probe.call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEreport), probe.scratch(),
                                             probe.scratch() + 512, probe.scratch() + 1024});
      },
      {.probe = &probe});
  ASSERT_TRUE(result.exited());
  const auto offsets = offsets_inside(probe, steps);
  std::size_t leaves = 0;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    if (std::memcmp(probe_code().data() + offsets[i], "\x0f\x01\xd7", 3) == 0) {
      EXPECT_EQ(offsets[i + 1], offsets[i] + kEncluLength);
      ++leaves;
    }
  }
  EXPECT_EQ(leaves, 1u);
}

TEST(SelfStepTest, FaultInAnOptInEnclaveReportsNoStepOfItsOwn) {
  const DebuggedProbe probe(true);
  CallResult result;
  const auto steps =
      step_through([&] { result = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}); }, {.probe = &probe});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorUd);
  const auto offsets = offsets_inside(probe, steps);
  ASSERT_FALSE(offsets.empty());
  EXPECT_EQ(offsets.back(), raise_site(PROBE_RAISE_UD2).instruction);
  EXPECT_EQ(probe.newest_frame().exitinfo, exitinfo_hardware(kVectorUd));
}

// RFLAGS with TF, loaded by a POPF of the enclave.
CallResult call_that_sets_tf(const ProbeEnclave& probe) {
  static RegisterFile file;
  file = register_pattern();
  file.rflags |= kFlagTf;
  return probe.call(PROBE_OP_LOAD_STATE, {0, address_of(&file), PROBE_TAIL_EEXIT});
}

TEST(SelfStepTest, PopfSetsNoTfInAnOptOutEnclave) {
  const ProbeEnclave probe;
  CallResult result{};
  const auto steps =
      step_through([&] { result = call_that_sets_tf(probe); }, {.probe = nullptr, .set_tf = false});
  EXPECT_TRUE(result.exited());
  EXPECT_EQ(steps.size(), 0u);
}

TEST(SelfStepTest, PopfSetsTfInAnOptInEnclaveAndEexitKeepsIt) {
  const DebuggedProbe probe(true);
  CallResult result{};
  const auto steps = step_through([&] { result = call_that_sets_tf(probe); },
                                  {.last = [](const Step& step) { return step.reg(REG_RAX) == kEexit; },
                                   .probe = &probe,
                                   .set_tf = false});
  EXPECT_TRUE(result.exited());
  const auto offsets = offsets_inside(probe, steps);
  ASSERT_FALSE(offsets.empty());
  EXPECT_EQ(steps.back().rip(), vdso_enclu() + kEncluLength);
}

volatile std::uint64_t g_go_on = 0;
volatile std::uint64_t g_rounds = 0;
CaughtSignal g_alarm;

void on_alarm(int, siginfo_t*, void* raw) {
  const auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
  if (registers[REG_RAX] != static_cast<greg_t>(kEresume)) return;
  for (std::size_t i = 0; i < g_alarm.registers.size(); ++i) {
    g_alarm.registers[i] = static_cast<std::uint64_t>(registers[i]);
  }
  g_alarm.count = g_alarm.count + 1;
  std::uint64_t flags;
  asm volatile("pushfq\n\tpop %0" : "=r"(flags));
  g_alarm.signal = (flags & kFlagTf) != 0 ? 1 : 0;
  g_go_on = 1;
}

TEST(SelfStepTest, SignalInASteppedOptOutEnclaveFindsTfAtTheAepAndTheEnclaveStillIsOneStep) {
  const ProbeEnclave probe;
  g_go_on = 0;
  g_alarm = {};
  const ScopedSigaction handler(SIGALRM, on_alarm);
  CallResult result;
  const auto steps = step_through([&] {
    const itimerval every{.it_interval = {0, 2000}, .it_value = {0, 2000}};
    setitimer(ITIMER_REAL, &every, nullptr);
    result = probe.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_go_on)),
                                        address_of(const_cast<std::uint64_t*>(&g_rounds))});
    const itimerval off{};
    setitimer(ITIMER_REAL, &off, nullptr);
  });
  ASSERT_TRUE(result.exited());
  ASSERT_GE(g_alarm.count, 1);
  EXPECT_EQ(g_alarm.reg(REG_RIP), vdso_enclu());
  EXPECT_NE(g_alarm.reg(REG_EFL) & kFlagTf, 0u);
  EXPECT_EQ(g_alarm.signal, 0) << "a handler does not start with TF";
  const std::size_t at = find_step(steps, vdso_enclu(), kEenter);
  ASSERT_LT(at + 1, steps.size());
  EXPECT_EQ(steps[at + 1].rip(), vdso_enclu() + kEncluLength);
}

TEST(SelfStepTest, CpuidOfTheHostIsAStep) {
  static std::uint64_t place, next;
  const StepOptions options{.watched = [](std::uint64_t rip) { return rip == place || rip == next; }};
  const auto steps = step_through(
      [] {
        std::uint32_t eax = 0, ecx = 0;
        asm volatile(
            "lea 1f(%%rip), %%rbx\n\tmov %%rbx, %[place]\n\tlea 2f(%%rip), %%rbx\n\tmov %%rbx, %[next]\n\t"
            "1: cpuid\n\t2: nop\n\tnop"
            : [place] "=m"(place), [next] "=m"(next), "+a"(eax), "+c"(ecx)
            :
            : "rbx", "rdx", "memory");
      },
      options);
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0].rip(), place);
  EXPECT_EQ(steps[1].rip(), next);
}

// ---- INT3 and INT1 after an opt-in entry (opt-out: fault_test.cc) ----

class SoftwareTrapTest : public ::testing::Test {
 protected:
  // Enters by the vDSO, with the trap handled by going on behind the instruction.
  std::vector<Step> run(std::uint64_t instruction) {
    const StepOptions options{
        .watched = [](std::uint64_t) { return true; },
        .act =
            [&](const Step& step, ucontext_t&) {
              if (step.framed) probe_.set_newest_rip(probe_.base() + raise_site(instruction).next);
            },
        .probe = &probe_,
        .set_tf = false,
    };
    return step_through([&] { result_ = probe_.call(PROBE_OP_RAISE, {instruction}); }, options);
  }

  const DebuggedProbe probe_{true};
  CallResult result_{};
};

TEST_F(SoftwareTrapTest, Int3IsABreakpointFaultAtItselfAndNeverFixedUp) {
  const auto steps = run(PROBE_RAISE_INT3);
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(steps[0].code, kSiKernel);
  EXPECT_EQ(steps[0].rip(), vdso_enclu()) << "the AEP, not one behind it";
  EXPECT_EQ(steps[0].reg(REG_RAX), kEresume);
  EXPECT_EQ(steps[0].reg(REG_TRAPNO), kVectorBp);
  EXPECT_EQ(steps[0].frame.rip, probe_.base() + raise_site(PROBE_RAISE_INT3).instruction);
  EXPECT_EQ(steps[0].frame.exitinfo, exitinfo_software(kVectorBp));
  EXPECT_NE(steps[0].frame.rflags & kFlagRf, 0u) << "as any fault";
  EXPECT_TRUE(result_.exited());
  EXPECT_EQ(result_.args.out[0], 1u);
}

TEST_F(SoftwareTrapTest, Int1IsADebugFaultAtItselfAndNeverFixedUp) {
  const auto steps = run(PROBE_RAISE_INT1);
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(steps[0].code, TRAP_BRKPT);
  EXPECT_EQ(steps[0].rip(), vdso_enclu());
  EXPECT_EQ(steps[0].address, vdso_enclu());
  EXPECT_EQ(steps[0].frame.rip, probe_.base() + raise_site(PROBE_RAISE_INT1).instruction);
  EXPECT_EQ(steps[0].frame.exitinfo, exitinfo_hardware(kVectorDb));
  EXPECT_TRUE(result_.exited());
}

TEST_F(SoftwareTrapTest, IntNStaysAnInvalidOpcode) {
  for (const int number : {PROBE_RAISE_INT_N, PROBE_RAISE_INT_3, PROBE_RAISE_INT_4, PROBE_RAISE_INT80}) {
    const auto instruction = static_cast<std::uint64_t>(number);
    const auto steps = run(instruction);
    EXPECT_TRUE(steps.empty()) << instruction;
    ASSERT_TRUE(result_.faulted()) << instruction;
    EXPECT_EQ(result_.run.exception_vector, kVectorUd) << instruction;
    EXPECT_EQ(probe_.newest_frame().rip, probe_.base() + raise_site(instruction).instruction) << instruction;
    probe_.abandon();
  }
}

TEST_F(SoftwareTrapTest, Int3WithAnEncluOfOurOwnStopsAtItsAep) {
  ProbeArgs args{.in = {PROBE_RAISE_INT3}, .out = {}};
  RegisterFile in{}, out{};
  in.rax = kEenter;
  in.rbx = probe_.tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  const StepOptions options{
      .watched = [](std::uint64_t) { return true; },
      .act = [&](const Step&,
                 ucontext_t&) { probe_.set_newest_rip(probe_.base() + raise_site(PROBE_RAISE_INT3).next); },
      .probe = &probe_,
      .set_tf = false,
  };
  const auto steps = step_through([&] { enclume_test_raw_enclu(&in, &out); }, options);
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(steps[0].rip(), address_of(enclume_test_aep));
  EXPECT_EQ(steps[0].reg(REG_RCX), address_of(enclume_test_aep));
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(args.out[0], 1u);
}

TEST_F(SoftwareTrapTest, Int3KillsAProgramThatDoesNotHandleIt) {
  const int status = in_child([&] {
    probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_INT3});
    return 0;
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTRAP);
}

// ---- The debugger's access ----

class DebugAccessTest : public ::testing::Test {
 protected:
  const OwnMemory memory_;
};

TEST_F(DebugAccessTest, DebugEnclavesMemoryCanBeReadAndWritten) {
  const DebuggedProbe probe(false);
  probe.write(probe.scratch() + 8, 0x1122334455667788);
  EXPECT_EQ(memory_.word(probe.scratch() + 8), 0x1122334455667788u);
  memory_.set_word(probe.scratch() + 16, 42);
  EXPECT_EQ(probe.read(probe.scratch() + 16), 42u);
}

TEST_F(DebugAccessTest, CodeAndOddAddressesToo) {
  const DebuggedProbe probe(false);
  std::array<std::uint8_t, 300> code{};
  ASSERT_EQ(memory_.read(probe.base() + 1, code.data(), code.size()), 300);
  EXPECT_EQ(std::memcmp(code.data(), probe_code().data() + 1, code.size()), 0);
  // A breakpoint where SUM stands in the way: INT3 for the one-byte RET that PROBE_OP_CALL calls.
  const std::uint64_t target = probe.base() + probe_labels().plain_return;
  const std::uint8_t int3 = 0xcc, ret = 0xc3;
  ASSERT_EQ(memory_.write(target, &int3, 1), 1);
  const CallResult stopped = probe.call(PROBE_OP_CALL, {target});
  ASSERT_TRUE(stopped.faulted());
  EXPECT_EQ(stopped.run.exception_vector, kVectorUd);
  ASSERT_EQ(memory_.write(target, &ret, 1), 1);
  probe.abandon();
  EXPECT_TRUE(probe.call(PROBE_OP_CALL, {target}).exited());
}

TEST_F(DebugAccessTest, OfATcsOnlyTheFlagsCanBeWritten) {
  const DebuggedProbe probe(false);
  std::uint64_t value = 1;
  EXPECT_EQ(memory_.write(probe.tcs() + offsetof(Tcs, flags), &value, sizeof value), 8);
  EXPECT_EQ(memory_.word(probe.tcs() + offsetof(Tcs, flags)), 1u);
  EXPECT_EQ(memory_.write(probe.tcs() + offsetof(Tcs, oentry), &value, sizeof value), -EIO);
  EXPECT_EQ(memory_.word(probe.tcs() + offsetof(Tcs, oentry)), probe_labels().entry);
}

TEST_F(DebugAccessTest, ProductionEnclaveStaysShut) {
  const ProbeEnclave probe;
  std::uint64_t value = 0;
  EXPECT_EQ(memory_.read(probe.base(), &value, sizeof value), -EIO);
  EXPECT_EQ(memory_.write(probe.scratch(), &value, sizeof value), -EIO);
  EXPECT_EQ(memory_.write(probe.tcs() + offsetof(Tcs, flags), &value, sizeof value), -EIO);
}

TEST_F(DebugAccessTest, TransferFailsIfEdbgrdRefusesOneWordOfAPage) {
  const DebuggedProbe probe(false);
  std::array<std::uint8_t, 64> bytes{};
  // Of a TCS the fields can be read, the reserved rest can't.
  const std::uint64_t last_field = probe.tcs() + offsetof(Tcs, fslimit);
  EXPECT_EQ(memory_.read(last_field, bytes.data(), 8), 8);
  EXPECT_EQ(memory_.read(last_field, bytes.data(), bytes.size()), -EIO);
  EXPECT_EQ(memory_.read(last_field + 8, bytes.data(), bytes.size()), -EIO);
}

// The kernel goes by 4096 bytes from where it begins, and asks for each such piece what the mapping of its
// first byte may.
TEST_F(DebugAccessTest, PiecesThatAreRefusedEndATransfer) {
  const DebuggedProbe probe(false);
  std::vector<std::uint8_t> bytes(4 * kPage);
  const std::uint64_t scratch = probe.scratch();
  EXPECT_EQ(memory_.read(scratch - kPage, bytes.data(), 2 * kPage), static_cast<long>(2 * kPage));
  // Code is mapped executable, which the pages behind it may not be.
  EXPECT_EQ(memory_.read(scratch - 64, bytes.data(), 128), -EIO);
  // The piece with the first TCS is the last, and not a byte of it comes.
  EXPECT_EQ(memory_.read(probe.tcs() - 2 * kPage, bytes.data(), 3 * kPage), static_cast<long>(2 * kPage));
}

TEST_F(DebugAccessTest, PositionMovesAsWithAnyFile) {
  const DebuggedProbe probe(false);
  std::uint64_t words[2] = {};
  ASSERT_EQ(lseek(memory_.fd(), static_cast<off_t>(probe.scratch()), SEEK_SET),
            static_cast<off_t>(probe.scratch()));
  const std::uint64_t value = 7;
  ASSERT_EQ(write(memory_.fd(), &value, sizeof value), 8);
  ASSERT_EQ(lseek(memory_.fd(), 0, SEEK_CUR), static_cast<off_t>(probe.scratch() + 8));
  ASSERT_EQ(lseek(memory_.fd(), static_cast<off_t>(probe.scratch()), SEEK_SET),
            static_cast<off_t>(probe.scratch()));
  ASSERT_EQ(read(memory_.fd(), words, sizeof words), 16);
  EXPECT_EQ(words[0], 7u);
}

TEST_F(DebugAccessTest, WrongPointersAndDirectionsAreErrors) {
  const DebuggedProbe probe(false);
  EXPECT_EQ(memory_.read(probe.scratch(), reinterpret_cast<void*>(16), 8), -EFAULT);
  EXPECT_EQ(memory_.write(probe.scratch(), reinterpret_cast<const void*>(16), 8), -EFAULT);
  const int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const std::uint64_t value = 0;
  EXPECT_EQ(pwrite(fd, &value, sizeof value, static_cast<off_t>(probe.scratch())), -1);
  EXPECT_EQ(errno, EBADF);
  close(fd);
}

TEST_F(DebugAccessTest, OrdinaryMemoryIsTheKernels) {
  const std::uint64_t here = 0x5a5a;
  EXPECT_EQ(memory_.word(address_of(&here)), here);
  const void* code = reinterpret_cast<const void*>(&debug_options);
  std::uint64_t byte = 0;
  std::memcpy(&byte, code, sizeof byte);
  EXPECT_EQ(memory_.write(address_of(code), &byte, sizeof byte), 8) << "FOLL_FORCE";
}

}  // namespace
}  // namespace enclume::test
