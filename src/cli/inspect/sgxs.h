// SPDX-License-Identifier: Apache-2.0
// SGXS, Fortanix's enclave format: the very stream that MRENCLAVE hashes (ECREATE, EADD and EEXTEND records
// of 64 bytes, 256 bytes of data after each EEXTEND), and UNMEASRD chunks that are loaded but not hashed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "arch/structs/bytes.h"

namespace enclume::cli {

struct SgxsSummary {
  bool is_sized = true;              // false: begins with UNSIZED, so the loader chooses the size
  std::uint32_t ssa_frame_size = 0;  // pages
  std::uint64_t size = 0;            // bytes; of an unsized stream, where in it the size belongs
  std::uint64_t tcs_pages = 0;
  std::uint64_t regular_pages = 0;
  std::uint64_t other_pages = 0;
  std::uint64_t measured_chunks = 0;
  std::uint64_t unmeasured_chunks = 0;
  // Nothing if the stream is unsized or damaged.
  std::optional<arch::Hash256> mrenclave;
  // What is wrong with the stream, and where; empty if nothing is.
  std::string problem;
};

// Nothing if the file does not begin like an SGXS stream.
[[nodiscard]] std::optional<SgxsSummary> read_sgxs(std::span<const std::byte> file);

}  // namespace enclume::cli
