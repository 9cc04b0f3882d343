// SPDX-License-Identifier: Apache-2.0
#include "kernel/fault/page_fault.h"

#include "arch/structs/ssa.h"
#include "kernel/enclave_lock.h"
#include "kernel/encls.h"
#include "kernel/paging_journal.h"
#include "kernel/resident_page.h"
#include "kernel/va_slots.h"
#include "kernel/vma/first_touch.h"

namespace enclume::kernel {

namespace {

/// access_error(), and bad_area_access_error() for its result. Execution is not asked for unless the page
/// is there: Linux loads the page first, and the retry faults with P set.
FaultResolution access_error(const Vma& vma, std::uint32_t error_code) noexcept {
  if ((error_code & arch::pfec::kProtectionKey) != 0) {
    return FaultResolution::BadKey;
  }
  if ((error_code & arch::pfec::kSgx) != 0) {
    return FaultResolution::BadAccess;
  }
  if ((error_code & arch::pfec::kWrite) != 0) {
    return vma.prot.writable() ? FaultResolution::Resolved : FaultResolution::BadAccess;
  }
  if ((error_code & arch::pfec::kPresent) != 0 || vma.prot.none()) {
    return FaultResolution::BadAccess;
  }
  return FaultResolution::Resolved;
}

/// Whether an EPCM violation is only the reclaimer's work, seen half way. Linux takes a page's PTE away in
/// all processors before EBLOCK, so that nobody meets a blocked page; here a thread can walk to the page
/// before and have it checked after. It is a page that isn't there, then.
bool met_the_reclaimer(const Enclave& enclave, LinearAddress address, std::uint32_t error_code) noexcept {
  if ((error_code & arch::pfec::kSgx) == 0 || !enclave.mapped()) {
    return false;
  }
  const std::uint64_t number = enclave.page_number(address);
  return number < enclave.pages() && !is_resident(enclave, number);
}

/// Whether the page can be added with what is at hand. The lock is held.
bool has_room_to_grow(const Enclave& enclave, const EpcReservation& epc) noexcept {
  const std::uint64_t needed = growth_needs_va_page(enclave) ? 2 : 1;
  return enclave.shared().secs.load().resident && epc.available() >= needed;
}

/// After that.
bool add_page(const Kernel& kernel, Enclave& enclave, EpcReservation& epc, std::uint64_t number) noexcept {
  if (!grow(kernel, enclave, epc)) {
    return false;
  }
  const Journaled journaled = Journaled::change(enclave, number);
  if (!succeeded(Encls(kernel, enclave).eaug(number))) {
    shrink(enclave);
    return false;
  }
  epc.use();
  kernel.platform.count_pages(Platform::PageEvent::Augmented, 1);
  enclave.shared().secs_children.fetch_add(1);
  // The enclave decides on permissions by EACCEPT, EACCEPTCOPY and EMODPE: no maximum.
  enclave.page(number).store(
      {.max_prot = kProtAll, .present = true, .resident = true, .type = arch::PageType::Reg});
  enclave.index().insert(number);
  return true;
}

/// sgx_encl_eaug_page()
FaultResolution augment(const Kernel& kernel, Enclave& enclave, std::uint64_t number) noexcept {
  if (kernel.platform.injected_full_epc()) {
    return FaultResolution::Bus;
  }
  EpcReservation epc(kernel, enclave);
  epc.prefer(1);  // else the lock has to be let go for it
  EnclaveLock lock(kernel, enclave);
  for (;;) {
    if (enclave.index().contains(number)) {
      return FaultResolution::Resolved;  // another thread was faster
    }
    if (has_room_to_grow(enclave, epc)) {
      break;
    }
    const std::uint64_t needed = growth_needs_va_page(enclave) ? 2 : 1;
    if (!make_secs_resident(kernel, enclave, lock, epc, needed)) {
      return FaultResolution::Bus;
    }
  }
  return add_page(kernel, enclave, epc, number) ? FaultResolution::Resolved : FaultResolution::Bus;
}

}  // namespace

void clear_exitinfo(const Kernel& kernel, Enclave& enclave, std::byte* gprsgx) noexcept {
  const auto page = static_cast<std::uint64_t>(gprsgx - enclave.epc_page(0).data) / kPageSize;
  EpcReservation epc(kernel, enclave);
  EnclaveLock lock(kernel, enclave);
  // With the lock held it is not evicted: what is written to an evicted page would spoil its ciphertext.
  if (make_resident(kernel, enclave, lock, epc, page)) {
    forget_exitinfo(gprsgx);
  }
}

void forget_exitinfo(std::byte* gprsgx) noexcept {
  reinterpret_cast<arch::Gprsgx*>(gprsgx)->exitinfo = 0;
}

bool augment_at_once(const Kernel& kernel, LinearAddress address, std::uint32_t error_code) noexcept {
  const auto vma = kernel.vmas.find(address);
  if (!vma || access_error(*vma, error_code) != FaultResolution::Resolved) {
    return false;
  }
  Enclave& enclave = *vma->enclave;
  if (!kernel.config.sgx2 || !enclave.created() || !enclave.mapped() || !enclave.initialized()) {
    return false;
  }
  const std::uint64_t number = enclave.page_number(address);
  if (number >= enclave.pages() || enclave.index().contains(number)) {
    return false;
  }
  EpcReservation epc(kernel, enclave);
  epc.prefer(1);
  const EnclaveLock lock(kernel, enclave, std::try_to_lock);
  return lock.held() && !enclave.index().contains(number) && has_room_to_grow(enclave, epc) &&
         add_page(kernel, enclave, epc, number);
}

bool evicted_since(const Kernel& kernel, Enclave& enclave, std::uint64_t evictions) noexcept {
  if (!enclave.mapped()) {
    return false;
  }
  const EnclaveLock lock(kernel, enclave);  // an eviction that is on its way has it
  return kernel.shared.evictions.load() != evictions;
}

FaultResolution handle_enclave_fault(const Kernel& kernel, LinearAddress address, std::uint32_t error_code,
                                     std::optional<std::uint64_t> evictions) noexcept {
  const auto vma = kernel.vmas.find(address);
  if (!vma) {
    // EENTER or ERESUME of ordinary memory: Linux finds its VMA, and access_error() looks at the SGX bit
    // first.
    std::byte probe;
    const bool is_mapped =
        (error_code & arch::pfec::kSgx) != 0 && kernel.platform.copy_from_user(&probe, address, 1);
    return is_mapped ? FaultResolution::BadAccess : FaultResolution::BadMapping;
  }
  Enclave& enclave = *vma->enclave;
  if (evictions && (error_code & arch::pfec::kSgx) != 0 && evicted_since(kernel, enclave, *evictions)) {
    return FaultResolution::Resolved;
  }
  if (met_the_reclaimer(enclave, address, error_code)) {
    error_code &= ~(arch::pfec::kSgx | arch::pfec::kPresent);
  }
  if (const auto error = access_error(*vma, error_code); error != FaultResolution::Resolved) {
    return error;
  }
  if (!enclave.created() || !enclave.ensure_mapped(kernel.platform)) {
    return FaultResolution::Bus;
  }
  const std::uint64_t number = enclave.page_number(address);
  if (number >= enclave.pages()) {
    return FaultResolution::Bus;
  }
  if (!enclave.index().contains(number)) {
    if (!kernel.config.sgx2 || !enclave.initialized()) {
      return FaultResolution::Bus;
    }
    return augment(kernel, enclave, number);
  }
  if (!enclave.page(number).load().max_prot.covers(vma->prot)) {
    return FaultResolution::Bus;
  }
  EpcReservation epc(kernel, enclave);
  if (!is_resident(enclave, number)) {
    epc.prefer(1);
  }
  EnclaveLock lock(kernel, enclave);
  const bool evicted = !is_resident(enclave, number);
  if (!make_resident(kernel, enclave, lock, epc, number)) {
    return FaultResolution::Bus;
  }
  map_touched(enclave, number, evicted);
  return FaultResolution::Resolved;
}

}  // namespace enclume::kernel
