// SPDX-License-Identifier: Apache-2.0
// EMODT: changes the type of a page of a running enclave, which has to accept it.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/epc/tracking.h"
#include "arch/structs/secinfo.h"

namespace enclume::arch {

LeafResult emodt(const Machine& machine, AddressSpace& space, LinearAddress secinfo_address,
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
  const PageType type = secinfo->type();
  if (!secinfo->reserved_clear() || (type != PageType::Tcs && type != PageType::Trim)) {
    return raise(general_protection());
  }
  const EpcPageLock lock(*page);
  if (!lock) {
    return leaf_failure(LeafCode::EpcPageConflict);
  }
  EpcmState state = page->epcm->load();
  if (!state.valid) {
    return raise(epc_violation(machine, page_address));
  }
  const bool allowed = state.type == PageType::Reg || (state.type == PageType::Tcs && type == PageType::Trim);
  if (!allowed) {
    return raise(epc_violation(machine, page_address));
  }
  if (state.pending || state.modified) {
    return leaf_failure(LeafCode::PageNotModifiable);
  }
  Secs& secs = secs_of_child(machine, *page);
  if (!secs.initialised()) {
    return raise(general_protection());
  }

  state.pr = false;
  state.modified = true;
  state.r = state.w = state.x = false;
  state.type = type;
  page->epcm->store(state);
  tracking_mark(secs, *page->epcm);
  return leaf_success();
}

}  // namespace enclume::arch
