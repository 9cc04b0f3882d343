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

/// Filled in once, in place: most of so large a thing is never touched.
class Settings {
  static constexpr std::size_t kLongestPath = 4096;
  static constexpr std::size_t kPaths = 4;
  // First, and a whole number of pages, so that what is always written begins a page.
  std::array<char, kPaths * kLongestPath> paths_{};

 public:
  constexpr Settings() = default;
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;

  std::uint64_t epc_size = 256ULL << 20;  ///< bytes
  bool sgx2 = true;
  bool debug = false;
  kernel::ExceptionDesign fixup = kernel::ExceptionDesign::Vdso;
  FrontDoor front = FrontDoor::Auto;
  bool benign_faults = true;  ///< the first touch of a page is a fault, and EXITINFO tells of those resolved
  bool fast = true;           ///< enclaves are entered and left without traps where that can be done
  bool unwatched = false;     ///< even if enclave code could read the jumps
  bool strict = false;        ///< enclave code runs an instruction at a time
  std::string_view trace = "";        ///< path or "-", empty: none; paths end with a NUL that does not count
  bool trace_json = false;            ///< the trace is for tools, not for people
  bool trace_instructions = false;    ///< it has each instruction of enclave code; needs `strict`
  std::string_view secret_file = "";  ///< path, empty: see has_secret
  std::string_view loader = "";       ///< enclume-load's path, empty: static programs run without the engine
  std::string_view cache = "";   ///< path of a directory for what is found out at each start, empty: none
  std::array<char, 64> stats{};  ///< path of the counters' file, empty: nothing is counted
  InjectionPlan injections;      ///< none: nothing is injected
  bool has_secret = false;
  std::array<std::byte, 32> secret{};

  /// Keeps a path of the variable's, %XX replaced. False if it is malformed, empty or too long.
  bool keep_path(std::string_view text, std::string_view& path);

 private:
  [[nodiscard]] bool keep_in(std::span<char> storage, std::size_t& used, std::string_view text,
                             std::string_view& path);
  std::size_t used_ = 0;
  std::size_t used_short_ = 0;
  std::array<char, 320> short_{};  ///< three paths of the usual length
};

/// Parses the variable's value into settings that are fresh. The error is a sentence that names the field.
/// Signal context: safe (no allocation).
[[nodiscard]] std::expected<void, std::string_view> parse_settings(std::string_view text, Settings& settings);

}  // namespace enclume::engine
