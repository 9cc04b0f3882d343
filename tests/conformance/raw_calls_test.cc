// SPDX-License-Identifier: Apache-2.0
//
// System calls by SYSCALL instructions of the program's own that are not about SGX: they must leave no trace
// of having been seen.
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kSaRestorer = 0x04000000;

struct KernelAction {
  std::uint64_t handler, flags, restorer, mask;
};

[[gnu::naked]] void restorer() {
  asm("movl $15, %eax\n\tsyscall");
}

template <typename Handler>
KernelAction action_for(Handler handler, std::uint64_t flags = 0) {
  return {reinterpret_cast<std::uint64_t>(handler), flags | SA_SIGINFO | kSaRestorer,
          reinterpret_cast<std::uint64_t>(&restorer), 0};
}

long set_action(int signal, const KernelAction& action) {
  return raw(__NR_rt_sigaction, signal, &action, nullptr, 8);
}

long send_to_self(int signal) {
  return raw(__NR_tgkill, raw(__NR_getpid), raw(__NR_gettid), signal);
}

// -- Registers

// All general registers before and after a SYSCALL at a known place.
struct Registers {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags, rip,
      rsp_change;
};

extern "C" void enclume_test_syscall(const Registers* in, Registers* out);
asm(R"(
        .pushsection .text
        .type enclume_test_syscall, @function
enclume_test_syscall:
        push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
        push %rsi
        push 120(%rdi)
        mov 0(%rdi), %rax
        mov 8(%rdi), %rbx
        mov 24(%rdi), %rdx
        mov 32(%rdi), %rsi
        mov 48(%rdi), %rbp
        mov 56(%rdi), %r8
        mov 64(%rdi), %r9
        mov 72(%rdi), %r10
        mov 88(%rdi), %r12
        mov 96(%rdi), %r13
        mov 104(%rdi), %r14
        mov 112(%rdi), %r15
        mov 40(%rdi), %rdi
        popfq
        mov %rsp, enclume_test_rsp(%rip)
        syscall
enclume_test_behind_syscall:
        pushfq
        push %rax
        mov 16(%rsp), %rax
        mov %rbx, 8(%rax)
        mov %rcx, 16(%rax)
        mov %rdx, 24(%rax)
        mov %rsi, 32(%rax)
        mov %rdi, 40(%rax)
        mov %rbp, 48(%rax)
        mov %r8, 56(%rax)
        mov %r9, 64(%rax)
        mov %r10, 72(%rax)
        mov %r11, 80(%rax)
        mov %r12, 88(%rax)
        mov %r13, 96(%rax)
        mov %r14, 104(%rax)
        mov %r15, 112(%rax)
        pop %rcx
        mov %rcx, 0(%rax)
        pop %rcx
        mov %rcx, 120(%rax)
        lea enclume_test_behind_syscall(%rip), %rcx
        mov %rcx, 128(%rax)
        mov enclume_test_rsp(%rip), %rcx
        sub %rsp, %rcx
        mov %rcx, 136(%rax)
        pop %rsi
        pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
        pushq $2
        popfq
        ret
        .size enclume_test_syscall, . - enclume_test_syscall
        .popsection
        .pushsection .bss
        .p2align 3
enclume_test_rsp: .skip 8
        .popsection
)");

Registers pattern(std::uint64_t number) {
  Registers in{};
  auto* word = reinterpret_cast<std::uint64_t*>(&in);
  for (std::uint64_t i = 0; i < 15; ++i) word[i] = 0x1111111100000000 * (i + 1) + i;
  in.rax = number;
  in.flags = 0x202 | kStatusFlags;
  return in;
}

TEST(RawCallTest, RegistersAreAsTheKernelLeavesThem) {
  for (const std::uint64_t number :
       {std::uint64_t{__NR_getppid}, std::uint64_t{__NR_rt_sigpending}, std::uint64_t{500}}) {
    const Registers in = pattern(number);
    Registers out{};
    enclume_test_syscall(&in, &out);
    Registers expected = in;
    expected.rax = number == __NR_getppid ? static_cast<std::uint64_t>(getppid())
                                          : static_cast<std::uint64_t>(number == 500 ? -ENOSYS : -EINVAL);
    expected.rip = out.rip;
    expected.rcx = out.rip;
    expected.r11 = in.flags;
    EXPECT_EQ(std::memcmp(&out, &expected, sizeof out), 0) << number;
    EXPECT_EQ(out.rcx, out.rip);
    EXPECT_EQ(out.r11, in.flags);
    EXPECT_EQ(out.rax, expected.rax);
    EXPECT_EQ(out.flags, in.flags);
    EXPECT_EQ(out.rsp_change, 0u);
  }
}

TEST(RawCallTest, TheKernelLooksAtHalfOfRax) {
  Registers in = pattern(0xdead000000000000 | __NR_getppid);
  Registers out{};
  enclume_test_syscall(&in, &out);
  EXPECT_EQ(out.rax, static_cast<std::uint64_t>(getppid()));
}

TEST(RawCallTest, ExtendedStateSurvives) {
  XsaveArea before, after, saved;
  const std::uint64_t mask = testable_xfrm();
  before.fill_pattern(mask, 7);
  asm volatile(
      "mov %[mask], %%eax\n\t"
      "xor %%edx, %%edx\n\t"
      "xsave64 (%[saved])\n\t"
      "xrstor64 (%[before])\n\t"
      "mov %[number], %%eax\n\t"
      "syscall\n\t"
      "mov %[mask], %%eax\n\t"
      "xor %%edx, %%edx\n\t"
      "xsave64 (%[after])\n\t"
      "xrstor64 (%[saved])"
      :
      : [mask] "r"(static_cast<std::uint32_t>(mask)), [number] "i"(__NR_getppid), [saved] "r"(saved.data()),
        [before] "r"(before.data()), [after] "r"(after.data())
      : "rax", "rcx", "rdx", "r11", "memory");
  EXPECT_EQ(after.first_difference(before, mask), -1);
}

TEST(RawCallTest, BadPointersAreEfault) {
  void* nothing = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(raw(__NR_open, nothing, O_RDONLY, 0), -EFAULT);
  EXPECT_EQ(raw(__NR_openat, AT_FDCWD, nothing, O_RDONLY, 0), -EFAULT);
  EXPECT_EQ(raw(__NR_rt_sigaction, SIGUSR1, nothing, nullptr, 8), -EFAULT);
  EXPECT_EQ(raw(__NR_rt_sigaction, SIGUSR1, nullptr, nothing, 8), -EFAULT);
  EXPECT_EQ(raw(__NR_rt_sigaction, SIGUSR1, nullptr, nullptr, 16), -EINVAL);
  EXPECT_EQ(raw(__NR_rt_sigprocmask, SIG_BLOCK, nothing, nullptr, 8), -EFAULT);
  EXPECT_EQ(raw(__NR_rt_sigprocmask, SIG_BLOCK, nullptr, nothing, 8), -EFAULT);
  EXPECT_EQ(raw(__NR_sigaltstack, nothing, nullptr), -EFAULT);
  EXPECT_EQ(raw(__NR_sigaltstack, nullptr, nothing), -EFAULT);
  EXPECT_EQ(raw(__NR_execve, "/bin/true", nothing, nullptr), -EFAULT);
  EXPECT_EQ(raw(__NR_execve, "/bin/true", nullptr, nothing), -EFAULT);
  EXPECT_EQ(raw(__NR_clone3, nothing, 88), -EFAULT);
  EXPECT_EQ(raw(__NR_clone3, nothing, 8), -EINVAL);
  EXPECT_EQ(raw(__NR_ppoll, nullptr, 0, nullptr, nothing, 8), -EFAULT);
  EXPECT_EQ(raw(__NR_stat, nothing, nothing), -EFAULT);
  munmap(nothing, 4096);
}

TEST(RawCallTest, PathThatEndsAtAPageThatIsNotThere) {
  char* two =
      static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(two + 4096, 4096);
  const char name[] = "/dev/sgx_enclave";
  char* path = two + 4096 - sizeof name;
  std::memcpy(path, name, sizeof name);
  const long fd = raw(__NR_open, path, O_RDWR, 0);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(raw(__NR_close, fd), 0);
  munmap(two, 4096);
}

TEST(RawCallTest, SegmentBasesAreTheProgramsToSet) {
  std::uint64_t word = 0x1234567812345678, seen = 0;
  ASSERT_EQ(raw(__NR_arch_prctl, ARCH_SET_GS, &word), 0);
  asm volatile("mov %%gs:0, %0" : "=r"(seen));
  EXPECT_EQ(seen, word);
  ASSERT_EQ(raw(__NR_arch_prctl, ARCH_GET_GS, &seen), 0);
  EXPECT_EQ(seen, reinterpret_cast<std::uint64_t>(&word));
  ASSERT_EQ(raw(__NR_arch_prctl, ARCH_SET_GS, 0), 0);
}

// -- Handlers

std::atomic<int> handled;
void count(int, siginfo_t*, void*) {
  handled.fetch_add(1);
}

TEST(RawHandlerTest, ReturnsByItsOwnRestorer) {
  handled = 0;
  ASSERT_EQ(set_action(SIGUSR1, action_for(&count)), 0);
  KernelAction seen{};
  ASSERT_EQ(raw(__NR_rt_sigaction, SIGUSR1, nullptr, &seen, 8), 0);
  EXPECT_EQ(seen.restorer, reinterpret_cast<std::uint64_t>(&restorer));
  EXPECT_EQ(seen.flags, SA_SIGINFO | kSaRestorer);
  ASSERT_EQ(send_to_self(SIGUSR1), 0);
  EXPECT_EQ(handled, 1);
}

TEST(RawHandlerTest, FlagsThatTheKernelDoesNotKnowAreGone) {
  KernelAction action = action_for(&count, 0x400 | 1ULL << 40);
  ASSERT_EQ(set_action(SIGUSR1, action), 0);
  KernelAction seen{};
  ASSERT_EQ(raw(__NR_rt_sigaction, SIGUSR1, nullptr, &seen, 8), 0);
  EXPECT_EQ(seen.flags, SA_SIGINFO | kSaRestorer);
}

TEST(RawHandlerTest, WithoutARestorerThereIsNoFrame) {
  const int status = in_child([] {
    KernelAction action = action_for(&count);
    action.flags &= ~kSaRestorer;
    if (set_action(SIGUSR1, action) != 0) return 1;
    send_to_self(SIGUSR1);
    return 2;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
}

// A handler that changes where it returns to, and a register.
extern "C" const char enclume_test_elsewhere[];
void go_elsewhere(int, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  registers[REG_RIP] = reinterpret_cast<greg_t>(enclume_test_elsewhere);
  registers[REG_RBX] = 77;
}

TEST(RawHandlerTest, EditsTheContextAndReturnsElsewhere) {
  ASSERT_EQ(set_action(SIGILL, action_for(&go_elsewhere)), 0);
  long value = 0;
  asm volatile("xor %%ebx, %%ebx\n\tud2\n\tmov $-1, %%rbx\nenclume_test_elsewhere:\n\tmov %%rbx, %0"
               : "=r"(value)::"rbx");
  EXPECT_EQ(value, 77);
  const KernelAction none{};
  set_action(SIGILL, none);
}

// The frame may be returned from with any code: RSP alone says where it is.
std::uint64_t frame_copy[2048] __attribute__((aligned(64)));
void return_from_a_copy(int, siginfo_t*, void* context) {
  const auto uc = reinterpret_cast<std::uint64_t>(context);
  std::memcpy(frame_copy, context, sizeof(ucontext_t));
  auto* copy = reinterpret_cast<ucontext_t*>(frame_copy);
  copy->uc_mcontext.gregs[REG_RBX] = 99;
  (void)uc;
  asm volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall" : : "r"(frame_copy) : "memory");
}

TEST(RawHandlerTest, ReturnsFromAFrameThatItHasMovedElsewhere) {
  ASSERT_EQ(set_action(SIGUSR1, action_for(&return_from_a_copy)), 0);
  long value = 1;
  const long pid = raw(__NR_getpid), tid = raw(__NR_gettid);
  long number = __NR_tgkill;
  asm volatile("mov $1, %%ebx\n\tsyscall\n\tmov %%rbx, %0"
               : "=r"(value), "+a"(number)
               : "D"(pid), "S"(tid), "d"(SIGUSR1)
               : "rbx", "rcx", "r11", "memory");
  EXPECT_EQ(value, 99);
}

TEST(RawHandlerTest, AFrameThatIsNotThereIsASegmentationFault) {
  const int status = in_child([] {
    asm volatile("mov $16, %%rsp\n\tmov $15, %%eax\n\tsyscall" ::: "memory");
    return 2;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
}

// -- Masks

std::uint64_t mask_now() {
  std::uint64_t mask = 0;
  raw(__NR_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, 8);
  return mask;
}
constexpr std::uint64_t bit(int signal) {
  return 1ULL << (signal - 1);
}

std::uint64_t mask_in_handler;
void look_at_mask(int, siginfo_t*, void*) {
  mask_in_handler = mask_now();
  handled.fetch_add(1);
}

TEST(RawMaskTest, IsWhatWasSet) {
  const std::uint64_t wanted = bit(SIGUSR1) | bit(SIGILL) | bit(SIGSEGV) | bit(40) | bit(SIGKILL);
  std::uint64_t before = 0;
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_SETMASK, &wanted, &before, 8), 0);
  EXPECT_EQ(mask_now(), wanted & ~bit(SIGKILL));
  const std::uint64_t less = bit(SIGILL) | bit(40);
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_UNBLOCK, &less, nullptr, 8), 0);
  EXPECT_EQ(mask_now(), bit(SIGUSR1) | bit(SIGSEGV));
  EXPECT_EQ(raw(__NR_rt_sigprocmask, 17, &less, nullptr, 8), -EINVAL);
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_SETMASK, &before, nullptr, 8), 0);
}

TEST(RawMaskTest, BlockedSignalComesWhenItIsUnblocked) {
  for (const int signal : {SIGUSR1, SIGFPE}) {
    handled = 0;
    ASSERT_EQ(set_action(signal, action_for(&count)), 0);
    const std::uint64_t set = bit(signal);
    ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_BLOCK, &set, nullptr, 8), 0);
    ASSERT_EQ(send_to_self(signal), 0);
    EXPECT_EQ(handled, 0);
    ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_UNBLOCK, &set, nullptr, 8), 0);
    EXPECT_EQ(handled, 1) << signal;
  }
}

// The handler that ends a wait runs with the wait's mask and its own; the frame has the old one.
TEST(RawMaskTest, OfAWaitHoldsForTheHandlerThatEndsIt) {
  handled = 0;
  KernelAction action = action_for(&look_at_mask);
  action.mask = bit(SIGWINCH);
  ASSERT_EQ(set_action(SIGUSR1, action), 0);
  const std::uint64_t blocked = bit(SIGUSR1);
  std::uint64_t before = 0;
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_SETMASK, &blocked, &before, 8), 0);
  ASSERT_EQ(send_to_self(SIGUSR1), 0);
  const std::uint64_t waiting = bit(SIGUSR2) | bit(SIGILL);
  EXPECT_EQ(raw(__NR_rt_sigsuspend, &waiting, 8), -EINTR);
  EXPECT_EQ(handled, 1);
  EXPECT_EQ(mask_in_handler & ~bit(SIGILL), bit(SIGUSR2) | bit(SIGWINCH) | bit(SIGUSR1));
  EXPECT_EQ(mask_now(), blocked);
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_SETMASK, &before, nullptr, 8), 0);
}

// -- Interrupted calls

void interrupt_soon(long tid, std::atomic<bool>& stop) {
  while (!stop) {
    timespec pause{0, 2'000'000};
    ::nanosleep(&pause, nullptr);
    ::syscall(SYS_tgkill, ::getpid(), tid, SIGUSR1);
  }
}

class InterruptedRawCallTest : public ::testing::Test {
 protected:
  void start(std::uint64_t flags) {
    handled = 0;
    ASSERT_EQ(set_action(SIGUSR1, action_for(&count, flags)), 0);
    const long tid = raw(__NR_gettid);
    sender_ = std::thread([this, tid] { interrupt_soon(tid, stop_); });
  }
  void TearDown() override {
    stop_ = true;
    if (sender_.joinable()) sender_.join();
  }
  std::atomic<bool> stop_ = false;
  std::thread sender_;
};

TEST_F(InterruptedRawCallTest, NanosleepIsEintrAndSaysWhatIsLeft) {
  start(SA_RESTART);
  timespec wanted{5, 0}, left{};
  EXPECT_EQ(raw(__NR_nanosleep, &wanted, &left), -EINTR);
  EXPECT_GE(handled, 1);
  // The kernel counts to the end of the timer's slack (update_rmtp()), so it may be a little more than was
  // asked.
  EXPECT_TRUE(left.tv_sec == 4 || (left.tv_sec == 5 && left.tv_nsec < 1'000'000))
      << left.tv_sec << " s " << left.tv_nsec;
}

TEST_F(InterruptedRawCallTest, ReadIsEintrWithoutRestart) {
  int ends[2];
  ASSERT_EQ(raw(__NR_pipe, ends), 0);
  start(0);
  char c;
  EXPECT_EQ(raw(__NR_read, ends[0], &c, 1), -EINTR);
  EXPECT_GE(handled, 1);
}

TEST_F(InterruptedRawCallTest, ReadGoesOnWithRestart) {
  int ends[2];
  ASSERT_EQ(raw(__NR_pipe, ends), 0);
  start(SA_RESTART);
  std::thread writer([&] {
    while (handled < 5) std::this_thread::yield();
    ASSERT_EQ(::write(ends[1], "x", 1), 1);
  });
  char c = 0;
  EXPECT_EQ(raw(__NR_read, ends[0], &c, 1), 1);
  EXPECT_EQ(c, 'x');
  EXPECT_GE(handled, 5);
  writer.join();
}

TEST_F(InterruptedRawCallTest, FutexWaitGoesOnWithRestartAndEndsWithout) {
  std::atomic<std::uint32_t> word = 0;
  start(SA_RESTART);
  std::thread waker([&] {
    while (handled < 5) std::this_thread::yield();
    word = 1;
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
  });
  const long woken = raw(__NR_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr);
  EXPECT_TRUE(woken == 0 || woken == -EAGAIN)
      << woken;  // the latter if it is made again after the word's change
  waker.join();
  ASSERT_EQ(set_action(SIGUSR1, action_for(&count, 0)), 0);
  EXPECT_EQ(raw(__NR_futex, &word, FUTEX_WAIT_PRIVATE, 1, nullptr), -EINTR);
}

// Each write counts once: no call is lost and none is made twice, wherever the signals hit.
TEST_F(InterruptedRawCallTest, NoCallIsMadeTwiceUnderManySignals) {
  const long file = raw(__NR_memfd_create, "count", 0);
  ASSERT_GE(file, 0);
  handled = 0;
  ASSERT_EQ(set_action(SIGUSR1, action_for(&count, SA_RESTART)), 0);
  const long tid = raw(__NR_gettid);
  sender_ = std::thread([this, tid] {
    while (!stop_) ::syscall(SYS_tgkill, ::getpid(), tid, SIGUSR1);
  });
  int writes = 0;
  for (; writes < 3000 || handled < 100; ++writes) ASSERT_EQ(raw(__NR_write, file, "x", 1), 1);
  stop_ = true;
  EXPECT_EQ(raw(__NR_lseek, file, 0, SEEK_CUR), writes);
}

// -- Filters of the program's own

int with_filter(std::uint32_t action, const std::function<int()>& body, std::uint32_t number = __NR_getppid) {
  return in_child([&] {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {4, code};
    if (raw(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        raw(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      return 1;
    }
    return body();
  });
}

siginfo_t filtered;
std::uint64_t filtered_rip, filtered_rax;
void emulate(int, siginfo_t* info, void* context) {
  filtered = *info;
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  filtered_rip = static_cast<std::uint64_t>(registers[REG_RIP]);
  filtered_rax = static_cast<std::uint64_t>(registers[REG_RAX]);
  registers[REG_RAX] = 4242;
}

TEST(RawFilterTest, ErrorIsTheCallsResult) {
  EXPECT_EQ(with_filter(SECCOMP_RET_ERRNO | EXDEV, [] { return raw(__NR_getppid) == -EXDEV ? 0 : 2; }), 0);
}

TEST(RawFilterTest, TrapIsTheProgramsSignal) {
  EXPECT_EQ(with_filter(SECCOMP_RET_TRAP | 7,
                        [] {
                          if (set_action(SIGSYS, action_for(&emulate)) != 0) return 2;
                          Registers in = pattern(__NR_getppid), out{};
                          enclume_test_syscall(&in, &out);
                          if (out.rax != 4242) return 3;
                          if (filtered.si_code != 1 || filtered.si_syscall != __NR_getppid ||
                              filtered.si_errno != 7)
                            return 4;
                          if (filtered_rip != out.rip || filtered_rax != __NR_getppid) return 5;
                          return filtered.si_call_addr == reinterpret_cast<void*>(out.rip) ? 0 : 6;
                        }),
            0);
}

// The call is made elsewhere, on the way out of the engine's handler.
TEST(RawFilterTest, TrapOfACloneIsTheProgramsSignalToo) {
  const auto body = [] {
    if (set_action(SIGSYS, action_for(&emulate)) != 0) return 2;
    for (int n = 0; n < 600; ++n) {  // more than can be on their way at once
      if (raw(__NR_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) != 4242) return 3;
      if (filtered.si_code != 1 || filtered.si_syscall != __NR_clone || filtered_rax != __NR_clone) return 4;
      if (filtered.si_call_addr != reinterpret_cast<void*>(filtered_rip)) return 5;
    }
    const long child = raw(__NR_fork);
    if (child == 0) raw(__NR_exit, 0);
    int status = -1;
    return raw(__NR_wait4, child, &status, 0, nullptr) == child && status == 0 ? 0 : 6;
  };
  EXPECT_EQ(with_filter(SECCOMP_RET_TRAP | 7, body, __NR_clone), 0);
}

// -- Arguments that the kernel refuses

TEST(RawCloneTest, BadArgumentsOfClone3AreRefusedAsTheKernelDoes) {
  alignas(8) std::array<std::uint64_t, kPage / 8 + 1> arguments{};
  arguments[4] = SIGCHLD;
  EXPECT_EQ(raw(__NR_clone3, arguments.data(), 0), -EINVAL);
  EXPECT_EQ(raw(__NR_clone3, arguments.data(), 63), -EINVAL);
  EXPECT_EQ(raw(__NR_clone3, arguments.data(), kPage + 8), -E2BIG);
  EXPECT_EQ(raw(__NR_clone3, nullptr, 88), -EFAULT);
  arguments[40] = 1;
  EXPECT_EQ(raw(__NR_clone3, arguments.data(), 400), -E2BIG);
  arguments[40] = 0;
  const long child = raw(__NR_clone3, arguments.data(), 400);
  if (child == 0) raw(__NR_exit_group, 0);
  int status = -1;
  EXPECT_EQ(raw(__NR_wait4, child, &status, 0, nullptr), child);
  EXPECT_EQ(status, 0);
}

// -- Waiting for a signal that comes to another thread

TEST(RawWaitTest, SignalOfTheProcessThatAnotherThreadBlocksWakesTheOneThatWaits) {
  EXPECT_EQ(in_child([] {
              const std::uint64_t set = 1ULL << (SIGFPE - 1);
              raw(__NR_rt_sigprocmask, SIG_BLOCK, &set, nullptr, 8);
              std::atomic<bool> waits{false};
              std::atomic<long> result{0};
              siginfo_t info{};
              std::thread waiter([&] {
                waits = true;
                const timespec limit{20, 0};
                result = raw(__NR_rt_sigtimedwait, &set, &info, &limit, 8);
              });
              while (!waits) ::sched_yield();
              ::usleep(20000);
              ::kill(::getpid(), SIGFPE);
              waiter.join();
              return result == SIGFPE && info.si_signo == SIGFPE ? 0 : 1;
            }),
            0);
}

TEST(RawWaitTest, SignalThatIsBlockedDoesNotEndAWaitForAnother) {
  EXPECT_EQ(in_child([] {
              const std::uint64_t both = 1ULL << (SIGFPE - 1) | 1ULL << (SIGBUS - 1);
              const std::uint64_t wanted = 1ULL << (SIGFPE - 1);
              raw(__NR_rt_sigprocmask, SIG_BLOCK, &both, nullptr, 8);
              const long tid = raw(__NR_gettid);
              std::thread sender([tid] {
                ::usleep(20000);
                ::syscall(SYS_tgkill, ::getpid(), tid, SIGBUS);
                ::usleep(20000);
                ::syscall(SYS_tgkill, ::getpid(), tid, SIGFPE);
              });
              const long result = raw(__NR_rt_sigtimedwait, &wanted, nullptr, nullptr, 8);
              sender.join();
              return result == SIGFPE ? 0 : 1;
            }),
            0);
}

// -- The other way into the kernel

TEST(RawInt80Test, ThereAreNo32BitCalls) {
  long result = 20;  // getpid there
  asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  EXPECT_EQ(result, -ENOSYS);
}

// -- The device nodes

TEST(RawNodeTest, IsNoLink) {
  char text[64];
  EXPECT_EQ(raw(__NR_readlink, "/dev/sgx_enclave", text, sizeof text), -EINVAL);
  EXPECT_EQ(raw(__NR_readlinkat, AT_FDCWD, "/dev/sgx_provision", text, sizeof text), -EINVAL);
}

TEST(RawNodeTest, IsListedOnce) {
  const int directory = static_cast<int>(raw(__NR_open, "/dev", O_RDONLY | O_DIRECTORY, 0));
  ASSERT_GE(directory, 0);
  for (int time = 0; time < 2; ++time) {
    int found = 0;
    bool null_too = false;
    alignas(8) char buffer[512];
    for (long size; (size = raw(__NR_getdents64, directory, buffer, sizeof buffer)) > 0;) {
      for (long at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
        found += std::strcmp(entry->d_name, "sgx_enclave") == 0 ||
                 std::strcmp(entry->d_name, "sgx_provision") == 0;
        null_too = null_too || std::strcmp(entry->d_name, "null") == 0;
        at += entry->d_reclen;
      }
    }
    EXPECT_EQ(found, 2);
    EXPECT_TRUE(null_too);
    raw(__NR_lseek, directory, 0, SEEK_SET);
  }
  raw(__NR_close, directory);
}

TEST(RawNodeTest, DescriptorLooksTheSameByEveryCallAndNumber) {
  const int device = static_cast<int>(raw(__NR_open, "/dev/sgx_enclave", O_RDWR, 0));
  ASSERT_GE(device, 0);
  const int copy = ::dup2(device, 900);
  struct stat by_name {
  }, by_number{}, by_empty_name{};
  struct statx extended {};
  EXPECT_EQ(raw(__NR_stat, "/dev/sgx_enclave", &by_name), 0);
  EXPECT_EQ(raw(__NR_fstat, copy, &by_number), 0);
  EXPECT_EQ(raw(__NR_newfstatat, copy, "", &by_empty_name, AT_EMPTY_PATH), 0);
  EXPECT_EQ(raw(__NR_statx, copy, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended), 0);
  EXPECT_TRUE(S_ISCHR(by_number.st_mode));
  EXPECT_EQ(by_number.st_rdev, by_name.st_rdev);
  EXPECT_EQ(by_empty_name.st_rdev, by_name.st_rdev);
  EXPECT_EQ(extended.stx_mode, by_name.st_mode);
  ::close(copy);
  raw(__NR_close, device);
}

}  // namespace
}  // namespace enclume::test
