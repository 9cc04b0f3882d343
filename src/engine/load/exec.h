// SPDX-License-Identifier: Apache-2.0
// execve(2) so that the new program has the engine in it, too: a dynamic one by its environment, a static one
// (or a script whose interpreter is static) by way of the loader. No libc, no heap, nothing that outlives a
// failure: it may be called between vfork and exec, and where FS is the program's.
#pragma once

#include <cstddef>
#include <string_view>

namespace enclume::engine {

/// What a process hands on. All of it lives as long as the process.
struct ExecSetup {
  const char* preload = nullptr;   ///< "LD_PRELOAD=...", as this process was started; null: hand on nothing
  const char* settings = nullptr;  ///< "ENCLUME_SETTINGS=..."
  std::string_view engine;         ///< the engine's path
  const char* loader = nullptr;    ///< enclume-load's path; null: static programs run without the engine
  /// Copies from memory that may not be there; returns how many bytes are left.
  std::size_t (*copy)(void* to, const void* from, std::size_t size) = nullptr;
  /// Whether a debugger looks at this process: it finds the engine by the dynamic linker's list only. Null:
  /// no.
  bool (*debugged)() = nullptr;
};

/// The arguments of execveat(2).
struct ExecCall {
  int dirfd;
  const char* path;
  char* const* argv;
  char* const* envp;
  int flags;
  bool by_loader = false;  ///< plan_exec(): `path` is the loader
};

/// Calls `use` once with what has to be executed in place of `call`, and returns what it returns. The strings
/// and vectors live that long. What the kernel would refuse is left to the kernel: `use` gets that call as it
/// is. Takes 16 KiB of stack and up to 32 KiB more by the length of the vectors; only what is longer is
/// mapped. Signal context: safe.
using ExecUse = long (*)(void* data, const ExecCall& call);
[[nodiscard]] long plan_exec(const ExecSetup& setup, const ExecCall& call, ExecUse use, void* data);

/// execveat(2), or execve(2) where that does. Returns -errno.
[[nodiscard]] long execute_plainly(const ExecCall& call);

}  // namespace enclume::engine
