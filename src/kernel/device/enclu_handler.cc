// SPDX-License-Identifier: Apache-2.0
// The ioctls of design `per-mm` (include/enclume/uapi/sgx_enclu_handler.h).
#include "enclume/uapi/sgx_enclu_handler.h"

#include <type_traits>

#include "kernel/device/command.h"
#include "kernel/fixup/mm_context.h"
#include "kernel/traps/traps.h"

namespace enclume::kernel {

static_assert(SGX_IOC_ENCLU_HANDLER_REGISTER == 0x4010a480 && SGX_IOC_ENCLU_HANDLER_UNREGISTER == 0x4010a481);
static_assert(sizeof(sgx_enclu_handler) == 16 && offsetof(sgx_enclu_handler, flags) == 8);

namespace {

SysResult<long> done(const SysResult<void>& r) {
  return r ? SysResult<long>(0L) : fail(r.error());
}

}  // namespace

bool is_enclu_handler_command(unsigned command) noexcept {
  return command == SGX_IOC_ENCLU_HANDLER_REGISTER || command == SGX_IOC_ENCLU_HANDLER_UNREGISTER;
}

SysResult<long> ioctl_enclu_handler(const Kernel& kernel, unsigned command, LinearAddress argument) noexcept {
  sgx_enclu_handler arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  const bool registers = command == SGX_IOC_ENCLU_HANDLER_REGISTER;
  const std::uint64_t known = registers ? SGX_ENCLU_HANDLER_WRITE_ONCE : 0;
  if ((arg.flags & ~known) != 0 || arg.handler == 0 || arg.handler >= kTaskSizeMax) {
    return fail(Errno::Invalid);
  }
  EncluHandler& handler = kernel.mm.enclu_handler;
  const LinearAddress address(arg.handler);
  return done(registers ? handler.set(address, arg.flags != 0) : handler.clear(address));
}

}  // namespace enclume::kernel
