// SPDX-License-Identifier: Apache-2.0
#include "engine/raw/trace_calls.h"

#include <sys/wait.h>

#include <cstddef>

#include "engine/calls/tracer.h"
#include "engine/calls/user_memory.h"
#include "engine/engine.h"
#include "engine/raw/execute.h"

namespace enclume::engine {

namespace {

std::uint64_t as_register(Errno error) {
  return static_cast<std::uint64_t>(negative(error));
}

/// Linux waitid() writes these fields of siginfo, and no other byte.
bool write_report(std::uint64_t to, const siginfo_t& info) {
  constexpr std::size_t kSignal = offsetof(siginfo_t, si_signo);  // si_errno and si_code behind it
  constexpr std::size_t kChild = offsetof(siginfo_t, si_pid);     // si_uid and si_status behind it
  constexpr std::size_t kThreeWords = 12;
  const auto* bytes = reinterpret_cast<const std::byte*>(&info);
  return enclume_guarded_copy(reinterpret_cast<void*>(to + kSignal), bytes + kSignal, kThreeWords) == 0 &&
         enclume_guarded_copy(reinterpret_cast<void*>(to + kChild), bytes + kChild, kThreeWords) == 0;
}

}  // namespace

bool raw_wait4(Interruption& it, Call call, siginfo_t& report) {
  SigContext& m = it.uc.mcontext;
  const std::uint64_t out = call.argument[1];
  int status = 0;
  call.argument[1] = reinterpret_cast<std::uint64_t>(&status);
  const std::uint64_t rip = m.rip;
  if (!execute(it, call, report)) {
    return false;
  }
  const auto tid = static_cast<long>(m.rax);
  if (m.rip != rip || tid <= 0) {
    return true;
  }
  if (hide_stop(static_cast<pid_t>(tid), status)) {
    make_again(m, call.number);
  } else if (out != 0 && !write_user(out, status)) {
    m.rax = as_register(Errno::Fault);
  }
  return true;
}

bool raw_waitid(Interruption& it, Call call, siginfo_t& report) {
  SigContext& m = it.uc.mcontext;
  const std::uint64_t out = call.argument[2];
  siginfo_t info{};
  call.argument[2] = reinterpret_cast<std::uint64_t>(&info);
  const std::uint64_t rip = m.rip;
  if (!execute(it, call, report)) {
    return false;
  }
  if (m.rip != rip) {
    return true;
  }
  if (m.rax == 0 && info.si_pid != 0) {
    if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) {
      int status = info.si_status << 8 | 0x7f;  // as wait4() has it: the signal and the event above it
      if (hide_stop(info.si_pid, status)) {
        make_again(m, call.number);
        return true;
      }
      info.si_status = status >> 8;
    } else if ((call.as_int(3) & WNOWAIT) == 0 &&
               (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)) {
      forget_tracee(info.si_pid);
    }
  }
  if (out != 0 && !write_report(out, info)) {
    m.rax = as_register(Errno::Fault);
  }
  return true;
}

}  // namespace enclume::engine
