// SPDX-License-Identifier: Apache-2.0
// Kernel error numbers as values. libc's `errno` lives in TLS and is never touched below the front doors.
#pragma once

#include <asm-generic/errno.h>

#include <expected>

namespace enclume {

/// A positive Linux errno. A distinct type, so that `-EINVAL`, `EINVAL` and `-1` cannot be mixed up.
enum class Errno : int {
  Perm = EPERM,
  NoEntry = ENOENT,
  NoProcess = ESRCH,
  Interrupted = EINTR,
  Io = EIO,
  TooBig = E2BIG,
  NoExec = ENOEXEC,
  BadFile = EBADF,
  Again = EAGAIN,
  NoMemory = ENOMEM,
  Access = EACCES,
  Fault = EFAULT,
  Busy = EBUSY,
  Exists = EEXIST,
  NoDevice = ENODEV,
  Invalid = EINVAL,
  NotTty = ENOTTY,
  NoSpace = ENOSPC,
  NoSys = ENOSYS,
  Restart = 512,  // ERESTARTSYS: never leaves the kernel's half, becomes EINTR or a restart
};

template <typename T>
using SysResult = std::expected<T, Errno>;

constexpr std::unexpected<Errno> fail(Errno e) {
  return std::unexpected<Errno>(e);
}
constexpr int negative(Errno e) {
  return -static_cast<int>(e);
}

/// Converts a raw system call's return value (negative errno on failure).
constexpr SysResult<long> from_raw(long r) {
  if (r < 0 && r >= -4095) {
    return fail(static_cast<Errno>(-r));
  }
  return r;
}

}  // namespace enclume
