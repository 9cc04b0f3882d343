// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/page_guards.h"

#include <sys/mman.h>

#include <atomic>

#include "base/syscall.h"

namespace enclume::engine {

namespace {

constexpr long kMadvGuardInstall = 102;  // asm-generic/mman-common.h
constexpr long kMadvGuardRemove = 103;

/// So often in vain, and never with success: the kernel has none.
constexpr int kMostTries = 16;
constexpr int kProven = kMostTries + 1;
constinit std::atomic<int> tries_left{kMostTries};

SysResult<long> advise(const kernel::Enclave& enclave, std::uint64_t first, std::uint64_t count, long what) {
  return sys::call(__NR_madvise, enclave.page_address(first).value(), count * kPageSize, what);
}

}  // namespace

bool PageGuards::install(std::uint64_t first, std::uint64_t count) {
  const int tries = tries_left.load(std::memory_order_relaxed);
  if (tries == 0) {
    return false;
  }
  if (enclave_.guards == nullptr) {
    const auto r = sys::call(__NR_mmap, 0, enclave_.pages(), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!r) {
      return false;
    }
    enclave_.guards = reinterpret_cast<std::uint8_t*>(*r);
  }
  // Before there are any: a guard that nobody knows of would never go.
  update(first, count, [](std::uint8_t mark) { return mark | kGuard; });
  const bool installed = advise(enclave_, first, count, kMadvGuardInstall).has_value();
  if (tries != kProven) {
    tries_left.store(installed ? kProven : tries - 1, std::memory_order_relaxed);
  }
  return installed;
}

void PageGuards::remove(std::uint64_t first, std::uint64_t count) {
  const std::uint64_t end = first + count;
  while (enclave_.guards != nullptr && first < end && !on(first)) {
    ++first;
  }
  if (enclave_.guards != nullptr && first < end) {
    (void)advise(enclave_, first, end - first, kMadvGuardRemove);
    update(first, end - first, [](std::uint8_t mark) { return mark & ~kGuard; });
  }
}

void PageGuards::note(std::uint64_t first, std::uint64_t count, kernel::Protection prot) {
  update(first, count, [prot](std::uint8_t mark) { return (mark & kGuard) | prot.bits(); });
}

void PageGuards::note_new_mapping(std::uint64_t first, std::uint64_t count, kernel::Protection prot) {
  update(first, count, [prot](std::uint8_t) { return prot.bits(); });
}

}  // namespace enclume::engine
