// SPDX-License-Identifier: Apache-2.0
#include "kernel/device/ioctl.h"

#include "kernel/device/command.h"
#include "kernel/uapi/sgx.h"

namespace enclume::kernel {

namespace {

/// One ioctl at a time on an enclave, in all processes (Linux: SGX_ENCL_IOCTL). A holder that died is
/// replaced.
class OneAtATime {
 public:
  OneAtATime(const Kernel& kernel, Enclave& enclave) noexcept : owner_(enclave.shared().ioctl_owner) {
    const std::int32_t me = kernel.platform.thread_id();
    std::int32_t seen = 0;
    mine_ = owner_.compare_exchange_strong(seen, me) ||
            (!kernel.platform.alive(seen) && owner_.compare_exchange_strong(seen, me));
  }
  ~OneAtATime() {
    if (mine_) {
      owner_.store(0);
    }
  }
  OneAtATime(const OneAtATime&) = delete;
  OneAtATime& operator=(const OneAtATime&) = delete;
  [[nodiscard]] explicit operator bool() const noexcept { return mine_; }

 private:
  std::atomic<std::int32_t>& owner_;
  bool mine_ = false;
};

}  // namespace

SysResult<long> sgx_ioctl(const Kernel& kernel, Enclave& enclave, unsigned command,
                          LinearAddress argument) noexcept {
  // Not Linux's, so in its design unknown. No business of the enclave's, so not kept out by others' ioctls on
  // it.
  if (kernel.mm.design == ExceptionDesign::PerMm && is_enclu_handler_command(command)) {
    return ioctl_enclu_handler(kernel, command, argument);
  }
  const OneAtATime turn(kernel, enclave);
  if (!turn) {
    return fail(Errno::Busy);
  }
  if (auto r = enclave.ensure_mapped(kernel.platform); !r) {
    return fail(r.error());
  }
  switch (static_cast<uapi::Command>(command)) {
    case uapi::Command::Create:
      return ioctl_create(kernel, enclave, argument);
    case uapi::Command::AddPages:
      return ioctl_add_pages(kernel, enclave, argument);
    case uapi::Command::Init:
      return ioctl_init(kernel, enclave, argument);
    case uapi::Command::Provision:
      return ioctl_provision(kernel, enclave, argument);
    case uapi::Command::RestrictPermissions:
      return ioctl_restrict_permissions(kernel, enclave, argument);
    case uapi::Command::ModifyTypes:
      return ioctl_modify_types(kernel, enclave, argument);
    case uapi::Command::RemovePages:
      return ioctl_remove_pages(kernel, enclave, argument);
    case uapi::Command::VepcRemoveAll:
      break;  // of /dev/sgx_vepc, which is not offered
  }
  return fail(Errno::NotTty);
}

SysResult<void> check_range(const Enclave& enclave, std::uint64_t offset, std::uint64_t length) noexcept {
  if (offset % kPageSize != 0) {
    return fail(Errno::Invalid);
  }
  if (length == 0 || length % kPageSize != 0) {
    return fail(Errno::Invalid);
  }
  if (offset + length < offset) {
    return fail(Errno::Invalid);
  }
  if (offset + length - kPageSize >= enclave.size()) {
    return fail(Errno::Invalid);
  }
  return {};
}

SysResult<void> check_sgx2_ready(const Kernel& kernel, const Enclave& enclave) noexcept {
  if (!kernel.config.sgx2) {
    return fail(Errno::NoDevice);
  }
  if (!enclave.initialized()) {
    return fail(Errno::Invalid);
  }
  return {};
}

}  // namespace enclume::kernel
