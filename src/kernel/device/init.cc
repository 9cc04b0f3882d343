// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_INIT (Linux: sgx_ioc_enclave_init(), sgx_encl_init()).
#include <cstring>

#include "arch/identity/crypto.h"
#include "arch/structs/einittoken.h"
#include "arch/structs/sigstruct.h"
#include "kernel/device/command.h"
#include "kernel/enclave_lock.h"
#include "kernel/encls.h"
#include "kernel/uapi/sgx.h"

namespace enclume::kernel {

namespace {

/// SGX_EINIT_SPIN_COUNT and SGX_EINIT_SLEEP_COUNT: tries while an event interrupts EINIT.
constexpr unsigned kEinitSpins = 20;
constexpr unsigned kEinitSleeps = 50;

/// SGX_ATTR_RESERVED_MASK, SGX_MISC_RESERVED_MASK
constexpr std::uint64_t kReservedAttributes =
    ~(arch::attribute::kInit | arch::attribute::kDebug | arch::attribute::kMode64Bit |
      arch::attribute::kProvisionKey | arch::attribute::kEinitTokenKey | arch::attribute::kKss |
      arch::attribute::kAexNotify);
constexpr std::uint32_t kReservedMisc = ~arch::miscselect::kExinfo;

/// What the signer insists on and this machine has not.
bool demands_reserved(const arch::MachineConfig& config, const arch::Sigstruct& s) {
  const std::uint64_t attributes = ~config.attributes_supported | kReservedAttributes;
  const std::uint32_t misc = ~config.misc_supported | kReservedMisc;
  const std::uint64_t xfrm = ~config.xfrm_supported;
  return (s.attributes.flags & s.attribute_mask.flags & attributes) != 0 ||
         (s.miscselect & s.miscmask & misc) != 0 || (s.attributes.xfrm & s.attribute_mask.xfrm & xfrm) != 0;
}

SysResult<void> init(const Kernel& kernel, Enclave& enclave, const arch::Sigstruct& sigstruct,
                     const std::byte* token) noexcept {
  EnclaveShared& s = enclave.shared();
  if ((s.attributes.load() & ~s.attributes_mask.load()) != 0) {
    return fail(Errno::Access);
  }
  if (demands_reserved(kernel.config, sigstruct)) {
    return fail(Errno::Invalid);
  }
  // Launch control is flexible: whoever signed is whom the processor lets launch.
  const arch::LePubKeyHash mrsigner = arch::sha256({sigstruct.modulus});

  const EnclaveLock lock(kernel, enclave);
  arch::LeafResult result;
  for (unsigned i = 0; i < kEinitSpins * kEinitSleeps; ++i) {
    const auto injected = kernel.platform.injected_einit_code();
    result =
        injected
            ? arch::leaf_failure(*injected)
            : Encls(kernel, enclave).einit(mrsigner, reinterpret_cast<const std::byte*>(&sigstruct), token);
    if (!failed_with(result, arch::LeafCode::UnmaskedEvent)) {
      break;
    }
    if (i % kEinitSpins == kEinitSpins - 1) {
      kernel.platform.relax();
      if (kernel.platform.signal_pending()) {
        return fail(Errno::Restart);
      }
    }
  }
  if (!result) {
    return fail(Errno::Io);
  }
  if (!succeeded(result)) {
    return fail(Errno::Perm);
  }
  s.flags.fetch_or(enclave_flag::kInitialized, std::memory_order_release);
  return {};
}

}  // namespace

SysResult<long> ioctl_init(const Kernel& kernel, Enclave& enclave, LinearAddress argument) noexcept {
  if (!enclave.created() || enclave.initialized()) {
    return fail(Errno::Invalid);
  }
  uapi::EnclaveInit arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  // SIGSTRUCT on a page boundary, the token (all zero: not valid) on a 512-byte one.
  std::byte* page = enclave.scratch().page;
  std::byte* token = page + kPageSize / 2;
  std::memset(token, 0, sizeof(arch::Einittoken));
  auto& sigstruct = arch::overlay<arch::Sigstruct>(page);
  if (!read_user(kernel, sigstruct, LinearAddress(arg.sigstruct))) {
    return fail(Errno::Fault);
  }
  if (sigstruct.vendor != 0 && sigstruct.vendor != arch::kSigstructVendorIntel) {
    return fail(Errno::Invalid);
  }
  if (auto r = init(kernel, enclave, sigstruct, token); !r) {
    return fail(r.error());
  }
  drop_unused_pages(kernel, enclave);
  return 0;
}

}  // namespace enclume::kernel
