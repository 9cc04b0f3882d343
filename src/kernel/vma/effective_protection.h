// SPDX-License-Identifier: Apache-2.0
// What enclave code may do to a page now, as native permissions: VMA and EPCM together.
#pragma once

#include <cstdint>
#include <optional>

#include "kernel/enclave.h"
#include "kernel/protection.h"

namespace enclume::kernel {

/// The VMA's permissions and the EPCM's, if the page is resident, touched, not watched by the reclaimer,
/// VALID, REG, and none of BLOCKED, PENDING and MODIFIED; and if the VMA asks no more than the page's
/// maximum. None otherwise, also outside the enclave. `enclave.mapped()` holds. Signal context: safe.
[[nodiscard]] Protection effective_protection(const Enclave& enclave, std::uint64_t page,
                                              Protection vma_prot) noexcept;

struct ProtectionRun {
  std::uint64_t first = 0;  ///< page number
  std::uint64_t count = 0;
  Protection prot;
};

/// Maximal runs of equal effective protection over [first, end), in order, without gaps: for mprotect in
/// batches. Skips what the enclave has not through the presence index. Signal context: safe.
class ProtectionRuns {
 public:
  ProtectionRuns(const Enclave& enclave, std::uint64_t first, std::uint64_t end, Protection vma_prot) noexcept
      : enclave_(enclave), next_(first), end_(end), vma_prot_(vma_prot) {}
  [[nodiscard]] std::optional<ProtectionRun> next() noexcept;

 private:
  /// Protection of the stretch that begins at `page`, and where its next different one may begin.
  [[nodiscard]] ProtectionRun stretch(std::uint64_t page) noexcept;

  const Enclave& enclave_;
  std::uint64_t next_;
  std::uint64_t end_;
  Protection vma_prot_;
  std::uint64_t present_until_ = 0;  ///< the index has every page from the last one looked at up to here
};

}  // namespace enclume::kernel
