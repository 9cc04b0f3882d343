// SPDX-License-Identifier: Apache-2.0
//
// Signs enclaves for the tests: SIGSTRUCT with RSA-3072, exponent 3, PKCS#1 v1.5 over SHA-256, by OpenSSL.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>

#include "enclaves/enclave_image.h"

namespace enclume::test {

class SigningKey {
 public:
  // A new key. Takes a good part of a second.
  static SigningKey generate();
  // The key that the build made once for all test programs; see CMakeLists.txt.
  static const SigningKey& shared();

  explicit SigningKey(const std::string& pem);
  std::string pem() const;

  // Fills MODULUS, EXPONENT, SIGNATURE, Q1 and Q2 of a SIGSTRUCT whose other fields are done.
  void sign(Sigstruct& sigstruct) const;

  // SHA-256 of the modulus as it stands in SIGSTRUCT.
  Hash mrsigner() const;

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  explicit SigningKey(EVP_PKEY* key) : key_(key) {}

  std::unique_ptr<EVP_PKEY, Free> key_;
};

// A SIGSTRUCT for this image with every field but those of the signature: masks all ones but DEBUG and the
// XFRM bits beyond x87 and SSE, as signing tools commonly leave them.
Sigstruct unsigned_sigstruct(const EnclaveImage& image);

// The same, signed by the shared key.
Sigstruct signed_sigstruct(const EnclaveImage& image);

}  // namespace enclume::test
