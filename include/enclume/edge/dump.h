// SPDX-License-Identifier: Apache-2.0
// What an enclave tells its host of an exception that nobody handled, in the host's memory. host/dump.h makes
// sense of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "enclume/edge/registers.h"

namespace enclume::edge {

/// Return addresses of a backtrace, RIP included. What is deeper is cut off.
inline constexpr std::size_t kMaxDumpFrames = 32;

/// DumpRecord::contents.
inline constexpr std::uint64_t kDumpBacktrace = 1;  ///< vector, frames: always
inline constexpr std::uint64_t kDumpRegisters = 2;  ///< registers, and the address if there is one
inline constexpr std::uint64_t kDumpAddress = 4;    ///< address and error_code

/// One exception; the host offers an array of them, by the CSSA that the interrupted code ran at. All fields
/// are eight bytes, since that is how the enclave writes to the outside.
struct DumpRecord {
  std::uint64_t contents;  ///< kDump*; 0: nothing here
  std::uint64_t vector;
  std::uint64_t error_code;
  std::uint64_t address;
  Registers registers;
  std::uint64_t depth;  ///< of `frames`
  std::uint64_t frames[kMaxDumpFrames];
};
static_assert(sizeof(DumpRecord) == 32 + 144 + 8 + 8 * kMaxDumpFrames && alignof(DumpRecord) == 8);

}  // namespace enclume::edge
