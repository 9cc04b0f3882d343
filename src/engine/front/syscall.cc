// SPDX-License-Identifier: Apache-2.0
// syscall(2): libc's way around its own wrappers leads to the same doors.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdarg>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/exec_program.h"
#include "engine/front/devices.h"
#include "engine/front/files.h"
#include "engine/front/memory.h"
#include "engine/front/pkeys.h"
#include "engine/front/real.h"
#include "engine/front/signal_waits.h"
#include "engine/front/signals.h"

namespace enclume::engine {

namespace {

constexpr long kSgxMagic = 0xa4;

template <typename T>
T* pointer(long value) {
  return reinterpret_cast<T*>(value);
}

SysResult<long> done(const SysResult<void>& r) {
  return r ? SysResult<long>(0L) : fail(r.error());
}

SysResult<long> copy_pending(long to, std::size_t size) {
  const auto pending = front_sigpending();
  if (!pending) {
    return fail(pending.error());
  }
  if (enclume_guarded_copy(pointer<void>(to), &*pending, size) != 0) {
    return fail(Errno::Fault);
  }
  return 0L;
}

SysResult<long> dispatch(long nr, const long (&a)[6]) {
  if (engine().active) {
    switch (nr) {
      case __NR_open:
        return front_open(AT_FDCWD, pointer<const char>(a[0]), static_cast<int>(a[1]),
                          static_cast<unsigned>(a[2]));
      case __NR_openat:
        return front_open(static_cast<int>(a[0]), pointer<const char>(a[1]), static_cast<int>(a[2]),
                          static_cast<unsigned>(a[3]));
      case __NR_close:
        return front_close(static_cast<int>(a[0]));
      case __NR_mmap:
        return front_mmap(pointer<void>(a[0]), static_cast<std::size_t>(a[1]), static_cast<int>(a[2]),
                          static_cast<int>(a[3]), static_cast<int>(a[4]), a[5]);
      case __NR_munmap:
        return front_munmap(pointer<void>(a[0]), static_cast<std::size_t>(a[1]));
      case __NR_mprotect:
        return front_mprotect(pointer<void>(a[0]), static_cast<std::size_t>(a[1]), static_cast<int>(a[2]),
                              -1);
      case __NR_pkey_mprotect:
        return front_mprotect(pointer<void>(a[0]), static_cast<std::size_t>(a[1]), static_cast<int>(a[2]),
                              static_cast<int>(a[3]));
      case __NR_pkey_free:
        return front_pkey_free(static_cast<int>(a[0]));
      case __NR_mremap:
        return front_mremap(pointer<void>(a[0]), static_cast<std::size_t>(a[1]),
                            static_cast<std::size_t>(a[2]), static_cast<int>(a[3]), pointer<void>(a[4]));
      case __NR_ioctl:
        if (const auto result = front_ioctl(static_cast<int>(a[0]), static_cast<unsigned long>(a[1]),
                                            static_cast<std::uint64_t>(a[2]))) {
          return *result;
        }
        break;
      case __NR_execve:
        return from_raw(exec_program(
            {AT_FDCWD, pointer<const char>(a[0]), pointer<char*>(a[1]), pointer<char*>(a[2]), 0}));
      case __NR_execveat:
        return from_raw(exec_program({static_cast<int>(a[0]), pointer<const char>(a[1]), pointer<char*>(a[2]),
                                      pointer<char*>(a[3]), static_cast<int>(a[4])}));
      case __NR_rt_sigprocmask:
        if (a[3] == sizeof(SignalSet)) {
          return done(front_sigprocmask(static_cast<int>(a[0]), pointer<const SignalSet>(a[1]),
                                        pointer<SignalSet>(a[2])));
        }
        break;
      case __NR_rt_sigaction:
        if (a[3] == sizeof(SignalSet)) {
          return done(
              front_sigaction(static_cast<int>(a[0]), pointer<const Action>(a[1]), pointer<Action>(a[2])));
        }
        break;
      case __NR_rt_sigpending:
        if (static_cast<unsigned long>(a[1]) <= sizeof(SignalSet)) {
          return copy_pending(a[0], static_cast<std::size_t>(a[1]));
        }
        break;
      case __NR_rt_sigtimedwait:
        if (SignalSet wanted; a[3] == sizeof(SignalSet) &&
                              enclume_guarded_copy(&wanted, pointer<const void>(a[0]), sizeof(wanted)) == 0) {
          return front_sigtimedwait(wanted, pointer<siginfo_t>(a[1]), pointer<const timespec>(a[2]));
        }
        break;
      case __NR_sigaltstack:
        return done(front_sigaltstack(pointer<const AltStack>(a[0]), pointer<AltStack>(a[1])));
      default:
        if (const auto result = front_wait(nr, a)) {
          return *result;
        }
        break;
    }
  }
  return from_raw(sys::raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]));
}

}  // namespace

}  // namespace enclume::engine

ENCLUME_EXPORT long syscall(long number, ...) noexcept {
  va_list arguments;
  va_start(arguments, number);
  long a[6];
  for (long& value : a) {
    value = va_arg(arguments, long);
  }
  va_end(arguments);
  // vfork returns twice and must not leave a frame behind; so it goes to libc's, as does clone, whose child
  // would return into ours on another stack.
  if (number == __NR_vfork || number == __NR_clone || number == __NR_clone3) {
    static enclume::engine::Real<long(long, ...)> real{"syscall"};
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  return enclume::engine::libc_result(enclume::engine::dispatch(number, a));
}
