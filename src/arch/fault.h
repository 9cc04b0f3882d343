// SPDX-License-Identifier: Apache-2.0
// How an instruction ends when it does not simply succeed: architectural faults and codes, as values.
#pragma once

#include <cstdint>
#include <expected>

#include "base/types.h"

namespace enclume::arch {

/// Exception vectors (SDM Vol. 3A, Table 6-1).
enum class Vector : std::uint8_t {
  DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OF = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DF = 8,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF = 14,
  MF = 16,
  AC = 17,
  MC = 18,
  XM = 19,
  VE = 20,
  CP = 21,
};

/// Page-fault error code bits (SDM Vol. 3A, Figure 4-12).
namespace pfec {
inline constexpr std::uint32_t kPresent = 1U << 0;
inline constexpr std::uint32_t kWrite = 1U << 1;
inline constexpr std::uint32_t kUser = 1U << 2;
inline constexpr std::uint32_t kReserved = 1U << 3;
inline constexpr std::uint32_t kInstruction = 1U << 4;
inline constexpr std::uint32_t kProtectionKey = 1U << 5;
inline constexpr std::uint32_t kSgx = 1U << 15;
}  // namespace pfec

/// An exception that an instruction raised. `address` counts for #PF only (the value for CR2).
struct Fault {
  Vector vector;
  std::uint32_t error_code = 0;
  LinearAddress address{};

  friend constexpr bool operator==(const Fault&, const Fault&) = default;
};

constexpr Fault general_protection() {
  return {Vector::GP, 0, {}};
}
constexpr Fault undefined_opcode() {
  return {Vector::UD, 0, {}};
}
/// A page fault that the EPCM, not the page tables, raised: P and SGX are set.
constexpr Fault epcm_fault(LinearAddress a, std::uint32_t access_bits) {
  return {Vector::PF, pfec::kPresent | pfec::kSgx | access_bits, a};
}

/// What a leaf leaves in RAX (SDM Vol. 3D, "Error codes"; Linux asm/sgx.h `enum sgx_return_code`).
enum class LeafCode : std::uint32_t {
  Success = 0,
  InvalidSigStruct = 1,
  InvalidAttribute = 2,
  BlkState = 3,
  InvalidMeasurement = 4,
  NotBlockable = 5,
  PgInvld = 6,
  EpcPageConflict = 7,
  InvalidSignature = 8,
  MacCompareFail = 9,
  PageNotBlocked = 10,
  NotTracked = 11,
  VaSlotOccupied = 12,
  ChildPresent = 13,
  EnclaveAct = 14,
  EntryepochLocked = 15,
  InvalidEinitToken = 16,
  PrevTrkIncmpl = 17,
  PgIsSecs = 18,
  PageAttributesMismatch = 19,
  PageNotModifiable = 20,
  PageNotDebuggable = 21,
  InvalidCpusvn = 32,
  InvalidIsvsvn = 64,
  UnmaskedEvent = 128,
  InvalidKeyname = 256,
};

/// The two flags that leaves use to report; the other arithmetic flags are cleared by leaves that report.
struct LeafStatus {
  LeafCode code = LeafCode::Success;
  bool zf = false;
  bool cf = false;

  friend constexpr bool operator==(const LeafStatus&, const LeafStatus&) = default;
};

/// Three honest endings of a leaf: done, done with a code, fault.
using LeafResult = std::expected<LeafStatus, Fault>;

constexpr LeafResult leaf_success() {
  return LeafStatus{};
}
/// Failure reported by ZF, as nearly all leaves do.
constexpr LeafResult leaf_failure(LeafCode code) {
  return LeafStatus{code, true, false};
}
constexpr std::unexpected<Fault> raise(Fault f) {
  return std::unexpected<Fault>(f);
}

}  // namespace enclume::arch
