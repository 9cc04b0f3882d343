// SPDX-License-Identifier: Apache-2.0
// A system call as the program makes it: the number and the six argument registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/errno.h"
#include "base/syscall.h"
#include "engine/raw/layout.h"

namespace enclume::engine {

struct Call {
  std::uint64_t argument[6];
  std::uint64_t number;

  [[nodiscard]] int as_int(std::size_t n) const { return static_cast<int>(argument[n]); }
  template <typename T>
  [[nodiscard]] T* as_pointer(std::size_t n) const {
    return reinterpret_cast<T*>(argument[n]);
  }
};

/// For a front door: its arguments are a system call's.
template <typename... Arguments>
[[nodiscard]] Call make_call(std::uint64_t number, Arguments... arguments) {
  return {{static_cast<std::uint64_t>(sys::arg(arguments))...}, number};
}
static_assert(offsetof(Call, argument) == CALL_ARGUMENT(0) && offsetof(Call, number) == CALL_NUMBER);

/// Answers a call that concerns the machine or its enclaves: devices, files, memory. Nothing for all others,
/// those about signals and threads among them, which depend on how the call came in. The program's pointers
/// may be anything. Signal context: safe.
[[nodiscard]] std::optional<SysResult<long>> own_answer(const Call& call);

/// Whether a system call of this number can be the engine's to answer, or to know of: the SGX devices and
/// their memory, signals, threads, processes, programs. read(2), write(2) and the calls that wait are not
/// among them: where they are made without the engine, next to nothing is lost (docs/fidelity.md). Signal
/// context: safe.
[[nodiscard]] bool concerns_engine(std::uint32_t number);

}  // namespace enclume::engine
