// SPDX-License-Identifier: Apache-2.0
// ETRACK: begins a new tracking epoch (see arch/epc/tracking.h).
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/epc/tracking.h"

namespace enclume::arch {

LeafResult etrack(const Machine& machine, AddressSpace& space, LinearAddress secs_address) noexcept {
  if (!secs_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, secs_address);
  if (!page.has_value()) {
    return raise(page.error());
  }
  const EpcPageSharedLock lock(*page);
  if (!lock) {
    return raise(general_protection());
  }
  if (!is_secs(*page)) {
    return raise(epc_violation(machine, secs_address));
  }
  Secs& secs = secs_of(*page);
  const SecsFieldLock tracking(secs.internal.tracking_lock);
  if (!tracking) {
    return raise(general_protection());
  }
  return tracking_advance(secs) ? leaf_success() : leaf_failure(LeafCode::PrevTrkIncmpl);
}

}  // namespace enclume::arch
