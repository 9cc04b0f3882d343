// SPDX-License-Identifier: Apache-2.0
// strtol and its kin, as in the C locale. C23, 7.24.1.7. std::stoi, std::stoul and atoi are made of these.
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>

namespace {

thread_local int last_error;

/// What the digits of a number say, before anybody asks whether that fits.
struct Parsed {
  const char* end;  ///< behind the last digit; null if there is no digit
  std::uint64_t magnitude;
  bool negative;
  bool overflow;  ///< more than 64 bits
};

unsigned digit_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? static_cast<unsigned>(lower - 'a') + 10 : UINT_MAX;
}

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

Parsed parse(const char* text, unsigned base, bool binary_prefix) {
  while (is_space(*text)) ++text;
  Parsed parsed{nullptr, 0, *text == '-', false};
  if (*text == '-' || *text == '+') ++text;
  if (*text == '0') {
    const char letter = static_cast<char>(text[1] | 0x20);
    // "0x" alone is the number 0, and the x behind it.
    if (letter == 'x' && (base == 0 || base == 16) && digit_value(text[2]) < 16) {
      base = 16;
      text += 2;
    } else if (binary_prefix && letter == 'b' && (base == 0 || base == 2) && digit_value(text[2]) < 2) {
      base = 2;
      text += 2;
    } else if (base == 0) {
      base = 8;
    }
  }
  if (base == 0) base = 10;
  for (unsigned value = digit_value(*text); value < base; value = digit_value(*++text)) {
    parsed.overflow = parsed.overflow || __builtin_mul_overflow(parsed.magnitude, base, &parsed.magnitude) ||
                      __builtin_add_overflow(parsed.magnitude, value, &parsed.magnitude);
    parsed.end = text + 1;
  }
  return parsed;
}

bool prepare(const char* text, char** end, int base) {
  if (end != nullptr) *end = const_cast<char*>(text);
  if (base >= 0 && base != 1 && base <= 36) return true;
  errno = EINVAL;
  return false;
}

long to_signed(const char* text, char** end, int base, bool binary_prefix) {
  if (!prepare(text, end, base)) return 0;
  const Parsed parsed = parse(text, static_cast<unsigned>(base), binary_prefix);
  if (parsed.end == nullptr) return 0;
  if (end != nullptr) *end = const_cast<char*>(parsed.end);
  const std::uint64_t limit = static_cast<std::uint64_t>(LONG_MAX) + (parsed.negative ? 1 : 0);
  if (parsed.overflow || parsed.magnitude > limit) {
    errno = ERANGE;
    return parsed.negative ? LONG_MIN : LONG_MAX;
  }
  return static_cast<long>(parsed.negative ? 0 - parsed.magnitude : parsed.magnitude);
}

unsigned long to_unsigned(const char* text, char** end, int base, bool binary_prefix) {
  if (!prepare(text, end, base)) return 0;
  const Parsed parsed = parse(text, static_cast<unsigned>(base), binary_prefix);
  if (parsed.end == nullptr) return 0;
  if (end != nullptr) *end = const_cast<char*>(parsed.end);
  if (parsed.overflow) {
    errno = ERANGE;
    return ULONG_MAX;
  }
  return parsed.negative ? 0 - parsed.magnitude : parsed.magnitude;
}

}  // namespace

extern "C" {

int* __errno_location() noexcept {
  return &last_error;
}

long strtol(const char* text, char** end, int base) noexcept {
  return to_signed(text, end, base, false);
}
long long strtoll(const char* text, char** end, int base) noexcept {
  return to_signed(text, end, base, false);
}
unsigned long strtoul(const char* text, char** end, int base) noexcept {
  return to_unsigned(text, end, base, false);
}
unsigned long long strtoull(const char* text, char** end, int base) noexcept {
  return to_unsigned(text, end, base, false);
}

// The names that headers from glibc 2.38 on give them, with C23's binary numbers.
long __isoc23_strtol(const char* text, char** end, int base) noexcept {
  return to_signed(text, end, base, true);
}
long long __isoc23_strtoll(const char* text, char** end, int base) noexcept {
  return to_signed(text, end, base, true);
}
unsigned long __isoc23_strtoul(const char* text, char** end, int base) noexcept {
  return to_unsigned(text, end, base, true);
}
unsigned long long __isoc23_strtoull(const char* text, char** end, int base) noexcept {
  return to_unsigned(text, end, base, true);
}

int atoi(const char* text) noexcept {
  return static_cast<int>(to_signed(text, nullptr, 10, false));
}
long atol(const char* text) noexcept {
  return to_signed(text, nullptr, 10, false);
}
long long atoll(const char* text) noexcept {
  return to_signed(text, nullptr, 10, false);
}
}
