// SPDX-License-Identifier: Apache-2.0
// What `enclume run` tells the engine, and the one environment variable that carries it.
// The format is documented in docs/engine-settings.md; the engine has a parser of its own, since it reads the
// variable before libc is ready.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/start/front_door.h"
#include "kernel/fixup/design.h"

namespace enclume::cli {

inline constexpr std::string_view kSettingsVariable = "ENCLUME_SETTINGS";

inline constexpr std::uint64_t kPageSize = 4096;
inline constexpr std::uint64_t kMinEpcSize = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kMaxEpcSize = std::uint64_t{1} << 40;
inline constexpr std::uint64_t kMaxInjectSeed = 999'999'999'999'999'999;
inline constexpr std::uint64_t kDefaultEpcSize = std::uint64_t{256} << 20;

// The root of every key of the machine: either its bytes, or the file that holds exactly those 32 bytes.
inline constexpr std::size_t kSecretSize = 32;
using SecretBytes = std::array<std::uint8_t, kSecretSize>;
struct MachineSecret {
  std::string file;  // absolute path; empty: `bytes` are the secret
  SecretBytes bytes{};
  friend bool operator==(const MachineSecret&, const MachineSecret&) = default;
};

enum class TraceFormat {
  kText,  // lines for people
  kJson,  // Chrome trace events, for tools
};

struct Settings {
  std::uint64_t epc_size = kDefaultEpcSize;  // bytes, a multiple of the page size
  unsigned sgx = 2;                          // 1: the SGX1 leaves only; 2: SGX2 as well
  bool debug = false;
  kernel::ExceptionDesign fixup = kernel::ExceptionDesign::Vdso;
  bool benign_faults = true;  // page faults that the kernel resolves happen, and EXITINFO tells of them
  bool strict = false;        // enclave code runs an instruction at a time
  bool fast = true;           // enclaves are entered and left without traps where that can be done
  bool unwatched = false;     // even if enclave code could read what the engine has changed for that
  engine::FrontDoor front = engine::FrontDoor::Auto;
  std::string stats;                 // the counters' file, /proc/PID/fd/N; empty: nothing is counted
  std::string inject;                // as engine/inject/plan.h has it; empty: nothing
  std::uint64_t inject_seed = 0;     // counts if there is something
  std::optional<std::string> trace;  // absolute path, or "-" for standard error
  TraceFormat trace_format = TraceFormat::kText;  // counts if there is a trace
  bool trace_instructions = false;                // likewise; needs `strict`
  std::optional<std::string> loader;  // absolute path of enclume-load, which starts static programs
  std::optional<std::string> cache;   // absolute path of a directory for what is found out at each start
  MachineSecret secret;
  friend bool operator==(const Settings&, const Settings&) = default;
};

// The value of ENCLUME_SETTINGS. Fields stand in a fixed order, so equal settings give equal strings.
[[nodiscard]] std::string serialise(const Settings& settings);

// The inverse. Nothing unless the text is complete and well-formed: known version, no unknown, repeated or
// missing field, every value in range.
[[nodiscard]] std::optional<Settings> parse_settings(std::string_view text);

// The machine secret that stands for a seed: SHA-256 of "enclume machine seed", a zero byte, and the seed.
[[nodiscard]] SecretBytes secret_from_seed(std::string_view seed);

}  // namespace enclume::cli
