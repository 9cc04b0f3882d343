// SPDX-License-Identifier: Apache-2.0
#include "engine/raw/exec.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <sys/ptrace.h>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/exec_program.h"
#include "engine/raw/execute.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

/// Of the owned signals, what a child after vfork has asked for, while their handler was the engine's.
void hand_on_dispositions(const ThreadBlock& block) {
  for (const int signo : kOwnedSignals) {
    const SignalSet self = signal_bit(signo);
    if (((block.child_default | block.child_ignored) & self) != 0) {
      const Action action{(block.child_ignored & self) != 0 ? 1ULL : 0ULL, 0, 0, 0};
      sys::raw(__NR_rt_sigaction, signo, sys::arg(&action), 0, sizeof(SignalSet));
    }
  }
}

struct Attempt {
  Interruption& it;
  bool settled;
  siginfo_t& report;
};

/// The call itself, once it is known what to execute with what. A child of vfork is traced from here on only.
/// Where it comes back, the program's registers say how.
long attempt(void* data, const ExecCall& call) {
  auto& a = *static_cast<Attempt*>(data);
  ThreadBlock& block = a.it.block;
  const ExecState state;
  hand_on_dispositions(block);
  const auto word = [](const auto* pointer) { return reinterpret_cast<std::uint64_t>(pointer); };
  const bool plain = call.dirfd == AT_FDCWD && call.flags == 0;
  const Call system_call =
      plain ? Call{{word(call.path), word(call.argv), word(call.envp), 0, 0, 0}, __NR_execve}
            : Call{{static_cast<std::uint64_t>(call.dirfd), word(call.path), word(call.argv), word(call.envp),
                    static_cast<std::uint64_t>(call.flags), 0},
                   __NR_execveat};
  if (block.traced_from_exec_on) {
    sys::raw(__NR_ptrace, PTRACE_TRACEME, 0, 0, 0);
  }
  a.settled = execute(a.it, system_call, a.report);
  if (block.traced_from_exec_on) {
    // No trap may come any more, since its parent still waits: it makes its last calls, and ends.
    block.selector.store(SELECTOR_ALLOW, std::memory_order_relaxed);
  }
  engine().actions.undo_exec(pack_owned(block.child_default | block.child_ignored));
  return static_cast<long>(a.it.uc.mcontext.rax);
}

}  // namespace

bool raw_exec(Interruption& it, const Call& call, siginfo_t& report) {
  const bool at = call.number == __NR_execveat;
  const std::size_t first = at ? 1 : 0;
  const ExecCall wanted{at ? call.as_int(0) : AT_FDCWD, call.as_pointer<const char>(first),
                        call.as_pointer<char*>(first + 1), call.as_pointer<char*>(first + 2),
                        at ? call.as_int(4) : 0};
  Attempt a{it, true, report};
  const std::uint64_t rip = it.uc.mcontext.rip;
  const long result = plan_exec(exec_setup(), wanted, &attempt, &a);
  SigContext& m = it.uc.mcontext;
  // If a signal came first, the program makes its own call again, whatever was made of it here.
  m.rax = m.rip != rip ? call.number : static_cast<std::uint64_t>(result);
  return a.settled;
}

}  // namespace enclume::engine
