// SPDX-License-Identifier: Apache-2.0
// Instructions as text, by Zydis where the program has it loaded: `enclume run --trace-insn` preloads it if
// it is installed. The engine itself is linked without, so that no other program gets another library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace enclume::engine {

/// Looks for a disassembler of the version that the engine was built for, by `find`, which gives the
/// addresses of functions, or null. Once, where its text is wanted: undefined references that are weak would
/// have ld.so look for it in each process.
void find_disassembler(void* (*find)(const char* name)) noexcept;

/// The instruction in Intel's syntax, in `buffer`; empty without a disassembler, and for bytes that are none.
/// Zydis neither allocates nor keeps state. Signal context: safe.
[[nodiscard]] std::string_view disassemble(std::span<const std::byte> code, std::uint64_t rip,
                                           std::span<char> buffer) noexcept;

}  // namespace enclume::engine
