// SPDX-License-Identifier: Apache-2.0
#include "runtime/edge/sgx.h"
#include "runtime/enclave/self.h"

namespace enclume::enclave {

extern "C" [[gnu::visibility("hidden")]] std::uint32_t enclume_accept(const edge::Secinfo* secinfo,
                                                                      std::uint64_t page) noexcept;

bool has_dynamic_memory = false;

std::uint64_t accept_pages(std::uint64_t first, std::uint64_t bytes) noexcept {
  static constexpr edge::Secinfo kFresh{
      .flags = edge::kRegularPage | edge::kRead | edge::kWrite | edge::kPending, .reserved = {}};
  std::uint64_t done = 0;
  while (done < bytes && enclume_accept(&kFresh, first + done) == 0) done += edge::kPageSize;
  return done;
}

}  // namespace enclume::enclave
