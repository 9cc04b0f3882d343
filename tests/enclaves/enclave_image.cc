// SPDX-License-Identifier: Apache-2.0
#include "enclaves/enclave_image.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace enclume::test {
namespace {

using Block = std::array<std::uint8_t, 64>;

// The first block of each measured event: an eight-byte name and its operands, the rest zero.
template <typename... Fields>
Block event_block(const char (&name)[9], Fields... fields) {
  Block block{};
  std::memcpy(block.data(), name, 8);
  std::size_t at = 8;
  ((std::memcpy(block.data() + at, &fields, sizeof fields), at += sizeof fields), ...);
  return block;
}

// Calls sink(span) with everything that ECREATE, EADD and EEXTEND hash, in order.
template <typename Sink>
void for_each_measured(const EnclaveImage& image, Sink sink) {
  sink(event_block("ECREATE\0", image.options().ssa_frame_pages, image.size()));
  for (const auto& [offset, page] : image.pages()) {
    // EADD hashes 48 bytes of SECINFO, of which all but FLAGS are zero.
    sink(event_block("EADD\0\0\0\0", offset, page.secinfo_flags));
    if (!page.measured) continue;
    for (std::uint64_t chunk = 0; chunk < kPage; chunk += 256) {
      sink(event_block("EEXTEND\0", offset + chunk));
      sink(std::span(page.bytes).subspan(chunk, 256));
    }
  }
}

}  // namespace

Hash sha256(std::span<const std::uint8_t> bytes) {
  Hash hash;
  if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL: SHA-256 failed");
  }
  return hash;
}

void EnclaveImage::add_page(std::uint64_t offset, std::uint64_t secinfo_flags,
                            std::span<const std::uint8_t> bytes, bool measured) {
  ImagePage page{.secinfo_flags = secinfo_flags, .measured = measured, .bytes = {}};
  std::copy_n(bytes.begin(), std::min<std::size_t>(bytes.size(), kPage), page.bytes.begin());
  pages_.insert_or_assign(offset, page);
}

void EnclaveImage::add_tcs(std::uint64_t offset, const Tcs& tcs) {
  add_page(offset, kPtTcs, bytes_of(tcs));
}

void EnclaveImage::add_pages(std::uint64_t offset, std::uint64_t permissions,
                             std::span<const std::uint8_t> bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += kPage) {
    add_page(offset + at, kPtReg | permissions,
             bytes.subspan(at, std::min<std::size_t>(kPage, bytes.size() - at)));
  }
}

Secs EnclaveImage::secs(std::uint64_t base) const {
  Secs secs{};
  secs.size = size_;
  secs.base = base;
  secs.ssa_frame_pages = options_.ssa_frame_pages;
  secs.miscselect = options_.miscselect;
  secs.attributes = options_.attributes;
  secs.xfrm = options_.xfrm;
  return secs;
}

Hash EnclaveImage::mrenclave() const {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  Hash hash;
  bool good = EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for_each_measured(*this, [&](std::span<const std::uint8_t> bytes) {
    good = good && EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1;
  });
  if (!good || EVP_DigestFinal_ex(context.get(), hash.data(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL: SHA-256 failed");
  }
  return hash;
}

std::vector<std::uint8_t> EnclaveImage::measured_bytes() const {
  std::vector<std::uint8_t> all;
  // Not insert(): GCC 12 misjudges it at -O3 (-Wstringop-overflow).
  for_each_measured(*this, [&](std::span<const std::uint8_t> bytes) {
    const std::size_t at = all.size();
    all.resize(at + bytes.size());
    std::memcpy(all.data() + at, bytes.data(), bytes.size());
  });
  return all;
}

}  // namespace enclume::test
