// SPDX-License-Identifier: Apache-2.0
//
// System calls without libc that the program's own filters refuse, or the kernel.
#include <asm/unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "conformance/raw_actions.h"
#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

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

// Calls that the machine answers, and makes itself where they are not about enclaves.
TEST(RawFilterTest, TrapOfACallThatTheMachineLooksAtIsTheProgramsSignalToo) {
  for (const long number : {__NR_mmap, __NR_munmap, __NR_mprotect, __NR_mremap, __NR_madvise, __NR_mlock,
                            __NR_close, __NR_open, __NR_newfstatat, __NR_ioctl, __NR_getdents64}) {
    const auto body = [number] {
      if (set_action(SIGSYS, action_for(&emulate)) != 0) return 2;
      Registers in = pattern(static_cast<std::uint64_t>(number)), out{};
      in.rdi = 0x10000;  // for some an address, and for the others no descriptor
      in.rsi = kPage;
      in.rdx = 0;
      in.r10 = MAP_PRIVATE | MAP_ANONYMOUS;
      enclume_test_syscall(&in, &out);
      if (out.rax != 4242) return 3;
      if (filtered.si_code != 1 || filtered.si_syscall != number || filtered.si_errno != 7) return 4;
      return filtered_rip == out.rip && filtered_rax == static_cast<std::uint64_t>(number) &&
                     filtered.si_call_addr == reinterpret_cast<void*>(out.rip)
                 ? 0
                 : 5;
    };
    EXPECT_EQ(with_filter(SECCOMP_RET_TRAP | 7, body, static_cast<std::uint32_t>(number)), 0) << number;
  }
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

}  // namespace
}  // namespace enclume::test
