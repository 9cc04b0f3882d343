// SPDX-License-Identifier: Apache-2.0
// <cctype>, as in the C locale: what is not ASCII is nothing. C23, 7.4.
#include <cctype>

namespace {
constexpr bool between(int c, int first, int last) {
  return c >= first && c <= last;
}
}  // namespace

extern "C" {

int isupper(int c) {
  return between(c, 'A', 'Z');
}
int islower(int c) {
  return between(c, 'a', 'z');
}
int isalpha(int c) {
  return isupper(c) != 0 || islower(c) != 0;
}
int isdigit(int c) {
  return between(c, '0', '9');
}
int isalnum(int c) {
  return isalpha(c) != 0 || isdigit(c) != 0;
}
int isxdigit(int c) {
  return isdigit(c) != 0 || between(c, 'a', 'f') || between(c, 'A', 'F');
}
int isblank(int c) {
  return c == ' ' || c == '\t';
}
int isspace(int c) {
  return c == ' ' || between(c, '\t', '\r');
}
int iscntrl(int c) {
  return between(c, 0, 0x1f) || c == 0x7f;
}
int isprint(int c) {
  return between(c, ' ', '~');
}
int isgraph(int c) {
  return between(c, '!', '~');
}
int ispunct(int c) {
  return isgraph(c) != 0 && isalnum(c) == 0;
}
int toupper(int c) {
  return islower(c) != 0 ? c - 'a' + 'A' : c;
}
int tolower(int c) {
  return isupper(c) != 0 ? c - 'A' + 'a' : c;
}
}
