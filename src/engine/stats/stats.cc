// SPDX-License-Identifier: Apache-2.0
#include "engine/stats/stats.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "base/syscall.h"

namespace enclume::engine {

bool Stats::open(const char* path) {
  const auto fd = sys::call(__NR_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
  if (!fd) {
    return false;
  }
  const auto memory =
      sys::call(__NR_mmap, 0, sizeof(StatsFile), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
  sys::raw(__NR_close, *fd);
  if (!memory) {
    return false;
  }
  file_ = reinterpret_cast<StatsFile*>(*memory);
  claim_group();
  return true;
}

void Stats::claim_group() {
  file_->processes.fetch_add(1, std::memory_order_relaxed);
  const std::int32_t me = sys::getpid();
  for (StatsGroup& group : file_->groups) {
    std::int32_t owner = group.process.load(std::memory_order_relaxed);
    const bool is_free = owner == 0 || owner == me || sys::raw(__NR_kill, owner, 0) == -ESRCH;
    if (is_free && group.process.compare_exchange_strong(owner, me)) {
      group_ = &group;
      return;
    }
  }
  group_ = &file_->groups[0];  // shared then: the sums are right all the same
}

}  // namespace enclume::engine
