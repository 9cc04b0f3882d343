// SPDX-License-Identifier: Apache-2.0
// The program's memory as the kernel reads and writes it for a system call: what can't be read is EFAULT.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/types.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

/// Signal context: safe, all of these.
template <typename T>
[[nodiscard]] bool read_user(T& to, std::uint64_t from) {
  return enclume_guarded_copy(&to, reinterpret_cast<const void*>(from), sizeof(to)) == 0;
}

template <typename T>
[[nodiscard]] bool write_user(std::uint64_t to, const T& from) {
  return enclume_guarded_copy(reinterpret_cast<void*>(to), &from, sizeof(from)) == 0;
}

/// The path that a pointer of the program's leads to, if it can be read and is short enough to be one that
/// the engine knows.
class UserPath {
 public:
  explicit UserPath(const char* path) {
    std::size_t have = 0;
    while (have < text_.size()) {
      // Not beyond a page before its end is known: the next may not be there.
      const std::size_t room = kPageSize - (reinterpret_cast<std::uint64_t>(path + have) & kPageMask);
      const std::size_t wanted = room < text_.size() - have ? room : text_.size() - have;
      if (enclume_guarded_copy(text_.data() + have, path + have, wanted) != 0) {
        return;
      }
      for (std::size_t i = 0; i < wanted; ++i) {
        if (text_[have + i] == '\0') {
          complete_ = true;
          return;
        }
      }
      have += wanted;
    }
  }
  [[nodiscard]] explicit operator bool() const { return complete_; }
  [[nodiscard]] const char* text() const { return text_.data(); }

 private:
  std::array<char, 64> text_{};
  bool complete_ = false;
};

}  // namespace enclume::engine
