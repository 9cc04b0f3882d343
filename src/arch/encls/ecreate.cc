// SPDX-License-Identifier: Apache-2.0
// ECREATE: makes a SECS out of a free EPC page.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/identity/measurement.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/ssa.h"

namespace enclume::arch {

namespace {

// As XSETBV judges a value for XCR0 (SDM Vol. 1, "Enabling the XSAVE Feature Set"): components that go
// together are all there or none, and the vector extensions build on each other.
bool xfrm_legal(const MachineConfig& config, std::uint64_t xfrm) {
  constexpr std::uint64_t kAvx = 1ULL << 2;
  constexpr std::uint64_t kMpx = 3ULL << 3;
  constexpr std::uint64_t kAvx512 = 7ULL << 5;
  constexpr std::uint64_t kAmx = 3ULL << 17;
  const auto all_or_none = [xfrm](std::uint64_t bits) { return (xfrm & bits) == 0 || (xfrm & bits) == bits; };
  return (xfrm & kXfrmLegacy) == kXfrmLegacy && (xfrm & ~config.xfrm_supported) == 0 && all_or_none(kMpx) &&
         all_or_none(kAvx512) && all_or_none(kAmx) && ((xfrm & kAvx512) == 0 || (xfrm & kAvx) != 0);
}

bool address_range_legal(const MachineConfig& config, const Secs& secs) {
  const bool mode64 = (secs.attributes.flags & attribute::kMode64Bit) != 0;
  if (mode64 ? !LinearAddress(secs.base_addr).canonical() : (secs.base_addr >> 32) != 0) {
    return false;
  }
  // The advertised maximum itself is refused.
  const unsigned limit = mode64 ? config.max_size_log2_64 : config.max_size_log2_32;
  return (secs.size >> limit) == 0 && secs.size >= 2 * kPageSize && is_power_of_two(secs.size) &&
         LinearAddress(secs.base_addr).aligned(secs.size);
}

bool reserved_clear(const Secs& secs) {
  const auto after = bytes_of(secs).subspan<offsetof(Secs, reserved4)>();
  return secs.cet_leg_bitmap_offset == 0 && secs.cet_attributes == 0 && all_zero(secs.reserved1) &&
         all_zero(secs.reserved2) && all_zero(secs.reserved3) && all_zero(after);
}

// All of these end in #GP(0), so only their being complete can be seen, not their order.
bool secs_legal(const MachineConfig& config, const Secs& secs) {
  const Attributes& attributes = secs.attributes;
  const SsaFrameLayout frame =
      ssa_frame_layout(config, attributes.xfrm, secs.miscselect, secs.ssa_frame_size);
  const bool kss = (attributes.flags & attribute::kKss) != 0;
  return xfrm_legal(config, attributes.xfrm) && (secs.miscselect & ~config.misc_supported) == 0 &&
         frame.fits(secs.miscselect) && address_range_legal(config, secs) &&
         (attributes.flags & (~config.attributes_supported | attribute::kInit)) == 0 &&
         reserved_clear(secs) && (kss || (all_zero(secs.config_id) && secs.config_svn == 0));
}

}  // namespace

LeafResult ecreate(const Machine& machine, AddressSpace& space, LinearAddress pageinfo_address,
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
  const LinearAddress secinfo_address(pageinfo->secinfo);
  if (!source.aligned(kPageSize) || !secinfo_address.aligned(kSecinfoAlignment) || pageinfo->linaddr != 0 ||
      pageinfo->secs != 0) {
    return raise(general_protection());
  }
  const auto secinfo = read_operand<Secinfo>(space, secinfo_address);
  if (!secinfo.has_value()) {
    return raise(secinfo.error());
  }
  if (!secinfo->reserved_clear() || secinfo->type() != PageType::Secs) {
    return raise(general_protection());
  }
  const EpcPageLock lock(*page);
  if (!lock) {
    return raise(general_protection());
  }
  if (page->epcm->load().valid) {
    return raise(epc_violation(machine, page_address));
  }
  if (const auto copied = read_memory(space, source, page->data, kPageSize); !copied.has_value()) {
    return raise(copied.error());
  }

  Secs& secs = secs_of(*page);
  if (!secs_legal(machine.config, secs)) {
    return raise(general_protection());
  }
  secs.mrenclave = {};
  secs.mrsigner = {};
  secs.isv_prod_id = 0;
  secs.isv_svn = 0;
  measure_ecreate(secs);
  secs.internal.eid = machine.shared.next_eid.fetch_add(1) + 1;
  occupy(*page, {.type = PageType::Secs}, {}, {});
  return leaf_success();
}

}  // namespace enclume::arch
