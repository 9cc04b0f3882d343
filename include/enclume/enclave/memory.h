// SPDX-License-Identifier: Apache-2.0
// The border as memory: what is outside the enclave, and the only two ways to copy across it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace enclume::enclave {

/// Whether [address, address + bytes) lies wholly outside the enclave and does not wrap around. An empty
/// range does wherever it is. Ends with LFENCE, so that nothing is read speculatively behind a "no".
[[nodiscard]] bool is_outside(std::uint64_t address, std::size_t bytes) noexcept;

/// Copies from outside, by aligned eight-byte words: smaller reads of memory-mapped devices would leave stale
/// data where an observer finds them (Intel-SA-00657). The range must have passed is_outside(). Each byte is
/// read once, or at most as part of two neighbouring words.
void copy_in(void* to, std::uint64_t from, std::size_t bytes) noexcept;

/// Copies to the outside: whole aligned words as they are, what is left at the ends after VERW
/// (Intel-SA-00615). The range must have passed is_outside().
void copy_out(std::uint64_t to, const void* from, std::size_t bytes) noexcept;

}  // namespace enclume::enclave
