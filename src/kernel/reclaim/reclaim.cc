// SPDX-License-Identifier: Apache-2.0
#include "kernel/reclaim/reclaim.h"

#include <algorithm>
#include <span>

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

/// Times that Platform::relax() is called while another process evicts: some twenty milliseconds.
constexpr unsigned kMaxWaitsForOthers = 200;
/// How often a process that has not answered then (it is stopped, or at work in the engine) is passed over.
constexpr std::uint32_t kRestAfterSilence = 50;
/// Batches that another process evicts when it is asked: each time costs it a signal.
constexpr unsigned kBatchesForOthers = 4;

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

/// An enclave that none of this process's threads can page, and a process that can.
struct Rival {
  EnclaveRecord* record = nullptr;
  std::uint64_t pages = 0;
  int process = 0;
};

/// The one that has most EPC pages of those that this process has not.
Rival biggest_rival(const Kernel& kernel) noexcept {
  Rival rival;
  std::uint32_t known = 0;  // numbers are not given twice: it is looked up once
  for (Attachment& a : std::span(kernel.shared.attachments).first(kernel.shared.attachments_end.load())) {
    const std::uint32_t number = a.number.load();
    if (number == 0 || number == known || kernel.enclaves.find(number) != nullptr) {
      continue;
    }
    known = number;
    for (EnclaveRecord& record : kernel.shared.enclaves) {
      if (const std::uint64_t pages = record.epc_pages.load();
          record.number.load() == number && pages > rival.pages) {
        rival = {&record, pages, a.process.load()};
      }
    }
  }
  return rival;
}

std::uint64_t most_own_pages(const Kernel& kernel) noexcept {
  std::uint64_t most = 0;
  kernel.enclaves.for_each([&](const Enclave& e) { most = std::max(most, e.record().epc_pages.load()); });
  return most;
}

/// Linux's reclaimer takes pages from whoever has them. Here it is the enclave's own processes that can, so
/// one of them is asked; if its enclave has more than a few pages beyond each of ours, lest two processes ask
/// each other all the time. Whether pages have become free.
bool reclaim_from_others(const Kernel& kernel, bool at_any_size) noexcept {
  const std::uint64_t margin = at_any_size ? 0 : std::min(kHighPages, kernel.shared.epc_total.load() / 8);
  const Rival rival = biggest_rival(kernel);
  if (rival.record == nullptr || rival.pages <= margin ||
      (!at_any_size && rival.pages - margin <= most_own_pages(kernel))) {
    return false;
  }
  if (const std::uint32_t left = rival.record->unheard.load(); left > 0) {
    rival.record->unheard.store(left - 1);
    return false;
  }
  if (kernel.platform.ask_to_evict(rival.process, rival.record->number.load())) {
    for (unsigned waits = 0; waits < kMaxWaitsForOthers; ++waits) {
      if (free_epc_pages(kernel.shared) > 0) {
        return true;
      }
      kernel.platform.relax();
    }
  }
  rival.record->unheard.store(kRestAfterSilence);
  return false;
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
    if (sweep_dead_processes(kernel_) > 0 || reclaim_from_others(kernel_, false) ||
        reclaim_batch(kernel_) > 0 || reclaim_from_others(kernel_, true)) {
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

void evict_for_others(const Kernel& kernel, std::uint32_t enclave) noexcept {
  (void)kernel.enclaves.keep(enclave, [&](Enclave& e) {
    for (unsigned i = 0; e.mapped() && i < kBatchesForOthers && reclaim_from(kernel, e) > 0; ++i) {
    }
  });
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

std::uint64_t sweep_dead_processes(const Kernel& kernel, bool thorough) noexcept {
  constexpr std::uint32_t kThoroughEvery = 16;
  const OwnerLockGuard guard(kernel.shared.lock, kernel.platform.thread_id());
  const bool turn = kernel.shared.sweeps.fetch_add(1) % kThoroughEvery == 0;
  return detach_dead_processes(kernel.shared, kernel.platform, thorough || turn);
}

}  // namespace enclume::kernel
