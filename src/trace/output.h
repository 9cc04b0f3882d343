// SPDX-License-Identifier: Apache-2.0
// The file that a trace goes to, from inside a program that knows nothing of it: the program may close the
// descriptor, reuse its number, or leave nobody at the other end of a pipe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "base/errno.h"

namespace enclume::trace {

class Output {
 public:
  constexpr Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Opens an existing file for appending, or for "-" what descriptor 2 is now. The descriptor is a high one
  /// and closed by exec, so that the program's numbers stay what they would be. Errors: open(2)'s and
  /// fcntl(2)'s; NoSpace for a path of kMaxPath bytes or more. Signal context: safe.
  [[nodiscard]] SysResult<void> open(std::string_view path) noexcept;

  /// Writes the text at once. If the descriptor is no longer the file of open(), it is opened again; if that
  /// is impossible the text is dropped. Never raises SIGPIPE. Signal context: safe.
  void write(std::string_view text) noexcept;

  /// Of the descriptor, -1 if there is none. For tests.
  [[nodiscard]] int descriptor() const noexcept { return fd_.load(std::memory_order_relaxed); }

  static constexpr std::size_t kMaxPath = 4096;
  static constexpr int kLowestDescriptor = 100;

 private:
  /// Who a file is: st_dev and st_ino.
  struct Identity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    friend bool operator==(Identity, Identity) = default;
  };
  struct Status {
    Identity identity;
    bool pipe = false;  ///< or a socket: what raises SIGPIPE
  };
  [[nodiscard]] static SysResult<Status> status_of(int fd) noexcept;
  [[nodiscard]] SysResult<int> open_high() const noexcept;
  [[nodiscard]] int usable_descriptor() noexcept;
  void write_to_pipe(int fd, std::string_view text) noexcept;

  std::array<char, kMaxPath> path_{};  ///< empty: descriptor 2
  Status status_;
  std::atomic<int> fd_{-1};
  std::atomic<bool> broken_{false};  ///< a pipe without a reader
};

}  // namespace enclume::trace
