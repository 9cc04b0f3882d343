// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/enclave.h"
#include "enclume/enclave/exception.h"
#include "neighbours/layout.h"
#include "neighbours/own.h"

ENCLUME_ENCLAVE(Own);

namespace own {
namespace {

void raise(std::uint32_t trouble) {
  switch (trouble) {
    case FAULT_DIVIDE:
      asm volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx" : : : "rax", "rcx", "rdx", "cc");
      break;
    case FAULT_ILLEGAL:
      asm volatile("ud2");
      break;
    case FAULT_READ:
      static_cast<void>(*reinterpret_cast<const volatile std::uint64_t*>(NOBODYS_ADDRESS));
      break;
    default:
      break;
  }
}

}  // namespace

Result visit(std::uint32_t trouble, std::uint64_t value) {
  const auto outcome = enclume::guard([&] { raise(trouble); });
  const enclume::Outside<Own> outside;
  // If the host throws, this call ends all the same, and the host sees its exception again behind it.
  const std::uint64_t answer = outside.call<go_on>(value).value_or(0);
  return {answer + value, outcome ? std::uint64_t{NO_VECTOR} : outcome.error().vector};
}

}  // namespace own
