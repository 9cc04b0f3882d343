// SPDX-License-Identifier: Apache-2.0
//
// What a tracing parent sees of a child that uses enclaves: the program's signals and no others, an ENCLU as
// one step, breakpoints in debug registers with DR6, and debug enclaves by PEEK and POKE. Sources: Intel SDM
// volume 3D (June 2016), chapter 43; Linux 6.12 arch/x86/kernel/{ptrace,signal,step,traps}.c, kernel/signal.c
// (signal_delivered), arch/x86/kernel/cpu/sgx/encl.c (sgx_vma_access).
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "conformance/debug_support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint64_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint64_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint64_t>(Leaf::kEexit);
constexpr int kSiKernel = 0x80;
constexpr int kTrapHwBreakpoint = 4;
constexpr std::uint64_t kEncluLength = 3;

// DR7: which accesses match, and how many bytes.
enum class Watch : std::uint64_t {
  Code = 0,
  Write = 0xd,
  ReadWrite = 0xf
};

// A child that runs `body` from a stop on, traced by this thread.
class Tracee {
 public:
  explicit Tracee(const std::function<int()>& body) : pid_(fork()) {
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ == 0) {
      alarm(50);
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      raise(SIGSTOP);
      _exit(body());
    }
    wait();
    if (!stopped_by(SIGSTOP)) throw std::runtime_error("the child did not stop");
    request(PTRACE_SETOPTIONS, PTRACE_O_EXITKILL);
  }
  // A child that runs already, seized.
  explicit Tracee(pid_t child) : pid_(child) { request(PTRACE_SEIZE, PTRACE_O_EXITKILL); }
  ~Tracee() {
    if (!ended()) {
      kill(pid_, SIGKILL);
      int status;
      waitpid(pid_, &status, __WALL);
    }
  }
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  pid_t pid() const { return pid_; }
  bool ended() const { return WIFEXITED(status_) || WIFSIGNALED(status_); }
  bool exited_with(int code) const { return WIFEXITED(status_) && WEXITSTATUS(status_) == code; }
  bool stopped_by(int signal) const { return WIFSTOPPED(status_) && WSTOPSIG(status_) == signal; }
  int status() const { return status_; }

  void go_on(int signal = 0) {
    request(PTRACE_CONT, signal);
    wait();
  }
  void step(int signal = 0) {
    request(PTRACE_SINGLESTEP, signal);
    wait();
  }
  void wait() {
    if (waitpid(pid_, &status_, __WALL) != pid_)
      throw std::system_error(errno, std::generic_category(), "waitpid");
  }
  void request(__ptrace_request what, long data) {
    if (ptrace(what, pid_, nullptr, data) != 0)
      throw std::system_error(errno, std::generic_category(), "ptrace");
  }

  user_regs_struct registers() const {
    user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid_, nullptr, &registers) != 0) throw std::runtime_error("PTRACE_GETREGS");
    return registers;
  }
  std::uint64_t rip() const { return registers().rip; }
  void set_rip(std::uint64_t rip) const { ptrace(PTRACE_POKEUSER, pid_, offsetof(user, regs.rip), rip); }
  siginfo_t signal() const {
    siginfo_t info;
    if (ptrace(PTRACE_GETSIGINFO, pid_, nullptr, &info) != 0) throw std::runtime_error("PTRACE_GETSIGINFO");
    return info;
  }
  // The word, or -errno where that is not zero.
  long peek(std::uint64_t address, std::uint64_t& word) const {
    errno = 0;
    word = static_cast<std::uint64_t>(ptrace(PTRACE_PEEKDATA, pid_, address, nullptr));
    return -errno;
  }
  std::uint64_t word(std::uint64_t address) const {
    std::uint64_t value;
    if (const long error = peek(address, value); error != 0) {
      throw std::system_error(static_cast<int>(-error), std::generic_category(), "PTRACE_PEEKDATA");
    }
    return value;
  }
  long poke(std::uint64_t address, std::uint64_t word) const {
    return ptrace(PTRACE_POKEDATA, pid_, address, word) == 0 ? 0 : -errno;
  }

  // On to `address`, by an INT3 that is gone afterwards.
  void run_to(std::uint64_t address) {
    const std::uint64_t before = word(address);
    poke(address, (before & ~0xffULL) | 0xcc);
    go_on();
    poke(address, before);
    if (!stopped_by(SIGTRAP) || rip() != address + 1)
      throw std::runtime_error("the breakpoint was not reached");
    set_rip(address);
  }

  void watch(unsigned n, std::uint64_t address, Watch kind) {
    enabled_ |= 1ULL << (2 * n) | static_cast<std::uint64_t>(kind) << (16 + 4 * n);
    if (ptrace(PTRACE_POKEUSER, pid_, offsetof(user, u_debugreg) + 8 * n, address) != 0 ||
        ptrace(PTRACE_POKEUSER, pid_, offsetof(user, u_debugreg[7]), enabled_) != 0) {
      throw std::system_error(errno, std::generic_category(), "debug register");
    }
  }
  // DR6.B0 to B3.
  std::uint64_t matches() const {
    return static_cast<std::uint64_t>(ptrace(PTRACE_PEEKUSER, pid_, offsetof(user, u_debugreg[6]), nullptr)) &
           0xf;
  }

 private:
  pid_t pid_;
  int status_ = 0;
  std::uint64_t enabled_ = 0;
};

// What the debugger reads of the newest SSA frame.
Gprsgx newest_frame(const Tracee& tracee, const ProbeEnclave& probe) {
  const auto cssa = static_cast<std::uint32_t>(tracee.word(probe.tcs() + offsetof(Tcs, cssa)));
  const std::uint64_t end = probe.tcs() + PROBE_SSA + cssa * probe.frame_size();
  Gprsgx frame;
  for (std::size_t i = 0; i < sizeof frame; i += 8) {
    const std::uint64_t word = tracee.word(end - sizeof frame + i);
    std::memcpy(reinterpret_cast<char*>(&frame) + i, &word, 8);
  }
  return frame;
}

struct LinearRegion {
  std::uint64_t begin = 0, end = 0;
  bool contains(std::uint64_t address) const { return address >= begin && address < end; }
};

// The engine's code, the same in a child.
LinearRegion engine_text() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin, end;
    char mode[5];
    if (line.find("libenclume-engine") != std::string::npos &&
        std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, mode) == 3 && mode[2] == 'x') {
      return {begin, end};
    }
  }
  throw std::runtime_error("no engine");
}

int sum_is_seven(const ProbeEnclave& probe) {
  const CallResult result = probe.call(PROBE_OP_SUM, {3, 4});
  return result.exited() && result.args.out[0] == 7 ? 0 : 1;
}

// ---- Signals ----

// #UD in the enclave, entered by an ENCLU of our own; not expected to come back.
int raise_by_own_enclu(const ProbeEnclave& probe) {
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  RegisterFile in{}, out{};
  in.rax = kEenter;
  in.rbx = probe.tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  enclume_test_raw_enclu(&in, &out);
  return 3;
}

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
