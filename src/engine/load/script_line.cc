// SPDX-License-Identifier: Apache-2.0
#include "engine/load/script_line.h"

namespace enclume::engine {

namespace {

constexpr bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

/// The first character in [at, last] that is no blank; null if there is none.
char* next_non_blank(char* at, char* last) {
  for (; at <= last; ++at) {
    if (!is_blank(*at)) {
      return at;
    }
  }
  return nullptr;
}

/// The first blank or NUL in [at, last]; null if there is none.
char* next_terminator(char* at, char* last) {
  for (; at <= last; ++at) {
    if (is_blank(*at) || *at == '\0') {
      return at;
    }
  }
  return nullptr;
}

/// strnchr(): the newline, before any NUL.
char* find_newline(FileHead& head) {
  for (char& c : head) {
    if (c == '\n') {
      return &c;
    }
    if (c == '\0') {
      break;
    }
  }
  return nullptr;
}

}  // namespace

std::optional<ScriptLine> parse_script_line(FileHead& head) {
  char* const begin = head.data() + 2;
  char* const last = head.data() + head.size() - 1;
  char* end = find_newline(head);
  if (end == nullptr) {
    end = next_non_blank(begin, last);
    // Without a blank or NUL behind it the interpreter's path may be cut short.
    if (end == nullptr || next_terminator(end, last) == nullptr) {
      return std::nullopt;
    }
    end = last;
  }
  while (is_blank(end[-1])) {
    --end;
  }
  char* const interpreter = next_non_blank(begin, end);
  if (interpreter == nullptr || interpreter == end) {
    return std::nullopt;
  }
  char* const separator = next_terminator(interpreter, end);
  char* argument = nullptr;
  if (separator != nullptr && *separator != '\0') {
    argument = next_non_blank(separator, end);
  }
  *end = '\0';
  if (argument != nullptr) {
    *separator = '\0';
  }
  return ScriptLine{interpreter, argument};
}

}  // namespace enclume::engine
