// SPDX-License-Identifier: Apache-2.0
//
// make_signing_key FILE: writes a new enclave signing key for the tests of this build.
#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>

#include "enclaves/signer.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_signing_key FILE\n");
    return 2;
  }
  try {
    std::ofstream file(argv[1], std::ios::trunc);
    file << enclume::test::SigningKey::generate().pem() << std::flush;
    if (!file) throw std::runtime_error(std::string("cannot write ") + argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make_signing_key: %s\n", error.what());
    return 1;
  }
  return 0;
}
