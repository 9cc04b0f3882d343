// SPDX-License-Identifier: Apache-2.0
#include "kernel/reclaim/reclaim.h"

#include <algorithm>

#include "kernel/attachments.h"
#include "kernel/enclave_lock.h"
#include "kernel/reclaim/clock.h"
#include "kernel/reclaim/eviction.h"

namespace enclume::kernel {

namespace {

constexpr std::uint64_t kLowPages = 32;   // SGX_NR_LOW_PAGES
constexpr std::uint64_t kHighPages = 64;  // SGX_NR_HIGH_PAGES

/// Tries without any progress before the EPC counts as exhausted: other threads may be about to give pages
/// back that they have set aside.
constexpr unsigned kMaxFruitlessTries = 20;

bool take(KernelShared& shared) noexcept {
  std::uint64_t used = shared.epc_used.load();
  do {
    if (used >= shared.epc_total.load()) {
      return false;
    }
  } while (!shared.epc_used.compare_exchange_weak(used, used + 1));
  return true;
}

unsigned reclaim_from(const Kernel& kernel, Enclave& enclave) noexcept {
  const EnclaveLock lock(kernel, enclave);
  const PagingTime time(kernel);
  std::uint64_t victims[kReclaimBatch];
  const std::size_t n = choose_victims(kernel, enclave, victims);
  return evict_pages(kernel, enclave, {victims, n});
}

}  // namespace

EpcReservation::~EpcReservation() {
  while (available_ > 0) {
    enclave_.count_reserved(-1);
    give_back_epc_page(kernel_, enclave_);
    --available_;
  }
}

void EpcReservation::use() noexcept {
  enclave_.count_reserved(-1);
  --available_;
}

bool EpcReservation::take_one() noexcept {
  if (!take(kernel_.shared)) {
    return false;
  }
  enclave_.record().epc_pages.fetch_add(1);
  enclave_.count_reserved(1);
  ++available_;
  return true;
}

void EpcReservation::prefer(std::uint64_t pages) noexcept {
  while (available_ < pages && take_one()) {
  }
}

SysResult<void> EpcReservation::ensure(std::uint64_t pages, bool interruptible) noexcept {
  unsigned fruitless = 0;
  while (available_ < pages) {
    if (take_one()) {
      continue;
    }
    if (interruptible && kernel_.platform.signal_pending()) {
      return fail(Errno::Restart);
    }
    if (sweep_dead_processes(kernel_) > 0 || reclaim_batch(kernel_) > 0) {
      fruitless = 0;
      continue;
    }
    if (++fruitless == kMaxFruitlessTries || pages > kernel_.shared.epc_total.load()) {
      return fail(Errno::NoMemory);
    }
    kernel_.platform.relax();
  }
  return {};
}

void give_back_epc_page(const Kernel& kernel, Enclave& enclave) noexcept {
  enclave.record().epc_pages.fetch_sub(1);
  kernel.shared.epc_used.fetch_sub(1);
}

std::uint64_t free_epc_pages(const KernelShared& shared) noexcept {
  const std::uint64_t used = shared.epc_used.load();
  const std::uint64_t total = shared.epc_total.load();
  return used < total ? total - used : 0;
}

unsigned reclaim_batch(const Kernel& kernel) noexcept {
  // Another thread may be closing one of them.
  const EnclaveTable::Kept kept(kernel.enclaves);
  // The biggest first; one that yields nothing is not asked again.
  std::uint32_t fruitless[8];
  std::size_t tried = 0;
  while (tried < std::size(fruitless)) {
    Enclave* biggest = nullptr;
    std::uint64_t most = 0;
    kernel.enclaves.for_each([&](Enclave& e) {
      if (!e.mapped() || std::find(fruitless, fruitless + tried, e.number()) != fruitless + tried) {
        return;
      }
      if (const std::uint64_t children = e.shared().secs_children.load(); children > most) {
        most = children;
        biggest = &e;
      }
    });
    if (biggest == nullptr) {
      return 0;
    }
    if (const unsigned freed = reclaim_from(kernel, *biggest); freed > 0) {
      return freed;
    }
    fruitless[tried++] = biggest->number();
  }
  return 0;
}

unsigned balance_epc(const Kernel& kernel) noexcept {
  const std::uint64_t total = kernel.shared.epc_total.load();
  if (free_epc_pages(kernel.shared) >= std::min(kLowPages, total / 16)) {
    return 0;
  }
  unsigned freed = 0;
  while (free_epc_pages(kernel.shared) < std::min(kHighPages, total / 8)) {
    const unsigned batch = reclaim_batch(kernel);
    if (batch == 0) {
      break;
    }
    freed += batch;
  }
  return freed;
}

std::uint64_t sweep_dead_processes(const Kernel& kernel) noexcept {
  const OwnerLockGuard guard(kernel.shared.lock, kernel.platform.thread_id());
  return detach_dead_processes(kernel.shared, kernel.platform);
}

}  // namespace enclume::kernel
