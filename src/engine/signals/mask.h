// SPDX-License-Identifier: Apache-2.0
// The signals that the engine needs stay unblocked in the kernel's mask whatever the program asks: a blocked
// SIGILL at an ENCLU would be fatal. Whether the program believes them blocked is kept here, as six bits; for
// all other signals the kernel's mask is the authority.
#pragma once

#include <array>
#include <csignal>
#include <cstdint>

#include "engine/signals/frame.h"

namespace enclume::engine {

inline constexpr std::array<int, 6> kOwnedSignals = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

inline constexpr SignalSet kOwnedSet = signal_bit(SIGILL) | signal_bit(SIGTRAP) | signal_bit(SIGBUS) |
                                       signal_bit(SIGFPE) | signal_bit(SIGSEGV) | signal_bit(SIGSYS);

constexpr bool is_owned(int signo) {
  return signo >= 1 && signo <= 64 && (signal_bit(signo) & kOwnedSet) != 0;
}

/// The owned signals of a set as six bits, and back.
constexpr std::uint8_t pack_owned(SignalSet set) {
  std::uint8_t bits = 0;
  for (std::size_t i = 0; i < kOwnedSignals.size(); ++i) {
    if ((set & signal_bit(kOwnedSignals[i])) != 0) {
      bits = static_cast<std::uint8_t>(bits | (1U << i));
    }
  }
  return bits;
}
constexpr SignalSet unpack_owned(std::uint8_t bits) {
  SignalSet set = 0;
  for (std::size_t i = 0; i < kOwnedSignals.size(); ++i) {
    if ((bits & (1U << i)) != 0) {
      set |= signal_bit(kOwnedSignals[i]);
    }
  }
  return set;
}
static_assert(unpack_owned(pack_owned(~0ULL)) == kOwnedSet);

/// All signals but those that are never blocked.
inline constexpr SignalSet kBlockable = ~(kOwnedSet | signal_bit(SIGKILL) | signal_bit(SIGSTOP));

/// The thread's mask in the kernel; sets it if `set` is given. Signal context: safe.
SignalSet kernel_mask();
void set_kernel_mask(SignalSet set);

/// Blocks all that can be blocked for a scope: around a lock of ours, so that no handler of the program
/// runs on top of it. An owned signal that is sent meanwhile waits as well: that signal 32 is blocked, which
/// libc lets no program block, tells the handler that a front door is at work. Signal context: safe.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  /// The kernel's mask before.
  [[nodiscard]] SignalSet before() const { return old_; }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  SignalSet old_;
};

/// Whether a mask is that of a SignalsBlocked.
constexpr bool is_front_door_mask(SignalSet mask) {
  constexpr int kSigcancel = 32;
  return (mask & signal_bit(kSigcancel)) != 0;
}

/// Blocks the owned signals, too, for a scope in which nothing can raise one: no ENCLU, no memory but the
/// engine's own. What is sent meanwhile comes at the end. Signal context: safe.
class AllBlocked {
 public:
  AllBlocked();
  ~AllBlocked();
  /// The kernel's mask before.
  [[nodiscard]] SignalSet before() const { return old_; }
  AllBlocked(const AllBlocked&) = delete;
  AllBlocked& operator=(const AllBlocked&) = delete;

 private:
  SignalSet old_;
};

}  // namespace enclume::engine
