// SPDX-License-Identifier: Apache-2.0
// EPA: makes a version array out of a free EPC page.
#include <cstring>

#include "arch/encls/encls.h"
#include "arch/encls/operands.h"

namespace enclume::arch {

LeafResult epa(const Machine& machine, AddressSpace& space, std::uint64_t rbx,
               LinearAddress page_address) noexcept {
  if (rbx != static_cast<std::uint64_t>(PageType::Va) || !page_address.aligned(kPageSize)) {
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
  if (page->epcm->load().valid) {
    return raise(epc_violation(machine, page_address));
  }
  std::memset(page->data, 0, kPageSize);
  occupy(*page, {.type = PageType::Va}, {}, {});
  return leaf_success();
}

}  // namespace enclume::arch
