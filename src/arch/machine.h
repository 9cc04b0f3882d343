// SPDX-License-Identifier: Apache-2.0
// The package: what all logical processors of one machine share.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/epc/epcm.h"
#include "arch/ports.h"

namespace enclume::arch {

/// One component of the XSAVE area's standard format (CPUID.0DH.n: EBX offset, EAX size).
struct XsaveComponent {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

/// What this processor is: CPUID.12H's answers and the secrets fused into it. Never changes.
struct MachineConfig {
  bool sgx2 = true;
  std::uint32_t misc_supported = 1;        ///< MISCSELECT bits; bit 0 = EXINFO
  std::uint64_t attributes_supported = 0;  ///< ATTRIBUTES.flags an enclave may ask for
  std::uint64_t xfrm_supported = 3;        ///< XFRM bits an enclave may ask for
  std::uint64_t xcr0 = 3;
  std::uint8_t max_size_log2_32 = 31;
  std::uint8_t max_size_log2_64 = 47;  ///< ECREATE refuses SIZE >= 2^this
  std::array<XsaveComponent, 64> xsave{};
  std::array<std::byte, 16> cpusvn{};
  std::array<std::byte, 32> secret{};  ///< root of every key
};

/// Counters of one machine, in memory shared by all its processes. All-zero memory is a fresh machine
/// once `boot_nonce` is filled with random bytes.
struct MachineShared {
  std::atomic<std::uint64_t> next_eid;
  std::atomic<std::uint64_t> next_version;  ///< anti-replay versions for evicted pages
  std::array<std::byte, 32> boot_nonce;     ///< CR_BASE_PK and CR_REPORT_KEYID derive from it
};

/// IA32_SGXLEPUBKEYHASH0..3, written by the kernel before EINIT.
using LePubKeyHash = std::array<std::byte, 32>;

struct Machine {
  const MachineConfig& config;
  MachineShared& shared;
  Epc& epc;
};

}  // namespace enclume::arch
