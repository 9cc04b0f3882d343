// SPDX-License-Identifier: Apache-2.0
#include "cli/sign/rsa_key.h"

#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "cli/failure.h"

namespace enclume::cli {
namespace {

template <auto Function>
struct Calls {
  template <typename T>
  void operator()(T* object) const noexcept {
    Function(object);
  }
};
using Bignum = std::unique_ptr<BIGNUM, Calls<BN_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Calls<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Calls<EVP_MD_CTX_free>>;
using Memory = std::unique_ptr<BIO, Calls<BIO_free>>;
struct FileCloser {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

[[noreturn]] void fail(const std::string& what) {
  throw Failure(ExitStatus::kUsage, "sign: " + what);
}

Bignum number_of(EVP_PKEY* key, const char* parameter) {
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(key, parameter, &number);
  return Bignum(number);
}

// Asks once for a file's passphrase, however often OpenSSL does.
struct Passphrase {
  std::string prompt;
  bool was_asked = false;
  std::array<char, 1024> text{};

  static int give(char* to, int size, int, void* raw) {
    auto& self = *static_cast<Passphrase*>(raw);
    if (!std::exchange(self.was_asked, true) &&
        EVP_read_pw_string(self.text.data(), static_cast<int>(self.text.size()), self.prompt.c_str(), 0) !=
            0) {
      self.text[0] = '\0';
    }
    const std::size_t length = std::strlen(self.text.data());
    if (length == 0 || length > static_cast<std::size_t>(size)) return -1;
    std::memcpy(to, self.text.data(), length);
    return static_cast<int>(length);
  }
  ~Passphrase() { OPENSSL_cleanse(text.data(), text.size()); }
};

}  // namespace

void RsaKey::Deleter::operator()(void* key) const noexcept {
  EVP_PKEY_free(static_cast<EVP_PKEY*>(key));
}

RsaKey RsaKey::read(const std::string& name, bool needs_private) {
  const auto open = [&] {
    std::unique_ptr<std::FILE, FileCloser> file(std::fopen(name.c_str(), "re"));
    if (file == nullptr) fail(fmt::format("cannot read {}: {}", name, std::strerror(errno)));
    return file;
  };
  Passphrase passphrase{.prompt = fmt::format("Passphrase of {}: ", name)};
  EVP_PKEY* key = PEM_read_PrivateKey(open().get(), nullptr, Passphrase::give, &passphrase);
  if (key == nullptr && passphrase.was_asked) {
    fail(fmt::format("{} is encrypted, and this is not its passphrase", name));
  }
  if (key == nullptr && !needs_private) key = PEM_read_PUBKEY(open().get(), nullptr, nullptr, nullptr);
  if (key == nullptr) {
    fail(fmt::format("{} has no {} key in PEM", name, needs_private ? "private" : "public or private"));
  }
  RsaKey result(key);
  const auto modulus = number_of(key, OSSL_PKEY_PARAM_RSA_N);
  const auto exponent = number_of(key, OSSL_PKEY_PARAM_RSA_E);
  if (modulus == nullptr || exponent == nullptr || BN_num_bits(modulus.get()) != 3072 ||
      BN_is_word(exponent.get(), 3) == 0) {
    fail(fmt::format("the key in {} is not RSA-3072 with exponent 3 (openssl genrsa -3 3072)", name));
  }
  return result;
}

RsaKey RsaKey::generate() {
  const KeyContext maker(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  const Bignum three(BN_new());
  EVP_PKEY* key = nullptr;
  if (BN_set_word(three.get(), 3) != 1 || EVP_PKEY_keygen_init(maker.get()) != 1 ||
      EVP_PKEY_CTX_set_rsa_keygen_bits(maker.get(), 3072) != 1 ||
      EVP_PKEY_CTX_set1_rsa_keygen_pubexp(maker.get(), three.get()) != 1 ||
      EVP_PKEY_generate(maker.get(), &key) != 1) {
    throw Failure(ExitStatus::kInternal, "sign: OpenSSL cannot make a key");
  }
  return RsaKey(key);
}

RsaNumber RsaKey::modulus() const {
  RsaNumber bytes;
  const auto number = number_of(static_cast<EVP_PKEY*>(key_.get()), OSSL_PKEY_PARAM_RSA_N);
  BN_bn2lebinpad(number.get(), bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

RsaNumber RsaKey::sign(std::span<const std::byte> message) const {
  RsaNumber signature;
  std::size_t size = signature.size();
  const DigestContext context(EVP_MD_CTX_new());
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, static_cast<EVP_PKEY*>(key_.get())) !=
          1 ||
      EVP_DigestSign(context.get(), signature.data(), &size,
                     reinterpret_cast<const unsigned char*>(message.data()), message.size()) != 1 ||
      size != signature.size()) {
    throw Failure(ExitStatus::kInternal, "sign: OpenSSL cannot sign");
  }
  std::ranges::reverse(signature);
  return signature;
}

std::string RsaKey::private_pem() const {
  const Memory out(BIO_new(BIO_s_mem()));
  char* text = nullptr;
  if (PEM_write_bio_PrivateKey(out.get(), static_cast<EVP_PKEY*>(key_.get()), nullptr, nullptr, 0, nullptr,
                               nullptr) != 1) {
    throw Failure(ExitStatus::kInternal, "sign: OpenSSL cannot write a key");
  }
  const auto size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

}  // namespace enclume::cli
