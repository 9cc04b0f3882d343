// SPDX-License-Identifier: Apache-2.0
// snprintf for integers, characters, strings and pointers. C23, 7.23.6.1. There are no floating-point
// conversions; those, %n and what is no conversion end the call, as each error that C leaves undefined should
// in an enclave.
#include <climits>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

/// Where the text goes: what fits, and how long all of it would be.
class Output {
 public:
  Output(char* to, std::size_t room) : to_(to), room_(room) {}

  void put(const char* text, std::size_t length) {
    if (length_ < room_) {
      const std::size_t fits = room_ - length_ < length ? room_ - length_ : length;
      std::memcpy(to_ + length_, text, fits);
    }
    length_ += length;
  }

  void pad(char with, std::size_t times) {
    if (length_ < room_) {
      const std::size_t fits = room_ - length_ < times ? room_ - length_ : times;
      std::memset(to_ + length_, with, fits);
    }
    length_ += times;
  }

  /// Ends the text. Its length, or -1 if that is no int.
  int end() {
    if (room_ != 0) to_[length_ < room_ ? length_ : room_ - 1] = 0;
    return length_ <= INT_MAX ? static_cast<int>(length_) : -1;
  }

 private:
  char* to_;
  std::size_t room_;
  std::size_t length_ = 0;
};

struct Conversion {
  bool left = false, plus = false, space = false, alternative = false, zero = false;
  std::size_t width = 0;
  bool has_precision = false;
  std::size_t precision = 0;
  unsigned bytes = sizeof(int);  ///< of the argument
};

const char* read_number(const char* at, std::size_t& number) {
  for (number = 0; *at >= '0' && *at <= '9'; ++at) {
    number = number * 10 + static_cast<std::size_t>(*at - '0');
    if (number > INT_MAX) std::abort();
  }
  return at;
}

const char* read_flags(const char* at, Conversion& conversion) {
  for (;; ++at) {
    switch (*at) {
      case '-':
        conversion.left = true;
        break;
      case '+':
        conversion.plus = true;
        break;
      case ' ':
        conversion.space = true;
        break;
      case '#':
        conversion.alternative = true;
        break;
      case '0':
        conversion.zero = true;
        break;
      default:
        return at;
    }
  }
}

const char* read_length(const char* at, unsigned& bytes) {
  switch (*at) {
    case 'h':
      bytes = at[1] == 'h' ? sizeof(char) : sizeof(short);
      return at + (at[1] == 'h' ? 2 : 1);
    case 'l':
      bytes = sizeof(long);
      return at + (at[1] == 'l' ? 2 : 1);
    case 'j':
    case 'z':
    case 't':
      bytes = sizeof(long);
      return at + 1;
    default:
      return at;
  }
}

/// Sign or 0x in front, digits, and what fills them up.
void put_field(Output& output, const Conversion& conversion, const char* prefix, const char* digits,
               std::size_t length) {
  const std::size_t prefix_length = std::strlen(prefix);
  std::size_t zeros =
      conversion.has_precision && conversion.precision > length ? conversion.precision - length : 0;
  const std::size_t written = prefix_length + zeros + length;
  std::size_t spaces = conversion.width > written ? conversion.width - written : 0;
  if (conversion.zero && !conversion.left && !conversion.has_precision) {
    zeros += spaces;
    spaces = 0;
  }
  if (!conversion.left) output.pad(' ', spaces);
  output.put(prefix, prefix_length);
  output.pad('0', zeros);
  output.put(digits, length);
  if (conversion.left) output.pad(' ', spaces);
}

void put_unsigned(Output& output, Conversion conversion, const char* prefix, std::uint64_t value,
                  unsigned base, bool upper) {
  const char* const digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  char text[23];  // 64 bits in octal, and the 0 in front
  std::size_t at = sizeof text;
  for (; value != 0; value /= base) text[--at] = digits[value % base];
  // A zero has a digit, unless the precision is 0.
  if (at == sizeof text && !(conversion.has_precision && conversion.precision == 0)) text[--at] = '0';
  if (base == 8 && conversion.alternative && (at == sizeof text || text[at] != '0') &&
      (!conversion.has_precision || conversion.precision <= sizeof text - at)) {
    text[--at] = '0';
  }
  put_field(output, conversion, prefix, text + at, sizeof text - at);
}

void put_text(Output& output, const Conversion& conversion, const char* text, std::size_t length) {
  const std::size_t spaces = conversion.width > length ? conversion.width - length : 0;
  if (!conversion.left) output.pad(' ', spaces);
  output.put(text, length);
  if (conversion.left) output.pad(' ', spaces);
}

std::uint64_t cut(std::uint64_t value, unsigned bytes) {
  return bytes == 8 ? value : value & ((std::uint64_t{1} << 8 * bytes) - 1);
}

std::int64_t cut_signed(std::uint64_t value, unsigned bytes) {
  const unsigned unused = 64 - 8 * bytes;
  return static_cast<std::int64_t>(value << unused) >> unused;
}

}  // namespace

extern "C" {

int vsnprintf(char* to, std::size_t room, const char* format, va_list arguments) {
  Output output(to, room);
  const char* at = format;
  while (*at != 0) {
    const char* const plain = at;
    while (*at != 0 && *at != '%') ++at;
    output.put(plain, static_cast<std::size_t>(at - plain));
    if (*at == 0) break;

    Conversion conversion;
    at = read_flags(at + 1, conversion);
    if (*at == '*') {
      const int width = va_arg(arguments, int);
      conversion.left = conversion.left || width < 0;
      conversion.width = width < 0 ? 0U - static_cast<unsigned>(width) : static_cast<unsigned>(width);
      ++at;
    } else {
      at = read_number(at, conversion.width);
    }
    if (*at == '.') {
      ++at;
      if (*at == '*') {
        const int precision = va_arg(arguments, int);
        conversion.has_precision = precision >= 0;
        conversion.precision = precision < 0 ? 0 : static_cast<std::size_t>(precision);
        ++at;
      } else {
        conversion.has_precision = true;
        at = read_number(at, conversion.precision);
      }
    }
    at = read_length(at, conversion.bytes);
    const auto argument = [&]() -> std::uint64_t {
      return conversion.bytes == 8 ? va_arg(arguments, std::uint64_t) : va_arg(arguments, unsigned);
    };

    switch (*at++) {
      case '%':
        output.put("%", 1);
        break;
      case 'd':
      case 'i': {
        const std::int64_t value = cut_signed(argument(), conversion.bytes);
        const char* const sign = value < 0 ? "-" : conversion.plus ? "+" : conversion.space ? " " : "";
        const auto magnitude = static_cast<std::uint64_t>(value);
        put_unsigned(output, conversion, sign, value < 0 ? 0 - magnitude : magnitude, 10, false);
        break;
      }
      case 'u':
        conversion.alternative = false;
        put_unsigned(output, conversion, "", cut(argument(), conversion.bytes), 10, false);
        break;
      case 'o':
        put_unsigned(output, conversion, "", cut(argument(), conversion.bytes), 8, false);
        break;
      case 'x':
      case 'X': {
        const std::uint64_t value = cut(argument(), conversion.bytes);
        const bool upper = at[-1] == 'X', prefixed = conversion.alternative && value != 0;
        put_unsigned(output, conversion, !prefixed ? "" : upper ? "0X" : "0x", value, 16, upper);
        break;
      }
      case 'p': {
        const auto value = reinterpret_cast<std::uint64_t>(va_arg(arguments, void*));
        if (value == 0) {  // glibc's word
          put_text(output, conversion, "(nil)", 5);
        } else {
          put_unsigned(output, conversion,
                       conversion.plus    ? "+0x"
                       : conversion.space ? " 0x"
                                          : "0x",
                       value, 16, false);
        }
        break;
      }
      case 'c': {
        const char c = static_cast<char>(va_arg(arguments, int));
        put_text(output, conversion, &c, 1);
        break;
      }
      case 's': {
        const char* text = va_arg(arguments, const char*);
        const std::size_t most = conversion.has_precision ? conversion.precision : SIZE_MAX;
        if (text == nullptr) text = most >= 6 ? "(null)" : "";  // glibc's word
        put_text(output, conversion, text, strnlen(text, most));
        break;
      }
      default:
        std::abort();
    }
  }
  return output.end();
}

int snprintf(char* to, std::size_t room, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(to, room, format, arguments);
  va_end(arguments);
  return length;
}
}
