// SPDX-License-Identifier: Apache-2.0
//
// A small enclave, put together in memory: its pages, its measurement, its SECS. Nothing here talks to a
// device.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "enclaves/sgx_abi.h"

namespace enclume::test {

using Hash = std::array<std::uint8_t, 32>;
using PageBytes = std::array<std::uint8_t, kPage>;

struct ImagePage {
  std::uint64_t secinfo_flags;  // Page type and, for PT_REG, permissions.
  bool measured;                // Whether its contents go into MRENCLAVE (EEXTEND).
  PageBytes bytes;
};

struct ImageOptions {
  std::uint64_t attributes = kAttributeMode64;
  std::uint64_t xfrm = 3;
  std::uint32_t miscselect = 0;
  std::uint32_t ssa_frame_pages = 1;
};

// The pages of an enclave by their offset from its base. Pages are added to the enclave in ascending order,
// which is the order that the measurement describes.
class EnclaveImage {
 public:
  // `size` is SECS.SIZE: a power of two, at least 8192. It is not checked, as tests want wrong ones too.
  EnclaveImage(std::uint64_t size, const ImageOptions& options) : size_(size), options_(options) {}

  // Adds a page; `offset` is page aligned. `bytes` may be shorter than a page, the rest is zero.
  void add_page(std::uint64_t offset, std::uint64_t secinfo_flags, std::span<const std::uint8_t> bytes,
                bool measured = true);
  void add_tcs(std::uint64_t offset, const Tcs& tcs);
  // Adds as many pages as `bytes` takes.
  void add_pages(std::uint64_t offset, std::uint64_t permissions, std::span<const std::uint8_t> bytes);

  std::uint64_t size() const { return size_; }
  const ImageOptions& options() const { return options_; }
  const std::map<std::uint64_t, ImagePage>& pages() const { return pages_; }
  ImagePage& page(std::uint64_t offset) { return pages_.at(offset); }

  Secs secs(std::uint64_t base) const;

  // MRENCLAVE by SDM 38.4 and the leaf pages of ECREATE, EADD and EEXTEND, computed by OpenSSL.
  Hash mrenclave() const;

  // The 64-byte blocks that MRENCLAVE is the SHA-256 of. For the benchmark of loading.
  std::vector<std::uint8_t> measured_bytes() const;

 private:
  std::uint64_t size_;
  ImageOptions options_;
  std::map<std::uint64_t, ImagePage> pages_;
};

Hash sha256(std::span<const std::uint8_t> bytes);

template <typename T>
std::span<const std::uint8_t> bytes_of(const T& object) {
  return {reinterpret_cast<const std::uint8_t*>(&object), sizeof object};
}

}  // namespace enclume::test
