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

#include "conformance/signals_fixture.h"

namespace enclume::test {
namespace {

// ---- Interrupting an enclave ----

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
  for (std::uint64_t i = 0; i < 50'000 || g_alarms <= 100; ++i) {
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

}  // namespace
}  // namespace enclume::test
