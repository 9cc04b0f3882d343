// SPDX-License-Identifier: Apache-2.0
#include "kernel/epc_loss.h"

#include "arch/epc/power.h"
#include "kernel/enclave_lock.h"

namespace enclume::kernel {

namespace {

/// SGX instructions hold a page for microseconds; who holds it longer has died with it.
constexpr unsigned kMaxTries = 1000;

void lose(const Kernel& kernel, const arch::EpcPage& page) noexcept {
  for (unsigned tries = 0; !arch::lose_page(page); ++tries) {
    if (tries == kMaxTries) {
      page.epcm->lock.store(0, std::memory_order_release);
      page.epcm->store({});
      return;
    }
    kernel.platform.relax();
  }
}

template <typename F>
void for_each_page(const Enclave& enclave, F&& f) noexcept {
  const PageIndex& index = enclave.index();
  for (std::uint64_t n = index.next(0); n != PageIndex::kNone; n = index.next(n + 1)) {
    f(n);
  }
}

/// Nobody has native permissions any more, and the contents are gone.
void forget_contents(const Kernel& kernel, Enclave& enclave) noexcept {
  enclave.shared().protection_epoch.fetch_add(1);
  const PageIndex& index = enclave.index();
  for (std::uint64_t first = index.next(0); first != PageIndex::kNone;) {
    const std::uint64_t end = index.next_absent(first, enclave.pages());
    kernel.platform.revoke(enclave, first, end - first);
    kernel.platform.discard(enclave.epc_page(first).data, (end - first) * kPageSize);
    first = index.next(end);
  }
}

}  // namespace

bool lose_epc(const Kernel& kernel, Enclave& enclave) noexcept {
  if (!enclave.created() || !enclave.ensure_mapped(kernel.platform)) {
    return false;
  }
  const EnclaveLock lock(kernel, enclave);
  // The TCSs first: nobody enters any more, and who is inside leaves by an exit that still finds all in
  // place.
  for_each_page(enclave, [&](std::uint64_t page) {
    if (enclave.page(page).load().type == arch::PageType::Tcs) {
      lose(kernel, enclave.epc_page(page));
    }
  });
  (void)kernel.platform.kick(enclave, {});
  for_each_page(enclave, [&](std::uint64_t page) { lose(kernel, enclave.epc_page(page)); });
  // Their contents stay: who could not leave in time is still counted in the SECS.
  for (std::uint64_t va = 0; va < enclave.shared().va_pages.load(); ++va) {
    lose(kernel, enclave.va_page(va));
  }
  lose(kernel, enclave.secs_page());
  forget_contents(kernel, enclave);
  return true;
}

bool epc_lost(const Enclave& enclave) noexcept {
  return enclave.created() && enclave.mapped() && enclave.shared().secs.load().resident &&
         !enclave.secs_page().epcm->load().valid;
}

}  // namespace enclume::kernel
