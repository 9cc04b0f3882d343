// SPDX-License-Identifier: Apache-2.0
// EREMOVE: gives a page back.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/epc/tracking.h"

namespace enclume::arch {

LeafResult eremove(const Machine& machine, AddressSpace& space, LinearAddress page_address) noexcept {
  if (!page_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, page_address);
  if (!page.has_value()) {
    return raise(page.error());
  }
  const EpcPageLock lock(*page);
  if (!lock) {
    return raise(general_protection());
  }
  const EpcmState state = page->epcm->load();
  if (!state.valid) {
    return leaf_success();
  }
  // Nobody inside can have a translation of a version array, or of a trimmed page once that is accepted.
  const bool unreachable = state.type == PageType::Va || (state.type == PageType::Trim && !state.modified);
  if (!unreachable) {
    if (state.type == PageType::Secs) {
      if (secs_of(*page).children() != 0) {
        return leaf_failure(LeafCode::ChildPresent);
      }
    } else if (tracking_inside(secs_of_child(machine, *page)) != 0) {
      return leaf_failure(LeafCode::EnclaveAct);
    }
  }
  vacate(machine, *page);
  return leaf_success();
}

}  // namespace enclume::arch
