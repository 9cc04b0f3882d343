// SPDX-License-Identifier: Apache-2.0
// Native page permissions play the EPCM: what enclave code may not do must fault.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::engine {

/// Native permissions may lag behind what is allowed (a fault asks for the rest); they never exceed it once a
/// call here has returned. Signal context: safe.
class NativeProtection {
 public:
  explicit NativeProtection(const kernel::Kernel& kernel) : kernel_(kernel) {}

  /// Sets these pages to effective_protection() wherever this process maps them.
  void apply(kernel::Enclave& enclave, std::uint64_t first_page, std::uint64_t count);
  /// All that the process maps of the enclave.
  void apply_all(kernel::Enclave& enclave);
  /// Another process may have taken permissions away since this one looked.
  void sync(kernel::Enclave& enclave);

 private:
  void apply_vma(const kernel::Vma& vma, std::uint64_t first_page, std::uint64_t end_page);
  /// False if the kernel has no room for another mapping (vm.max_map_count).
  [[nodiscard]] static bool set(LinearRange range, unsigned prot, unsigned pkey);

  const kernel::Kernel& kernel_;
};

/// The mapping of `range` of an enclave's VMA in its file, all permissions off. Errors as mmap.
[[nodiscard]] SysResult<void> map_native(const kernel::Enclave& enclave, LinearRange range);

}  // namespace enclume::engine
