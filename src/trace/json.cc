// SPDX-License-Identifier: Apache-2.0
#include "trace/json.h"

namespace enclume::trace {

namespace {

bool continues(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

/// How many bytes the character at `at` has; 0 if it is none of UTF-8 (RFC 3629, section 4).
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const auto second = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1]) : 0U;
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xc2 && lead <= 0xdf) {
    return continues(text, at + 1) ? 2 : 0;
  }
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool shortest = lead != 0xe0 || second >= 0xa0;
    const bool surrogate = lead == 0xed && second >= 0xa0;
    return continues(text, at + 1) && continues(text, at + 2) && shortest && !surrogate ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool in_range = (lead != 0xf0 || second >= 0x90) && (lead != 0xf4 || second < 0x90);
    return continues(text, at + 1) && continues(text, at + 2) && continues(text, at + 3) && in_range ? 4 : 0;
  }
  return 0;
}

void put_control(LineBuffer& out, unsigned char c) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out.text("\\u00").text(kDigits.substr(c >> 4, 1)).text(kDigits.substr(c & 15, 1));
}

void put_escaped(LineBuffer& out, std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    const char c = text[at];
    if (length == 0) {
      out.text("\\ufffd");
    } else if (c == '"' || c == '\\') {
      out.text("\\").text(text.substr(at, 1));
    } else if (static_cast<unsigned char>(c) < 0x20) {
      put_control(out, static_cast<unsigned char>(c));
    } else {
      out.text(text.substr(at, length));
    }
    at += length == 0 ? 1 : length;
  }
}

}  // namespace

void JsonObject::begin(std::string_view key) {
  out_.text(first_ ? "\"" : ",\"").text(key).text("\":");
  first_ = false;
}

JsonObject& JsonObject::string(std::string_view key, std::string_view value) {
  if (value.size() > kMaxString) {
    std::size_t cut = kMaxString;
    while (cut > kMaxString - 4 && continues(value, cut)) {
      --cut;
    }
    value = value.substr(0, cut);
  }
  begin(key);
  out_.text("\"");
  put_escaped(out_, value);
  out_.text("\"");
  return *this;
}

JsonObject& JsonObject::number(std::string_view key, std::uint64_t value) {
  begin(key);
  out_.dec(value);
  return *this;
}

JsonObject& JsonObject::number(std::string_view key, std::int64_t value) {
  begin(key);
  out_.dec(value);
  return *this;
}

JsonObject& JsonObject::microseconds(std::string_view key, std::uint64_t nanoseconds) {
  begin(key);
  out_.dec(nanoseconds / 1000).text(".");
  const std::uint64_t rest = nanoseconds % 1000;
  out_.dec(rest / 100).dec(rest / 10 % 10).dec(rest % 10);
  return *this;
}

}  // namespace enclume::trace
