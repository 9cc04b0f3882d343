// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/source_mapping.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>

#include <array>
#include <atomic>
#include <string_view>

#include "base/lock.h"
#include "base/syscall.h"
#include "engine/pages/process.h"

namespace enclume::engine {

namespace {

constexpr long kStNoExec = 0x8;  // ST_NOEXEC in f_flags

constinit OwnerLock cache_lock;
constinit kernel::SourceMapping cached{};
constinit std::uint64_t cached_generation = 0;
constinit std::atomic<std::uint64_t> generation{1};

/// Reads a file of /proc line by line through a small buffer.
class Lines {
 public:
  explicit Lines(int fd) : fd_(fd) {}

  /// The next line without its end; a longer one than the buffer comes cut. Empty optional at the end.
  std::optional<std::string_view> next() {
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

 private:
  int fd_;
  std::array<char, 1024> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool skip_ = false;
};

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

/// VM_MAYEXEC of a file mapping: whether its file system is mounted without noexec.
bool may_exec_file(std::string_view line) {
  const std::size_t slash = line.find('/');
  if (slash == std::string_view::npos) {
    return true;  // anonymous
  }
  std::array<char, 1024> path;
  const std::string_view name = line.substr(slash);
  if (name.size() >= path.size() || name.ends_with(" (deleted)")) {
    return true;
  }
  name.copy(path.data(), name.size());
  path[name.size()] = '\0';
  struct statfs st;
  return sys::raw(__NR_statfs, sys::arg(path.data()), sys::arg(&st)) != 0 || (st.f_flags & kStNoExec) == 0;
}

std::optional<kernel::SourceMapping> look_up(LinearAddress address) {
  const auto fd = sys::call(__NR_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (!fd) {
    // Without /proc the copy itself will find out whether anything is there.
    return kernel::SourceMapping{{address.page(), address.page() + kPageSize}, true};
  }
  std::optional<kernel::SourceMapping> found;
  Lines lines(static_cast<int>(*fd));
  while (const auto line = lines.next()) {
    std::size_t at = 0;
    const LinearAddress begin(parse_hex(*line, at));
    ++at;
    const LinearAddress end(parse_hex(*line, at));
    if (address >= end) {
      continue;
    }
    if (address >= begin) {
      found = kernel::SourceMapping{{begin, end}, may_exec_file(*line)};
    }
    break;
  }
  sys::raw(__NR_close, *fd);
  return found;
}

}  // namespace

void forget_source_mapping() {
  generation.fetch_add(1, std::memory_order_relaxed);
}

std::optional<kernel::SourceMapping> find_source_mapping(LinearAddress address, int tid) {
  const OwnerLockGuard guard(cache_lock, tid);
  const std::uint64_t now = generation.load(std::memory_order_relaxed);
  if (guard.clean() && cached_generation == now && cached.range.contains(address)) {
    return cached;
  }
  const auto found = look_up(address);
  if (found) {
    cached = *found;
    cached_generation = now;
  }
  return found;
}

}  // namespace enclume::engine
