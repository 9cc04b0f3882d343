// SPDX-License-Identifier: Apache-2.0
// EWB: writes a page out of the EPC, encrypted, with a version that only one slot of a version array knows.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/epc/tracking.h"
#include "arch/identity/page_seal.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/pcmd.h"
#include "arch/structs/version_array.h"

namespace enclume::arch {

namespace {

// May the page leave now? Success, or why not.
LeafCode check_evictable(const Machine& machine, const EpcPage& page, const EpcmState& state) {
  switch (state.type) {
    case PageType::Secs:
      return secs_of(page).children() == 0 ? LeafCode::Success : LeafCode::ChildPresent;
    case PageType::Va:
      return LeafCode::Success;
    case PageType::Tcs:
    case PageType::Reg:
    case PageType::Trim:
    case PageType::SsFirst:
    case PageType::SsRest:
      break;
  }
  if (!state.blocked) {
    return LeafCode::PageNotBlocked;
  }
  return is_tracked(secs_of_child(machine, page), page.epcm->blocked_epoch.load(std::memory_order_acquire))
             ? LeafCode::Success
             : LeafCode::NotTracked;
}

// The page's EPCM entry as software gets it, to hand it back at ELDU. BLOCKED is not part of it.
Secinfo secinfo_of(const EpcmState& state) {
  using namespace secinfo_flags;
  return {secinfo_flags_of(state.type, (state.r ? kR : 0) | (state.w ? kW : 0) | (state.x ? kX : 0) |
                                           (state.pending ? kPending : 0) | (state.modified ? kModified : 0) |
                                           (state.pr ? kPr : 0)),
          {}};
}

}  // namespace

LeafResult ewb(const Machine& machine, AddressSpace& space, LinearAddress pageinfo_address,
               LinearAddress page_address, LinearAddress slot_address) noexcept {
  if (!pageinfo_address.aligned(kPageinfoAlignment) || !page_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, page_address);
  if (!page.has_value()) {
    return raise(page.error());
  }
  if (!slot_address.aligned(sizeof(std::uint64_t))) {
    return raise(general_protection());
  }
  const auto va_page = resolve_epc(machine, space, slot_address);
  if (!va_page.has_value()) {
    return raise(va_page.error());
  }
  if (va_page->address == page->address) {
    return raise(general_protection());
  }
  auto pageinfo = read_operand<Pageinfo>(space, pageinfo_address);
  if (!pageinfo.has_value()) {
    return raise(pageinfo.error());
  }
  const LinearAddress target(pageinfo->srcpge);
  const LinearAddress pcmd_address(pageinfo->secinfo);
  if (pageinfo->linaddr != 0 || pageinfo->secs != 0 || !pcmd_address.aligned(kPcmdAlignment) ||
      !target.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const EpcPageLock lock(*page, kBeingEvicted);
  const EpcPageSharedLock va_lock(*va_page);
  if (!lock || !va_lock) {
    return raise(general_protection());
  }
  const EpcmState state = page->epcm->load();
  if (!state.valid) {
    return raise(epc_violation(machine, page_address));
  }
  if (const EpcmState va = va_page->epcm->load(); !va.valid || va.type != PageType::Va) {
    return raise(epc_violation(machine, slot_address));
  }
  if (const LeafCode code = check_evictable(machine, *page, state); code != LeafCode::Success) {
    return leaf_failure(code);
  }
  // Every access that can fault comes before anything changes.
  const auto pageinfo_out = space.walk(pageinfo_address, Access::Write);
  if (!pageinfo_out.has_value()) {
    return raise(pageinfo_out.error());
  }
  const auto pcmd_out = space.walk(pcmd_address, Access::Write);
  if (!pcmd_out.has_value()) {
    return raise(pcmd_out.error());
  }
  const auto page_out = space.walk(target, Access::Write);
  if (!page_out.has_value()) {
    return raise(page_out.error());
  }

  const bool child = state.type != PageType::Secs && state.type != PageType::Va;
  const std::uint64_t address = page->epcm->enclave_address.load(std::memory_order_relaxed);
  SealedPageHeader header{};
  header.eid = child ? secs_of_child(machine, *page).internal.eid : 0;
  header.linaddr = address;
  header.secinfo = secinfo_of(state);
  const std::uint64_t version = machine.shared.next_version.fetch_add(1) + 1;

  // A target in the EPC, whose writes vanish, needs no other buffer than the page, which is given up. Any
  // other is written to at once: the page is whole as long as it is valid, and a thread can be killed here.
  const PageSpan contents(page->data, kPageSize);
  const PageSpan sealed(page_out->epc ? page->data : page_out->data, kPageSize);
  Pcmd pcmd{};
  pcmd.mac = seal_page(machine, version, header, contents, sealed);
  pcmd.secinfo = header.secinfo;
  pcmd.enclave_id = header.eid;
  write_memory(*pcmd_out, &pcmd, sizeof(pcmd));
  pageinfo->linaddr = address;
  write_memory(*pageinfo_out, &*pageinfo, sizeof(*pageinfo));

  const std::size_t slot = slot_address.page_offset() / sizeof(std::uint64_t);
  const std::uint64_t previous = version_array_of(*va_page).atomic_slot(slot).exchange(version);
  vacate(machine, *page);
  // Complete all the same: whatever the slot remembered can never be loaded again.
  return previous == 0 ? leaf_success() : LeafResult(LeafStatus{LeafCode::VaSlotOccupied, false, true});
}

}  // namespace enclume::arch
