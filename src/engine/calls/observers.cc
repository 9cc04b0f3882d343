// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/observers.h"

#include <asm/unistd.h>
#include <linux/prctl.h>

#include "base/syscall.h"
#include "engine/calls/user_memory.h"
#include "engine/engine.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/sgx.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

constexpr std::uint32_t kPerfTypeBreakpoint = 5;  // linux/perf_event.h: PERF_TYPE_BREAKPOINT

void withdraw_exits() {
  const AllBlocked blocked;
  engine().sgx->native().withdraw_exits(sys::gettid());
}

}  // namespace

void before_call(const Call& call) {
  switch (call.number) {
    case __NR_seccomp:
      engine().sgx->native().watch_no_more();  // a filter may kill for what a watch needs
      break;
    case __NR_prctl:
      if (call.argument[0] == PR_SET_SECCOMP) {
        engine().sgx->native().watch_no_more();
      } else if (call.argument[0] == PR_TASK_PERF_EVENTS_DISABLE) {
        engine().sgx->native().watch_no_more();  // events that are disabled tell of nothing
        withdraw_exits();
      }
      break;
    case __NR_perf_event_open:
      // A breakpoint may be on an ENCLU or an AEP, which a direct entry does not execute.
      if (std::uint32_t type = 0; read_user(type, call.argument[0]) && type == kPerfTypeBreakpoint) {
        turn_off_direct_paths(Slow::PerfEvent);
        withdraw_exits();
      }
      break;
    default:
      break;
  }
}

}  // namespace enclume::engine
