// SPDX-License-Identifier: Apache-2.0
#include "engine/start/message.h"

#include <array>

#include "base/format.h"
#include "base/syscall.h"

namespace enclume::engine {

namespace {

void say(std::string_view prefix, std::string_view text) {
  std::array<char, 1024> storage;
  LineBuffer line(storage);
  line.text(prefix).text(text).text("\n");
  sys::write_all(2, line.view().data(), line.view().size());
}

}  // namespace

void warn(std::string_view text) {
  say("enclume: warning: ", text);
}

void tell(std::string_view text) {
  say("enclume: debug: ", text);
}

void refuse(std::string_view text) {
  say("enclume: ", text);
  sys::exit_group(126);
}

}  // namespace enclume::engine
