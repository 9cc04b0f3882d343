// SPDX-License-Identifier: Apache-2.0
// EMODPR: takes permissions from a page of a running enclave, which has to accept it.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/epc/tracking.h"
#include "arch/structs/secinfo.h"

namespace enclume::arch {

LeafResult emodpr(const Machine& machine, AddressSpace& space, LinearAddress secinfo_address,
                  LinearAddress page_address) noexcept {
  if (!machine.config.sgx2) {
    return raise(general_protection());
  }
  if (!secinfo_address.aligned(kSecinfoAlignment) || !page_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, page_address);
  if (!page.has_value()) {
    return raise(page.error());
  }
  const auto secinfo = read_operand<Secinfo>(space, secinfo_address);
  if (!secinfo.has_value()) {
    return raise(secinfo.error());
  }
  if (!secinfo->reserved_clear() || secinfo->writable_unreadable()) {
    return raise(general_protection());
  }
  // The SDM tells a conflict with an SGX1 leaf (#GP) from one with an SGX2 leaf. A kernel keeps its own
  // leaves apart, so who is in the way is EACCEPT, EMODPE or EACCEPTCOPY.
  const EpcPageLock lock(*page);
  if (!lock) {
    return leaf_failure(LeafCode::EpcPageConflict);
  }
  EpcmState state = page->epcm->load();
  if (!state.valid) {
    return raise(epc_violation(machine, page_address));
  }
  // Before the type: Linux takes code 20 as "trimmed, not accepted yet" and #PF as "trimmed and accepted".
  if (state.pending || state.modified) {
    return leaf_failure(LeafCode::PageNotModifiable);
  }
  if (state.type != PageType::Reg) {
    return raise(epc_violation(machine, page_address));
  }
  Secs& secs = secs_of_child(machine, *page);
  if (!secs.initialised()) {
    return raise(general_protection());
  }

  state.pr = true;
  state.r = state.r && secinfo->has(secinfo_flags::kR);
  state.w = state.w && secinfo->has(secinfo_flags::kW);
  state.x = state.x && secinfo->has(secinfo_flags::kX);
  page->epcm->store(state);
  tracking_mark(secs, *page->epcm);
  return leaf_success();
}

}  // namespace enclume::arch
