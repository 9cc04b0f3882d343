// SPDX-License-Identifier: Apache-2.0
// EMODPE (SDM Vol. 3D, "ENCLU[EMODPE]"): RBX = SECINFO, RCX = page that gets more permissions.
#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"
#include "arch/structs/secinfo.h"

namespace enclume::arch {

namespace {

// No permission is needed to extend permissions, and a PTE that can be read is all that the walk asks for.
bool extendable(const LogicalProcessor& lp, const EpcmEntry& entry) {
  const EpcmState s = entry.load();
  return s.valid && !s.pending && !s.modified && !s.blocked && s.type == PageType::Reg &&
         entry.enclave_secs.load(std::memory_order_relaxed) == lp.secs.address.value;
}

}  // namespace

LeafResult emodpe(const Machine& /*machine*/, LogicalProcessor& lp, CpuState& cpu,
                  AddressSpace& space) noexcept {
  const LinearAddress secinfo_address = cpu.address(Reg::Rbx);
  const LinearAddress address = cpu.address(Reg::Rcx);
  if (!operand_in_elrange(lp, secinfo_address, kSecinfoAlignment) ||
      !operand_in_elrange(lp, address, kPageSize)) {
    return raise(general_protection());
  }
  const auto secinfo = walk_to_epc(space, secinfo_address, Access::Read);
  if (!secinfo.has_value()) {
    return raise(secinfo.error());
  }
  const auto target = walk_to_epc(space, address, Access::Read);
  if (!target.has_value()) {
    return raise(target.error());
  }
  if (!epcm_allows(lp, secinfo->epc, secinfo_address, Access::Read)) {
    return raise(epcm_fault(secinfo_address, pfec::kUser));
  }
  const auto request = snapshot<Secinfo>(secinfo->data);
  if (!request.reserved_clear()) {
    return raise(general_protection());
  }

  EpcmEntry& entry = *target->epc.epcm;
  if (!extendable(lp, entry)) {
    return raise(epcm_fault(address, pfec::kUser));
  }
  const EpcPageLock lock(target->epc);
  if (!lock) {
    return raise(lock.going() ? epcm_fault(address, pfec::kUser) : general_protection());
  }
  if (!extendable(lp, entry) || entry.enclave_address.load(std::memory_order_relaxed) != address.value()) {
    return raise(epcm_fault(address, pfec::kUser));
  }
  EpcmState s = entry.load();
  if (request.writable_unreadable() && !s.r) {
    return raise(general_protection());
  }

  s.r = s.r || request.has(secinfo_flags::kR);
  s.w = s.w || request.has(secinfo_flags::kW);
  s.x = s.x || request.has(secinfo_flags::kX);
  entry.store(s);
  retire(lp, cpu);
  return leaf_success();
}

}  // namespace enclume::arch
