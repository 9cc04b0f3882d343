// SPDX-License-Identifier: Apache-2.0
// execve(2) of the program, from whichever front door.
#pragma once

#include <cstdint>

#include "engine/load/exec.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

/// What this process hands on. Filled in at start.
[[nodiscard]] ExecSetup& exec_setup();

/// What the kernel must know before an exec and not after a failed one: ignored and blocked signals are
/// inherited, and of the owned ones only the engine knows. Signal context: safe.
class ExecState {
 public:
  ExecState();
  ~ExecState();
  ExecState(const ExecState&) = delete;
  ExecState& operator=(const ExecState&) = delete;

 private:
  SignalSet owned_ = 0;
  std::uint8_t ignored_ = 0;
};

/// execveat(2) with the engine in the new program. Returns -errno, or not at all. No libc, no TLS, no heap.
/// Signal context: safe.
[[nodiscard]] long exec_program(const ExecCall& call);

}  // namespace enclume::engine
