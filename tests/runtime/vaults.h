// SPDX-License-Identifier: Apache-2.0
// The vaults that there are.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

#include "enclume/host/enclave.h"
#include "runtime/vault.h"

namespace vault {

/// One source, one signer, ISVPRODID 7 and ISVSVN 2, but for what the name says.
inline constexpr const char* kImage = ENCLUME_TEST_VAULT;
inline constexpr const char* kNewer = ENCLUME_TEST_VAULT_NEWER;      ///< ISVSVN 3; the same MRENCLAVE
inline constexpr const char* kOther = ENCLUME_TEST_VAULT_OTHER;      ///< another MRENCLAVE
inline constexpr const char* kProduct = ENCLUME_TEST_VAULT_PRODUCT;  ///< ISVPRODID 8
inline constexpr const char* kForeign = ENCLUME_TEST_VAULT_FOREIGN;  ///< another signer

inline enclume::Enclave<Vault> load(const char* image = kImage, const enclume::LoadOptions& options = {}) {
  auto enclave = enclume::Enclave<Vault>::load(image, options);
  if (!enclave) {
    ADD_FAILURE() << describe(enclave.error().code) << " (" << enclave.error().system << ")";
    std::exit(1);
  }
  return *enclave;
}

}  // namespace vault
