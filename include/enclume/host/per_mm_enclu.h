// SPDX-License-Identifier: Apache-2.0
// An ENCLU of one's own under the exception design `per-mm`: the function of host/enclu_call.h is brought
// along, and its return is the address space's handler.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>

#include "enclume/host/enclu_call.h"
#include "enclume/uapi/sgx_enclu_handler.h"

namespace enclume {

namespace detail {

/// ENCLU and a return, by the contract of uapi/sgx_vdso_enclu.h. An exception at the ENCLU reaches the
/// handler with the registers that the vDSO's function would return with, and RSP at the return address: so
/// the handler is the return. It serves any such function in the process.
extern "C" {
[[gnu::visibility("hidden")]] extern const char enclume_per_mm_enclu[];
[[gnu::visibility("hidden")]] extern const char enclume_per_mm_enclu_return[];
}
// One copy in each library and program, from whichever of its files include this.
__asm__(
    ".pushsection .text.enclume_per_mm_enclu, \"axG\", @progbits, enclume_per_mm_enclu, comdat\n\t"
    ".weak enclume_per_mm_enclu\n\t"
    ".hidden enclume_per_mm_enclu\n\t"
    ".weak enclume_per_mm_enclu_return\n\t"
    ".hidden enclume_per_mm_enclu_return\n\t"
    ".type enclume_per_mm_enclu, @function\n"
    "enclume_per_mm_enclu:\n\t"
    ".cfi_startproc\n\t"
    "endbr64\n\t"
    "leaq 1f(%rip), %rcx\n"
    "1:\n\t"
    ".byte 0x0f, 0x01, 0xd7\n"
    "enclume_per_mm_enclu_return:\n\t"
    "ret\n\t"
    ".cfi_endproc\n\t"
    ".size enclume_per_mm_enclu, . - enclume_per_mm_enclu\n\t"
    ".popsection");

}  // namespace detail

/// The handler of this address space, registered by a descriptor of /dev/sgx_enclave. Unregistered with the
/// object, if it was not for good.
class PerMmHandler {
 public:
  PerMmHandler() = default;
  ~PerMmHandler() { unregister(); }
  PerMmHandler(const PerMmHandler&) = delete;
  PerMmHandler& operator=(const PerMmHandler&) = delete;

  /// 0, or the errno of the ioctl: EBUSY if somebody else, another library perhaps, has one; ENOTTY
  /// everywhere but under `enclume run --fixup=per-mm`. The descriptor must live as long as the object.
  [[nodiscard]] int register_with(int device, bool write_once = false) noexcept {
    sgx_enclu_handler argument{address(), write_once ? std::uint64_t{SGX_ENCLU_HANDLER_WRITE_ONCE} : 0};
    if (ioctl(device, SGX_IOC_ENCLU_HANDLER_REGISTER, &argument) != 0) {
      return errno;
    }
    device_ = write_once ? -1 : device;
    return 0;
  }

  /// Does nothing if it is not registered by this object.
  void unregister() noexcept {
    if (device_ >= 0) {
      sgx_enclu_handler argument{address(), 0};
      ioctl(device_, SGX_IOC_ENCLU_HANDLER_UNREGISTER, &argument);
      device_ = -1;
    }
  }

  /// Enters enclaves; their exceptions return while a handler of this kind is registered.
  [[nodiscard]] EncluFunction enclu() const noexcept { return EncluFunction(detail::enclume_per_mm_enclu); }

 private:
  static std::uint64_t address() noexcept {
    return reinterpret_cast<std::uint64_t>(detail::enclume_per_mm_enclu_return);
  }

  int device_ = -1;
};

}  // namespace enclume
