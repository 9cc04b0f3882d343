// SPDX-License-Identifier: Apache-2.0
// A second implementation of the model's key derivation, written from its description
// (src/arch/identity/keys.h) with byte offsets and OpenSSL: it shares no code with the first.
#pragma once

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/sha.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace enclume::test {

using Key = std::array<std::byte, 16>;

inline Key openssl_cmac(const Key& key, std::span<const std::byte> message) {
  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(EVP_MAC_fetch(nullptr, "CMAC", nullptr),
                                                              EVP_MAC_free);
  const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(EVP_MAC_CTX_new(mac.get()),
                                                                          EVP_MAC_CTX_free);
  char cipher[] = "AES-128-CBC";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
                                   OSSL_PARAM_construct_end()};
  Key result{};
  std::size_t size = 0;
  if (EVP_MAC_init(context.get(), reinterpret_cast<const unsigned char*>(key.data()), key.size(),
                   parameters) != 1 ||
      EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(message.data()), message.size()) !=
          1 ||
      EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(result.data()), &size, result.size()) !=
          1 ||
      size != result.size()) {
    throw std::runtime_error("OpenSSL's CMAC failed");
  }
  return result;
}

/// First half of SHA-256("enclume key root" || purpose || secret).
inline Key reference_root(std::string_view purpose, std::span<const std::byte> secret) {
  std::vector<unsigned char> text;
  const auto append_text = [&](std::string_view s) { text.insert(text.end(), s.begin(), s.end()); };
  append_text("enclume key root");
  append_text(purpose);
  for (const std::byte b : secret) {
    text.push_back(static_cast<unsigned char>(b));
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(text.data(), text.size(), digest.data());
  Key root{};
  std::memcpy(root.data(), digest.data(), root.size());
  return root;
}

/// TMP_KEYDEPENDENCIES: 768 bytes, each field at its documented offset.
class ReferenceDependencies {
 public:
  template <typename T>
  ReferenceDependencies& put(std::size_t offset, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(bytes_.data() + offset, &value, sizeof(T));
    return *this;
  }
  [[nodiscard]] Key derive(std::span<const std::byte> secret) const {
    return openssl_cmac(reference_root("enclave keys", secret), bytes_);
  }

  static constexpr std::size_t kKeyname = 0;
  static constexpr std::size_t kKeypolicy = 2;
  static constexpr std::size_t kIsvprodid = 4;
  static constexpr std::size_t kIsvsvn = 6;
  static constexpr std::size_t kConfigsvn = 8;
  static constexpr std::size_t kMiscselect = 12;
  static constexpr std::size_t kMiscmask = 16;
  static constexpr std::size_t kAttributes = 24;
  static constexpr std::size_t kAttributemask = 40;
  static constexpr std::size_t kSealFuses = 80;
  static constexpr std::size_t kCpusvn = 96;
  static constexpr std::size_t kMrenclave = 112;
  static constexpr std::size_t kMrsigner = 144;
  static constexpr std::size_t kKeyid = 176;
  static constexpr std::size_t kConfigid = 208;
  static constexpr std::size_t kIsvfamilyid = 272;
  static constexpr std::size_t kIsvextprodid = 288;
  static constexpr std::size_t kPadding = 416;

 private:
  std::array<std::byte, 768> bytes_{};
};

/// Upper 352 bytes of a PKCS#1 v1.5 block for SHA-256 and RSA-3072, as a little-endian number.
inline std::array<std::byte, 352> reference_padding() {
  constexpr std::uint8_t kDigestInfo[20] = {0x20, 0x04, 0x00, 0x05, 0x01, 0x02, 0x04, 0x03, 0x65, 0x01,
                                            0x48, 0x86, 0x60, 0x09, 0x06, 0x0d, 0x30, 0x31, 0x30, 0x00};
  std::array<std::byte, 352> padding{};
  padding.fill(std::byte{0xff});
  std::memcpy(padding.data(), kDigestInfo, sizeof(kDigestInfo));
  padding[350] = std::byte{0x01};
  padding[351] = std::byte{0x00};
  return padding;
}

}  // namespace enclume::test
