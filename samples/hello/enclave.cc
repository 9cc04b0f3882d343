// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/enclave.h"

#include "hello.h"

ENCLUME_ENCLAVE(Hello);

namespace hello {

std::string greet(std::string_view name) {
  return "Hello, " + std::string(name) + ", from inside.";
}

std::uint64_t sum(std::span<const std::uint32_t> numbers) {
  std::uint64_t total = 0;
  for (const std::uint32_t number : numbers) total += number;
  const enclume::Outside<Hello> outside;
  // The host can refuse, or throw: then the sum is all the same.
  if (!outside.call<print>("the enclave has added them up")) return total;
  return total;
}

}  // namespace hello
