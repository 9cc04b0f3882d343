// SPDX-License-Identifier: Apache-2.0
// SHA-256 and MRENCLAVE by OpenSSL, written from the SDM's byte layout alone: the other opinion.
#pragma once

#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "arch/structs/bytes.h"

namespace enclume::test {

inline arch::Hash256 openssl_sha256(std::span<const std::byte> data) {
  arch::Hash256 hash;
  unsigned size = 0;
  if (EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(hash.data()), &size, EVP_sha256(),
                 nullptr) != 1 ||
      size != hash.size()) {
    throw std::runtime_error("EVP_Digest");
  }
  return hash;
}

/// Collects the bytes that MRENCLAVE hashes, all of them, and hashes them at the end.
class ReferenceMeasurement {
 public:
  void ecreate(std::uint32_t ssa_frame_size, std::uint64_t size) {
    bytes_.clear();
    text("ECREATE", 8);
    number(ssa_frame_size, 4);
    number(size, 8);
    zeros(44);
  }
  void eadd(std::uint64_t offset, std::uint64_t secinfo_flags) {
    text("EADD", 8);
    number(offset, 8);
    number(secinfo_flags, 8);
    zeros(40);
  }
  void eextend(std::uint64_t offset, std::span<const std::byte> chunk) {
    text("EEXTEND", 8);
    number(offset, 8);
    zeros(48);
    bytes_.insert(bytes_.end(), chunk.begin(), chunk.end());
  }
  [[nodiscard]] arch::Hash256 mrenclave() const { return openssl_sha256(bytes_); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void text(std::string_view name, std::size_t width) {
    for (const char c : name) {
      bytes_.push_back(static_cast<std::byte>(c));
    }
    zeros(width - name.size());
  }
  void number(std::uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) {
      bytes_.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xff));
    }
  }
  void zeros(std::size_t count) { bytes_.insert(bytes_.end(), count, std::byte{0}); }

  std::vector<std::byte> bytes_;
};

}  // namespace enclume::test
