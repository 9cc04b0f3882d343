// SPDX-License-Identifier: Apache-2.0
// syscall(2): libc's way around its own wrappers leads to the same doors.
#include <fcntl.h>
#include <linux/sched.h>

#include <cstdarg>
#include <optional>

#include "base/syscall.h"
#include "engine/calls/call.h"
#include "engine/calls/observers.h"
#include "engine/calls/tracer.h"
#include "engine/calls/user_memory.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/exec_program.h"
#include "engine/fast/doors.h"
#include "engine/front/process.h"
#include "engine/front/real.h"
#include "engine/front/signal_waits.h"
#include "engine/front/signals.h"
#include "engine/raw/signal_calls.h"
#include "engine/sgx.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

/// A structure of the program's, by a pointer that may be null or lead nowhere.
template <typename T>
class Given {
 public:
  explicit Given(std::uint64_t pointer)
      : given_(pointer != 0), good_(!given_ || read_user(value_, pointer)) {}
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] const T* get() const { return given_ ? &value_ : nullptr; }

 private:
  T value_{};
  bool given_;
  bool good_;
};

/// What a call has put out, for a pointer of the same kind.
template <typename T>
SysResult<long> put_out(const SysResult<void>& r, std::uint64_t pointer, const T& value) {
  if (!r) {
    return fail(r.error());
  }
  return pointer == 0 || write_user(pointer, value) ? SysResult<long>(0L) : fail(Errno::Fault);
}

SysResult<long> change_mask(const Call& call) {
  const Given<SignalSet> set(call.argument[1]);
  if (!set.good()) {
    return fail(Errno::Fault);
  }
  SignalSet previous = 0;
  return put_out(front_sigprocmask(call.as_int(0), set.get(), &previous), call.argument[2], previous);
}

SysResult<long> change_stack(const Call& call) {
  const Given<AltStack> stack(call.argument[0]);
  if (!stack.good()) {
    return fail(Errno::Fault);
  }
  AltStack previous;
  return put_out(front_sigaltstack(stack.get(), &previous), call.argument[1], previous);
}

SysResult<long> copy_pending(const Call& call) {
  const auto pending = front_sigpending();
  if (!pending) {
    return fail(pending.error());
  }
  if (enclume_guarded_copy(call.as_pointer<void>(0), &*pending, call.argument[1]) != 0) {
    return fail(Errno::Fault);
  }
  return 0L;
}

/// wait4(2). (libc's functions of that kind are in front/ptrace.cc.)
SysResult<long> wait_for_child(const Call& call) {
  for (;;) {
    int status = 0;
    const auto tid = sys::call(__NR_wait4, call.argument[0], &status, call.argument[2], call.argument[3]);
    if (tid && *tid > 0) {
      if (hide_stop(static_cast<pid_t>(*tid), status)) {
        continue;
      }
      if (call.argument[1] != 0 &&
          enclume_guarded_copy(call.as_pointer<void>(1), &status, sizeof(status)) != 0) {
        return fail(Errno::Fault);
      }
    }
    return tid;
  }
}

constexpr std::uint64_t kClearSighand = 0x100000000;  // CLONE_CLEAR_SIGHAND

/// clone3(2) of a process whose handlers are to be cleared: those of the engine have to stay in the kernel.
/// Only of one with memory of its own and on its parent's stack, which can return from here. Nothing for
/// others.
std::optional<SysResult<long>> clone_without_handlers(const Call& call) {
  clone_args arguments{};
  const std::uint64_t size = call.argument[1];
  if (size < CLONE_ARGS_SIZE_VER0 || size > sizeof(arguments) ||
      enclume_guarded_copy(&arguments, call.as_pointer<void>(0), size) != 0 ||
      (arguments.flags & kClearSighand) == 0 ||
      (arguments.flags & (CLONE_VM | CLONE_SIGHAND | CLONE_SETTLS)) != 0 || arguments.stack != 0) {
    return std::nullopt;
  }
  arguments.flags &= ~kClearSighand;
  // What comes to the child meanwhile has no handler any more.
  std::optional<SysResult<long>> result;
  {
    const SignalsBlocked blocked;
    result = sys::call(__NR_clone3, &arguments, size);
    if (*result && **result == 0) {
      after_fork_in_child();
      engine().actions.clear_handlers();
    }
  }
  return result;
}

/// The calls about signals; the rest is own_answer()'s.
std::optional<SysResult<long>> answer(const Call& call) {
  before_call(call);
  switch (call.number) {
    case __NR_rt_sigprocmask:
      return call.argument[3] == sizeof(SignalSet) ? std::optional(change_mask(call)) : std::nullopt;
    case __NR_rt_sigaction:
      return raw_sigaction(nullptr, call);
    case __NR_execve:
      return from_raw(exec_program({AT_FDCWD, call.as_pointer<const char>(0), call.as_pointer<char*>(1),
                                    call.as_pointer<char*>(2), 0}));
    case __NR_execveat:
      return from_raw(exec_program({call.as_int(0), call.as_pointer<const char>(1), call.as_pointer<char*>(2),
                                    call.as_pointer<char*>(3), call.as_int(4)}));
    case __NR_rt_sigpending:
      return call.argument[1] <= sizeof(SignalSet) ? std::optional(copy_pending(call)) : std::nullopt;
    case __NR_rt_sigtimedwait:
      if (SignalSet wanted; call.argument[3] == sizeof(SignalSet) && read_user(wanted, call.argument[0])) {
        return front_sigtimedwait(wanted, call.as_pointer<siginfo_t>(1), call.as_pointer<const timespec>(2));
      }
      return std::nullopt;
    case __NR_sigaltstack:
      return change_stack(call);
    case __NR_wait4:
      return wait_for_child(call);
    default:
      return own_answer(call);
  }
}

}  // namespace

}  // namespace enclume::engine

ENCLUME_EXPORT long syscall(long number, ...) noexcept {
  enclume::engine::Call call{};
  va_list arguments;
  va_start(arguments, number);
  for (std::uint64_t& value : call.argument) {
    value = va_arg(arguments, std::uint64_t);
  }
  va_end(arguments);
  call.number = static_cast<std::uint64_t>(number);
  const auto& a = call.argument;
  // vfork returns twice and must not leave a frame behind; so it goes to libc's, as does clone, whose child
  // would return into ours on another stack.
  const bool returns_twice = number == __NR_vfork || number == __NR_clone || number == __NR_clone3;
  if ((returns_twice || number == __NR_fork) && enclume::engine::engine().active) {
    (void)enclume::engine::engine().before_fork();
  }
  if (number == __NR_clone3 && enclume::engine::engine().active) {
    if (const auto own = enclume::engine::clone_without_handlers(call)) {
      return enclume::engine::libc_result(*own);
    }
  }
  if (returns_twice) {
    static enclume::engine::Real<long(long, ...)> real{"syscall"};
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  if (enclume::engine::engine().active) {
    if (const auto own = enclume::engine::answer(call)) {
      return enclume::engine::libc_result(*own);
    }
    const long words[6] = {static_cast<long>(a[0]), static_cast<long>(a[1]), static_cast<long>(a[2]),
                           static_cast<long>(a[3]), static_cast<long>(a[4]), static_cast<long>(a[5])};
    if (const auto waited = enclume::engine::front_wait(number, words)) {
      return enclume::engine::libc_result(*waited);
    }
  }
  return enclume::engine::libc_result(enclume::sys::call(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

ENCLUME_EXPORT int prctl(int option, ...) noexcept {
  std::uint64_t argument[4];
  va_list arguments;
  va_start(arguments, option);
  for (std::uint64_t& value : argument) {
    value = va_arg(arguments, std::uint64_t);
  }
  va_end(arguments);
  if (enclume::engine::engine().active) {
    const auto call = enclume::engine::make_call(__NR_prctl, option);
    enclume::engine::before_call(call);
    if (const auto own = enclume::engine::own_answer(call)) {
      return static_cast<int>(enclume::engine::libc_result(*own));
    }
  }
  static enclume::engine::Real<int(int, ...)> real{"prctl"};
  return real(option, argument[0], argument[1], argument[2], argument[3]);
}
