// SPDX-License-Identifier: Apache-2.0
// Where settings come from. A layer is a set of raw values, each with the place that it was written in, so
// that a complaint can name that place. Precedence: option, environment, file, default.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cli/settings.h"

namespace enclume::cli {

// One setting: its name in a file (and, after "--", on the command line), its environment variable, and the
// values that it takes, in words.
struct SettingName {
  std::string_view key;
  std::string_view variable;
  std::string_view allowed;
};

inline constexpr std::array<SettingName, 16> kSettingNames = {{
    {"epc-size", "ENCLUME_EPC_SIZE",
     "a size from 1M to 1T, a multiple of 4096 bytes; K, M, G and T may follow"},
    {"sgx", "ENCLUME_SGX", "1 or 2"},
    {"machine-seed", "ENCLUME_MACHINE_SEED", "any text that is not empty"},
    {"debug", "ENCLUME_DEBUG", "yes, no, true, false, on, off, 1 or 0"},
    {"trace", "ENCLUME_TRACE", "the name of a file, or - for standard error"},
    {"fixup", "ENCLUME_FIXUP", "vdso, vdso-registers, per-mm or signals"},
    {"trace-format", "ENCLUME_TRACE_FORMAT", "text or json"},
    {"benign-faults", "ENCLUME_BENIGN_FAULTS", "yes, no, true, false, on, off, 1 or 0"},
    {"strict", "ENCLUME_STRICT", "yes, no, true, false, on, off, 1 or 0"},
    {"trace-insn", "ENCLUME_TRACE_INSN", "yes, no, true, false, on, off, 1 or 0"},
    {"front", "ENCLUME_FRONT", "auto, libc or raw"},
    {"inject", "ENCLUME_INJECT", "EVENT@WHEN, several with commas between; see docs/injecting.md"},
    {"inject-seed", "ENCLUME_INJECT_SEED", "a number from 0 to 999999999999999999"},
    {"stats", "ENCLUME_STATS", "the name of a file, or - for standard error"},
    {"stats-format", "ENCLUME_STATS_FORMAT", "text or json"},
    {"fast", "ENCLUME_FAST", "yes, no, true, false, on, off, 1, 0 or unwatched"},
}};

struct RawValue {
  std::string text;
  std::string origin;  // "option --sgx", "environment variable ENCLUME_SGX", "/home/me/enclume.conf:3"
};

// Key to value. A key that a layer says nothing about is absent.
using Layer = std::map<std::string, RawValue, std::less<>>;

// Looks a variable up; nothing or an empty text both mean "not set".
using Environment = std::function<std::optional<std::string>(std::string_view name)>;
[[nodiscard]] Environment process_environment();

[[nodiscard]] Layer layer_from_environment(const Environment& environment);

// Reads `key = value` lines. `name` is what messages call the file. Blank lines and lines that begin with #
// are skipped, and so is a # with a blank before it and what follows; the last of several lines with one key
// wins no more than the first: it is an error. Throws Failure (usage) with "name:line: …".
[[nodiscard]] Layer layer_from_text(std::string_view text, const std::string& name);

// The file to read: `option` if given, else $ENCLUME_CONFIG, else $XDG_CONFIG_HOME/enclume/config, else
// ~/.config/enclume/config. A file that was asked for by name must exist; the default one need not.
// Throws Failure (usage) if it cannot be read.
[[nodiscard]] Layer layer_from_file(const std::optional<std::string>& option, const Environment& environment);

// The settings that follow, except for the secret: the seed is returned as text, since without one the
// secret is a matter of files.
struct Resolved {
  Settings settings;
  std::optional<std::string> machine_seed;
  std::optional<std::string> stats;  // where the figures go at the end: a file, or "-" for standard error
  bool stats_as_json = false;
};

// `layers` in falling precedence. Throws Failure (usage) that names the value, its origin and what is
// allowed.
[[nodiscard]] Resolved resolve(std::span<const Layer> layers);

// "64M" and the like, in bytes. Nothing if it is not a number with an optional suffix, or does not fit.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace enclume::cli
