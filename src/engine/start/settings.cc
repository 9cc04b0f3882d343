// SPDX-License-Identifier: Apache-2.0
#include "engine/start/settings.h"

#include <algorithm>
#include <optional>
#include <span>

namespace enclume::engine {

namespace {

constexpr std::uint64_t kMinEpc = 1ULL << 20;
constexpr std::uint64_t kMaxEpc = 1ULL << 40;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int any_hex_digit(char c) {
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : hex_digit(c);
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  if (text.empty() || text.size() > 19) {
    return std::nullopt;
  }
  for (const char c : text) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

/// A path with %XX for the bytes that the format needs. False if it is malformed or too long.
bool path(std::string_view text, std::span<char> out) {
  std::size_t used = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || any_hex_digit(text[i + 1]) < 0 || any_hex_digit(text[i + 2]) < 0) {
        return false;
      }
      c = static_cast<char>(any_hex_digit(text[i + 1]) * 16 + any_hex_digit(text[i + 2]));
      i += 2;
    }
    if (c == '\0' || used + 1 >= out.size()) {
      return false;
    }
    out[used++] = c;
  }
  out[used] = '\0';
  return used > 0;
}

bool secret(std::string_view text, std::array<std::byte, 32>& out) {
  if (text.size() != 64) {
    return false;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = hex_digit(text[2 * i]);
    const int low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) {
      return false;
    }
    out[i] = static_cast<std::byte>(high * 16 + low);
  }
  return true;
}

}  // namespace

bool Settings::keep_in(std::span<char> storage, std::size_t& used, std::string_view text,
                       std::string_view& kept) {
  const std::size_t room = std::min(storage.size() - used, kLongestPath);
  const std::span<char> place = storage.subspan(used, room);
  if (room == 0 || !path(text, place)) {
    return false;
  }
  kept = place.data();
  used += kept.size() + 1;
  return true;
}

bool Settings::keep_path(std::string_view text, std::string_view& kept) {
  return keep_in(short_, used_short_, text, kept) || keep_in(paths_, used_, text, kept);
}

std::expected<void, std::string_view> parse_settings(std::string_view text, Settings& s) {
  using Error = std::unexpected<std::string_view>;
  enum : unsigned {
    kEpc = 1,
    kSgx = 2,
    kDebug = 4,
    kTrace = 8,
    kFile = 16,
    kSecret = 32,
    kFixup = 64,
    kTraceFormat = 128,
    kBenign = 256,
    kStrict = 512,
    kTraceInsn = 1024,
    kLoader = 2048,
    kFront = 4096,
    kCache = 8192,
    kInject = 16384,
    kInjectSeed = 32768,
    kStats = 65536,
    kFast = 131072
  };
  unsigned seen = 0;
  bool first = true;
  for (;;) {
    const std::size_t end = text.find(';');
    const std::string_view field = text.substr(0, end);
    if (first) {
      if (field != "v1") {
        return Error(
            "ENCLUME_SETTINGS is of another version; is the engine the one that belongs to this enclume?");
      }
      first = false;
    } else {
      const std::size_t equals = field.find('=');
      if (equals == std::string_view::npos) {
        return Error("ENCLUME_SETTINGS has a field without a value");
      }
      const std::string_view key = field.substr(0, equals);
      const std::string_view value = field.substr(equals + 1);
      unsigned which = 0;
      if (key == "epc_size") {
        which = kEpc;
        const auto n = number(value);
        if (!n || *n < kMinEpc || *n > kMaxEpc || *n % 4096 != 0) {
          return Error("ENCLUME_SETTINGS: epc_size is out of range");
        }
        s.epc_size = *n;
      } else if (key == "sgx") {
        which = kSgx;
        if (value != "1" && value != "2") {
          return Error("ENCLUME_SETTINGS: sgx is neither 1 nor 2");
        }
        s.sgx2 = value == "2";
      } else if (key == "debug") {
        which = kDebug;
        if (value != "0" && value != "1") {
          return Error("ENCLUME_SETTINGS: debug is neither 0 nor 1");
        }
        s.debug = value == "1";
      } else if (key == "fixup") {
        which = kFixup;
        const auto design = kernel::exception_design(value);
        if (!design) {
          return Error("ENCLUME_SETTINGS: fixup is no design that this engine knows");
        }
        s.fixup = *design;
      } else if (key == "benign_faults") {
        which = kBenign;
        if (value != "0" && value != "1") {
          return Error("ENCLUME_SETTINGS: benign_faults is neither 0 nor 1");
        }
        s.benign_faults = value == "1";
      } else if (key == "strict") {
        which = kStrict;
        if (value != "0" && value != "1") {
          return Error("ENCLUME_SETTINGS: strict is neither 0 nor 1");
        }
        s.strict = value == "1";
      } else if (key == "fast") {
        which = kFast;
        if (value != "0" && value != "1" && value != "unwatched") {
          return Error("ENCLUME_SETTINGS: fast is neither 0 nor 1 nor unwatched");
        }
        s.fast = value != "0";
        s.unwatched = value == "unwatched";
      } else if (key == "trace_insn") {
        which = kTraceInsn;
        if (value != "0" && value != "1") {
          return Error("ENCLUME_SETTINGS: trace_insn is neither 0 nor 1");
        }
        s.trace_instructions = value == "1";
      } else if (key == "front") {
        which = kFront;
        const auto door = front_door(value);
        if (!door) {
          return Error("ENCLUME_SETTINGS: front is no front door that this engine has");
        }
        s.front = *door;
      } else if (key == "inject") {
        which = kInject;
        const auto plan = parse_injections(value);
        if (!plan) {
          return Error("ENCLUME_SETTINGS: inject is no list of events that this engine knows");
        }
        const std::uint64_t seed = s.injections.seed;
        s.injections = *plan;
        s.injections.seed = seed;
      } else if (key == "inject_seed") {
        which = kInjectSeed;
        const auto n = number(value);
        if (!n) {
          return Error("ENCLUME_SETTINGS: inject_seed is no number");
        }
        s.injections.seed = *n;
      } else if (key == "stats") {
        which = kStats;
        if (!path(value, s.stats)) {
          return Error("ENCLUME_SETTINGS: stats is not a path");
        }
      } else if (key == "trace") {
        which = kTrace;
        if (!s.keep_path(value, s.trace)) {
          return Error("ENCLUME_SETTINGS: trace is not a path");
        }
      } else if (key == "trace_format") {
        which = kTraceFormat;
        if (value != "text" && value != "json") {
          return Error("ENCLUME_SETTINGS: trace_format is neither text nor json");
        }
        s.trace_json = value == "json";
      } else if (key == "loader") {
        which = kLoader;
        if (!s.keep_path(value, s.loader)) {
          return Error("ENCLUME_SETTINGS: loader is not a path");
        }
      } else if (key == "cache") {
        which = kCache;
        if (!s.keep_path(value, s.cache)) {
          return Error("ENCLUME_SETTINGS: cache is not a path");
        }
      } else if (key == "secret_file") {
        which = kFile;
        if (!s.keep_path(value, s.secret_file)) {
          return Error("ENCLUME_SETTINGS: secret_file is not a path");
        }
      } else if (key == "secret") {
        which = kSecret;
        if (!secret(value, s.secret)) {
          return Error("ENCLUME_SETTINGS: secret is not 64 hexadecimal digits");
        }
        s.has_secret = true;
      } else {
        return Error("ENCLUME_SETTINGS has a field that this engine does not know");
      }
      if ((seen & which) != 0) {
        return Error("ENCLUME_SETTINGS has a field twice");
      }
      seen |= which;
    }
    if (end == std::string_view::npos) {
      break;
    }
    text.remove_prefix(end + 1);
  }
  constexpr unsigned kNeeded = kEpc | kSgx | kDebug | kFixup;
  if ((seen & kNeeded) != kNeeded) {
    return Error("ENCLUME_SETTINGS lacks a field");
  }
  if (((seen & kFile) != 0) == ((seen & kSecret) != 0)) {
    return Error("ENCLUME_SETTINGS needs either secret or secret_file");
  }
  if (s.trace_instructions && !s.strict) {
    return Error("ENCLUME_SETTINGS: trace_insn needs strict");
  }
  if (s.injections.has(Injection::Event::Interrupt) && !s.strict) {
    return Error("ENCLUME_SETTINGS: inject with an interrupt needs strict");
  }
  return {};
}

}  // namespace enclume::engine
