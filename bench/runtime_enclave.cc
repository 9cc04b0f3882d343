// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/enclave.h"
#include "runtime_calls.h"

ENCLUME_ENCLAVE(RuntimeCalls);

namespace runtime_calls {

void nothing() {}

void nothing_outside(std::uint64_t times) {
  const enclume::Outside<RuntimeCalls> outside;
  while (times-- != 0) static_cast<void>(outside.call<nothing_there>());
}

std::uint64_t take(std::span<const std::byte> bytes) {
  return bytes.empty() ? 0 : std::to_integer<std::uint64_t>(bytes.back());
}

void give(enclume::OutSpan<std::byte> bytes) {
  if (!bytes.empty()) bytes.back() = std::byte{1};
}

}  // namespace runtime_calls
