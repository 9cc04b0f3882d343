// SPDX-License-Identifier: Apache-2.0
// EAUG: adds a zeroed page to a running enclave, pending until the enclave accepts it.
#include <cstring>

#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/secinfo.h"

namespace enclume::arch {

LeafResult eaug(const Machine& machine, AddressSpace& space, LinearAddress pageinfo_address,
                LinearAddress page_address) noexcept {
  if (!machine.config.sgx2) {
    return raise(general_protection());
  }
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
  const LinearAddress secs_address(pageinfo->secs);
  const LinearAddress linear(pageinfo->linaddr);
  const LinearAddress secinfo_address(pageinfo->secinfo);
  if (!secinfo_address.aligned(kSecinfoAlignment) || !secs_address.aligned(kPageSize) ||
      !linear.aligned(kPageSize) || pageinfo->srcpge != 0) {
    return raise(general_protection());
  }
  const auto secs_page = resolve_epc(machine, space, secs_address);
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
  // A SECINFO asks for a shadow-stack page, and these come with CET only.
  if (secinfo_address != LinearAddress()) {
    return raise(general_protection());
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
  Secs& secs = secs_of(*secs_page);
  if (!secs.initialised() || !secs.elrange().contains(linear)) {
    return raise(general_protection());
  }

  if (page->data != kZeroPage.data()) {
    std::memset(page->data, 0, kPageSize);
  }
  occupy(*page, {.r = true, .w = true, .pending = true, .type = PageType::Reg}, *secs_page, linear);
  return leaf_success();
}

}  // namespace enclume::arch
