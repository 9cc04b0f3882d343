// SPDX-License-Identifier: Apache-2.0
// EACCEPT (SDM Vol. 3D, "ENCLU[EACCEPT]"): RBX = SECINFO, RCX = page whose changes the enclave accepts.
#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"
#include "arch/epc/tracking.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/tcs.h"

namespace enclume::arch {

namespace {

// A page that was added or whose permissions were restricted, or one whose type was changed.
bool legal_request(const Secinfo& request) {
  const bool pending = request.has(secinfo_flags::kPending);
  const bool modified = request.has(secinfo_flags::kModified);
  const bool pr = request.has(secinfo_flags::kPr);
  switch (request.type()) {
    case PageType::Reg:
      return (pr || pending) && !modified;
    case PageType::Tcs:
    case PageType::Trim:
      return !pr && !pending && modified;
    default:
      return false;
  }
}

bool acceptable(const LogicalProcessor& lp, const EpcmEntry& entry) {
  const EpcmState s = entry.load();
  const bool type = s.type == PageType::Reg || s.type == PageType::Tcs || s.type == PageType::Trim ||
                    s.type == PageType::SsFirst || s.type == PageType::SsRest;
  return s.valid && !s.blocked && type &&
         entry.enclave_secs.load(std::memory_order_relaxed) == lp.secs.address.value;
}

// PR is not compared.
bool matches(const EpcmState& s, const Secinfo& request) {
  return s.pending == request.has(secinfo_flags::kPending) &&
         s.modified == request.has(secinfo_flags::kModified) && s.r == request.has(secinfo_flags::kR) &&
         s.w == request.has(secinfo_flags::kW) && s.x == request.has(secinfo_flags::kX) &&
         s.type == request.type();
}

// What EADD guarantees of a TCS, EACCEPT has to check: the page was the enclave's to write.
bool fresh_tcs(const MachineConfig& config, const Tcs& tcs) {
  const bool notify = (config.attributes_supported & attribute::kAexNotify) != 0;
  const std::uint64_t flags_allowed = notify ? tcs_flags::kAexNotify : 0;
  return all_zero(tcs.reserved) && (tcs.flags & ~flags_allowed) == 0 && tcs.cssa < tcs.nssa && tcs.aep == 0 &&
         tcs.state == tcs_state::kInactive;
}

}  // namespace

LeafResult eaccept(const Machine& machine, LogicalProcessor& lp, CpuState& cpu,
                   AddressSpace& space) noexcept {
  const auto secinfo = enclave_operand(lp, space, cpu.address(Reg::Rbx), kSecinfoAlignment, Access::Read);
  if (!secinfo.has_value()) {
    return raise(secinfo.error());
  }
  const auto request = snapshot<Secinfo>(secinfo->data);
  const LinearAddress address = cpu.address(Reg::Rcx);
  if (!request.reserved_clear() || !operand_in_elrange(lp, address, kPageSize)) {
    return raise(general_protection());
  }
  const auto target = walk_to_epc(space, address, Access::Read);
  if (!target.has_value()) {
    return raise(target.error());
  }
  if (!legal_request(request)) {
    return raise(general_protection());
  }
  EpcmEntry& entry = *target->epc.epcm;
  if (!acceptable(lp, entry)) {
    return raise(epcm_fault(address, pfec::kUser));
  }
  const EpcPageLock lock(target->epc);
  if (!lock) {
    return raise(lock.going() ? epcm_fault(address, pfec::kUser) : general_protection());
  }
  if (!acceptable(lp, entry)) {
    return raise(epcm_fault(address, pfec::kUser));
  }

  EpcmState s = entry.load();
  if (entry.enclave_address.load(std::memory_order_relaxed) != address.value() || !matches(s, request)) {
    return retire_with(lp, cpu, LeafCode::PageAttributesMismatch);
  }
  // A page that is only PENDING was not there before: nobody can have a translation of it.
  if ((s.modified || s.pr) &&
      !is_tracked(secs_of(lp.secs), entry.blocked_epoch.load(std::memory_order_relaxed))) {
    return retire_with(lp, cpu, LeafCode::NotTracked);
  }
  if (s.type == PageType::Tcs && !fresh_tcs(machine.config, tcs_of(target->epc))) {
    return raise(general_protection());
  }

  s.pending = false;
  s.modified = false;
  s.pr = false;
  entry.store(s);
  return retire_with(lp, cpu, LeafCode::Success);
}

}  // namespace enclume::arch
