// SPDX-License-Identifier: Apache-2.0
// The ways in which programs look a symbol up in a mapped vDSO, each written from what that kind of program
// does, none with the help of the code under test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace enclume::test {

/// As the kernel's SGX selftest does: DT_HASH, d_ptr and st_value plus the base address, no versions.
const void* find_by_sysv_hash(const std::byte* base, std::string_view name);

/// As the kernel's vDSO reference parser does: load offset from PT_LOAD, DT_HASH, version by name and hash.
const void* find_by_reference_parser(const std::byte* base, std::string_view version, std::string_view name);

/// As ld.so does: Bloom filter, bucket, chain.
const void* find_by_gnu_hash(const std::byte* base, std::string_view name);

/// As Intel's runtime does: the sections named .dynsym and .dynstr, every symbol in turn.
const void* find_by_sections(const std::byte* base, std::string_view name);

}  // namespace enclume::test
