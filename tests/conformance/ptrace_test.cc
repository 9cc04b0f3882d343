// SPDX-License-Identifier: Apache-2.0
//
// What a tracing parent sees of a child that uses enclaves: the program's signals and no others, an ENCLU as
// one step, breakpoints in debug registers with DR6, and debug enclaves by PEEK and POKE. Sources: Intel SDM
// volume 3D (June 2016), chapter 43; Linux 6.12 arch/x86/kernel/{ptrace,signal,step,traps}.c, kernel/signal.c
// (signal_delivered), arch/x86/kernel/cpu/sgx/encl.c (sgx_vma_access).
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "conformance/tracee.h"

namespace enclume::test {
namespace {

// ---- Signals ----

TEST(TracedSignalTest, EnclaveCallsCauseNone) {
  const ProbeEnclave probe;
  Tracee tracee([&] {
    for (int i = 0; i < 100; ++i) {
      if (sum_is_seven(probe) != 0) return 1;
      if (!probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted()) return 2;
      probe.abandon();
    }
    return 0;
  });
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

int fault_at_8() {
  volatile std::uint64_t* volatile nowhere = reinterpret_cast<volatile std::uint64_t*>(8);
  *nowhere = 1;
  return 3;
}

TEST(TracedSignalTest, ThoseOfTheProgramComeOnceWithItsRegistersAndSiginfo) {
  Tracee tracee(fault_at_8);
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGSEGV)) << std::hex << tracee.status();
  const siginfo_t info = tracee.signal();
  EXPECT_EQ(info.si_code, SEGV_MAPERR);
  EXPECT_EQ(info.si_errno, 0);
  EXPECT_EQ(info.si_addr, reinterpret_cast<void*>(8));
  // Swallowed, it faults again at the same place.
  const std::uint64_t place = tracee.rip();
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGSEGV));
  EXPECT_EQ(tracee.rip(), place);
}

void exit_in_handler(int, siginfo_t*, void*) {
  _exit(42);
}

TEST(TracedSignalTest, PassedOnTheyRunTheProgramsHandler) {
  Tracee tracee([] {
    const ScopedSigaction handler(SIGSEGV, exit_in_handler);
    return fault_at_8();
  });
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGSEGV));
  tracee.go_on(SIGSEGV);
  EXPECT_TRUE(tracee.exited_with(42)) << std::hex << tracee.status();
}

TEST(TracedSignalTest, WithoutAHandlerPassedOnTheyEndTheProgram) {
  Tracee tracee(fault_at_8);
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGSEGV));
  tracee.go_on(SIGSEGV);
  EXPECT_TRUE(WIFSIGNALED(tracee.status()) && WTERMSIG(tracee.status()) == SIGSEGV);
}

TEST(TracedSignalTest, ExceptionOfTheEnclaveAtAnEncluOfItsOwnShowsTheAep) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return raise_by_own_enclu(probe); });
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGILL));
  const user_regs_struct registers = tracee.registers();
  EXPECT_EQ(registers.rip, address_of(enclume_test_aep));
  EXPECT_EQ(registers.rax, kEresume);
  EXPECT_EQ(registers.rbx, probe.tcs());
  EXPECT_EQ(registers.rcx, address_of(enclume_test_aep));
  EXPECT_EQ(registers.eflags & kFlagTf, 0u);
}

TEST(TracedSignalTest, WaitidSeesTheSame) {
  const ProbeEnclave probe;
  Tracee tracee([&] {
    if (sum_is_seven(probe) != 0) return 1;
    raise(SIGUSR1);
    return 3;
  });
  tracee.request(PTRACE_CONT, 0);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(tracee.pid()), &info, WSTOPPED | WEXITED | WNOWAIT), 0);
  EXPECT_EQ(info.si_code, CLD_TRAPPED);
  EXPECT_EQ(info.si_status, SIGUSR1);
  tracee.wait();
  EXPECT_TRUE(tracee.stopped_by(SIGUSR1));
}

// ---- Signals that come from outside ----

// Spins in the enclave until the word is set.
std::atomic<std::uint64_t>* g_shared;  // 0: go on, 1: rounds, 2: handled

class TracedInterruptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(page, MAP_FAILED);
    g_shared = static_cast<std::atomic<std::uint64_t>*>(page);
  }
  void TearDown() override { munmap(g_shared, 4096); }

  static int spin(const ProbeEnclave& probe) {
    return probe.call(PROBE_OP_SPIN, {address_of(&g_shared[0]), address_of(&g_shared[1])}).exited() ? 0 : 1;
  }
  // Waits for a stop, after `then`, which is done once the tracee is seen to be inside.
  static void wait_and(Tracee& tracee, const std::function<void()>& then) {
    std::thread other([&] {
      const std::uint64_t before = g_shared[1];
      while (g_shared[1] < before + 1000) sched_yield();
      then();
    });
    tracee.wait();
    other.join();
  }
  static void end_spinning() { g_shared[0] = 1; }
  static void expect_at_aep(const Tracee& tracee, const ProbeEnclave& probe) {
    const user_regs_struct registers = tracee.registers();
    EXPECT_EQ(registers.rip, vdso_enclu());
    EXPECT_EQ(registers.rax, kEresume);
    EXPECT_EQ(registers.rbx, probe.tcs());
    EXPECT_EQ(registers.rcx, vdso_enclu());
  }
};

void count_usr1(int, siginfo_t* info, void*) {
  g_shared[2] += static_cast<std::uint64_t>(info->si_value.sival_int);
}

TEST_F(TracedInterruptTest, SignalThatMeetsAnEnclaveIsShownAtTheAepWithItsSiginfo) {
  const ProbeEnclave probe;
  Tracee tracee([&] {
    const ScopedSigaction handler(SIGUSR1, count_usr1);
    const int result = spin(probe);
    return result != 0 ? result : static_cast<int>(g_shared[2].load());
  });
  tracee.request(PTRACE_CONT, 0);
  wait_and(tracee, [&] { EXPECT_EQ(sigqueue(tracee.pid(), SIGUSR1, {.sival_int = 21}), 0); });
  ASSERT_TRUE(tracee.stopped_by(SIGUSR1)) << std::hex << tracee.status();
  EXPECT_EQ(tracee.signal().si_code, SI_QUEUE);
  EXPECT_EQ(tracee.signal().si_value.sival_int, 21);
  EXPECT_EQ(tracee.signal().si_pid, getpid());
  expect_at_aep(tracee, probe);
  tracee.request(PTRACE_CONT, SIGUSR1);
  wait_and(tracee, [&] {
    while (g_shared[2] == 0) sched_yield();
    end_spinning();
  });
  EXPECT_TRUE(tracee.exited_with(21)) << std::hex << tracee.status();
}

TEST_F(TracedInterruptTest, SwallowedOneIsGoneAndTheEnclaveGoesOn) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return spin(probe); });  // SIGTERM's default would end it
  tracee.request(PTRACE_CONT, 0);
  wait_and(tracee, [&] { kill(tracee.pid(), SIGTERM); });
  ASSERT_TRUE(tracee.stopped_by(SIGTERM)) << std::hex << tracee.status();
  expect_at_aep(tracee, probe);
  tracee.request(PTRACE_CONT, 0);
  wait_and(tracee, end_spinning);
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

TEST_F(TracedInterruptTest, PassedOnItHasItsDefaultAction) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return spin(probe); });
  tracee.request(PTRACE_CONT, 0);
  wait_and(tracee, [&] { kill(tracee.pid(), SIGTERM); });
  ASSERT_TRUE(tracee.stopped_by(SIGTERM));
  tracee.go_on(SIGTERM);
  EXPECT_TRUE(WIFSIGNALED(tracee.status()) && WTERMSIG(tracee.status()) == SIGTERM)
      << std::hex << tracee.status();
}

TEST_F(TracedInterruptTest, PtraceInterruptStopsAtTheAep) {
  const ProbeEnclave probe;
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    alarm(50);
    _exit(spin(probe));
  }
  while (g_shared[1] < 1000) sched_yield();
  Tracee tracee(pid);
  for (int i = 0; i < 20; ++i) {
    tracee.request(PTRACE_INTERRUPT, 0);
    tracee.wait();
    ASSERT_EQ(tracee.status() >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8) << std::hex << tracee.status();
    expect_at_aep(tracee, probe);
    tracee.request(PTRACE_CONT, 0);
  }
  wait_and(tracee, end_spinning);
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

TEST_F(TracedInterruptTest, UnderLoadEachIsSeenOnceAndNeverWithOtherRegistersThanTheProgramHas) {
  const ProbeEnclave probe;
  constexpr std::uint64_t kSignals = 500;
  Tracee tracee([&] {
    const ScopedSigaction handler(SIGRTMIN, count_usr1);
    g_shared[1] = 1;
    while (g_shared[2] < kSignals) {
      if (sum_is_seven(probe) != 0) return 1;
      if (!probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted()) return 2;
      probe.abandon();
    }
    return 0;
  });
  const LinearRegion engine = engine_text();
  const LinearRegion enclave{probe.base(), probe.heap()};
  tracee.request(PTRACE_CONT, 0);
  std::atomic<std::uint64_t> seen = 0;
  std::jthread sender([&](const std::stop_token& stop) {
    while (g_shared[1] == 0) sched_yield();
    for (std::uint64_t sent = 0; sent < kSignals && !stop.stop_requested();) {
      if (sent < seen + 3 && sigqueue(tracee.pid(), SIGRTMIN, {.sival_int = 1}) == 0) ++sent;
    }
  });
  for (;;) {
    tracee.wait();
    if (tracee.ended()) break;
    ASSERT_TRUE(tracee.stopped_by(SIGRTMIN)) << std::hex << tracee.status();
    ++seen;
    const std::uint64_t rip = tracee.rip();
    ASSERT_FALSE(enclave.contains(rip)) << "in the enclave";
    ASSERT_FALSE(engine.contains(rip)) << "in the engine";
    tracee.request(PTRACE_CONT, SIGRTMIN);
  }
  EXPECT_EQ(seen, kSignals);
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

// ---- PEEK and POKE ----

TEST(TracedMemoryTest, DebugEnclaveCanBeReadAndWritten) {
  const DebuggedProbe probe(false);
  Tracee tracee([&] { return probe.read(probe.scratch() + 16) == 42 ? 0 : 1; });
  std::uint64_t code;
  std::memcpy(&code, probe_code().data() + 3, sizeof code);
  EXPECT_EQ(tracee.word(probe.base() + 3), code);
  EXPECT_EQ(tracee.poke(probe.scratch() + 16, 42), 0);
  EXPECT_EQ(tracee.word(probe.scratch() + 16), 42u);
  EXPECT_EQ(tracee.word(probe.tcs() + offsetof(Tcs, oentry)), probe_labels().entry);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0));
}

TEST(TracedMemoryTest, DbgOptInIsSetByPoke) {
  const DebuggedProbe probe(false);
  Tracee tracee([&] { return sum_is_seven(probe); });
  EXPECT_EQ(tracee.poke(probe.tcs() + offsetof(Tcs, flags), kTcsDbgOptIn), 0);
  EXPECT_EQ(tracee.poke(probe.tcs() + offsetof(Tcs, oentry), 0), -EIO);
  tracee.run_to(vdso_enclu());
  tracee.step();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP));
  EXPECT_EQ(newest_frame(tracee, probe).rip, probe.base() + probe_labels().entry);
}

TEST(TracedMemoryTest, ProductionEnclaveStaysShut) {
  const ProbeEnclave probe;
  Tracee tracee([&] { return 0; });
  std::uint64_t word;
  EXPECT_EQ(tracee.peek(probe.scratch(), word), -EIO);
  EXPECT_EQ(tracee.poke(probe.scratch(), 1), -EIO);
  EXPECT_EQ(tracee.poke(probe.tcs() + offsetof(Tcs, flags), kTcsDbgOptIn), -EIO);
}

TEST(TracedMemoryTest, EnclaveThatTheTraceeHasMadeItself) {
  Tracee tracee([&] {
    const DebuggedProbe probe(false);
    register std::uint64_t place asm("rbx") = probe.scratch();
    asm volatile("int3" : "+r"(place));
    return probe.read(probe.scratch()) == 99 ? 0 : 1;
  });
  tracee.go_on();
  ASSERT_TRUE(tracee.stopped_by(SIGTRAP));
  EXPECT_EQ(tracee.poke(tracee.registers().rbx, 99), 0);
  tracee.go_on();
  EXPECT_TRUE(tracee.exited_with(0)) << std::hex << tracee.status();
}

// ---- Children that nobody traces ----

TEST(JobControlTest, EachStopOfAnUntracedChildSaysBySignal) {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  setpgid(child, child);  // a group with a parent outside: SIGTSTP stops no orphans
  for (const int stop : {SIGTSTP, SIGTTIN, SIGSTOP}) {
    ASSERT_EQ(kill(child, stop), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
    EXPECT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == stop) << std::hex << status;
    ASSERT_EQ(kill(child, SIGCONT), 0);
    ASSERT_EQ(waitpid(child, &status, WCONTINUED), child);
  }
  kill(child, SIGKILL);
  siginfo_t info{};
  EXPECT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED), 0);
  EXPECT_EQ(info.si_code, CLD_KILLED);
}

}  // namespace
}  // namespace enclume::test
