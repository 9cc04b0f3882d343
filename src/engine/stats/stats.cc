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
      exclusive_ = true;
      return;
    }
  }
  group_ = &file_->groups[0];  // shared then: the sums are right all the same
  exclusive_ = false;
}

void Stats::add_slow_site(std::uint64_t address, Slow why, std::uint64_t enclave, std::uint64_t offset) {
  const std::uint64_t key = slow_site_key(address, why);
  for (SlowSite& site : group_->slow_sites) {
    std::uint64_t known = site.key.load(std::memory_order_acquire);
    if (known == 0 && site.key.compare_exchange_strong(known, key)) {
      site.enclave = enclave;
      site.offset_and_one.store(offset + 1, std::memory_order_release);
      known = key;
    }
    if (known == key) {
      site.count.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  }
}

}  // namespace enclume::engine
