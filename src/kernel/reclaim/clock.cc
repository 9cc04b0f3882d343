// SPDX-License-Identifier: Apache-2.0
#include "kernel/reclaim/clock.h"

#include <algorithm>

#include "kernel/reclaim/eviction.h"
#include "kernel/reclaim/reclaim.h"

namespace enclume::kernel {

namespace {

/// Pages between the hands: how long a page has to show that it is in use.
constexpr std::uint64_t kMinSpread = kReclaimBatch;
constexpr std::uint64_t kMaxSpread = 512;

/// Steps through the resident pages, round and round.
class Hand {
 public:
  Hand(const Enclave& enclave, std::atomic<std::uint64_t>& position) noexcept
      : enclave_(enclave), position_(position) {}

  /// The next resident page that is not blocked; kNone if there is none at all.
  std::uint64_t next() noexcept {
    const std::uint64_t start = position_.load();
    std::uint64_t at = start;
    for (bool wrapped = false;;) {
      const std::uint64_t page = enclave_.index().next(at);
      if (page == PageIndex::kNone || (wrapped && page >= start)) {
        if (wrapped) {
          return PageIndex::kNone;
        }
        wrapped = true;
        at = 0;
        continue;
      }
      at = page + 1;
      if (enclave_.page(page).load().resident && !enclave_.epc_page(page).epcm->load().blocked) {
        position_.store(at);
        return page;
      }
    }
  }

 private:
  const Enclave& enclave_;
  std::atomic<std::uint64_t>& position_;
};

void mark_aged(EnclavePage& page) noexcept {
  std::uint32_t word = page.word.load();
  for (;;) {
    PageState state = PageState::unpack(word);
    state.aged = true;
    if (page.word.compare_exchange_weak(word, state.pack())) {
      return;
    }
  }
}

/// Ages `count` pages ahead of the first hand.
void age(const Kernel& kernel, Enclave& enclave, std::uint64_t count) noexcept {
  Hand hand(enclave, enclave.shared().aging_hand);
  std::uint64_t fresh[kReclaimBatch];
  std::size_t n = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t page = hand.next();
    if (page == PageIndex::kNone) {
      break;
    }
    if (!enclave.page(page).load().aged) {
      mark_aged(enclave.page(page));
      fresh[n++] = page;
    }
    if (n == std::size(fresh)) {
      revoke_pages(kernel, enclave, fresh);
      n = 0;
    }
  }
  revoke_pages(kernel, enclave, {fresh, n});
}

}  // namespace

std::size_t choose_victims(const Kernel& kernel, Enclave& enclave,
                           std::span<std::uint64_t> victims) noexcept {
  EnclaveShared& s = enclave.shared();
  const std::uint64_t resident = s.secs_children.load();
  const std::uint64_t spread = std::clamp(resident / 8, kMinSpread, kMaxSpread);
  Hand hand(enclave, s.evicting_hand);
  std::size_t n = 0;

  if (enclave.initialized()) {
    // One round of the spread at most: by then either there is a batch, or the working set is bigger than
    // the EPC and which page goes does not matter.
    for (std::uint64_t steps = 0; steps < spread && n < victims.size(); steps += kReclaimBatch) {
      if (s.aging_lead.load() < spread) {
        const std::uint64_t missing = spread - s.aging_lead.load();
        age(kernel, enclave, missing);
        s.aging_lead.fetch_add(missing);
      }
      for (unsigned i = 0; i < kReclaimBatch && n < victims.size(); ++i) {
        const std::uint64_t page = hand.next();
        if (page == PageIndex::kNone) {
          break;
        }
        s.aging_lead.fetch_sub(1);
        if (enclave.page(page).load().aged) {
          victims[n++] = page;
        }
      }
    }
  }
  while (n == 0 || (!enclave.initialized() && n < victims.size())) {
    const std::uint64_t page = hand.next();
    if (page == PageIndex::kNone || (n > 0 && page == victims[0])) {
      break;
    }
    victims[n++] = page;
  }
  std::sort(victims.begin(), victims.begin() + static_cast<std::ptrdiff_t>(n));
  return static_cast<std::size_t>(
      std::unique(victims.begin(), victims.begin() + static_cast<std::ptrdiff_t>(n)) - victims.begin());
}

}  // namespace enclume::kernel
