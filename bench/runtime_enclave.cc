// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdlib>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/exception.h"
#include "enclume/enclave/sealing.h"
#include "enclume/enclave/sync.h"
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

void lock_and_unlock(std::uint64_t times) {
  static enclume::Mutex mutex;
  while (times-- != 0) {
    mutex.lock();
    mutex.unlock();
  }
}

bool take_from_heap(std::uint64_t bytes) {
  return std::malloc(bytes) != nullptr;
}

namespace {
std::array<std::byte, 4096> data;
std::array<std::byte, enclume::sealed_size(sizeof data)> sealed;

bool seal_once() {
  return enclume::seal(data, {}, enclume::SealPolicy::kSigner, sealed).has_value();
}
}  // namespace

bool seal(std::uint64_t times) {
  bool good = true;
  while (times-- != 0) good = seal_once() && good;
  return good;
}

bool unseal(std::uint64_t times) {
  bool good = seal_once();
  while (times-- != 0) good = enclume::unseal(sealed, {}, data).has_value() && good;
  return good;
}

std::uint64_t divide_by_zero(std::uint64_t times) {
  static std::uint64_t handled;
  handled = 0;
  const enclume::ThreadHandler handler([](enclume::Exception& exception) {
    constexpr std::uint8_t kDivideError = 0;
    if (exception.vector != kDivideError) return enclume::Verdict::kPassOn;
    ++handled;
    exception.registers.rcx = 1;
    return enclume::Verdict::kResume;
  });
  while (times-- != 0) {
    std::uint64_t low = 1, high = 0, divisor = 0;
    asm volatile("divq %%rcx" : "+a"(low), "+d"(high), "+c"(divisor) : : "cc");
  }
  return handled;
}

}  // namespace runtime_calls
