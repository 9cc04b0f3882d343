// SPDX-License-Identifier: Apache-2.0
#include "arch/enclu/tcs_claim.h"

#include "arch/enclu/operand.h"
#include "arch/epc/tracking.h"
#include "arch/structs/ssa.h"

namespace enclume::arch {

std::expected<EpcPage, Fault> tcs_operand(AddressSpace& space, LinearAddress tcs,
                                          LinearAddress aep) noexcept {
  if (!tcs.aligned(kPageSize)) {
    return raise(general_protection());
  }
  // Entering writes STATE and AEP, so the page tables must allow that (Linux maps every TCS read-write, "for
  // CPU access"); the EPCM has no permissions for a TCS, its faults don't say write.
  const auto operand = space.walk(tcs, Access::Write);
  if (!operand.has_value()) {
    return raise(operand.error());
  }
  if (!operand->epc) {
    return raise(epcm_fault(tcs, pfec::kUser));
  }
  if (!aep.canonical()) {
    return raise(general_protection());
  }
  return operand->epc;
}

TcsClaim::TcsClaim(const Machine& machine, const EpcPage& page, LinearAddress address) noexcept
    : machine_(machine), page_(page), address_(address), lock_(page) {}

TcsClaim::~TcsClaim() {
  release();
}

void TcsClaim::release() noexcept {
  if (taken_) {
    tcs().atomic_state().store(tcs_state::kInactive, std::memory_order_release);
    tracking_leave(secs(), entry_epoch_, address_);
    taken_ = false;
  }
}

std::expected<void, Fault> TcsClaim::check() noexcept {
  if (!lock_) {
    return raise(lock_.going() ? epcm_fault(address_, pfec::kUser) : general_protection());
  }
  const EpcmState s = page_.epcm->load();
  if (!s.valid || s.blocked || s.type != PageType::Tcs || s.pending || s.modified ||
      page_.epcm->enclave_address.load(std::memory_order_relaxed) != address_.value()) {
    return raise(epcm_fault(address_, pfec::kUser));
  }

  // A valid page has its SECS in the EPC.
  secs_page_ = machine_.epc.page(EpcAddress{page_.epcm->enclave_secs.load(std::memory_order_relaxed)});
  if (!secs_page_) {
    return raise(epcm_fault(address_, pfec::kUser));
  }
  std::uint64_t inactive = tcs_state::kInactive;
  taken_ = tcs().atomic_state().compare_exchange_strong(inactive, tcs_state::kActive,
                                                        std::memory_order_acq_rel, std::memory_order_acquire);
  if (taken_) {
    entry_epoch_ = tracking_enter(secs(), address_);
  }

  // All that follows is #GP(0), so the order among these can't be seen.
  const std::uint64_t attributes = secs().flags();
  const std::uint64_t flags = tcs().atomic_flags().load(std::memory_order_relaxed);
  const bool opt_in = (flags & tcs_flags::kDbgOptIn) != 0;
  const bool notify = (flags & tcs_flags::kAexNotify) != 0;
  const bool notify_offered = (machine_.config.attributes_supported & attribute::kAexNotify) != 0;
  const std::uint64_t defined = tcs_flags::kDbgOptIn | (notify_offered ? tcs_flags::kAexNotify : 0);

  const bool offsets_aligned = LinearAddress(tcs().ossa | tcs().ofsbase | tcs().ogsbase).aligned(kPageSize);
  const bool flags_legal = (flags & ~defined) == 0;
  const bool runnable = (attributes & attribute::kInit) != 0 && (attributes & attribute::kMode64Bit) != 0 &&
                        (secs().attributes.xfrm & ~machine_.config.xcr0) == 0;
  const bool notify_agrees = opt_in || notify == ((attributes & attribute::kAexNotify) != 0);
  if (!offsets_aligned || !flags_legal || !runnable || !notify_agrees) {
    return raise(general_protection());
  }
  return {};
}

LinearAddress TcsClaim::frame(std::uint32_t index) const noexcept {
  return ssa_frame_address(secs().base_addr, tcs().ossa, secs().ssa_frame_size, index);
}

void TcsClaim::enter(LogicalProcessor& lp, CpuState& cpu, const SsaFrameCache& ssa) noexcept {
  tcs().aep = cpu[Reg::Rcx];

  lp.enclave_mode = true;
  lp.dbgoptin = (tcs().atomic_flags().load(std::memory_order_relaxed) & tcs_flags::kDbgOptIn) != 0;
  lp.save_tf = (cpu.rflags & rflags::kTf) != 0;
  lp.secs = secs_page_;
  lp.tcs = page_;
  lp.tcs_address = address_;
  lp.elrange = secs().elrange();
  lp.xfrm = secs().attributes.xfrm;
  lp.host_fs_base = cpu.fs_base;
  lp.host_gs_base = cpu.gs_base;
  lp.entry_epoch = entry_epoch_;
  lp.ssa = ssa;
  if (!lp.dbgoptin) {
    cpu.rflags &= ~rflags::kTf;
  }

  page_.epcm->owner.store(lp.id, std::memory_order_release);
  taken_ = false;
}

void leave_enclave(LogicalProcessor& lp, CpuState& cpu) noexcept {
  cpu.fs_base = lp.host_fs_base;
  cpu.gs_base = lp.host_gs_base;
  if (!lp.dbgoptin) {
    cpu.rflags = (cpu.rflags & ~rflags::kTf) | (lp.save_tf ? rflags::kTf : 0);
  }

  lp.tcs.epcm->owner.store(0, std::memory_order_release);
  tcs_of(lp.tcs).atomic_state().store(tcs_state::kInactive, std::memory_order_release);
  // Last: as soon as nobody is counted any more, EWB may take the TCS and with it the SECS.
  tracking_leave(secs_of(lp.secs), lp.entry_epoch, lp.tcs_address);
  const std::uint32_t id = lp.id;
  lp = {};
  lp.id = id;
}

}  // namespace enclume::arch
