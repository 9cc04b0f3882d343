// SPDX-License-Identifier: Apache-2.0
#include "engine/control/ioctl.h"

#include "base/syscall.h"
#include "enclume/uapi/enclume_control.h"
#include "engine/calls/devices.h"
#include "engine/control/lose_epc.h"
#include "engine/engine.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

SysResult<long> control_ioctl(int fd, kernel::FileIdentity file, unsigned command,
                              std::uint64_t argument) noexcept {
  if (command != ENCLUME_IOC_LOSE_EPC) {
    return fail(Errno::NotTty);
  }
  (void)engine().current_thread();  // the kernel's half may have to find it
  const SignalsBlocked blocked;
  const auto enclave = enclave_of(fd, file);
  if (!enclave) {
    return fail(enclave.error());
  }
  const LossCause cause{sys::getpid()};
  switch (argument) {
    case ENCLUME_LOSE_ENCLAVE:
      return lose_epc((*enclave)->number(), cause);
    case ENCLUME_LOSE_MACHINE:
      return lose_epc_of_machine(cause);
    default:
      return fail(Errno::Invalid);
  }
}

}  // namespace enclume::engine
