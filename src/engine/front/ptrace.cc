// SPDX-License-Identifier: Apache-2.0
// ptrace() and the functions that wait for what it brings. See calls/tracer.h.
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdarg>

#include "engine/calls/tracer.h"
#include "engine/front/real.h"

namespace enclume::engine {

namespace {

Real<pid_t(pid_t, int*, int, rusage*)> real_wait4{"wait4"};
Real<int(idtype_t, id_t, siginfo_t*, int)> real_waitid{"waitid"};

pid_t wait_for(pid_t pid, int* status, int options, rusage* usage) {
  for (;;) {
    int found = 0;
    const pid_t tid = real_wait4(pid, &found, options, usage);
    if (tid > 0) {
      if (hide_stop(tid, found)) {
        continue;
      }
      if (status != nullptr) {
        *status = found;
      }
    }
    return tid;
  }
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT pid_t waitpid(pid_t pid, int* status, int options) {
  return wait_for(pid, status, options, nullptr);
}
ENCLUME_EXPORT pid_t wait(int* status) {
  return wait_for(-1, status, 0, nullptr);
}
ENCLUME_EXPORT pid_t wait3(int* status, int options, struct rusage* usage) noexcept {
  return wait_for(-1, status, options, usage);
}
ENCLUME_EXPORT pid_t wait4(pid_t pid, int* status, int options, struct rusage* usage) noexcept {
  return wait_for(pid, status, options, usage);
}

ENCLUME_EXPORT int waitid(idtype_t type, id_t id, siginfo_t* info, int options) {
  siginfo_t own{};
  siginfo_t* found = info != nullptr ? info : &own;
  for (;;) {
    found->si_pid = 0;
    const int result = real_waitid(type, id, found, options);
    const bool stopped =
        result == 0 && found->si_pid != 0 && (found->si_code == CLD_TRAPPED || found->si_code == CLD_STOPPED);
    // As wait4() has it: the signal and the event above it, over 7F.
    int status = found->si_status << 8 | 0x7f;
    if (!stopped) {
      if (result == 0 && (options & WNOWAIT) == 0 &&
          (found->si_code == CLD_EXITED || found->si_code == CLD_KILLED || found->si_code == CLD_DUMPED)) {
        forget_tracee(found->si_pid);
      }
      return result;
    }
    if (!hide_stop(found->si_pid, status)) {
      found->si_status = status >> 8;
      return result;
    }
  }
}

ENCLUME_EXPORT long ptrace(enum __ptrace_request request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  const auto tid = va_arg(arguments, pid_t);
  const auto address = va_arg(arguments, unsigned long);
  const auto data = va_arg(arguments, unsigned long);
  va_end(arguments);
  // libc's PEEK requests return the word.
  const bool peek = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER;
  unsigned long word = 0;
  const auto result =
      front_ptrace(request, tid, address, peek ? reinterpret_cast<std::uint64_t>(&word) : data);
  if (!result) {
    errno = static_cast<int>(result.error());
    return -1;
  }
  if (peek) {
    errno = 0;
    return static_cast<long>(word);
  }
  return *result;
}
