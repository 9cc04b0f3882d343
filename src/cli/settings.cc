// SPDX-License-Identifier: Apache-2.0
#include "cli/settings.h"

#include <fmt/format.h>
#include <nettle/sha2.h>

#include <charconv>
#include <map>

#include "engine/inject/plan.h"

namespace enclume::cli {
namespace {

constexpr std::string_view kVersion = "v1";

// Bytes that would end a field, or not survive a log line, travel as %XX.
bool needs_escape(unsigned char byte) {
  return byte == '%' || byte == ';' || byte < 0x20 || byte == 0x7f;
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (needs_escape(byte)) {
      out += fmt::format("%{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

template <typename Integer>
std::optional<Integer> parse_integer(std::string_view text, int base = 10) {
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::string> unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      if (needs_escape(static_cast<unsigned char>(text[i]))) return std::nullopt;
      out += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const auto byte = parse_integer<std::uint8_t>(text.substr(i + 1, 2), 16);
    if (!byte || *byte == 0) return std::nullopt;
    out += static_cast<char>(*byte);
    i += 2;
  }
  return out;
}

std::optional<SecretBytes> parse_secret(std::string_view hex) {
  SecretBytes bytes{};
  if (hex.size() != 2 * bytes.size()) return std::nullopt;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = parse_integer<std::uint8_t>(hex.substr(2 * i, 2), 16);
    if (!byte) return std::nullopt;
    bytes[i] = *byte;
  }
  return bytes;
}

using Fields = std::map<std::string_view, std::string_view>;

std::optional<Fields> split_fields(std::string_view text) {
  Fields fields;
  while (!text.empty()) {
    const auto end = text.find(';');
    const auto field = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    const auto equals = field.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    if (!fields.emplace(field.substr(0, equals), field.substr(equals + 1)).second) return std::nullopt;
  }
  return fields;
}

// Takes the field out, so that what is left at the end is what nobody knows.
std::optional<std::string_view> take(Fields& fields, std::string_view key) {
  const auto node = fields.extract(key);
  if (node.empty()) return std::nullopt;
  return node.mapped();
}

}  // namespace

std::string serialise(const Settings& settings) {
  std::string out = fmt::format("{};epc_size={};sgx={};debug={};fixup={}", kVersion, settings.epc_size,
                                settings.sgx, settings.debug ? 1 : 0, kernel::name_of(settings.fixup));
  if (!settings.benign_faults) out += ";benign_faults=0";
  if (settings.strict) out += ";strict=1";
  if (!settings.fast) out += ";fast=0";
  if (settings.fast && settings.unwatched) out += ";fast=unwatched";
  if (settings.front != engine::FrontDoor::Auto)
    out += fmt::format(";front={}", engine::name_of(settings.front));
  if (!settings.stats.empty()) out += ";stats=" + escape(settings.stats);
  if (!settings.inject.empty()) {
    out += ";inject=" + escape(settings.inject);
    if (settings.inject_seed != 0) out += fmt::format(";inject_seed={}", settings.inject_seed);
  }
  if (settings.trace) {
    out += ";trace=" + escape(*settings.trace);
    out += settings.trace_format == TraceFormat::kJson ? ";trace_format=json" : ";trace_format=text";
    if (settings.trace_instructions) out += ";trace_insn=1";
  }
  if (settings.loader) out += ";loader=" + escape(*settings.loader);
  if (settings.cache) out += ";cache=" + escape(*settings.cache);
  if (!settings.secret.file.empty()) {
    out += ";secret_file=" + escape(settings.secret.file);
  } else {
    out += ";secret=";
    for (const auto byte : settings.secret.bytes) out += fmt::format("{:02x}", byte);
  }
  return out;
}

std::optional<Settings> parse_settings(std::string_view text) {
  if (!text.starts_with(kVersion)) return std::nullopt;
  text.remove_prefix(kVersion.size());
  if (!text.starts_with(';')) return std::nullopt;
  auto fields = split_fields(text.substr(1));
  if (!fields) return std::nullopt;

  Settings settings;
  const auto epc_size = parse_integer<std::uint64_t>(take(*fields, "epc_size").value_or(""));
  if (!epc_size || *epc_size < kMinEpcSize || *epc_size > kMaxEpcSize || *epc_size % kPageSize != 0)
    return {};
  settings.epc_size = *epc_size;

  const auto sgx = parse_integer<unsigned>(take(*fields, "sgx").value_or(""));
  if (!sgx || *sgx < 1 || *sgx > 2) return std::nullopt;
  settings.sgx = *sgx;

  const auto debug = take(*fields, "debug");
  if (debug != "0" && debug != "1") return std::nullopt;
  settings.debug = debug == "1";

  const auto fixup = kernel::exception_design(take(*fields, "fixup").value_or(""));
  if (!fixup) return std::nullopt;
  settings.fixup = *fixup;

  if (const auto benign_faults = take(*fields, "benign_faults")) {
    if (*benign_faults != "0" && *benign_faults != "1") return std::nullopt;
    settings.benign_faults = *benign_faults == "1";
  }

  if (const auto strict = take(*fields, "strict")) {
    if (*strict != "0" && *strict != "1") return std::nullopt;
    settings.strict = *strict == "1";
  }

  if (const auto fast = take(*fields, "fast")) {
    if (*fast != "0" && *fast != "1" && *fast != "unwatched") return std::nullopt;
    settings.fast = *fast != "0";
    settings.unwatched = *fast == "unwatched";
  }

  if (const auto name = take(*fields, "front")) {
    const auto door = engine::front_door(*name);
    if (!door) return std::nullopt;
    settings.front = *door;
  }

  if (const auto stats = take(*fields, "stats")) {
    const auto path = unescape(*stats);
    if (!path || !path->starts_with('/') || path->size() >= 64) return std::nullopt;
    settings.stats = *path;
  }
  if (const auto inject = take(*fields, "inject")) {
    const auto plan = engine::parse_injections(*inject);
    if (!plan || (plan->has(engine::Injection::Event::Interrupt) && !settings.strict)) return std::nullopt;
    settings.inject = *inject;
  }
  if (const auto digits = take(*fields, "inject_seed")) {
    const auto seed = parse_integer<std::uint64_t>(*digits);
    if (!seed || *seed == 0 || *seed > kMaxInjectSeed || settings.inject.empty()) return std::nullopt;
    settings.inject_seed = *seed;
  }

  if (const auto trace = take(*fields, "trace")) {
    settings.trace = unescape(*trace);
    if (!settings.trace || (*settings.trace != "-" && !settings.trace->starts_with('/'))) return std::nullopt;
  }

  if (const auto format = take(*fields, "trace_format")) {
    if (!settings.trace || (*format != "text" && *format != "json")) return std::nullopt;
    settings.trace_format = *format == "json" ? TraceFormat::kJson : TraceFormat::kText;
  }

  if (const auto instructions = take(*fields, "trace_insn")) {
    if (!settings.trace || (*instructions != "0" && *instructions != "1")) return std::nullopt;
    settings.trace_instructions = *instructions == "1";
    if (settings.trace_instructions && !settings.strict) return std::nullopt;
  }

  if (const auto loader = take(*fields, "loader")) {
    settings.loader = unescape(*loader);
    if (!settings.loader || !settings.loader->starts_with('/')) return std::nullopt;
  }

  if (const auto cache = take(*fields, "cache")) {
    settings.cache = unescape(*cache);
    if (!settings.cache || !settings.cache->starts_with('/')) return std::nullopt;
  }

  const auto secret = take(*fields, "secret");
  const auto secret_file = take(*fields, "secret_file");
  if (secret.has_value() == secret_file.has_value()) return std::nullopt;
  if (secret) {
    const auto bytes = parse_secret(*secret);
    if (!bytes) return std::nullopt;
    settings.secret.bytes = *bytes;
  } else {
    auto path = unescape(*secret_file);
    if (!path || !path->starts_with('/')) return std::nullopt;
    settings.secret.file = std::move(*path);
  }
  if (!fields->empty()) return std::nullopt;
  return settings;
}

SecretBytes secret_from_seed(std::string_view seed) {
  // The label keeps these secrets apart from any other use of a hash of the same words. Its final zero byte
  // is part of the input.
  static constexpr char kLabel[] = "enclume machine seed";
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, sizeof kLabel, reinterpret_cast<const std::uint8_t*>(kLabel));
  sha256_update(&context, seed.size(), reinterpret_cast<const std::uint8_t*>(seed.data()));
  SecretBytes digest{};
  sha256_digest(&context, digest.size(), digest.data());
  return digest;
}

}  // namespace enclume::cli
