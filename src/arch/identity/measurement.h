// SPDX-License-Identifier: Apache-2.0
// MRENCLAVE while it grows: SHA-256 over 64-byte blocks that ECREATE, EADD and EEXTEND append (SDM Vol. 3D,
// "MRENCLAVE"; Linux tools/testing/selftests/sgx/sigstruct.c).
//
// The hash lives in the SECS between leaves (SecsInternal::hash_*). As every leaf appends whole blocks, the
// chaining value and a count are all of it. The caller owns the SECS or its measurement lock.
// Signal context: safe for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/structs/bytes.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"

namespace enclume::arch {

inline constexpr std::size_t kMeasuredChunk = 256;  ///< what one EEXTEND measures

/// Begins the hash: "ECREATE", SSAFRAMESIZE, SIZE.
void measure_ecreate(Secs& secs) noexcept;
/// "EADD", the page's offset in the enclave, the first 48 bytes of SECINFO.
void measure_eadd(Secs& secs, std::uint64_t page_offset, const Secinfo& secinfo) noexcept;
/// For each chunk: "EEXTEND", the chunk's offset in the enclave, then the chunk itself. `chunks` is a
/// multiple of kMeasuredChunk long.
void measure_eextend(Secs& secs, std::uint64_t chunk_offset, std::span<const std::byte> chunks) noexcept;
/// The value if nothing more came; the hash in the SECS stays as it is.
[[nodiscard]] Hash256 measured_so_far(const Secs& secs) noexcept;

}  // namespace enclume::arch
