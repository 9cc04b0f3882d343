// SPDX-License-Identifier: Apache-2.0
// Signal handlers without libc, and a SYSCALL at a known place, for tests of system calls without libc.
#pragma once

#include <asm/unistd.h>
#include <signal.h>

#include <atomic>
#include <cstdint>

#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {

constexpr std::uint64_t kSaRestorer = 0x04000000;

struct KernelAction {
  std::uint64_t handler, flags, restorer, mask;
};

[[gnu::naked]] inline void restorer() {
  asm("movl $15, %eax\n\tsyscall");
}

template <typename Handler>
KernelAction action_for(Handler handler, std::uint64_t flags = 0) {
  return {reinterpret_cast<std::uint64_t>(handler), flags | SA_SIGINFO | kSaRestorer,
          reinterpret_cast<std::uint64_t>(&restorer), 0};
}

inline long set_action(int signal, const KernelAction& action) {
  return raw(__NR_rt_sigaction, signal, &action, nullptr, 8);
}

inline long send_to_self(int signal) {
  return raw(__NR_tgkill, raw(__NR_getpid), raw(__NR_gettid), signal);
}

inline std::uint64_t mask_now() {
  std::uint64_t mask = 0;
  raw(__NR_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, 8);
  return mask;
}

constexpr std::uint64_t bit(int signal) {
  return 1ULL << (signal - 1);
}

inline std::atomic<int> handled;
inline void count(int, siginfo_t*, void*) {
  handled.fetch_add(1);
}

// All general registers before and after a SYSCALL at a known place.
struct Registers {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags, rip,
      rsp_change;
};

/// raw_calls_test.cc.
extern "C" void enclume_test_syscall(const Registers* in, Registers* out);

inline Registers pattern(std::uint64_t number) {
  Registers in{};
  auto* word = reinterpret_cast<std::uint64_t*>(&in);
  for (std::uint64_t i = 0; i < 15; ++i) word[i] = 0x1111111100000000 * (i + 1) + i;
  in.rax = number;
  in.flags = 0x202 | kStatusFlags;
  return in;
}

}  // namespace enclume::test
