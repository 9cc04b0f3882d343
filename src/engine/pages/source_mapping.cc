// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/source_mapping.h"

#include <linux/magic.h>
#include <sys/statfs.h>

#include <array>
#include <atomic>
#include <string_view>

#include "base/lock.h"
#include "base/syscall.h"
#include "engine/pages/proc_maps.h"
#include "engine/pages/process.h"

namespace enclume::engine {

namespace {

constexpr long kStNoExec = 0x8;  // ST_NOEXEC in f_flags

constinit OwnerLock cache_lock;
// A loader takes its pages from two or three places, in turns.
constinit std::array<kernel::SourceMapping, 4> cached{};
constinit std::size_t oldest = 0;
constinit std::uint64_t cached_generation = 0;
constinit std::atomic<std::uint64_t> generation{1};

/// VM_MAYEXEC of a file mapping: whether its file system is mounted without noexec.
bool may_exec_file(std::string_view name) {
  std::array<char, 1024> path;
  if (name.empty() || name.size() >= path.size() || name.ends_with(" (deleted)")) {
    return true;  // anonymous, or nobody knows
  }
  name.copy(path.data(), name.size());
  path[name.size()] = '\0';
  struct statfs st;
  return sys::raw(__NR_statfs, sys::arg(path.data()), sys::arg(&st)) != 0 || (st.f_flags & kStNoExec) == 0;
}

std::optional<kernel::SourceMapping> look_up(LinearAddress address) {
  ProcMaps maps;
  if (!maps.is_open()) {
    // Without /proc the copy itself will find out whether anything is there.
    return kernel::SourceMapping{{address.page(), address.page() + kPageSize}, true, true};
  }
  const auto entry = maps.find_from(address);
  return entry ? std::optional(kernel::SourceMapping{entry->range, may_exec_file(entry->path),
                                                     entry->readable && !entry->of_kernel})
               : std::nullopt;
}

}  // namespace

void forget_source_mapping() {
  generation.fetch_add(1, std::memory_order_relaxed);
}

std::optional<kernel::SourceMapping> find_source_mapping(LinearAddress address, int tid) {
  const OwnerLockGuard guard(cache_lock, tid);
  const std::uint64_t now = generation.load(std::memory_order_relaxed);
  if (!guard.clean() || cached_generation != now) {
    cached = {};
    cached_generation = now;
  }
  for (const kernel::SourceMapping& mapping : cached) {
    if (mapping.range.contains(address)) {
      return mapping;
    }
  }
  const auto found = look_up(address);
  // libc makes memory of its own readable without a front door, so that it isn't may change unseen.
  if (found && found->range.contains(address) && found->readable) {
    cached[oldest % cached.size()] = *found;
    oldest = (oldest + 1) % cached.size();
  }
  return found;
}

}  // namespace enclume::engine
