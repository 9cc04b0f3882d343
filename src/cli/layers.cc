// SPDX-License-Identifier: Apache-2.0
#include "cli/layers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "cli/failure.h"
#include "cli/nearest.h"
#include "engine/inject/plan.h"

namespace enclume::cli {
namespace {

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// A # opens a comment at the start of a line or after a blank, so that a seed or a path may contain one.
std::string_view strip_comment(std::string_view line) {
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) return line.substr(0, i);
  }
  return line;
}

const SettingName* find_setting(std::string_view key) {
  const auto found = std::ranges::find(kSettingNames, key, &SettingName::key);
  return found == kSettingNames.end() ? nullptr : &*found;
}

std::string unknown_key_message(std::string_view key) {
  std::vector<std::string_view> keys;
  for (const auto& setting : kSettingNames) keys.push_back(setting.key);
  const auto nearest = nearest_word(key, keys);
  return nearest ? fmt::format("unknown setting '{}' (did you mean '{}'?)", key, *nearest)
                 : fmt::format("unknown setting '{}' (known: {})", key, fmt::join(keys, ", "));
}

std::optional<bool> parse_bool(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const std::string_view yes : {"yes", "true", "on", "1"}) {
    if (lower == yes) return true;
  }
  for (const std::string_view no : {"no", "false", "off", "0"}) {
    if (lower == no) return false;
  }
  return std::nullopt;
}

// Throws what is wrong with it, without its origin.
void check_injections(const std::string& text) {
  const auto plan = engine::parse_injections(text);
  if (plan) return;
  const auto& [part, remedy, is_event] = plan.error();
  if (!is_event) {
    throw Failure(ExitStatus::kUsage,
                  fmt::format("'{}' is wrong in '{}'; it must be {}", part, text, remedy));
  }
  const auto nearest = nearest_word(part, engine::kInjectionEvents);
  throw Failure(ExitStatus::kUsage,
                fmt::format("there is no event '{}' ({})", part,
                            nearest ? fmt::format("did you mean '{}'?", *nearest)
                                    : fmt::format("known: {}", fmt::join(engine::kInjectionEvents, ", "))));
}

// Puts one value into place; false if it is not allowed.
bool apply(Resolved& resolved, std::string_view key, const std::string& text) {
  Settings& settings = resolved.settings;
  if (key == "epc-size") {
    const auto size = parse_size(text);
    if (!size || *size < kMinEpcSize || *size > kMaxEpcSize || *size % kPageSize != 0) return false;
    settings.epc_size = *size;
  } else if (key == "sgx") {
    if (text != "1" && text != "2") return false;
    settings.sgx = text == "1" ? 1 : 2;
  } else if (key == "fast" && text == "unwatched") {
    settings.fast = settings.unwatched = true;
  } else if (key == "debug" || key == "strict" || key == "fast" || key == "trace-insn") {
    const auto value = parse_bool(text);
    if (!value) return false;
    (key == "debug"    ? settings.debug
     : key == "strict" ? settings.strict
     : key == "fast"   ? settings.fast
                       : settings.trace_instructions) = *value;
  } else if (key == "fixup") {
    const auto design = kernel::exception_design(text);
    if (!design) return false;
    settings.fixup = *design;
  } else if (key == "machine-seed") {
    if (text.empty()) return false;
    resolved.machine_seed = text;
  } else if (key == "benign-faults") {
    const auto value = parse_bool(text);
    if (!value) return false;
    settings.benign_faults = *value;
  } else if (key == "front") {
    const auto door = engine::front_door(text);
    if (!door) return false;
    settings.front = *door;
  } else if (key == "inject") {
    check_injections(text);
    settings.inject = text;
  } else if (key == "inject-seed") {
    std::uint64_t seed = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
    if (error != std::errc{} || end != text.data() + text.size() || seed > kMaxInjectSeed) return false;
    settings.inject_seed = seed;
  } else if (key == "stats") {
    if (text.empty()) return false;
    resolved.stats = text;
  } else if (key == "stats-format") {
    if (text != "text" && text != "json") return false;
    resolved.stats_as_json = text == "json";
  } else if (key == "trace-format") {
    if (text != "text" && text != "json") return false;
    settings.trace_format = text == "json" ? TraceFormat::kJson : TraceFormat::kText;
  } else {
    if (text.empty()) return false;
    settings.trace = text;
  }
  return true;
}

std::string default_config_path(const Environment& environment) {
  if (const auto base = environment("XDG_CONFIG_HOME"); base && base->starts_with('/')) {
    return *base + "/enclume/config";
  }
  if (const auto home = environment("HOME")) return *home + "/.config/enclume/config";
  return "";
}

}  // namespace

Environment process_environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr || value[0] == '\0') return std::nullopt;
    return value;
  };
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view suffix(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  if (suffix.empty()) return value;
  constexpr std::string_view kSuffixes = "KMGT";
  const auto index = kSuffixes.find(static_cast<char>(std::toupper(static_cast<unsigned char>(suffix[0]))));
  if (suffix.size() != 1 || index == std::string_view::npos) return std::nullopt;
  const auto shift = static_cast<unsigned>(10 * (index + 1));
  if (value > std::numeric_limits<std::uint64_t>::max() >> shift) return std::nullopt;
  return value << shift;
}

Layer layer_from_environment(const Environment& environment) {
  Layer layer;
  for (const auto& setting : kSettingNames) {
    if (auto value = environment(setting.variable)) {
      layer.emplace(setting.key,
                    RawValue{std::move(*value), fmt::format("environment variable {}", setting.variable)});
    }
  }
  return layer;
}

Layer layer_from_text(std::string_view text, const std::string& name) {
  Layer layer;
  for (unsigned number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    const auto line = trim(strip_comment(text.substr(0, end)));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line.empty()) continue;

    const auto origin = fmt::format("{}:{}", name, number);
    const auto complain = [&](const std::string& what) {
      throw Failure(ExitStatus::kUsage, fmt::format("{}: {}", origin, what));
    };
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) complain(fmt::format("'{}' is not of the form key = value", line));
    const auto key = trim(line.substr(0, equals));
    if (find_setting(key) == nullptr) complain(unknown_key_message(key));
    const auto [entry, is_new] =
        layer.emplace(key, RawValue{std::string(trim(line.substr(equals + 1))), origin});
    if (!is_new)
      complain(fmt::format("'{}' is set a second time; the first is at {}", key, entry->second.origin));
  }
  return layer;
}

namespace {

// HOME is another user's, as with sudo -u and su: whether there is a file cannot even be seen.
bool is_out_of_sight(const std::string& path) {
  return ::access(path.c_str(), F_OK) != 0 && (errno == EACCES || errno == ENOTDIR);
}

}  // namespace

Layer layer_from_file(const std::optional<std::string>& option, const Environment& environment) {
  auto path = option;
  if (!path) path = environment("ENCLUME_CONFIG");
  const bool is_required = path.has_value();
  if (!path) path = default_config_path(environment);
  if (path->empty()) return {};

  errno = 0;
  std::ifstream file(*path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.is_open() || file.bad()) {
    const int error = errno;
    if (!is_required && (error == ENOENT || is_out_of_sight(*path))) return {};
    errno = error;
    throw Failure(ExitStatus::kUsage,
                  fmt::format("cannot read the configuration file {}: {}", *path, std::strerror(errno)));
  }
  return layer_from_text(text, *path);
}

Resolved resolve(std::span<const Layer> layers) {
  Resolved resolved;
  for (const auto& setting : kSettingNames) {
    for (const auto& layer : layers) {
      const auto found = layer.find(setting.key);
      if (found == layer.end()) continue;
      const auto& [text, origin] = found->second;
      const bool is_allowed = [&, &text = text, &origin = origin] {
        try {
          return apply(resolved, setting.key, text);
        } catch (const Failure& failure) {
          throw Failure(failure.status(), fmt::format("{}: {}", origin, failure.what()));
        }
      }();
      if (!is_allowed) {
        throw Failure(ExitStatus::kUsage, fmt::format("{}: '{}' is not a value for {}; allowed: {}", origin,
                                                      text, setting.key, setting.allowed));
      }
      break;
    }
  }
  if (Settings& settings = resolved.settings; settings.trace_instructions) {
    settings.strict = true;
    if (!settings.trace) settings.trace = "-";
  }
  if (Settings& settings = resolved.settings; !settings.inject.empty()) {
    const auto plan = engine::parse_injections(settings.inject);
    settings.strict = settings.strict || plan->has(engine::Injection::Event::Interrupt);
  } else {
    settings.inject_seed = 0;
  }
  return resolved;
}

}  // namespace enclume::cli
