// SPDX-License-Identifier: Apache-2.0
#include "arch/enclu/ssa.h"

#include "arch/enclu/operand.h"

namespace enclume::arch {

namespace {

std::expected<std::byte*, Fault> ssa_page(AddressSpace& space, const EpcPage& secs_page,
                                          LinearAddress address) noexcept {
  const auto operand = walk_to_epc(space, address, Access::Write);
  if (!operand.has_value()) {
    return raise(operand.error());
  }
  const EpcmEntry& entry = *operand->epc.epcm;
  const EpcmState s = entry.load();
  if (!s.valid || s.blocked || s.pending || s.modified || s.type != PageType::Reg || !s.r || !s.w ||
      entry.enclave_secs.load(std::memory_order_relaxed) != secs_page.address.value ||
      entry.enclave_address.load(std::memory_order_relaxed) != address.value()) {
    return raise(epcm_fault(address, access_bits(Access::Write)));
  }
  return operand->epc.data;
}

}  // namespace

std::expected<SsaFrameCache, Fault> locate_ssa_frame(const Machine& machine, AddressSpace& space,
                                                     const EpcPage& secs_page, LinearAddress frame) noexcept {
  const Secs& secs = secs_of(secs_page);
  const SsaFrameLayout layout =
      ssa_frame_layout(machine.config, secs.attributes.xfrm, secs.miscselect, secs.ssa_frame_size);
  // ECREATE has made sure that the frame has room for both; the bound is this model's array.
  if (layout.xsave_pages > kMaxXsavePages) {
    return raise(general_protection());
  }

  SsaFrameCache cache;
  for (std::size_t i = 0; i < layout.xsave_pages; ++i) {
    const auto page = ssa_page(space, secs_page, frame + i * kPageSize);
    if (!page.has_value()) {
      return raise(page.error());
    }
    cache.xsave_page[i] = *page;
  }
  // In most enclaves the frame is one page, just checked.
  std::byte* last = cache.xsave_page[layout.xsave_pages - 1];
  if (layout.gpr_page_off != (layout.xsave_pages - 1) * kPageSize) {
    const auto page = ssa_page(space, secs_page, frame + layout.gpr_page_off);
    if (!page.has_value()) {
      return raise(page.error());
    }
    last = *page;
  }
  cache.gpr = last + kPageSize - sizeof(Gprsgx);
  if ((secs.miscselect & miscselect::kExinfo) != 0) {
    cache.misc = cache.gpr - sizeof(Exinfo);
  }
  return cache;
}

}  // namespace enclume::arch
