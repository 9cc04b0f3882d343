// SPDX-License-Identifier: Apache-2.0
// What the parts of signals_test share.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/time.h>

#include <cstdint>
#include <cstring>

#include "conformance/support.h"

namespace enclume::test {

inline constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
inline constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
inline constexpr auto kEexit = static_cast<std::uint32_t>(Leaf::kEexit);

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

// For PROBE_OP_SPIN and the handlers: the words that stop it and count its rounds, and what was seen.
inline volatile std::uint64_t g_stop = 0;
inline volatile std::uint64_t g_progress = 0;
inline volatile int g_alarms = 0;
inline volatile int g_alarms_in_enclave = 0;
inline CaughtSignal g_first;
inline std::uint64_t g_aep = 0;

// Alarms, and those among them that have interrupted the enclave.
inline void count_alarm(int, siginfo_t*, void* raw) {
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

inline void reset_alarms() {
  g_alarms = 0;
  g_alarms_in_enclave = 0;
  g_stop = 0;
  g_progress = 0;
}

}  // namespace enclume::test
