// SPDX-License-Identifier: Apache-2.0
// Ways in which code can read memory (readers.S).
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace enclume::test {

// What an instruction finds, and leaves.
struct ReaderState {
  std::uint64_t rax, rcx, rdx, rbx;
  std::uint64_t rsi;  // the address to be read
  std::uint64_t rdi;
  std::uint64_t r8;  // a buffer
  std::uint64_t r9;  // RSI, aligned to 16
  std::uint64_t flags;
  std::array<std::uint8_t, 24> x87;
  std::array<std::uint8_t, 32> ymm0, ymm1;
  std::uint64_t mm0;
};
static_assert(sizeof(ReaderState) == 168);

// One of them: what it executes, and where in readers_code() that is. R15 points to ProbeArgs then, whose
// second word is the state.
struct Reader {
  const char* code;
  std::uint64_t offset;
};
std::span<const Reader> readers();
std::span<const std::uint8_t> readers_code();

}  // namespace enclume::test
