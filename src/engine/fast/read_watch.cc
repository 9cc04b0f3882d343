// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/read_watch.h"

#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <linux/prctl.h>
#include <sys/mman.h>

#include <cstring>
#include <string_view>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {

constexpr int kTrapPerf = 6;
/// Behind si_addr: the event's `sig_data` and its type (union _sifields._sigfault._perf).
constexpr std::size_t kDataOffset = 24;
constexpr std::size_t kTypeOffset = 32;

/// By its address the events are known to be ours.
constinit const char mark = 0;

/// For each slot of the arena its events' mappings. A thread's block is made anew with each thread that has
/// the slot; these stay until somebody unmaps them.
using Events = std::array<std::uint64_t, ReadWatches::kMost>;
constinit std::array<Events, ThreadArena::kMaxSlots> events{};

/// Reads of the engine's own that have been told of.
constinit std::atomic<std::uint32_t> own_reads{0};

void end_event(std::uint64_t& event) {
  if (event != 0) {
    sys::raw(__NR_munmap, static_cast<long>(event), static_cast<long>(kPageSize));
    event = 0;
  }
}

}  // namespace

bool has_tracer() {
  const auto fd = sys::call(__NR_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (!fd) {
    return false;
  }
  std::array<char, 1024> text;
  const auto size = sys::call(__NR_read, *fd, text.data(), text.size());
  sys::raw(__NR_close, *fd);
  constexpr std::string_view kField = "TracerPid:\t";
  const std::string_view status(text.data(), size ? static_cast<std::size_t>(*size) : 0);
  const std::size_t at = status.find(kField);
  return at != std::string_view::npos && !status.substr(at + kField.size()).starts_with('0');
}

bool is_read_watch(const siginfo_t& info) {
  std::uint64_t data;
  std::uint32_t type;
  std::memcpy(&data, reinterpret_cast<const std::byte*>(&info) + kDataOffset, sizeof(data));
  std::memcpy(&type, reinterpret_cast<const std::byte*>(&info) + kTypeOffset, sizeof(type));
  return info.si_signo == SIGTRAP && info.si_code == kTrapPerf && type == PERF_TYPE_BREAKPOINT &&
         data == reinterpret_cast<std::uint64_t>(&mark);
}

void count_own_read() {
  own_reads.fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t watched_word(const siginfo_t& info) {
  return reinterpret_cast<std::uint64_t>(info.si_addr);
}

std::size_t ReadWatches::find(std::uint64_t address) const {
  std::size_t n = 0;
  while (n < kMost && words_[n].address != address) {
    ++n;
  }
  return n;
}

/// An event in the thread, and nothing but its mapping. A thread that has ended needs none.
std::expected<void, Slow> ReadWatches::open_in(const ThreadBlock& block, std::size_t n) {
  std::uint64_t& event = events[block.slot][n];
  if (event != 0) {
    return {};
  }
  slots_ = block.slot < slots_ ? slots_ : block.slot + 1;
  perf_event_attr attr{};
  attr.type = PERF_TYPE_BREAKPOINT;
  attr.size = sizeof(attr);
  attr.bp_type = HW_BREAKPOINT_RW;
  attr.bp_addr = words_[n].address;
  attr.bp_len = HW_BREAKPOINT_LEN_8;
  attr.sample_period = 1;
  attr.exclude_kernel = 1;
  attr.exclude_hv = 1;
  attr.sigtrap = 1;
  attr.remove_on_exec = 1;
  attr.sig_data = reinterpret_cast<std::uint64_t>(&mark);
  const auto fd =
      sys::call(__NR_perf_event_open, &attr, block.tid, -1, -1, std::uint64_t{PERF_FLAG_FD_CLOEXEC});
  if (!fd) {
    const Errno error = fd.error();
    if (error == Errno::NoProcess) {
      return {};
    }
    return std::unexpected(error == Errno::NoSpace ? Slow::NoDebugRegister : Slow::Unwatched);
  }
  // Without room for samples: the first page alone.
  const auto page = sys::call(__NR_mmap, 0, kPageSize, PROT_READ, MAP_SHARED, *fd, 0);
  sys::raw(__NR_close, *fd);
  if (!page) {
    return std::unexpected(Slow::Unwatched);
  }
  event = static_cast<std::uint64_t>(*page);
  return {};
}

/// Some hypervisors give debug registers that do nothing: the calling thread tries it, once.
bool ReadWatches::fires(std::size_t n) {
  if (!has_fired_) {
    const std::uint32_t before = own_reads.load(std::memory_order_relaxed);
    std::byte byte;
    const bool read = enclume_guarded_copy(&byte, reinterpret_cast<const void*>(words_[n].address), 1) == 0;
    has_fired_ = own_reads.load(std::memory_order_relaxed) != before;
    return has_fired_ || !read;
  }
  return true;
}

void ReadWatches::close_word(std::size_t n) {
  words_[n] = {};
  in_use_.fetch_sub(1, std::memory_order_relaxed);
  for (std::uint32_t slot = 0; slot < slots_; ++slot) {
    end_event(events[slot][n]);
  }
}

std::expected<void, Slow> ReadWatches::watch_word(std::uint64_t address) {
  if (const std::size_t known = find(address); known < kMost) {
    ++words_[known].users;
    return {};
  }
  std::size_t n = find(0);
  for (std::size_t other = 0; n == kMost && other < kMost; ++other) {
    if (words_[other].users == 0) {
      close_word(other);
      n = other;
    }
  }
  if (n == kMost) {
    return std::unexpected(Slow::NoDebugRegister);
  }
  words_[n] = {address, 1};
  in_use_.fetch_add(1, std::memory_order_relaxed);
  // A thread that sets `may_be_inside` from now on sees the new version and comes by itself.
  version_.fetch_add(1, std::memory_order_seq_cst);
  std::expected<void, Slow> result;
  engine().arena.for_each([&](const ThreadBlock& block) {
    if (result && block.may_be_inside.load(std::memory_order_seq_cst)) {
      result = open_in(block, n);
    }
  });
  if (result && !fires(n)) {
    result = std::unexpected(Slow::Unwatched);
  }
  if (!result) {
    close_word(n);
  }
  return result;
}

void ReadWatches::release_word(std::uint64_t address) {
  if (const std::size_t n = find(address); n < kMost && words_[n].users > 0) {
    --words_[n].users;
  }
}

std::expected<void, Slow> ReadWatches::watch(const WatchedWords& words) {
  // Under a filter nothing is tried: it might kill for the call.
  if (sys::raw(__NR_prctl, PR_GET_SECCOMP) != 0) {
    return std::unexpected(Slow::Unwatched);
  }
  for (std::size_t i = 0; i < words.size() && words[i] != 0; ++i) {
    if (const auto result = watch_word(words[i]); !result) {
      while (i-- > 0) {
        release_word(words[i]);
        if (const std::size_t n = find(words[i]); words_[n].users == 0) {
          close_word(n);
        }
      }
      return result;
    }
  }
  return {};
}

bool ReadWatches::has_room(const WatchedWords& words) const {
  std::size_t wanted = 0;
  for (const std::uint64_t word : words) {
    wanted += word != 0 && find(word) == kMost ? 1U : 0U;
  }
  for (const Word& word : words_) {
    const bool asked_for = word.address != 0 && (word.address == words[0] || word.address == words[1]);
    wanted -= wanted > 0 && word.users == 0 && !asked_for ? 1U : 0U;
  }
  return wanted == 0;
}

void ReadWatches::release(const WatchedWords& words) {
  for (const std::uint64_t word : words) {
    if (word != 0) {
      release_word(word);
    }
  }
}

void ReadWatches::close(LinearRange range) {
  for (std::size_t n = 0; n < kMost; ++n) {
    if (words_[n].address != 0 && words_[n].users == 0 && range.contains(LinearAddress(words_[n].address))) {
      close_word(n);
    }
  }
}

bool ReadWatches::join(ThreadBlock& block) {
  const std::uint32_t version = version_.load(std::memory_order_seq_cst);
  if (block.watches_seen == 0) {  // new: what there is was another's, that had the slot
    for (std::uint64_t& event : events[block.slot]) {
      end_event(event);
    }
  }
  // Where there is nothing to do, nothing is called: the thread may be allowed next to nothing.
  const bool filtered = in_use() && sys::raw(__NR_prctl, PR_GET_SECCOMP) != 0;
  for (std::size_t n = 0; n < kMost; ++n) {
    if (words_[n].address != 0 && (filtered || !open_in(block, n))) {
      return false;
    }
  }
  block.watches_seen = version;
  return true;
}

void ReadWatches::after_fork_in_child() {
  for (std::uint32_t slot = 0; slot < slots_; ++slot) {
    events[slot] = {};
  }
  slots_ = 0;
  version_.fetch_add(1, std::memory_order_seq_cst);
}

}  // namespace enclume::engine
