// SPDX-License-Identifier: Apache-2.0
// A TCS on its way from inactive to active: what EENTER and ERESUME check alike, and what must be undone when
// one of their later checks fails.
#pragma once

#include <cstdint>
#include <expected>

#include "arch/cpu_state.h"
#include "arch/epc/epcm.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "arch/machine.h"
#include "arch/ports.h"
#include "arch/structs/secs.h"
#include "arch/structs/tcs.h"
#include "base/types.h"

namespace enclume::arch {

/// Checks 1-3 of EENTER and ERESUME: RBX page aligned and in the EPC, RCX canonical.
[[nodiscard]] std::expected<EpcPage, Fault> tcs_operand(AddressSpace&, LinearAddress tcs,
                                                        LinearAddress aep) noexcept;

/// The architecture tests STATE nearly last, but two threads may race for a TCS, and ETRACK must know of
/// whoever may have read an SSA page's EPCM entry. So the claim takes the page's lock, STATE and a place in
/// the tracking epoch *before* the other checks, remembers whether STATE was free, and gives everything back
/// in its destructor unless enter() has been called. What is read in between can't change: neither the last
/// owner (he is out if STATE was free) nor an ENCLS leaf (they take the lock) writes to the TCS.
class TcsClaim {
 public:
  /// `page` from tcs_operand(), `address` its linear address. Signal context: safe.
  TcsClaim(const Machine&, const EpcPage& page, LinearAddress address) noexcept;
  ~TcsClaim();
  TcsClaim(const TcsClaim&) = delete;
  TcsClaim& operator=(const TcsClaim&) = delete;

  /// Checks 4-16. Nothing else may be called unless this returned a value.
  [[nodiscard]] std::expected<void, Fault> check() noexcept;

  /// Check "STATE = active": a logical processor is inside by this TCS.
  [[nodiscard]] bool busy() const noexcept { return !taken_; }

  [[nodiscard]] Tcs& tcs() const noexcept { return tcs_of(page_); }
  [[nodiscard]] Secs& secs() const noexcept { return secs_of(secs_page_); }
  [[nodiscard]] const EpcPage& secs_page() const noexcept { return secs_page_; }
  /// Linear address of an offset that the TCS holds.
  [[nodiscard]] LinearAddress at(std::uint64_t offset) const noexcept {
    return LinearAddress(secs().base_addr + offset);
  }
  /// Frame `index` of this TCS.
  [[nodiscard]] LinearAddress frame(std::uint32_t index) const noexcept;

  /// The point of no return: TCS.AEP is written, `lp` goes into enclave mode with everything but the SSA
  /// cache, and `cpu` into opt-in or opt-out debugging; host FS and GS bases are remembered.
  void enter(LogicalProcessor& lp, CpuState& cpu, const SsaFrameCache&) noexcept;

 private:
  void release() noexcept;

  const Machine& machine_;
  EpcPage page_;
  LinearAddress address_;
  EpcPageLock lock_;
  EpcPage secs_page_;
  std::uint32_t entry_epoch_ = 0;
  bool taken_ = false;
};

/// EEXIT's and AEX's half: the logical processor gives its TCS back and is outside. Host FS and GS bases
/// return, TF is what it was at entry (opt-out) or stays (opt-in). `lp` is as before any entry. Signal
/// context: safe.
void leave_enclave(LogicalProcessor& lp, CpuState& cpu) noexcept;

}  // namespace enclume::arch
