// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/call.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>

#include "base/syscall.h"
#include "engine/calls/advice.h"
#include "engine/calls/files.h"
#include "engine/calls/listing.h"
#include "engine/calls/memory.h"
#include "engine/calls/memory_file.h"
#include "engine/calls/pkeys.h"
#include "engine/calls/status.h"
#include "engine/calls/tracer.h"
#include "engine/calls/user_memory.h"

namespace enclume::engine {

namespace {

constexpr int kPrSetSyscallUserDispatch = 59;

using Answer = std::optional<SysResult<long>>;

Answer open_by_name(int dirfd, const char* path, int flags) {
  const UserPath name(path);
  return name ? open_own(dirfd, name.text(), flags) : std::nullopt;
}

/// openat2(2): what the engine has is no symbolic link and on no other mount, but not below any directory.
Answer open_by_how(const Call& call) {
  open_how how{};
  if (call.argument[3] < sizeof(how) || !read_user(how, call.argument[2]) ||
      (how.resolve & RESOLVE_BENEATH) != 0 || (how.resolve & RESOLVE_IN_ROOT) != 0) {
    return std::nullopt;
  }
  return open_by_name(call.as_int(0), call.as_pointer<const char>(1), static_cast<int>(how.flags));
}

/// read() and write() on the devices, whose drivers have none of them, and on the process's own memory file.
Answer transfer(const Call& call, Transfer direction, bool positioned) {
  const int fd = call.as_int(0);
  if (may_be_device(fd) && device_of(fd) != Device::None) {
    return fail(Errno::Invalid);
  }
  if (!may_be_memory_file(fd)) {
    return std::nullopt;
  }
  return memory_file_io(fd, call.as_pointer<void>(1), call.argument[2],
                        positioned ? std::optional(call.argument[3]) : std::nullopt, direction);
}

/// What the drivers, which are character devices with open, ioctl and mmap alone, have not.
Answer refuse_device(int fd, int error = EINVAL) {
  return may_be_device(fd) && device_of(fd) != Device::None ? Answer(fail(static_cast<Errno>(error)))
                                                            : std::nullopt;
}

}  // namespace

Answer own_answer(const Call& call) {
  const auto pointer = [&](std::size_t n) { return call.as_pointer<void>(n); };
  switch (call.number) {
    case __NR_open:
      return open_by_name(AT_FDCWD, call.as_pointer<const char>(0), call.as_int(1));
    case __NR_creat:
      return open_by_name(AT_FDCWD, call.as_pointer<const char>(0), O_CREAT | O_WRONLY | O_TRUNC);
    case __NR_openat:
      return open_by_name(call.as_int(0), call.as_pointer<const char>(1), call.as_int(2));
    case __NR_openat2:
      return open_by_how(call);
    case __NR_close:
      return close_own(call.as_int(0), [](int fd) { return sys::call(__NR_close, fd); });
    case __NR_read:
      return transfer(call, Transfer::Read, false);
    case __NR_write:
      return transfer(call, Transfer::Write, false);
    case __NR_pread64:
      return transfer(call, Transfer::Read, true);
    case __NR_pwrite64:
      return transfer(call, Transfer::Write, true);
    case __NR_lseek:
      return refuse_device(call.as_int(0), ESPIPE);
    case __NR_fallocate:
      return refuse_device(call.as_int(0), ENODEV);
    case __NR_sendfile: {
      const auto from = refuse_device(call.as_int(1));
      return from ? from : refuse_device(call.as_int(0));
    }
    case __NR_splice:
    case __NR_copy_file_range: {
      const auto from = refuse_device(call.as_int(0));
      return from ? from : refuse_device(call.as_int(2));
    }
    case __NR_ftruncate:
    case __NR_fsync:
    case __NR_fdatasync:
    case __NR_readv:
    case __NR_writev:
    case __NR_preadv:
    case __NR_pwritev:
    case __NR_preadv2:
    case __NR_pwritev2:
      return refuse_device(call.as_int(0));
    case __NR_getdents64:
      return list_directory(call);
    case __NR_ioctl:
      return front_ioctl(call.as_int(0), call.argument[1], call.argument[2]);
    case __NR_mmap:
      return front_mmap(pointer(0), call.argument[1], call.as_int(2), call.as_int(3), call.as_int(4),
                        static_cast<off_t>(call.argument[5]));
    case __NR_munmap:
      return front_munmap(pointer(0), call.argument[1]);
    case __NR_mprotect:
      return front_mprotect(pointer(0), call.argument[1], call.as_int(2), -1);
    case __NR_pkey_mprotect:
      return front_mprotect(pointer(0), call.argument[1], call.as_int(2), call.as_int(3));
    case __NR_mremap:
      return front_mremap(pointer(0), call.argument[1], call.argument[2], call.as_int(3), pointer(4));
    case __NR_madvise:
      return front_madvise(pointer(0), call.argument[1], call.as_int(2));
    case __NR_mlock:
      return front_mlock(pointer(0), call.argument[1], 0);
    case __NR_mlock2:
      return front_mlock(pointer(0), call.argument[1], static_cast<unsigned>(call.argument[2]));
    case __NR_pkey_free:
      return front_pkey_free(call.as_int(0));
    case __NR_ptrace:
      return front_ptrace(static_cast<long>(call.argument[0]), call.as_int(1), call.argument[2],
                          call.argument[3]);
    case __NR_prctl:
      // It is the engine's (docs/fidelity.md): there is one selector a thread.
      return call.as_int(0) == kPrSetSyscallUserDispatch ? Answer(fail(Errno::Invalid)) : std::nullopt;
    default:
      return status_of_device(call);
  }
}

bool concerns_engine(std::uint32_t number) {
  switch (number) {
    case __NR_open:
    case __NR_creat:
    case __NR_openat:
    case __NR_openat2:
    case __NR_close:
    case __NR_stat:
    case __NR_lstat:
    case __NR_fstat:
    case __NR_newfstatat:
    case __NR_statx:
    case __NR_access:
    case __NR_faccessat:
    case __NR_faccessat2:
    case __NR_readlink:
    case __NR_readlinkat:
    case __NR_getdents64:
    case __NR_ioctl:
    case __NR_mmap:
    case __NR_munmap:
    case __NR_mprotect:
    case __NR_mremap:
    case __NR_pkey_mprotect:
    case __NR_pkey_alloc:
    case __NR_pkey_free:
    case __NR_rt_sigaction:
    case __NR_rt_sigprocmask:
    case __NR_rt_sigreturn:
    case __NR_rt_sigpending:
    case __NR_rt_sigtimedwait:
    case __NR_rt_sigsuspend:
    case __NR_sigaltstack:
    case __NR_prctl:
    case __NR_ptrace:
    case __NR_wait4:
    case __NR_waitid:
    case __NR_clone:
    case __NR_clone3:
    case __NR_fork:
    case __NR_vfork:
    case __NR_execve:
    case __NR_execveat:
      return true;
    default:
      return false;
  }
}

}  // namespace enclume::engine
