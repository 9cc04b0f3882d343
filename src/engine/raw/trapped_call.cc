// SPDX-License-Identifier: Apache-2.0
#include "engine/raw/trapped_call.h"

#include <asm/unistd.h>
#include <linux/audit.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include <cstring>

#include "arch/cpu_state.h"
#include "base/syscall.h"
#include "engine/calls/call.h"
#include "engine/calls/observers.h"
#include "engine/calls/own_executable.h"
#include "engine/engine.h"
#include "engine/raw/clone.h"
#include "engine/raw/exec.h"
#include "engine/raw/execute.h"
#include "engine/raw/signal_calls.h"
#include "engine/raw/trace_calls.h"
#include "engine/signals/context.h"
#include "engine/signals/delivery.h"
#include "engine/signals/mask.h"
#include "engine/start/host_code.h"

namespace enclume::engine {

namespace {

constexpr int kSysSeccomp = 1;       // si_code of SIGSYS
constexpr int kSysUserDispatch = 2;  // the same
constexpr std::uint64_t kSyscallLength = 2;

std::uint64_t as_register(const SysResult<long>& result) {
  return static_cast<std::uint64_t>(result ? *result : negative(result.error()));
}

/// Linux handle_signal(): a call that ended with ERESTARTSYS is made again unless the handler that runs now
/// was installed without SA_RESTART.
bool is_restarted(const ThreadBlock& block) {
  const std::uint32_t deferred = block.deferred.load(std::memory_order_relaxed);
  for (std::size_t n = 0; n < kDeferredSlots; ++n) {
    if ((deferred & kDeferredSignal << n) != 0) {
      const Action action = action_of(block, block.deferred_signals[n].si_signo);
      if (action.is_handler() && (action.flags & SA_RESTART) == 0) {
        return false;
      }
    }
  }
  return true;
}

/// A call that may wait with another signal mask.
bool execute_with_mask(Interruption& it, Call call, siginfo_t& report) {
  const TemporaryMask temporary(call);
  if (!temporary.present()) {
    return execute(it, call, report);
  }
  bool settled = true;
  if (begin_wait(it.block, it.uc, temporary.mask())) {
    settled = execute(it, call, report);
  } else {
    it.uc.mcontext.rax = as_register(fail(Errno::Interrupted));
  }
  end_wait(it.block, temporary.mask(), it.uc.mcontext.rax == as_register(fail(Errno::Interrupted)));
  return settled;
}

/// pkey_alloc(2) sets the thread's rights to the new key, which are in the frame here.
SysResult<long> allocate_pkey(Interruption& it, const Call& call) {
  const auto key = sys::call(__NR_pkey_alloc, call.argument[0], call.argument[1]);
  if (key) {
    const auto shift = static_cast<unsigned>(*key) * 2;
    const auto rights = static_cast<Pkru>(call.argument[1] & 3) << shift;
    set_frame_pkru(it.uc, (frame_pkru(it.uc) & ~(Pkru{3} << shift)) | rights);
  }
  return key;
}

/// The calls that are about the thread's own signals, registers or rights.
std::optional<SysResult<long>> answer_for_thread(Interruption& it, const Call& call) {
  switch (call.number) {
    case __NR_rt_sigaction:
      return raw_sigaction(&it.block, call);
    case __NR_rt_sigprocmask:
      return raw_sigprocmask(it, call);
    case __NR_rt_sigpending:
      return raw_sigpending(it, call);
    case __NR_sigaltstack:
      return raw_sigaltstack(it, call);
    case __NR_pkey_alloc:
      return allocate_pkey(it, call);
    case __NR_ptrace:
      if (it.block.parent_waits && call.argument[0] == PTRACE_TRACEME) {
        it.block.traced_from_exec_on = true;  // the next trap would stop it for ever; see raw/exec.cc
        return 0L;
      }
      return own_answer(call);
    case __NR_readlink:
    case __NR_readlinkat:
      if (const auto answer = link_to_own_executable(call)) {
        return answer;
      }
      return own_answer(call);
    default:
      return own_answer(call);
  }
}

/// Whether the call may send the thread a signal. One whose default action is to dump core has to find the
/// program's registers, not the handler's; so signals wait for the return from the handler, which is the end
/// of the call.
bool may_signal_caller(const Call& call) {
  switch (call.number) {
    case __NR_kill:
    case __NR_tkill:
    case __NR_tgkill:
    case __NR_rt_sigqueueinfo:
    case __NR_rt_tgsigqueueinfo:
    case __NR_pidfd_send_signal:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool is_trapped_call(int signo, const siginfo_t& info) {
  return signo == SIGSYS && info.si_code == kSysUserDispatch;
}

bool is_patched_call(int signo, const siginfo_t& info, SigContext& m) {
  if (signo != SIGSEGV || info.si_code <= 0 || m.trapno != static_cast<std::uint64_t>(arch::Vector::GP) ||
      !host_patcher().traps_calls()) {
    return false;
  }
  const auto site = host_patcher().site_at(m.rip);
  if (!site || site->kind != SiteKind::Syscall) {
    return false;
  }
  m.rip += site->length;
  m.flags &= ~arch::rflags::kRf;
  return true;
}

bool trapped_call(Interruption& it, siginfo_t& report) {
  SigContext& m = it.uc.mcontext;
  engine().stats.add(it.block.slot, Count::RawCalls);
  if (it.info.si_signo == SIGSYS && it.info.si_arch == AUDIT_ARCH_I386) {
    m.rax = as_register(fail(Errno::NoSys));  // INT 0x80, of a kernel without 32-bit programs
    return true;
  }
  // Linux do_syscall_64() looks at the lower half of RAX only.
  const Call call =
      lead_to_own_executable({{m.rdi, m.rsi, m.rdx, m.r10, m.r8, m.r9}, static_cast<std::uint32_t>(m.rax)});
  if (call.number == __NR_rt_sigreturn) {
    if (raw_sigreturn(it)) {
      return true;
    }
    report = siginfo_t{};
    report.si_signo = SIGSEGV;
    report.si_code = SI_KERNEL;
    return false;
  }
  before_call(call);
  // As SYSRET leaves them.
  m.rcx = m.rip;
  m.r11 = m.flags & ~arch::rflags::kRf;
  switch (call.number) {
    case __NR_clone:
    case __NR_clone3:
    case __NR_fork:
    case __NR_vfork:
      if (const auto started = start_clone(it, call); !started) {
        m.rax = as_register(fail(started.error()));
      }
      return true;
    case __NR_execve:
    case __NR_execveat:
      return raw_exec(it, call, report);
    case __NR_rt_sigtimedwait:
      return raw_sigtimedwait(it, call, report);
    case __NR_wait4:
      return raw_wait4(it, call, report);
    case __NR_waitid:
      return raw_waitid(it, call, report);
    default:
      break;
  }
  it.block.own_call_filtered = false;
  if (const auto answer = answer_for_thread(it, call)) {
    if (!*answer && it.block.own_call_filtered &&
        static_cast<std::uint32_t>(it.block.filtered.si_syscall) == call.number) {
      report = it.block.filtered;  // the same call, made by way of the machine
      report.si_call_addr = reinterpret_cast<void*>(m.rip);
      return false;
    }
    if (*answer || answer->error() != Errno::Restart) {
      m.rax = as_register(*answer);
    } else if (is_restarted(it.block)) {
      make_again(m, call.number);
    } else {
      m.rax = as_register(fail(Errno::Interrupted));
    }
    return true;
  }
  if (may_signal_caller(call)) {
    const SignalSet all = kBlockable;
    sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), 0, sizeof(all));
  }
  return execute_with_mask(it, call, report);
}

namespace {

std::uint64_t address_of(const char* label) {
  return reinterpret_cast<std::uint64_t>(label);
}

/// RIP `offset` behind the engine's SYSCALL instruction.
bool is_at_gate(const SigContext& m, std::uint64_t offset) {
  return m.rip == reinterpret_cast<std::uint64_t>(enclume_system_call) + offset;
}

/// The same, where enclume_execute() has called it.
bool is_within_execution(const SigContext& m, std::uint64_t offset) {
  return is_at_gate(m, offset) &&
         *reinterpret_cast<const std::uint64_t*>(m.rsp) == address_of(enclume_execute_end);
}

}  // namespace

void leave_call_to_program(SigContext& m) {
  if (is_within_execution(m, 0)) {
    m.rsp += sizeof(std::uint64_t);
    m.rip = address_of(enclume_execute_again);
  } else if (m.rip >= address_of(enclume_execute_begin) && m.rip < address_of(enclume_execute_end)) {
    m.rip = address_of(enclume_execute_not);
  }
}

bool take_filtered_call(ThreadBlock& block, SigContext& m, int signo, const siginfo_t& info) {
  if (signo != SIGSYS || info.si_code != kSysSeccomp || !is_at_gate(m, kSyscallLength)) {
    return false;
  }
  block.filtered = info;
  if (!is_within_execution(m, kSyscallLength)) {
    block.own_call_filtered = true;
    m.rax = as_register(fail(Errno::NoSys));
    return true;
  }
  m.rsp += sizeof(std::uint64_t);
  m.rip = address_of(enclume_execute_filtered);
  return true;
}

}  // namespace enclume::engine
