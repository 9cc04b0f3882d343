// SPDX-License-Identifier: Apache-2.0
// Signs SIGSTRUCTs with OpenSSL's big numbers.
#pragma once

#include <cstddef>
#include <span>

#include "arch/structs/bytes.h"
#include "arch/structs/sigstruct.h"

namespace enclume::test {

/// A SIGSTRUCT with its constants filled in and all else zero.
[[nodiscard]] arch::Sigstruct blank_sigstruct();

class Signer {
 public:
  /// `key` is an index into kTestKeys.
  explicit Signer(std::size_t key = 0) : key_(key) {}

  /// Fills in MODULUS, EXPONENT, SIGNATURE, Q1 and Q2.
  void sign(arch::Sigstruct&) const;
  /// Same with a PKCS#1 block of the caller's choice, big endian.
  void sign_block(arch::Sigstruct&, std::span<const std::byte, arch::kRsaSize> block) const;
  /// Q1 and Q2 for whatever MODULUS and SIGNATURE are.
  static void fill_quotients(arch::Sigstruct&);
  /// The PKCS#1 block that sign() uses, big endian.
  [[nodiscard]] static arch::Bytes<arch::kRsaSize> pkcs1_block(const arch::Sigstruct&);
  [[nodiscard]] arch::Hash256 mrsigner() const;

 private:
  std::size_t key_;
};

}  // namespace enclume::test
