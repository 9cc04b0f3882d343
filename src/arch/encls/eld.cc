// SPDX-License-Identifier: Apache-2.0
// ELDU, ELDB: bring an evicted page back, if it is the one that the version array remembers.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/identity/page_seal.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/pcmd.h"
#include "arch/structs/version_array.h"

namespace enclume::arch {

namespace {

bool is_child_type(PageType type) {
  return type == PageType::Reg || type == PageType::Tcs || type == PageType::Trim;
}

EpcmState state_of(const Secinfo& secinfo, bool blocked) {
  using namespace secinfo_flags;
  return {.r = secinfo.has(kR),
          .w = secinfo.has(kW),
          .x = secinfo.has(kX),
          .blocked = blocked && is_child_type(secinfo.type()),
          .pending = secinfo.has(kPending),
          .modified = secinfo.has(kModified),
          .pr = secinfo.has(kPr),
          .type = secinfo.type()};
}

// The SECS that PAGEINFO names for a child; for a SECS or a version array it must name none.
std::expected<EpcPage, Fault> find_secs(const Machine& machine, AddressSpace& space, PageType type,
                                        LinearAddress address) {
  if (!is_child_type(type)) {
    if ((type != PageType::Secs && type != PageType::Va) || address != LinearAddress()) {
      return raise(general_protection());
    }
    return EpcPage{};
  }
  if (!address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  return resolve_epc(machine, space, address);
}

// The second half, with the target and the version array locked and checked. `secs_page` is empty for pages
// that belong to no enclave.
LeafResult load_page(const Machine& machine, AddressSpace& space, const Pageinfo& pageinfo, const Pcmd& pcmd,
                     const EpcPage& page, const EpcPage& secs_page, std::atomic_ref<std::uint64_t> slot,
                     bool blocked) {
  SealedPageHeader header{};
  header.eid = secs_page ? secs_of(secs_page).internal.eid : 0;
  header.linaddr = pageinfo.linaddr;
  header.secinfo = pcmd.secinfo;
  if (const auto copied = read_memory(space, LinearAddress(pageinfo.srcpge), page.data, kPageSize);
      !copied.has_value()) {
    return raise(copied.error());
  }
  std::uint64_t version = slot.load();
  if (!unseal_page(machine, version, header, pcmd.mac, PageSpan(page.data, kPageSize))) {
    return leaf_failure(LeafCode::MacCompareFail);
  }
  // Another load from the same slot may have been quicker; a version is good for one.
  if (version == 0 || !slot.compare_exchange_strong(version, 0)) {
    return raise(general_protection());
  }
  occupy(page, state_of(pcmd.secinfo, blocked), secs_page, LinearAddress(pageinfo.linaddr));
  return leaf_success();
}

LeafResult eld(const Machine& machine, AddressSpace& space, LinearAddress pageinfo_address,
               LinearAddress page_address, LinearAddress slot_address, bool blocked) {
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
  const auto pageinfo = read_operand<Pageinfo>(space, pageinfo_address);
  if (!pageinfo.has_value()) {
    return raise(pageinfo.error());
  }
  const LinearAddress pcmd_address(pageinfo->secinfo);
  if (!LinearAddress(pageinfo->srcpge).aligned(kPageSize) || !pcmd_address.aligned(kPcmdAlignment)) {
    return raise(general_protection());
  }
  const auto pcmd = read_operand<Pcmd>(space, pcmd_address);
  if (!pcmd.has_value()) {
    return raise(pcmd.error());
  }
  if (!pcmd->secinfo.reserved_clear() || !all_zero(pcmd->reserved)) {
    return raise(general_protection());
  }
  const LinearAddress secs_address(pageinfo->secs);
  const auto secs_page = find_secs(machine, space, pcmd->secinfo.type(), secs_address);
  if (!secs_page.has_value()) {
    return raise(secs_page.error());
  }
  const EpcPageLock lock(*page);
  if (!lock) {
    return raise(general_protection());
  }
  if (page->epcm->load().valid) {
    return raise(epc_violation(machine, page_address));
  }
  if (va_page->address == page->address) {  // an invalid page is no version array
    return raise(epc_violation(machine, slot_address));
  }
  const EpcPageSharedLock va_lock(*va_page);
  if (!va_lock) {
    return raise(general_protection());
  }
  if (const EpcmState va = va_page->epcm->load(); !va.valid || va.type != PageType::Va) {
    return raise(epc_violation(machine, slot_address));
  }
  const std::size_t index = slot_address.page_offset() / sizeof(std::uint64_t);
  const auto slot = version_array_of(*va_page).atomic_slot(index);
  if (!*secs_page) {
    return load_page(machine, space, *pageinfo, *pcmd, *page, {}, slot, blocked);
  }
  if (secs_page->address == page->address) {  // an invalid page is no SECS
    return raise(epc_violation(machine, secs_address));
  }
  const EpcPageSharedLock secs_lock(*secs_page);
  if (!secs_lock) {
    return raise(general_protection());
  }
  if (!is_secs(*secs_page)) {
    return raise(epc_violation(machine, secs_address));
  }
  return load_page(machine, space, *pageinfo, *pcmd, *page, *secs_page, slot, blocked);
}

}  // namespace

LeafResult eldu(const Machine& machine, AddressSpace& space, LinearAddress pageinfo, LinearAddress page,
                LinearAddress va_slot) noexcept {
  return eld(machine, space, pageinfo, page, va_slot, false);
}

LeafResult eldb(const Machine& machine, AddressSpace& space, LinearAddress pageinfo, LinearAddress page,
                LinearAddress va_slot) noexcept {
  return eld(machine, space, pageinfo, page, va_slot, true);
}

}  // namespace enclume::arch
