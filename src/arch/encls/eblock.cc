// SPDX-License-Identifier: Apache-2.0
// EBLOCK: no new translations for a page that shall be evicted.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/epc/tracking.h"

namespace enclume::arch {

namespace {

// These three say "nothing to do" rather than "failed": CF, not ZF.
LeafResult not_blocked(LeafCode code) {
  return LeafStatus{code, false, true};
}

}  // namespace

LeafResult eblock(const Machine& machine, AddressSpace& space, LinearAddress page_address) noexcept {
  if (!page_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, page_address);
  if (!page.has_value()) {
    return raise(page.error());
  }
  const EpcPageLock lock(*page, kBeingEvicted);
  if (!lock) {
    return leaf_failure(LeafCode::EpcPageConflict);
  }
  EpcmState state = page->epcm->load();
  if (!state.valid) {
    return leaf_failure(LeafCode::PgInvld);
  }
  if (state.type == PageType::Secs) {
    return not_blocked(LeafCode::PgIsSecs);
  }
  if (state.type == PageType::Va) {
    return not_blocked(LeafCode::NotBlockable);
  }
  if (state.blocked) {
    return not_blocked(LeafCode::BlkState);
  }
  state.blocked = true;
  page->epcm->store(state);
  tracking_mark(secs_of_child(machine, *page), *page->epcm);
  return leaf_success();
}

}  // namespace enclume::arch
