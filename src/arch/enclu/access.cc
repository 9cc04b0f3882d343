// SPDX-License-Identifier: Apache-2.0
#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"

namespace enclume::arch {

std::expected<void, Fault> check_enclave_access(const LogicalProcessor& lp, const EpcPage& page,
                                                LinearAddress address, Access access) noexcept {
  if (!lp.elrange.contains(address)) {
    if (access == Access::Execute) {
      return raise(general_protection());
    }
    // Ordinary memory, or EPC that answers with abort-page semantics as to any access from outside.
    return {};
  }
  if (!page || !epcm_allows(lp, page, address, access)) {
    return raise(epcm_fault(address, access_bits(access)));
  }
  return {};
}

}  // namespace enclume::arch
