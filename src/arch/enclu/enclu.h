// SPDX-License-Identifier: Apache-2.0
// ENCLU, user leaves (SDM Vol. 3D, chapter "SGX Instruction References"), and asynchronous exit.
#pragma once

#include <cstdint>

#include "arch/cpu_state.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "arch/machine.h"
#include "arch/ports.h"

namespace enclume::arch {

enum class EncluLeaf : std::uint32_t {
  Ereport = 0,
  Egetkey = 1,
  Eenter = 2,
  Eresume = 3,
  Eexit = 4,
  Eaccept = 5,
  Emodpe = 6,
  Eacceptcopy = 7,
  Everifyreport2 = 8,
  Edeccssa = 9,
};

/// Executes ENCLU as found at `cpu.rip` with the leaf in EAX: dispatch checks, then the leaf. On success
/// `cpu` and `lp` hold the state after the instruction (RIP moved, RAX and flags set by leaves that report);
/// on a fault nothing has changed, RIP is still the ENCLU, and the caller raises the exception (by aex()
/// first if lp.enclave_mode). Each leaf is also callable by itself. Signal context: safe.
[[nodiscard]] LeafResult enclu(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;

[[nodiscard]] LeafResult eenter(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;
[[nodiscard]] LeafResult eresume(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;
[[nodiscard]] LeafResult eexit(const Machine&, LogicalProcessor&, CpuState&) noexcept;
[[nodiscard]] LeafResult ereport(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;
[[nodiscard]] LeafResult egetkey(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;
[[nodiscard]] LeafResult eaccept(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;
[[nodiscard]] LeafResult emodpe(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;
[[nodiscard]] LeafResult eacceptcopy(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;
[[nodiscard]] LeafResult edeccssa(const Machine&, LogicalProcessor&, CpuState&, AddressSpace&) noexcept;

/// Why the processor leaves the enclave asynchronously.
struct AexEvent {
  bool exception = false;  ///< false: interrupt, NMI, …: nothing is reported in EXITINFO
  Vector vector{};
  std::uint32_t error_code = 0;
  LinearAddress address{};  ///< #PF: full linear address
  /// RF as the architecture stores it in the SSA: true for faults.
  bool save_rf = false;
};

/// Asynchronous exit: saves `cpu` into the current SSA frame, loads the synthetic state (RIP = AEP, RAX = 3,
/// RBX = TCS, RCX = AEP, …, FS/GS base the host's), CSSA + 1, TCS free. Can't fail.
/// Returns the linear address to report in CR2: page-masked for #PF, otherwise `event.address` unchanged.
LinearAddress aex(const Machine&, LogicalProcessor&, CpuState&, const AexEvent&) noexcept;

/// What aex() writes into the SSA frame, alone: for an exit that an ERESUME would take back at once.
void record_aex(const Machine&, const LogicalProcessor&, const CpuState&, const AexEvent&) noexcept;

/// Whether an access by enclave code to `page` at `address` passes the EPCM (SDM Vol. 3D, "Access-control
/// requirements"); the #PF if not. What the engine turns into native page permissions.
[[nodiscard]] std::expected<void, Fault> check_enclave_access(const LogicalProcessor&, const EpcPage&,
                                                              LinearAddress, Access) noexcept;

}  // namespace enclume::arch
