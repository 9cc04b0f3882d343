// SPDX-License-Identifier: Apache-2.0
// A file that is replaced as a whole: after a crash at any moment there is the old state or the new one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kv {

class StateFile {
 public:
  /// Opens no file yet, but keeps other processes from using this one meanwhile; errno if that cannot be.
  static std::expected<StateFile, int> at(std::string path);
  StateFile(StateFile&& other) noexcept;
  ~StateFile();

  /// What is there; nothing if there is no file; errno if it cannot be read.
  [[nodiscard]] std::expected<std::optional<std::vector<std::byte>>, int> read() const;
  /// On the disk when it returns. States may come in any order: one with a number lower than the last is part
  /// of that already. False: it could not be written, and what was there before is there still.
  [[nodiscard]] bool replace(std::uint64_t number, std::span<const std::byte> bytes);

 private:
  StateFile(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_;
  std::mutex mutex_;
  std::uint64_t last_ = 0;
};

}  // namespace kv
