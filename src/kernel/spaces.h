// SPDX-License-Identifier: Apache-2.0
// The two address spaces that SGX instructions run in: the kernel's, for ENCLS, and the program's, for ENCLU.
#pragma once

#include <expected>

#include "arch/ports.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// For ENCLS leaves that work on one enclave. EPC pages are named by their alias addresses in this process
/// (LinearAddress::of(page.data)); every other address is the kernel's own memory and translates to itself.
/// Signal context: safe.
class KernelSpace final : public arch::AddressSpace {
 public:
  explicit KernelSpace(const Enclave& enclave) noexcept : enclave_(enclave) {}
  /// The kernel's name for a page of its own that lies where an EPC page is to be or has been: what it has
  /// read from the program, or the ciphertext of an evicted page. No pointer of this half is as high.
  static constexpr LinearAddress kDriverPage{0xffff'8000'0000'0000};
  void set_driver_page(std::byte* data) noexcept { driver_page_ = data; }
  /// An EPC page without memory of its own; null: none. Leaves that only read it find its zeros elsewhere.
  void set_hole(const std::byte* data) noexcept { hole_ = data; }

  [[nodiscard]] std::expected<arch::Operand, arch::Fault> walk(LinearAddress address,
                                                               arch::Access access) noexcept override;

 private:
  const Enclave& enclave_;
  std::byte* driver_page_ = nullptr;
  const std::byte* hole_ = nullptr;
};

/// For ENCLU leaves, and for a native fault of enclave code: what the page tables of the program hold. A page
/// of an enclave has a PTE when it is resident and was touched, a VMA covers it and the VMA's permissions are
/// within the page's maximum. The walk sets the accessed bit: a page that the reclaimer was watching is in
/// use again, and the engine may give it its native permissions back (no AEX: hardware takes none either).
///
/// The #PF that comes back has the ordinary bits (P, W, I, U) and the address as given; for a memory operand
/// that isn't in an enclave's VMA, the program's memory is probed through the platform.
/// Signal context: safe.
class UserSpace final : public arch::AddressSpace {
 public:
  explicit UserSpace(const Kernel& kernel) noexcept : kernel_(kernel) {}
  [[nodiscard]] std::expected<arch::Operand, arch::Fault> walk(LinearAddress address,
                                                               arch::Access access) noexcept override;

 private:
  const Kernel& kernel_;
};

}  // namespace enclume::kernel
