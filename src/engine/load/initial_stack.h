// SPDX-License-Identifier: Apache-2.0
// The stack of the loaded program. The kernel has made one for the process, with the program's own arguments
// and environment on it and some more; what is too much is taken off, so that argument strings, the stack's
// mapping and /proc/self/cmdline are the kernel's own work.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/load/auxiliary_vector.h"

namespace enclume::engine {

/// Reads no more of the text than it takes to tell: an environment may be long. Signal context: safe.
[[nodiscard]] bool starts_with(const char* text, std::string_view prefix);

/// The variables with which a program is handed to the loader; it does not see them itself. They are the last
/// ones of the environment.
///
///   ENCLUME_LOAD_NAME=  AT_EXECFN: the path as it was given to execve(2)
///   ENCLUME_LOAD_FILE=  the file to load if that is another: the interpreter of a script
///   ENCLUME_LOAD_FD=    or its descriptor, which is closed
///   ENCLUME_LOAD_HIDE_  in front of another variable: it is one for the dynamic linker, which must not see
///   it
///                       while it loads the loader; the program sees it without the prefix
inline constexpr std::string_view kLoadPrefix = "ENCLUME_LOAD_";
inline constexpr std::string_view kLoadName = "ENCLUME_LOAD_NAME=";
inline constexpr std::string_view kLoadFile = "ENCLUME_LOAD_FILE=";
inline constexpr std::string_view kLoadFd = "ENCLUME_LOAD_FD=";
inline constexpr std::string_view kLoadHide = "ENCLUME_LOAD_HIDE_";

/// AT_FLAGS, which the kernel leaves 0, as a tracer sets it that wants a stop where the program begins (see
/// calls/tracee_start.h).
inline constexpr std::uint64_t kStopAtProgram = 0x706f7473656d7563;

/// What the path of the loader ends with that has the engine loaded by the dynamic linker.
inline constexpr std::string_view kLinkedSuffix = "-linked";

/// What the kernel made: argc at `words`.
struct KernelStack {
  std::uint64_t* words = nullptr;

  [[nodiscard]] std::uint64_t argc() const { return words[0]; }
  [[nodiscard]] char** argv() const { return reinterpret_cast<char**>(words + 1); }
  [[nodiscard]] char** environment() const { return argv() + argc() + 1; }
  [[nodiscard]] std::span<Elf64_auxv_t> auxv() const { return auxiliary_vector(environment()); }
};

/// Where the strings lie, as struct mm_struct has it.
struct StackStrings {
  std::uint64_t arg_start = 0;
  std::uint64_t arg_end = 0;
  std::uint64_t env_start = 0;
  std::uint64_t env_end = 0;  ///< in front of the variables for the loader
};
[[nodiscard]] StackStrings find_strings(const KernelStack& stack);

/// The value of a variable of the list above, null if it isn't there.
[[nodiscard]] char* load_variable(const KernelStack& stack, std::string_view name);

/// Takes the loader's variables off the stack, in place: the result begins above `stack`, aligned as the ABI
/// wants, and has the same auxiliary vector. `stack` is void afterwards. Signal context: safe.
[[nodiscard]] KernelStack strip_stack(const KernelStack& stack);

}  // namespace enclume::engine
