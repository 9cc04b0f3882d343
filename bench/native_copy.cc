// SPDX-License-Identifier: Apache-2.0
#include "native_copy.h"

#include <sys/mman.h>

#include <cstring>

#include "enclaves/probe_enclave.h"

namespace enclume::bench {

NativeCopy::NativeCopy() {
  const auto code = test::probe_code();
  size_ = (code.size() + test::kPage - 1) & ~(test::kPage - 1);
  area_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memcpy(area_, code.data(), code.size());
  mprotect(area_, size_, PROT_READ | PROT_EXEC);
}

NativeCopy::~NativeCopy() {
  munmap(area_, size_);
}

std::uint64_t NativeCopy::work(std::uint64_t rounds, std::uint64_t seed) const {
  const std::uint64_t function = reinterpret_cast<std::uint64_t>(area_) + test::probe_labels().work;
  std::uint64_t result;
  asm volatile("sub $128, %%rsp\n\tcall *%[function]\n\tadd $128, %%rsp"
               : "=a"(result), "+c"(rounds)
               : "a"(seed), [function] "r"(function)
               : "rdx", "cc", "memory");
  return result;
}

}  // namespace enclume::bench
