// SPDX-License-Identifier: Apache-2.0
#include "engine/raw/execute.h"

#include "engine/engine.h"
#include "engine/signals/context.h"
#include "engine/signals/program_rights.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kSyscallLength = 2;

}  // namespace

void make_again(SigContext& m, std::uint64_t number) {
  m.rip -= kSyscallLength;
  m.rax = number;
}

bool execute(Interruption& it, const Call& call, siginfo_t& report) {
  SigContext& m = it.uc.mcontext;
  Execution done;
  {
    const ProgramRights rights(frame_pkru(it.uc));
    done = enclume_execute(&call, &it.block, it.plan.frame);
  }
  switch (done.end) {
    case EXECUTE_DONE:
      m.rax = static_cast<std::uint64_t>(done.value);
      return true;
    case EXECUTE_AGAIN:
      make_again(m, static_cast<std::uint64_t>(done.value));
      return true;
    default:
      report = it.block.filtered;
      report.si_call_addr = reinterpret_cast<void*>(m.rip);
      return false;
  }
}

}  // namespace enclume::engine
