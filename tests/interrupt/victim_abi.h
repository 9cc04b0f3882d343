// SPDX-License-Identifier: Apache-2.0
//
// What the traced program and its tracer share: one page of memory, inherited as a file descriptor.
#pragma once

#include <csignal>
#include <cstdint>

namespace enclume::test {

inline constexpr int kVictimFd = 200;

// Signals that the tracer sends, by their place in VictimPage::expected.
enum class Sent : unsigned {
  kUser,
  kTrap,
  kFloat,
  kRealTime,
  kStep,  // of TF: a trap, which nobody has sent
  kCount
};
inline constexpr unsigned kSentKinds = static_cast<unsigned>(Sent::kCount);

// What an iteration does.
enum class Mode : unsigned {
  kEnclave,       // enters an enclave and leaves it in each way
  kEnclaveClone,  // and makes a process by a system call of its own, in its own memory, as vfork() does
  kFork,          // makes one with a copy of its memory
  kThread,        // makes a thread, on a stack of its own, by a system call of its own
  kNoEnclave,     // sends itself a signal, on a thread that the engine has not met
  kMaskedHandler  // the same, with a handler that makes the engine meet the thread: once in a process
};

struct VictimPage {
  Mode mode;  // set before the victim starts
  // The tracer writes these while the victim stands still.
  std::uint64_t engine_begin;
  std::uint64_t engine_end;
  // Where else than in the engine's handler its code may be seen: the restorer runs on the program's stack,
  // as libc's does, and a signal there shows it.
  bool may_see_engine;
  bool quit;
  bool in_child;  // the expected signals are for the one that it makes
  std::uint32_t expected[kSentKinds];
  // The victim writes this. A message means that it has failed.
  std::uint32_t iterations;
  char failure[256];
};

}  // namespace enclume::test
