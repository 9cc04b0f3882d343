// SPDX-License-Identifier: Apache-2.0
// EADD: copies a page into an enclave that is being built.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/identity/measurement.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/tcs.h"

namespace enclume::arch {

namespace {

// Checked in the EPC, where nobody can change it any more.
bool contents_legal(const Secs& secs, const Secinfo& secinfo, const EpcPage& page) {
  if (secinfo.type() == PageType::Reg) {
    return !secinfo.writable_unreadable();
  }
  const Tcs& tcs = tcs_of(page);
  constexpr std::uint32_t kLimitLow = kPageMask;
  const bool mode64 = (secs.attributes.flags & attribute::kMode64Bit) != 0;
  const bool limits =
      mode64 || ((tcs.fslimit & kLimitLow) == kLimitLow && (tcs.gslimit & kLimitLow) == kLimitLow);
  return all_zero(tcs.reserved) && limits;
}

// What the builder may not choose.
void make_fresh(Tcs& tcs) {
  tcs.flags &= ~tcs_flags::kDbgOptIn;
  tcs.cssa = 0;
  tcs.aep = 0;
  tcs.state = tcs_state::kInactive;
}

}  // namespace

LeafResult eadd(const Machine& machine, AddressSpace& space, LinearAddress pageinfo_address,
                LinearAddress page_address) noexcept {
  if (!pageinfo_address.aligned(kPageinfoAlignment) || !page_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, page_address);
  if (!page.has_value()) {
    return raise(page.error());
  }
  const auto pageinfo = read_operand<Pageinfo>(space, pageinfo_address);
  if (!pageinfo.has_value()) {
    return raise(pageinfo.error());
  }
  const LinearAddress source(pageinfo->srcpge);
  const LinearAddress secs_address(pageinfo->secs);
  const LinearAddress linear(pageinfo->linaddr);
  const LinearAddress secinfo_address(pageinfo->secinfo);
  if (!source.aligned(kPageSize) || !secs_address.aligned(kPageSize) || !linear.aligned(kPageSize) ||
      !secinfo_address.aligned(kSecinfoAlignment)) {
    return raise(general_protection());
  }
  const auto secs_page = resolve_epc(machine, space, secs_address);
  if (!secs_page.has_value()) {
    return raise(secs_page.error());
  }
  auto secinfo = read_operand<Secinfo>(space, secinfo_address);
  if (!secinfo.has_value()) {
    return raise(secinfo.error());
  }
  const bool is_tcs = secinfo->type() == PageType::Tcs;
  if (!secinfo->reserved_clear() || !(is_tcs || secinfo->type() == PageType::Reg)) {
    return raise(general_protection());
  }
  const EpcPageLock lock(*page);
  if (!lock) {
    return raise(general_protection());
  }
  if (page->epcm->load().valid) {
    return raise(epc_violation(machine, page_address));
  }
  if (secs_page->address == page->address) {  // an invalid page is no SECS; our own lock is no conflict
    return raise(epc_violation(machine, secs_address));
  }
  const EpcPageSharedLock secs_lock(*secs_page);
  if (!secs_lock) {
    return raise(general_protection());
  }
  if (!is_secs(*secs_page)) {
    return raise(epc_violation(machine, secs_address));
  }
  if (const auto copied = read_memory(space, source, page->data, kPageSize); !copied.has_value()) {
    return raise(copied.error());
  }
  Secs& secs = secs_of(*secs_page);
  if (!contents_legal(secs, *secinfo, *page) || !secs.elrange().contains(linear)) {
    return raise(general_protection());
  }
  const SecsFieldLock measuring(secs.internal.measurement_lock);
  if (!measuring || secs.initialised()) {
    return raise(general_protection());
  }

  if (is_tcs) {
    secinfo->flags &= ~secinfo_flags::kRwx;
    make_fresh(tcs_of(*page));
  }
  measure_eadd(secs, linear.value() - secs.base_addr, *secinfo);
  occupy(*page,
         {.r = secinfo->has(secinfo_flags::kR),
          .w = secinfo->has(secinfo_flags::kW),
          .x = secinfo->has(secinfo_flags::kX),
          .type = secinfo->type()},
         *secs_page, linear);
  return leaf_success();
}

}  // namespace enclume::arch
