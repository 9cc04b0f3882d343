// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/proc_maps.h"

#include <fcntl.h>

#include "base/syscall.h"

namespace enclume::engine {

namespace {

std::uint64_t parse_hex(std::string_view text, std::size_t& at) {
  std::uint64_t value = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c >= '0' && c <= '9') {
      value = value * 16 + static_cast<std::uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value * 16 + static_cast<std::uint64_t>(c - 'a') + 10;
    } else {
      break;
    }
  }
  return value;
}

}  // namespace

ProcMaps::ProcMaps()
    : fd_(static_cast<int>(
          sys::call(__NR_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC).value_or(-1))) {}

ProcMaps::~ProcMaps() {
  if (fd_ >= 0) {
    sys::raw(__NR_close, fd_);
  }
}

/// The next line without its end; a longer one than the buffer comes cut.
std::optional<std::string_view> ProcMaps::next_line() {
  for (;;) {
    const std::string_view text(buffer_.data() + begin_, end_ - begin_);
    if (const std::size_t newline = text.find('\n'); newline != std::string_view::npos) {
      begin_ += newline + 1;
      if (skip_) {
        skip_ = false;
        continue;
      }
      return text.substr(0, newline);
    }
    if (begin_ == 0 && end_ == buffer_.size()) {
      begin_ = end_;
      const bool was = skip_;
      skip_ = true;
      if (!was) {
        return text;
      }
      continue;
    }
    // Move the rest to the front and read on.
    for (std::size_t i = begin_; i < end_; ++i) {
      buffer_[i - begin_] = buffer_[i];
    }
    end_ -= begin_;
    begin_ = 0;
    const long n =
        sys::raw(__NR_read, fd_, sys::arg(buffer_.data() + end_), static_cast<long>(buffer_.size() - end_));
    if (n <= 0) {
      return std::nullopt;
    }
    end_ += static_cast<std::size_t>(n);
  }
}

std::optional<MapsEntry> ProcMaps::next() {
  const auto line = is_open() ? next_line() : std::nullopt;
  if (!line) {
    return std::nullopt;
  }
  // begin-end perms offset device inode path
  MapsEntry entry;
  std::size_t at = 0;
  const LinearAddress begin(parse_hex(*line, at));
  ++at;
  const LinearAddress end(parse_hex(*line, at));
  entry.range = {begin, end};
  constexpr std::size_t kPermissions = 6;  // with the blanks around
  entry.readable = at + 1 < line->size() && (*line)[at + 1] == 'r';
  entry.of_kernel = line->find("[vvar") != std::string_view::npos;
  at += kPermissions;
  if (at < line->size()) {
    entry.offset = parse_hex(*line, at);
  }
  if (const std::size_t slash = line->find('/', at); slash != std::string_view::npos) {
    entry.path = line->substr(slash);
  }
  return entry;
}

std::optional<MapsEntry> ProcMaps::find(LinearAddress address) {
  const auto entry = find_from(address);
  return entry && address >= entry->range.begin ? entry : std::nullopt;
}

std::optional<MapsEntry> ProcMaps::find_from(LinearAddress address) {
  while (const auto entry = next()) {
    if (address < entry->range.end) {
      return entry;
    }
  }
  return std::nullopt;
}

}  // namespace enclume::engine
