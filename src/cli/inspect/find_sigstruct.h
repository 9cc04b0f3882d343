// SPDX-License-Identifier: Apache-2.0
// Finds SIGSTRUCTs anywhere in a file and judges them as EINIT would.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arch/structs/sigstruct.h"

namespace enclume::cli {

enum class SignatureState {
  kValid,         // and so are Q1 and Q2
  kWrongHelpers,  // the RSA signature is valid, but Q1 or Q2 is not
  kInvalid,       // the RSA signature does not match
};

struct FoundSigstruct {
  std::uint64_t offset;  // in the file
  arch::Sigstruct sigstruct;
  bool is_well_formed;  // HEADER, VENDOR, HEADER2, EXPONENT and the reserved fields are as they must be
  SignatureState signature;
  arch::Hash256 mrsigner;
};

// Every place where both headers of a SIGSTRUCT stand at their distance and a whole structure fits. The last
// four bytes of HEADER, which some signers use for a flag, need not match. At most 64 are returned.
[[nodiscard]] std::vector<FoundSigstruct> find_sigstructs(std::span<const std::byte> file);

// The RSA signature alone, by the textbook: S^3 mod M is the PKCS#1 v1.5 block of the hash.
[[nodiscard]] bool rsa_signature_matches(const arch::Sigstruct& sigstruct);

}  // namespace enclume::cli
