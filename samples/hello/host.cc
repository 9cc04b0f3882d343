// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <iostream>

#include "enclume/host/enclave.h"
#include "hello.h"

void hello::print(std::string_view line) {
  std::cout << "enclave: " << line << '\n';
}

int main(int argc, char** argv) {
  const auto enclave = enclume::Enclave<Hello>::load(argc > 1 ? argv[1] : "hello.enclave");
  if (!enclave) {
    std::cerr << "hello: " << describe(enclave.error().code) << '\n';
    return 1;
  }
  std::cout << enclave->call<hello::greet>("anvil").value_or("?") << '\n';

  const std::array<std::uint32_t, 4> numbers{2, 3, 5, 7};
  if (const auto total = enclave->call<hello::sum>(numbers)) {
    std::cout << "sum: " << *total << '\n';
  } else {
    std::cerr << "hello: " << describe(total.error().code) << '\n';
    return 1;
  }
}
