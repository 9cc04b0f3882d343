// SPDX-License-Identifier: Apache-2.0
// EACCEPTCOPY (SDM Vol. 3D, "ENCLU[EACCEPTCOPY]"): RBX = SECINFO, RCX = pending page, RDX = page to copy into
// it.
#include <cstring>

#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"
#include "arch/structs/secinfo.h"

namespace enclume::arch {

namespace {

bool awaits_copy(const LogicalProcessor& lp, const EpcmEntry& entry) {
  const EpcmState s = entry.load();
  return s.valid && !s.blocked && s.pending && !s.modified && s.type == PageType::Reg &&
         entry.enclave_secs.load(std::memory_order_relaxed) == lp.secs.address.value;
}

// As EAUG made it: nothing has changed the permissions or the address.
bool as_augmented(const EpcmEntry& entry, LinearAddress address) {
  const EpcmState s = entry.load();
  return s.r && s.w && !s.x && entry.enclave_address.load(std::memory_order_relaxed) == address.value();
}

}  // namespace

LeafResult eacceptcopy(const Machine& /*machine*/, LogicalProcessor& lp, CpuState& cpu,
                       AddressSpace& space) noexcept {
  const LinearAddress secinfo_address = cpu.address(Reg::Rbx);
  const LinearAddress to_address = cpu.address(Reg::Rcx);
  const LinearAddress from_address = cpu.address(Reg::Rdx);
  if (!operand_in_elrange(lp, secinfo_address, kSecinfoAlignment) ||
      !operand_in_elrange(lp, to_address, kPageSize) || !operand_in_elrange(lp, from_address, kPageSize)) {
    return raise(general_protection());
  }
  const auto secinfo = walk_to_epc(space, secinfo_address, Access::Read);
  if (!secinfo.has_value()) {
    return raise(secinfo.error());
  }
  const auto to = walk_to_epc(space, to_address, Access::Write);
  if (!to.has_value()) {
    return raise(to.error());
  }
  const auto from = walk_to_epc(space, from_address, Access::Read);
  if (!from.has_value()) {
    return raise(from.error());
  }
  if (!epcm_allows(lp, secinfo->epc, secinfo_address, Access::Read)) {
    return raise(epcm_fault(secinfo_address, pfec::kUser));
  }
  const auto request = snapshot<Secinfo>(secinfo->data);
  if (!request.reserved_clear() || request.writable_unreadable() || request.type() != PageType::Reg) {
    return raise(general_protection());
  }
  if (!epcm_allows(lp, from->epc, from_address, Access::Read)) {
    return raise(epcm_fault(from_address, pfec::kUser));
  }

  EpcmEntry& entry = *to->epc.epcm;
  if (!awaits_copy(lp, entry)) {
    return retire_with(lp, cpu, LeafCode::PageAttributesMismatch);
  }
  const EpcPageLock lock(to->epc);
  if (!lock) {
    return raise(lock.going() ? epcm_fault(to_address, pfec::kUser | pfec::kWrite) : general_protection());
  }
  if (!awaits_copy(lp, entry) || !as_augmented(entry, to_address)) {
    return retire_with(lp, cpu, LeafCode::PageAttributesMismatch);
  }

  std::memcpy(to->epc.data, from->epc.data, kPageSize);
  EpcmState s = entry.load();
  s.r = request.has(secinfo_flags::kR);
  s.w = request.has(secinfo_flags::kW);
  s.x = request.has(secinfo_flags::kX);
  s.pending = false;
  entry.store(s);
  return retire_with(lp, cpu, LeafCode::Success);
}

}  // namespace enclume::arch
