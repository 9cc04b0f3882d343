// SPDX-License-Identifier: Apache-2.0
#include "engine/control/obey.h"

#include "base/syscall.h"
#include "engine/control/lose_epc.h"
#include "engine/control/request.h"
#include "engine/engine.h"
#include "engine/pages/process_files.h"
#include "engine/sgx.h"
#include "engine/signals/held.h"
#include "engine/threads/thread_block.h"
#include "kernel/reclaim/reclaim.h"

namespace enclume::engine {

namespace {

std::uint64_t value_of(const siginfo_t& info) {
  return reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr);
}

ControlAnswer lose(std::uint32_t number, LossCause cause) {
  if (number == 0) {
    return {0, static_cast<std::uint32_t>(lose_epc_of_machine(cause))};
  }
  const auto lost = lose_epc(number, cause);
  return lost ? ControlAnswer{0, static_cast<std::uint32_t>(*lost)}
              : ControlAnswer{static_cast<int>(lost.error()), 0};
}

/// The kernel gives no number to a sender in a namespace that can't be seen from here.
void answer(int process, ControlAnswer a) {
  if (process <= 0) {
    return;
  }
  siginfo_t info{};
  info.si_signo = SIGURG;
  info.si_code = SI_QUEUE;
  info.si_pid = sys::getpid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(control::pack(a));
  sys::raw(__NR_rt_sigqueueinfo, process, SIGURG, sys::arg(&info));
}

}  // namespace

bool send_request(int process, ControlRequest request) noexcept {
  constexpr int kSigcatch = 34;
  constexpr long kSigsys = 1L << (SIGSYS - 1);
  if ((process_stat_field(process, kSigcatch).value_or(0) & kSigsys) == 0) {
    return false;
  }
  siginfo_t info{};
  info.si_signo = SIGSYS;
  info.si_code = SI_QUEUE;
  info.si_pid = sys::getpid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(control::pack(request));
  return sys::raw(__NR_rt_sigqueueinfo, process, SIGSYS, sys::arg(&info)) == 0;
}

bool is_request(int signo, const siginfo_t& info) {
  return signo == SIGSYS && (info.si_code == SI_QUEUE || info.si_code == SI_TIMER) &&
         control::request(value_of(info)).has_value();
}

void obey(const siginfo_t& info) {
  const auto request = control::request(value_of(info));
  // A timer of the engine's own sends it as well, for `--inject`: nobody waits for an answer.
  const int sender = info.si_code == SI_TIMER ? 0 : info.si_pid;
  const LossCause cause{sender};
  switch (request ? request->what : ControlRequest::What{}) {
    case ControlRequest::What::LoseEpc:
      answer(sender, lose(request->enclave, cause));
      return;
    case ControlRequest::What::LoseOwnEpc:
      (void)lose_own_epc(cause);
      return;
    case ControlRequest::What::Evict:
      kernel::evict_for_others(engine().sgx->kernel(), request->enclave);
      return;
  }
}

void keep_request(ThreadBlock& block, const siginfo_t& request) {
  block.request = request;
  block.request_waits.store(true, std::memory_order_release);
}

void obey_kept_request(ThreadBlock& block, bool in_front_door) {
  if (!block.request_waits.load(std::memory_order_acquire)) {
    return;
  }
  if (in_front_door) {
    wait_for_front_door(block);
  } else if (block.request_waits.exchange(false)) {
    obey(block.request);
  }
}

}  // namespace enclume::engine
