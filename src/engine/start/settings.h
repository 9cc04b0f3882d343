// SPDX-License-Identifier: Apache-2.0
// What `enclume run` asks of the engine: the variable ENCLUME_SETTINGS (docs/engine-settings.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>

#include "engine/inject/plan.h"
#include "engine/start/front_door.h"
#include "kernel/fixup/design.h"

namespace enclume::engine {

/// A path that ends with a NUL; empty at first. Copied as far as it is written, so that the rest of so large
/// a thing is never touched.
class PathSetting {
 public:
  PathSetting() { text_[0] = '\0'; }
  PathSetting(const PathSetting& other) { *this = other; }
  PathSetting& operator=(const PathSetting& other) {
    const std::string_view text(other.data());
    text.copy(text_.data(), text.size());
    text_[text.size()] = '\0';
    return *this;
  }
  [[nodiscard]] const char* data() const { return text_.data(); }
  [[nodiscard]] bool empty() const { return text_[0] == '\0'; }
  [[nodiscard]] std::span<char> storage() { return text_; }

 private:
  std::array<char, 4096> text_;
};

struct Settings {
  std::uint64_t epc_size = 256ULL << 20;  ///< bytes
  bool sgx2 = true;
  bool debug = false;
  kernel::ExceptionDesign fixup = kernel::ExceptionDesign::Vdso;
  FrontDoor front = FrontDoor::Auto;
  bool benign_faults = true;  ///< the first touch of a page is a fault, and EXITINFO tells of those resolved
  bool fast = true;           ///< enclaves are entered and left without traps where that can be done
  bool strict = false;        ///< enclave code runs an instruction at a time
  PathSetting trace;          ///< path or "-", empty: none
  bool trace_json = false;    ///< the trace is for tools, not for people
  bool trace_instructions = false;  ///< it has each instruction of enclave code; needs `strict`
  PathSetting secret_file;          ///< path, empty: see has_secret
  PathSetting loader;               ///< enclume-load's path, empty: static programs run without the engine
  PathSetting cache;                ///< path of a directory for what is found out at each start, empty: none
  std::array<char, 64> stats{};     ///< path of the counters' file, empty: nothing is counted
  InjectionPlan injections;         ///< none: nothing is injected
  bool has_secret = false;
  std::array<std::byte, 32> secret{};
};

/// Parses the variable's value. The error is a sentence that names the field.
/// Signal context: safe (no allocation).
[[nodiscard]] std::expected<Settings, std::string_view> parse_settings(std::string_view text);

}  // namespace enclume::engine
