// SPDX-License-Identifier: Apache-2.0
//
// Signals of a program that uses enclaves: handlers see the AEP and not the enclave, and everything that
// POSIX and Linux say about handlers, masks, alternate stacks and interrupted system calls holds as without
// enclaves.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint32_t>(Leaf::kEexit);

// SIGALRM every so often, for as long as this lives.
class IntervalTimer {
 public:
  explicit IntervalTimer(long microseconds) {
    const itimerval value{.it_interval = {0, microseconds}, .it_value = {0, microseconds}};
    setitimer(ITIMER_REAL, &value, nullptr);
  }
  ~IntervalTimer() {
    const itimerval off{};
    setitimer(ITIMER_REAL, &off, nullptr);
  }
};

// The probe's arithmetic by native code, from the same bytes.
class NativeWork {
 public:
  NativeWork() {
    const auto code = probe_code();
    size_ = (code.size() + kPage - 1) & ~(kPage - 1);
    area_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memcpy(area_, code.data(), code.size());
    mprotect(area_, size_, PROT_READ | PROT_EXEC);
  }
  ~NativeWork() { munmap(area_, size_); }
  std::uint64_t operator()(std::uint64_t rounds, std::uint64_t seed) const {
    const std::uint64_t function = address_of(area_) + probe_labels().work;
    std::uint64_t result;
    asm volatile("sub $128, %%rsp\n\tcall *%[function]\n\tadd $128, %%rsp"
                 : "=a"(result), "+c"(rounds)
                 : "a"(seed), [function] "r"(function)
                 : "rdx", "cc", "memory");
    return result;
  }

 private:
  void* area_;
  std::size_t size_;
};

class SignalTest : public ::testing::Test {
 protected:
  ProbeEnclave probe_;
};

// ---- Interrupting an enclave ----

volatile std::uint64_t g_stop = 0;
volatile std::uint64_t g_progress = 0;
volatile int g_alarms = 0;
volatile int g_alarms_in_enclave = 0;
CaughtSignal g_first;
std::uint64_t g_aep = 0;

void count_alarm(int, siginfo_t*, void* raw) {
  const auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
  g_alarms = g_alarms + 1;
  // What tells an AEX from the host's own code: ENCLU at RIP with RAX = 3.
  const auto* at = reinterpret_cast<const std::uint8_t*>(registers[REG_RIP]);
  if (registers[REG_RAX] != kEresume || std::memcmp(at, "\x0f\x01\xd7", 3) != 0) return;
  if (g_alarms_in_enclave == 0) {
    for (std::size_t i = 0; i < g_first.registers.size(); ++i) {
      g_first.registers[i] = static_cast<std::uint64_t>(registers[i]);
    }
  }
  g_alarms_in_enclave = g_alarms_in_enclave + 1;
}

void reset_alarms() {
  g_alarms = 0;
  g_alarms_in_enclave = 0;
  g_stop = 0;
  g_progress = 0;
}

TEST_F(SignalTest, EnclaveGoesOnAfterEachTimerSignalWithTheRightResult) {
  reset_alarms();
  const ScopedSigaction handler(SIGALRM, count_alarm);
  const NativeWork native;
  const std::uint64_t rounds = 300'000'000;
  CallResult result;
  {
    const IntervalTimer timer(1000);
    result = probe_.call(PROBE_OP_WORK, {rounds, 5});
  }
  ASSERT_TRUE(result.exited());
  EXPECT_GT(g_alarms_in_enclave, 10);
  EXPECT_EQ(result.args.out[0], native(rounds, 5));
}

void count_and_stop(int signal, siginfo_t* info, void* raw) {
  count_alarm(signal, info, raw);
  if (g_alarms_in_enclave != 0) g_stop = 1;
}

TEST_F(SignalTest, HandlerSeesTheAepAndSyntheticRegistersWithOurOwnEnclu) {
  reset_alarms();
  const ScopedSigaction handler(SIGALRM, count_and_stop);
  RegisterFile in = register_pattern(), out{};
  ProbeArgs args{.in = {address_of(const_cast<std::uint64_t*>(&g_stop)),
                        address_of(const_cast<std::uint64_t*>(&g_progress))},
                 .out = {}};
  in.rax = kEenter;
  in.rbx = probe_.tcs();
  in.rdi = PROBE_OP_SPIN;
  in.rsi = address_of(&args);
  {
    const IntervalTimer timer(2000);
    enclume_test_raw_enclu(&in, &out);
  }
  EXPECT_EQ(g_first.reg(REG_RIP), address_of(enclume_test_aep));
  EXPECT_EQ(g_first.reg(REG_RAX), kEresume);
  EXPECT_EQ(g_first.reg(REG_RBX), probe_.tcs());
  EXPECT_EQ(g_first.reg(REG_RCX), address_of(enclume_test_aep));
  for (const int number :
       {REG_RDX, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15}) {
    EXPECT_EQ(g_first.reg(number), 0u) << "gregs index " << number;
  }
  EXPECT_EQ(g_first.reg(REG_RSP), out.rsp);
  EXPECT_EQ(g_first.reg(REG_RBP), out.rbp);
  EXPECT_EQ(g_first.reg(REG_EFL) & kStatusFlags, 0u);
  EXPECT_EQ(out.rax, kEexit) << "ERESUME at the AEP went on";
}

TEST_F(SignalTest, InterruptLeavesNoExitinfo) {
  reset_alarms();
  g_aep = 0;
  static const ProbeEnclave* probe;
  static Gprsgx frame;
  probe = &probe_;
  const ScopedSigaction handler(SIGALRM, [](int signal, siginfo_t* info, void* raw) {
    count_alarm(signal, info, raw);
    if (g_alarms_in_enclave == 1 && g_stop == 0) {
      frame = probe->ssa_registers();
      g_stop = 1;
    }
  });
  CallResult result;
  {
    const IntervalTimer timer(2000);
    result = probe_.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                                         address_of(const_cast<std::uint64_t*>(&g_progress))});
  }
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(frame.exitinfo, 0u);
  EXPECT_GE(frame.rip, probe_.base());
  EXPECT_LT(frame.rip, probe_.base() + PROBE_CODE_SIZE);
}

TEST_F(SignalTest, RegistersOfTheEnclaveSurviveSignals) {
  reset_alarms();
  const ScopedSigaction handler(SIGALRM, [](int signal, siginfo_t* info, void* raw) {
    count_alarm(signal, info, raw);
    if (g_alarms_in_enclave >= 20) g_stop = 1;
  });
  const std::uint64_t xfrm = testable_xfrm();
  ProbeOptions options;
  options.image.xfrm = xfrm;
  const ProbeEnclave probe(options);
  XsaveArea before, after;
  before.fill_pattern(xfrm, 23);
  const RegisterFile set = register_pattern();
  RegisterFile dumped{};
  CallResult result;
  {
    const IntervalTimer timer(1000);
    result = probe.call(PROBE_OP_LOAD_STATE,
                        {before.address(), address_of(&set), PROBE_TAIL_SPIN, xfrm, after.address(),
                         address_of(const_cast<std::uint64_t*>(&g_stop)), address_of(&dumped)});
  }
  ASSERT_TRUE(result.exited());
  EXPECT_GE(g_alarms_in_enclave, 20);
  EXPECT_EQ(before.first_difference(after, xfrm), -1);
  EXPECT_EQ(dumped.rflags & kStatusFlags, kStatusFlags);
  const std::uint64_t* was = &set.rax;
  const std::uint64_t* is = &dumped.rax;
  for (std::size_t i = 0; i < 16; ++i) {
    if (&was[i] == &set.rsp) continue;
    EXPECT_EQ(is[i], was[i]) << "word " << i << " of RegisterFile";
  }
}

TEST_F(SignalTest, ManyShortCallsUnderASignalStormAllReturnTheirResult) {
  reset_alarms();
  const ScopedSigaction handler(SIGALRM, count_alarm);
  const IntervalTimer timer(150);
  for (std::uint64_t i = 0; i < 50'000; ++i) {
    const CallResult result = probe_.call(PROBE_OP_SUM, {i, 3 * i});
    ASSERT_TRUE(result.exited()) << i;
    ASSERT_EQ(result.args.out[0], 4 * i);
  }
  EXPECT_GT(g_alarms, 100);
}

TEST_F(SignalTest, HandlerCanEnterTheInterruptedTcsAgain) {
  reset_alarms();
  static const ProbeEnclave* probe;
  static volatile std::uint64_t cssa_seen, sum;
  probe = &probe_;
  const ScopedSigaction handler(SIGALRM, [](int signal, siginfo_t* info, void* raw) {
    const int before = g_alarms_in_enclave;
    count_alarm(signal, info, raw);
    if (g_alarms_in_enclave == before || g_stop != 0) return;
    RegisterFile seen;
    probe->call(PROBE_OP_ENTRY_STATE, {address_of(&seen)});
    cssa_seen = seen.rax;
    sum = probe->call(PROBE_OP_SUM, {30, 12}).args.out[0];
    g_stop = 1;
  });
  CallResult result;
  {
    const IntervalTimer timer(2000);
    result = probe_.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                                         address_of(const_cast<std::uint64_t*>(&g_progress))});
  }
  EXPECT_TRUE(result.exited());
  EXPECT_EQ(cssa_seen, 1u);
  EXPECT_EQ(sum, 42u);
}

sigjmp_buf g_jump;

TEST_F(SignalTest, HandlerMayLeaveTheEnclaveByLongjmp) {
  reset_alarms();
  const ScopedSigaction handler(SIGALRM, [](int signal, siginfo_t* info, void* raw) {
    count_alarm(signal, info, raw);
    // In the loop and not before: the entry is not over until then.
    if (g_alarms_in_enclave != 0 && g_progress != 0) siglongjmp(g_jump, 1);
  });
  if (sigsetjmp(g_jump, 1) == 0) {
    const itimerval once{.it_interval = {0, 2000}, .it_value = {0, 2000}};
    setitimer(ITIMER_REAL, &once, nullptr);
    probe_.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                                address_of(const_cast<std::uint64_t*>(&g_progress))});
    FAIL() << "the enclave stopped spinning";
  }
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  EXPECT_FALSE(sigismember(&mask, SIGALRM)) << "siglongjmp puts the mask back";
  // The interrupted level is still there, and can be ended.
  RegisterFile seen;
  ASSERT_TRUE(probe_.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)}).exited());
  EXPECT_EQ(seen.rax, 1u);
  probe_.abandon();
  EXPECT_EQ(probe_.call(PROBE_OP_SUM, {1, 1}).args.out[0], 2u);
}

TEST_F(SignalTest, DefaultActionKillsAProgramThatIsInsideAnEnclave) {
  for (const int signal : {SIGTERM, SIGALRM, SIGUSR1}) {
    const int status = in_child([&] {
      ::signal(signal, SIG_DFL);
      const pid_t self = getpid();
      std::thread([self, signal] {
        usleep(50'000);
        kill(self, signal);
      }).detach();
      reset_alarms();
      // An enclave of its own: in a shared one the killed thread leaves CSSA at 1 behind.
      const ProbeEnclave own;
      own.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                               address_of(const_cast<std::uint64_t*>(&g_progress))});
      return 3;
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << "status " << status << " for signal " << signal;
    EXPECT_EQ(WTERMSIG(status), signal);
  }
}

TEST_F(SignalTest, IgnoredSignalDoesNotDisturbTheEnclave) {
  ::signal(SIGALRM, SIG_IGN);
  const NativeWork native;
  CallResult result;
  {
    const IntervalTimer timer(500);
    result = probe_.call(PROBE_OP_WORK, {20'000'000, 9});
  }
  ::signal(SIGALRM, SIG_DFL);
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0], native(20'000'000, 9));
}

// ---- Exceptions as signals ----

TEST_F(SignalTest, ExceptionAtOurOwnAepWithDefaultActionKills) {
  const struct {
    std::uint64_t operation, argument;
    int signal;
  } cases[] = {{PROBE_OP_RAISE, PROBE_RAISE_UD2, SIGILL},
               {PROBE_OP_RAISE, PROBE_RAISE_DIVIDE, SIGFPE},
               {PROBE_OP_RAISE, PROBE_RAISE_UNALIGNED, SIGBUS},
               {PROBE_OP_READ, 0x10, SIGSEGV}};
  for (const auto& tested : cases) {
    const int status = in_child([&] {
      signal(tested.signal, SIG_DFL);
      RegisterFile in = register_pattern(), out{};
      ProbeArgs args{.in = {tested.argument}, .out = {}};
      in.rax = kEenter;
      in.rbx = probe_.tcs();
      in.rdi = tested.operation;
      in.rsi = address_of(&args);
      enclume_test_raw_enclu(&in, &out);
      return 3;
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << "status " << status;
    EXPECT_EQ(WTERMSIG(status), tested.signal);
  }
}

TEST_F(SignalTest, VdsoReportsExceptionsWhateverTheDispositionAndTheMask) {
  const ScopedSignalMask mask(SIG_BLOCK, {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGSYS});
  for (const int signal : {SIGILL, SIGSEGV}) ::signal(signal, SIG_IGN);
  EXPECT_EQ(probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).run.exception_vector, kVectorUd);
  probe_.abandon();
  EXPECT_EQ(probe_.call(PROBE_OP_READ, {0x10}).run.exception_vector, kVectorPf);
  probe_.abandon();
  for (const int signal : {SIGILL, SIGSEGV}) ::signal(signal, SIG_DFL);
}

TEST_F(SignalTest, EnclavesWorkWhileEverySignalIsBlocked) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  const CallResult result = probe_.call(PROBE_OP_SUM, {2, 3});
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  EXPECT_EQ(result.args.out[0], 5u);
  for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGSYS, SIGUSR1}) {
    EXPECT_EQ(sigismember(&now, signal), 1) << signal;
  }
}

TEST_F(SignalTest, NoSignalIsDeliveredForAnExceptionThatTheVdsoReports) {
  const SignalCatcher catcher({SIGILL, SIGSEGV, SIGFPE, SIGBUS, SIGTRAP}, nullptr);
  probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2});
  probe_.abandon();
  probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_DIVIDE});
  probe_.abandon();
  probe_.call(PROBE_OP_WRITE, {probe_.base(), 1});
  EXPECT_EQ(catcher.caught().count, 0);
}

// ---- The stack that a handler runs on ----

volatile std::uint64_t g_handler_stack = 0;

void note_stack(int signal, siginfo_t* info, void* raw) {
  count_alarm(signal, info, raw);
  g_handler_stack = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  if (g_alarms_in_enclave != 0) g_stop = 1;
}

class AlternateStackTest : public SignalTest {
 protected:
  AlternateStackTest() : memory_(kSize) {
    const stack_t stack{.ss_sp = memory_.data(), .ss_flags = 0, .ss_size = kSize};
    sigaltstack(&stack, &old_);
  }
  ~AlternateStackTest() override { sigaltstack(&old_, nullptr); }
  bool on_alternate_stack(std::uint64_t address) const {
    return address >= address_of(memory_.data()) && address < address_of(memory_.data()) + kSize;
  }
  std::uint64_t interrupt_enclave(unsigned flags) {
    reset_alarms();
    const ScopedSigaction handler(SIGALRM, note_stack, flags);
    RegisterFile in = register_pattern();
    ProbeArgs args{.in = {address_of(const_cast<std::uint64_t*>(&g_stop)),
                          address_of(const_cast<std::uint64_t*>(&g_progress))},
                   .out = {}};
    in.rax = kEenter;
    in.rbx = probe_.tcs();
    in.rdi = PROBE_OP_SPIN;
    in.rsi = address_of(&args);
    const IntervalTimer timer(2000);
    enclume_test_raw_enclu(&in, &out_);
    return g_handler_stack;
  }

  static constexpr std::size_t kSize = 256 * 1024;
  std::vector<std::uint8_t> memory_;
  stack_t old_;
  RegisterFile out_{};
};

TEST_F(AlternateStackTest, HandlerWithOnstackRunsThereWhenAnEnclaveIsInterrupted) {
  EXPECT_TRUE(on_alternate_stack(interrupt_enclave(SA_ONSTACK)));
}

TEST_F(AlternateStackTest, HandlerWithoutOnstackRunsBelowTheHostsStackPointer) {
  const std::uint64_t address = interrupt_enclave(0);
  EXPECT_FALSE(on_alternate_stack(address));
  EXPECT_LT(address, out_.rsp - 128) << "the red zone is kept";
  EXPECT_GT(address, out_.rsp - 64 * 1024);
}

TEST_F(AlternateStackTest, HandlerWithOnstackRunsThereForHostCode) {
  reset_alarms();
  const ScopedSigaction handler(SIGUSR1, note_stack, SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_TRUE(on_alternate_stack(g_handler_stack));
}

TEST_F(AlternateStackTest, QueryGivesWhatTheProgramSet) {
  stack_t now{};
  ASSERT_EQ(sigaltstack(nullptr, &now), 0);
  EXPECT_EQ(now.ss_sp, memory_.data());
  EXPECT_EQ(now.ss_size, kSize);
  EXPECT_EQ(now.ss_flags, 0);
}

TEST_F(AlternateStackTest, QueryInTheHandlerSaysOnstackAndChangingItIsEperm) {
  static stack_t in_handler;
  static volatile int error;
  const ScopedSigaction handler(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        sigaltstack(nullptr, &in_handler);
        const stack_t other{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
        error = sigaltstack(&other, nullptr) == 0 ? 0 : errno;
      },
      SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_EQ(in_handler.ss_flags, SS_ONSTACK);
  EXPECT_EQ(in_handler.ss_sp, memory_.data());
  EXPECT_EQ(error, EPERM);
}

TEST_F(AlternateStackTest, TooSmallStackIsEnomem) {
  const stack_t small{.ss_sp = memory_.data(), .ss_flags = 0, .ss_size = 512};
  EXPECT_EQ(sigaltstack(&small, nullptr), -1);
  EXPECT_EQ(errno, ENOMEM);
}

TEST_F(AlternateStackTest, UnknownFlagsAreEinval) {
  const stack_t bad{.ss_sp = memory_.data(), .ss_flags = 0x40, .ss_size = kSize};
  EXPECT_EQ(sigaltstack(&bad, nullptr), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(AlternateStackTest, NewThreadStartsWithNone) {
  std::thread([] {
    stack_t now{};
    sigaltstack(nullptr, &now);
    EXPECT_EQ(now.ss_flags, SS_DISABLE);
  }).join();
}

TEST_F(AlternateStackTest, NestedHandlerContinuesOnTheSameAlternateStack) {
  static volatile std::uint64_t inner, outer;
  const ScopedSigaction first(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        outer = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
        raise(SIGUSR2);
      },
      SA_ONSTACK);
  const ScopedSigaction second(
      SIGUSR2,
      [](int, siginfo_t*, void*) { inner = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0)); },
      SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_TRUE(on_alternate_stack(inner));
  EXPECT_LT(inner, outer);
}

// ---- Dispositions, flags, payloads ----

TEST(DispositionTest, IsDefaultUntilTheProgramSetsIt) {
  for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGSYS}) {
    struct sigaction now {};
    ASSERT_EQ(sigaction(signal, nullptr, &now), 0);
    EXPECT_EQ(now.sa_handler, SIG_DFL) << signal;
  }
}

void do_nothing(int, siginfo_t*, void*) {}

TEST(DispositionTest, QueryGivesWhatWasSet) {
  for (const int signal : {SIGILL, SIGSEGV, SIGUSR1}) {
    const ScopedSigaction set(signal, do_nothing, SA_ONSTACK | SA_NODEFER, {SIGUSR2, SIGILL});
    struct sigaction now {};
    ASSERT_EQ(sigaction(signal, nullptr, &now), 0);
    EXPECT_EQ(now.sa_sigaction, &do_nothing);
    // glibc and the kernel add SA_RESTORER.
    EXPECT_EQ(static_cast<unsigned>(now.sa_flags) & ~0x04000000u,
              static_cast<unsigned>(SA_SIGINFO | SA_ONSTACK | SA_NODEFER));
    EXPECT_EQ(sigismember(&now.sa_mask, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&now.sa_mask, SIGILL), 1);
    EXPECT_EQ(sigismember(&now.sa_mask, SIGHUP), 0);
  }
}

TEST(DispositionTest, SignalReturnsThePreviousHandler) {
  void (*const handler)(int) = [](int) {};
  EXPECT_EQ(signal(SIGILL, handler), SIG_DFL);
  EXPECT_EQ(signal(SIGILL, SIG_IGN), handler);
  EXPECT_EQ(signal(SIGILL, SIG_DFL), SIG_IGN);
}

TEST(DispositionTest, KillAndStopCannotBeCaught) {
  for (const int number : {SIGKILL, SIGSTOP, 0, 65}) {
    struct sigaction action {};
    action.sa_handler = SIG_IGN;
    EXPECT_EQ(sigaction(number, &action, nullptr), -1) << number;
    EXPECT_EQ(errno, EINVAL) << number;
  }
}

TEST(DispositionTest, ResethandGoesBackToDefaultAfterOneDelivery) {
  const ScopedSigaction set(SIGILL, do_nothing, SA_RESETHAND);
  raise(SIGILL);
  struct sigaction now {};
  sigaction(SIGILL, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
}

TEST(DispositionTest, AHandlerMayWriteWhereTheKernelWritesNothing) {
  // Words of the frame that Linux does not read. The mask comes back all the same, from handlers in handlers
  // too.
  static unsigned depth;
  for (const unsigned long long word : {0ULL, ~0ULL, 1ULL << 46, 1ULL << 63}) {
    depth = 0;
    static unsigned long long filling;
    filling = word != 1ULL << 46 ? word : static_cast<unsigned long long>(address_of(&depth));
    const ScopedSigaction set(
        SIGUSR1,
        [](int, siginfo_t*, void* context) {
          if (++depth < 3) raise(SIGUSR1);
          for (auto& reserved : static_cast<ucontext_t*>(context)->uc_mcontext.__reserved1)
            reserved = filling;
        },
        SA_NODEFER, {SIGSEGV, SIGUSR2});
    const ScopedSigaction other(SIGFPE, do_nothing, 0, {SIGUSR2});
    raise(SIGUSR1);
    raise(SIGFPE);
    EXPECT_EQ(depth, 3u);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    for (const int signal : {SIGUSR1, SIGUSR2, SIGSEGV, SIGFPE})
      EXPECT_EQ(sigismember(&now, signal), 0) << signal;
  }
}

sigset_t g_mask_in_handler;

void note_mask(int, siginfo_t*, void*) {
  pthread_sigmask(SIG_BLOCK, nullptr, &g_mask_in_handler);
}

TEST(DispositionTest, HandlerRunsWithItsMaskAndItsOwnSignalBlocked) {
  const ScopedSigaction set(SIGUSR1, note_mask, 0, {SIGUSR2, SIGSEGV});
  raise(SIGUSR1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGUSR1), 1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGUSR2), 1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGSEGV), 1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGHUP), 0);
  sigset_t after;
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  EXPECT_EQ(sigismember(&after, SIGUSR1), 0);
  EXPECT_EQ(sigismember(&after, SIGSEGV), 0);
}

TEST(DispositionTest, NodeferLeavesItsOwnSignalUnblocked) {
  for (const int signal : {SIGUSR1, SIGILL}) {
    const ScopedSigaction set(signal, note_mask, SA_NODEFER);
    raise(signal);
    EXPECT_EQ(sigismember(&g_mask_in_handler, signal), 0) << signal;
  }
}

TEST(DispositionTest, SynchronousSignalsBlockThemselvesInTheirHandler) {
  const ScopedSigaction set(SIGILL, note_mask);
  raise(SIGILL);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGILL), 1);
}

TEST_F(SignalTest, PayloadOfAQueuedSignalArrivesWhileAnEnclaveRuns) {
  reset_alarms();
  static volatile int code, value, sender;
  const ScopedSigaction set(SIGRTMIN + 3, [](int, siginfo_t* info, void*) {
    code = info->si_code;
    value = info->si_value.sival_int;
    sender = info->si_pid;
    g_stop = 1;
  });
  const pid_t self = getpid();
  std::thread sender_thread([self, main = pthread_self()] {
    while (g_progress < 1000) usleep(1000);
    pthread_sigqueue(main, SIGRTMIN + 3, sigval{.sival_int = 4711});
  });
  const CallResult result = probe_.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                                                        address_of(const_cast<std::uint64_t*>(&g_progress))});
  sender_thread.join();
  EXPECT_TRUE(result.exited());
  EXPECT_EQ(code, SI_QUEUE);
  EXPECT_EQ(value, 4711);
  EXPECT_EQ(sender, self);
}

TEST(DispositionTest, BlockedRealtimeSignalsQueueAndArriveInOrder) {
  static std::vector<int> values;
  values.clear();
  const ScopedSigaction set(SIGRTMIN,
                            [](int, siginfo_t* info, void*) { values.push_back(info->si_value.sival_int); });
  {
    const ScopedSignalMask mask(SIG_BLOCK, {SIGRTMIN});
    for (int i = 0; i < 5; ++i) sigqueue(getpid(), SIGRTMIN, sigval{.sival_int = i});
    EXPECT_TRUE(values.empty());
  }
  EXPECT_EQ(values, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(DispositionTest, RaisedSynchronousSignalStaysPendingWhileBlocked) {
  static volatile int count;
  count = 0;
  for (const int signal : {SIGILL, SIGSEGV, SIGTRAP, SIGUSR1}) {
    const ScopedSigaction set(signal, [](int, siginfo_t*, void*) { count = count + 1; });
    {
      const ScopedSignalMask mask(SIG_BLOCK, {signal});
      raise(signal);
      EXPECT_EQ(count, 0) << signal;
      sigset_t pending;
      sigpending(&pending);
      EXPECT_EQ(sigismember(&pending, signal), 1) << signal;
    }
    EXPECT_EQ(count, 1) << signal;
    count = 0;
  }
}

// ---- The program's own faults ----

TEST(OwnFaultTest, SegmentationFaultHasAddressAndInstruction) {
  std::uint64_t site, next;
  asm volatile("lea 1f(%%rip), %0\n\tlea 2f(%%rip), %1" : "=r"(site), "=r"(next));
  const SignalCatcher catcher({SIGSEGV}, reinterpret_cast<const void*>(next));
  asm volatile("1: movq $0, 0x18\n2:" ::: "memory");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), site);
  EXPECT_EQ(catcher.caught().address, 0x18u);
  EXPECT_EQ(catcher.caught().code, SEGV_MAPERR);
  EXPECT_EQ(catcher.caught().reg(REG_TRAPNO), static_cast<std::uint64_t>(kVectorPf));
  EXPECT_EQ(catcher.caught().reg(REG_ERR), 6u);
  EXPECT_EQ(catcher.caught().reg(REG_CR2), 0x18u);
}

TEST(OwnFaultTest, IllegalInstructionIsTheProgramsOwn) {
  std::uint64_t site, next;
  asm volatile("lea 1f(%%rip), %0\n\tlea 2f(%%rip), %1" : "=r"(site), "=r"(next));
  const SignalCatcher catcher({SIGILL}, reinterpret_cast<const void*>(next));
  asm volatile("1: ud2\n2:");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), site);
  EXPECT_EQ(catcher.caught().code, ILL_ILLOPN);
  EXPECT_EQ(catcher.caught().address, site);
}

TEST(OwnFaultTest, BreakpointIsATrapBehindTheInstruction) {
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGTRAP}, nullptr);
  asm volatile("int3\n2:");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), next);
  EXPECT_EQ(catcher.caught().code, SI_KERNEL);
}

TEST(OwnFaultTest, DivisionByZeroIsSigfpe) {
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGFPE}, reinterpret_cast<const void*>(next));
  asm volatile("xor %%edx, %%edx\n\tmov $1, %%eax\n\txor %%ecx, %%ecx\n\tdiv %%ecx\n2:" ::
                   : "rax", "rcx", "rdx");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().code, FPE_INTDIV);
}

TEST(OwnFaultTest, BeyondTheEndOfAFileIsSigbus) {
  const int file = memfd_create("short", MFD_CLOEXEC);
  auto* mapped = static_cast<volatile char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file, 0));
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGBUS}, reinterpret_cast<const void*>(next));
  asm volatile("mov (%0), %%al\n2:" ::"r"(mapped) : "rax");
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().code, BUS_ADRERR);
  EXPECT_EQ(catcher.caught().address, address_of(const_cast<char*>(mapped)));
  close(file);
}

TEST(OwnFaultTest, UnhandledFaultKillsWithItsSignal) {
  const struct {
    void (*fault)();
    int signal;
  } cases[] = {{[] { asm volatile("ud2"); }, SIGILL},
               {[] {
                  asm volatile("movq $0, 0" ::: "memory");
                },
                SIGSEGV},
               {[] { asm volatile("int3"); }, SIGTRAP}};
  for (const auto& tested : cases) {
    const int status = in_child([&] {
      tested.fault();
      return 3;
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), tested.signal);
  }
}

TEST(OwnFaultTest, FaultWhileItsSignalIsBlockedKillsInSpiteOfAHandler) {
  const int status = in_child([] {
    const ScopedSigaction set(SIGSEGV, [](int, siginfo_t*, void*) { _exit(4); });
    const ScopedSignalMask mask(SIG_BLOCK, {SIGSEGV});
    asm volatile("movq $0, 0" ::: "memory");
    return 3;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(OwnFaultTest, FaultWithItsSignalIgnoredKills) {
  const int status = in_child([] {
    signal(SIGILL, SIG_IGN);
    asm volatile("ud2");
    return 3;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGILL);
}

TEST_F(SignalTest, HandlerOfAHostFaultMayEnterAnEnclave) {
  static const ProbeEnclave* probe;
  static volatile std::uint64_t sum;
  probe = &probe_;
  sum = 0;
  const ScopedSigaction set(SIGILL, [](int, siginfo_t*, void* raw) {
    sum = probe->call(PROBE_OP_SUM, {4, 5}).args.out[0];
    static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  asm volatile("ud2");
  EXPECT_EQ(sum, 9u) << "an ENCLU works while SIGILL is blocked";
}

// ---- System calls of the host ----

TEST(InterruptedCallTest, ReadWithoutRestartIsEintr) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const ScopedSigaction set(SIGALRM, do_nothing);
  const IntervalTimer timer(20'000);
  char byte;
  EXPECT_EQ(read(ends[0], &byte, 1), -1);
  EXPECT_EQ(errno, EINTR);
  close(ends[0]);
  close(ends[1]);
}

TEST(InterruptedCallTest, ReadWithRestartGoesOn) {
  static int ends[2];
  static volatile int alarms;
  alarms = 0;
  ASSERT_EQ(pipe(ends), 0);
  const ScopedSigaction set(
      SIGALRM,
      [](int, siginfo_t*, void*) {
        alarms = alarms + 1;
        if (alarms == 3 && write(ends[1], "x", 1) != 1) _exit(1);
      },
      SA_RESTART);
  const IntervalTimer timer(10'000);
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  EXPECT_GE(alarms, 3);
  close(ends[0]);
  close(ends[1]);
}

volatile int g_order[4];
volatile int g_order_count = 0;
void note_order(int signal, siginfo_t*, void*) {
  if (g_order_count < 4) g_order[g_order_count] = signal;
  g_order_count = g_order_count + 1;
}

class TemporaryMaskTest : public ::testing::Test {
 protected:
  // With SIGUSR1 and SIGUSR2 blocked and pending, `wait` unblocks only SIGUSR1 for its time: one handler
  // runs, with SIGUSR2 still blocked, and afterwards the old mask is back.
  void check(const std::function<int(const sigset_t*)>& wait) {
    g_order_count = 0;
    const ScopedSigaction first(SIGUSR1, note_order), second(SIGUSR2, note_order);
    const ScopedSignalMask mask(SIG_BLOCK, {SIGUSR1, SIGUSR2, SIGILL});
    raise(SIGUSR1);
    raise(SIGUSR2);
    sigset_t temporary;
    pthread_sigmask(SIG_BLOCK, nullptr, &temporary);
    sigdelset(&temporary, SIGUSR1);
    errno = 0;
    EXPECT_EQ(wait(&temporary), -1);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(g_order_count, 1);
    EXPECT_EQ(g_order[0], SIGUSR1);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT_EQ(sigismember(&now, SIGUSR1), 1);
    EXPECT_EQ(sigismember(&now, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&now, SIGILL), 1);
  }
};

TEST_F(TemporaryMaskTest, OfSigsuspend) {
  check([](const sigset_t* mask) { return sigsuspend(mask); });
}

TEST_F(TemporaryMaskTest, OfPpoll) {
  check([](const sigset_t* mask) {
    const timespec timeout{.tv_sec = 5, .tv_nsec = 0};
    return ppoll(nullptr, 0, &timeout, mask);
  });
}

TEST_F(TemporaryMaskTest, OfPselect) {
  check([](const sigset_t* mask) {
    const timespec timeout{.tv_sec = 5, .tv_nsec = 0};
    return pselect(0, nullptr, nullptr, nullptr, &timeout, mask);
  });
}

// ---- Threads ----

TEST(ThreadSignalTest, EachThreadInItsOwnTcsUnderASignalStorm) {
  constexpr unsigned kThreads = 8;
  ProbeOptions options;
  options.threads = kThreads;
  const ProbeEnclave probe(options);
  const ScopedSigaction handler(SIGUSR1, count_alarm);
  const NativeWork native;
  std::atomic<bool> done = false;
  std::atomic<unsigned> failures = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t round = 0; round < 200; ++round) {
        const std::uint64_t seed = i * 1000 + round;
        const CallResult result = probe.call(PROBE_OP_WORK, {20'000, seed}, i);
        if (!result.exited() || result.args.out[0] != native(20'000, seed)) ++failures;
      }
    });
  }
  std::thread storm([&] {
    while (!done) {
      for (auto& thread : threads) pthread_kill(thread.native_handle(), SIGUSR1);
      usleep(200);
    }
  });
  // A thread that has ended but is not joined may still be signalled.
  sleep(1);
  done = true;
  storm.join();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0u);
}

TEST(ThreadSignalTest, TcsInUseIsAGeneralProtectionFaultForTheSecondThread) {
  reset_alarms();
  const ProbeEnclave probe;
  std::thread first([&] {
    probe.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                               address_of(const_cast<std::uint64_t*>(&g_progress))});
  });
  while (g_progress == 0) usleep(1000);
  const CallResult second = probe.call(PROBE_OP_NOP);
  g_stop = 1;
  first.join();
  EXPECT_EQ(second.run.function, kEenter);
  EXPECT_EQ(second.run.exception_vector, kVectorGp);
  EXPECT_TRUE(probe.call(PROBE_OP_NOP).exited()) << "and it is free again";
}

TEST(ThreadSignalTest, TwoThreadsShareTheEnclavesMemory) {
  ProbeOptions options;
  options.threads = 2;
  const ProbeEnclave probe(options);
  std::thread([&] { probe.write(probe.scratch() + 64, 99, 1); }).join();
  EXPECT_EQ(probe.read(probe.scratch() + 64, 0), 99u);
}

TEST(ThreadSignalTest, ThreadMayEndInAHandlerThatInterruptedTheEnclave) {
  reset_alarms();
  static ProbeEnclave* probe;
  ProbeEnclave local;
  probe = &local;
  const ScopedSigaction handler(SIGUSR1, [](int, siginfo_t*, void*) { pthread_exit(nullptr); });
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                  // On the stack of this thread nothing needs a destructor.
                  sgx_enclave_run run{};
                  ProbeArgs args{.in = {address_of(const_cast<std::uint64_t*>(&g_stop)),
                                        address_of(const_cast<std::uint64_t*>(&g_progress))},
                                 .out = {}};
                  run.tcs = probe->tcs();
                  enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&args), 0, kEenter, 0, 0, &run,
                                         vdso_function());
                  return nullptr;
                },
                nullptr),
            0);
  while (g_progress == 0) usleep(1000);
  pthread_kill(thread, SIGUSR1);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  // The AEX has freed the TCS; its interrupted level waits.
  RegisterFile seen;
  ASSERT_TRUE(local.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)}).exited());
  EXPECT_EQ(seen.rax, 1u);
}

TEST(ThreadSignalTest, TwoThousandThreadsOneAfterTheOtherEnter) {
  const ProbeEnclave probe;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    std::uint64_t sum = 0;
    std::thread([&] { sum = probe.call(PROBE_OP_SUM, {i, 1}).args.out[0]; }).join();
    ASSERT_EQ(sum, i + 1);
  }
}

TEST(ThreadSignalTest, ManyThreadsAtOnceEnter) {
  constexpr unsigned kThreads = 64;
  ProbeOptions options;
  options.threads = kThreads;
  options.frames = 2;
  const ProbeEnclave probe(options);
  std::atomic<unsigned> good = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t round = 0; round < 50; ++round) {
        if (probe.call(PROBE_OP_SUM, {i, round}, i).args.out[0] == i + round) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads * 50);
}

}  // namespace
}  // namespace enclume::test
