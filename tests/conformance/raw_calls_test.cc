// SPDX-License-Identifier: Apache-2.0
//
// System calls by SYSCALL instructions of the program's own that are not about SGX: they must leave no trace
// of having been seen.
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <vector>

#include "conformance/raw_actions.h"
#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

// -- Registers

asm(R"(
        .pushsection .text
        .globl enclume_test_syscall
        .hidden enclume_test_syscall
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

std::vector<int> order;
void note_order(int signal, siginfo_t*, void*) {
  order.push_back(signal);
}

// The kernel takes the lowest of the synchronous ones first, each frame is on top of the one before, and all
// others follow.
TEST(RawMaskTest, SeveralThatComeTogetherRunInTheKernelsOrder) {
  order.reserve(16);
  std::uint64_t set = 0;
  const std::vector<int> signals{SIGSYS, SIGFPE, SIGUSR1, SIGBUS, SIGSEGV, SIGILL};
  for (const int signal : signals) {
    ASSERT_EQ(set_action(signal, action_for(&note_order)), 0);
    set |= bit(signal);
  }
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_BLOCK, &set, nullptr, 8), 0);
  for (const int signal : signals) ASSERT_EQ(send_to_self(signal), 0);
  EXPECT_EQ(order.size(), 0U);
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_UNBLOCK, &set, nullptr, 8), 0);
  EXPECT_EQ(order, (std::vector<int>{SIGUSR1, SIGSYS, SIGSEGV, SIGFPE, SIGBUS, SIGILL}));
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

// -- The other way into the kernel

TEST(RawInt80Test, ThereAreNo32BitCalls) {
  long result = 20;  // getpid there
  asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  EXPECT_EQ(result, -ENOSYS);
}

}  // namespace
}  // namespace enclume::test
