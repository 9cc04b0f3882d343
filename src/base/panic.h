// SPDX-License-Identifier: Apache-2.0
// The end of the road: a bug of ours, told with file, line and state, never a silent loop.
#pragma once

#include <cstdint>
#include <string_view>

namespace enclume {

struct PanicValue {
  std::string_view name;
  std::uint64_t value;
};

/// Writes "enclume: internal error: WHAT (file:line) name=0x… …" to descriptor 2 and ends the process
/// with SIGABRT's default action. Signal context: safe.
[[noreturn]] void panic(const char* file, int line, std::string_view what, PanicValue a = {},
                        PanicValue b = {}, PanicValue c = {});

}  // namespace enclume

#define ENCLUME_PANIC(...) ::enclume::panic(__FILE_NAME__, __LINE__, __VA_ARGS__)
/// An invariant of ours, checked in release builds too. Never used on a program's input.
#define ENCLUME_CHECK(condition, ...)           \
  do {                                          \
    if (!(condition)) [[unlikely]] {            \
      ENCLUME_PANIC(#condition, ##__VA_ARGS__); \
    }                                           \
  } while (false)
