// SPDX-License-Identifier: Apache-2.0
// RSA-3072 with exponent 3, the only keys that SGX knows, in PEM files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arch/structs/sigstruct.h"

namespace enclume::cli {

using RsaNumber = std::array<std::uint8_t, arch::kRsaSize>;  // little endian

class RsaKey {
 public:
  // From a PEM file: a private key or, if that is enough, a public one. Throws Failure in the name of `sign`.
  static RsaKey read(const std::string& name, bool needs_private);
  static RsaKey generate();

  [[nodiscard]] RsaNumber modulus() const;
  // PKCS#1 v1.5 over SHA-256.
  [[nodiscard]] RsaNumber sign(std::span<const std::byte> message) const;
  [[nodiscard]] std::string private_pem() const;

 private:
  struct Deleter {
    void operator()(void* key) const noexcept;
  };
  explicit RsaKey(void* key) : key_(key) {}
  std::unique_ptr<void, Deleter> key_;
};

}  // namespace enclume::cli
