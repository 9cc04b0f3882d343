// SPDX-License-Identifier: Apache-2.0
#include "engine/trace/symbols.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <string_view>

#include "base/lock.h"
#include "base/syscall.h"
#include "engine/debugger.h"
#include "engine/pages/proc_maps.h"

namespace enclume::engine {

namespace {

/// It is read whole, in a handler. Larger ones have no names.
constexpr std::uint64_t kLargestFile = 128ULL << 20;
constexpr std::uint32_t kNoFile = ~0U;

struct File {
  std::array<char, 512> path;
  std::size_t path_size;
  ElfSymbols symbols;
};

/// Pages of an enclave, and where in which file they come from. The newest ones hold, if several overlap.
struct Source {
  LinearAddress begin;
  std::atomic<std::uint64_t> end;
  std::uint32_t file;
  std::uint64_t offset;
};

// Both only grow, so readers need no lock.
constinit std::array<File, 64> files{};
constinit std::atomic<std::uint32_t> file_count{0};
constinit std::array<Source, 1024> sources{};
constinit std::atomic<std::uint32_t> source_count{0};
constinit OwnerLock lock;

/// The lock, unless somebody has it: then there is no name this time.
class TryLock {
 public:
  explicit TryLock(int tid) : held_(lock.try_lock(tid)) {}
  ~TryLock() {
    if (held_) {
      lock.unlock();
    }
  }
  TryLock(const TryLock&) = delete;
  TryLock& operator=(const TryLock&) = delete;
  explicit operator bool() const { return held_; }

 private:
  bool held_;
};

/// The whole file in memory of our own: it may shrink. Empty if it can't be had.
std::span<const std::byte> load(const char* path) {
  const auto fd = sys::call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (!fd) {
    return {};
  }
  std::span<const std::byte> content;
  struct stat st;
  if (sys::raw(__NR_fstat, *fd, sys::arg(&st)) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
      static_cast<std::uint64_t>(st.st_size) <= kLargestFile) {
    const auto size = static_cast<std::size_t>(st.st_size);
    const auto memory = sys::call(__NR_mmap, 0, static_cast<long>(size), PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::size_t done = 0;
    while (memory && done < size) {
      const long n =
          sys::raw(__NR_read, *fd, *memory + static_cast<long>(done), static_cast<long>(size - done));
      if (n <= 0) {
        break;
      }
      done += static_cast<std::size_t>(n);
    }
    if (memory && done < size) {
      sys::raw(__NR_munmap, *memory, static_cast<long>(size));
    } else if (memory) {
      content = {reinterpret_cast<const std::byte*>(*memory), done};
    }
  }
  sys::raw(__NR_close, *fd);
  return content;
}

/// Under the lock.
std::uint32_t file_named(std::string_view path) {
  const std::uint32_t count = file_count.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (std::string_view(files[i].path.data(), files[i].path_size) == path) {
      return i;
    }
  }
  if (count == files.size() || path.empty() || path.size() >= files[0].path.size()) {
    return kNoFile;
  }
  File& file = files[count];
  path.copy(file.path.data(), path.size());
  file.path[path.size()] = '\0';
  file.path_size = path.size();
  file.symbols = ElfSymbols(load(file.path.data()));
  file_count.store(count + 1, std::memory_order_release);
  return count;
}

/// Under the lock. Pages come one by one, or in one call from several mappings.
void add(LinearRange range, std::uint32_t file, std::uint64_t offset) {
  const std::uint32_t count = source_count.load(std::memory_order_relaxed);
  if (count > 0) {
    Source& last = sources[count - 1];
    const std::uint64_t size = last.end.load(std::memory_order_relaxed) - last.begin.value();
    if (last.file == file && range.begin.value() == last.begin.value() + size &&
        (file == kNoFile || offset == last.offset + size)) {
      last.end.store(range.end.value(), std::memory_order_release);
      return;
    }
  }
  if (count == sources.size()) {
    // No name is better than the name of what was there before.
    for (Source& source : sources) {
      if (source.begin < range.end && range.begin.value() < source.end.load(std::memory_order_relaxed)) {
        source.end.store(source.begin.value(), std::memory_order_release);
      }
    }
    return;
  }
  Source& source = sources[count];
  source.begin = range.begin;
  source.end.store(range.end.value(), std::memory_order_relaxed);
  source.file = file;
  source.offset = offset;
  source_count.store(count + 1, std::memory_order_release);
}

}  // namespace

void symbols_after_fork() noexcept {
  lock.reset_in_child();
}

void note_enclave_source(LinearRange range, LinearAddress source, int tid) noexcept {
  const TryLock held(tid);
  if (!held) {
    return;
  }
  ProcMaps maps;
  LinearAddress at = range.begin;
  while (at < range.end) {
    const auto entry = maps.next();
    if (!entry) {
      add({at, range.end}, kNoFile, 0);
      return;
    }
    const LinearAddress from = source + (at - range.begin);
    if (from >= entry->range.end) {
      continue;
    }
    if (from < entry->range.begin) {
      add({at, range.end}, kNoFile, 0);
      return;
    }
    const std::uint64_t left = range.end - at;
    const std::uint64_t here = entry->range.end - from;
    const std::uint64_t size = here < left ? here : left;
    add({at, at + size}, file_named(entry->path), entry->offset + (from - entry->range.begin));
    at = at + size;
  }
}

std::optional<trace::Symbol> enclave_symbol(LinearAddress address) noexcept {
  for (std::uint32_t i = source_count.load(std::memory_order_acquire); i > 0; --i) {
    const Source& source = sources[i - 1];
    if (address >= source.begin && address.value() < source.end.load(std::memory_order_acquire)) {
      return source.file == kNoFile
                 ? std::nullopt
                 : files[source.file].symbols.find(source.offset + (address - source.begin));
    }
  }
  return std::nullopt;
}

std::optional<trace::Symbol> host_symbol(LinearAddress address, int tid) noexcept {
  const TryLock held(tid);
  if (!held) {
    return std::nullopt;
  }
  ProcMaps maps;
  const auto entry = maps.find(address);
  if (entry && entry->range.contains(LinearAddress(enclume_debugger.vdso))) {
    // The vDSO: no file, but an image as a file has it.
    return ElfSymbols({reinterpret_cast<const std::byte*>(entry->range.begin.value()), entry->range.size()})
        .find(address - entry->range.begin);
  }
  const std::uint32_t file = entry ? file_named(entry->path) : kNoFile;
  return file == kNoFile ? std::nullopt
                         : files[file].symbols.find(entry->offset + (address - entry->range.begin));
}

}  // namespace enclume::engine
