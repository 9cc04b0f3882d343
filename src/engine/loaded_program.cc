// SPDX-License-Identifier: Apache-2.0
#include "engine/loaded_program.h"

#include <array>
#include <cstring>

#include "base/format.h"
#include "base/syscall.h"

namespace enclume::engine {

namespace {

constinit std::array<char, 4096> file{};
constinit std::size_t length = 0;
constinit bool known = false;

bool is_decimal(std::string_view text, int value) {
  std::array<char, 16> storage;
  LineBuffer number(storage);
  number.dec(value);
  return text == number.view();
}

}  // namespace

std::string_view loaded_program() {
  return {file.data(), length};
}

void kernel_knows_loaded_program() {
  known = true;
}

void set_loaded_program(std::string_view path) {
  length = path.size() < file.size() ? path.size() : file.size() - 1;
  std::memcpy(file.data(), path.data(), length);
  file[length] = '\0';
}

bool hides_loader() {
  return length != 0 && !known;
}

bool names_loaded_program(std::string_view path) {
  constexpr std::string_view kProc = "/proc/";
  constexpr std::string_view kExe = "/exe";
  if (!hides_loader() || path.size() <= kProc.size() + kExe.size() || !path.starts_with(kProc) ||
      !path.ends_with(kExe)) {
    return false;
  }
  path = path.substr(kProc.size(), path.size() - kProc.size() - kExe.size());
  return path == "self" || path == "thread-self" || is_decimal(path, sys::getpid());
}

}  // namespace enclume::engine
