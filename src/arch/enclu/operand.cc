// SPDX-License-Identifier: Apache-2.0
#include "arch/enclu/operand.h"

namespace enclume::arch {

std::expected<Operand, Fault> walk_to_epc(AddressSpace& space, LinearAddress address,
                                          Access access) noexcept {
  auto operand = space.walk(address, access);
  if (operand.has_value() && !operand->epc) {
    return raise(epcm_fault(address, access_bits(access)));
  }
  return operand;
}

bool epcm_allows(const LogicalProcessor& lp, const EpcPage& page, LinearAddress address,
                 Access access) noexcept {
  const EpcmState s = page.epcm->load();
  const bool permitted = access == Access::Read ? s.r : access == Access::Write ? s.w : s.x;
  return s.valid && !s.blocked && !s.pending && !s.modified && s.type == PageType::Reg && permitted &&
         page.epcm->enclave_secs.load(std::memory_order_relaxed) == lp.secs.address.value &&
         page.epcm->enclave_address.load(std::memory_order_relaxed) == address.page().value();
}

bool operand_in_elrange(const LogicalProcessor& lp, LinearAddress address, std::uint64_t alignment) noexcept {
  return address.aligned(alignment) && lp.elrange.contains(address);
}

std::expected<Operand, Fault> enclave_operand(const LogicalProcessor& lp, AddressSpace& space,
                                              LinearAddress address, std::uint64_t alignment,
                                              Access access) noexcept {
  if (!operand_in_elrange(lp, address, alignment)) {
    return raise(general_protection());
  }
  auto operand = walk_to_epc(space, address, access);
  if (operand.has_value() && !epcm_allows(lp, operand->epc, address, access)) {
    return raise(epcm_fault(address, access_bits(access)));
  }
  return operand;
}

LeafResult retire_with(const LogicalProcessor& lp, CpuState& cpu, LeafCode code) noexcept {
  constexpr std::uint64_t kArithmetic =
      rflags::kCf | rflags::kPf | rflags::kAf | rflags::kZf | rflags::kSf | rflags::kOf;
  const bool failed = code != LeafCode::Success;
  cpu[Reg::Rax] = static_cast<std::uint32_t>(code);
  cpu.rflags = (cpu.rflags & ~kArithmetic) | (failed ? rflags::kZf : 0);
  retire(lp, cpu);
  return failed ? leaf_failure(code) : leaf_success();
}

}  // namespace enclume::arch
