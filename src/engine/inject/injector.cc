// SPDX-License-Identifier: Apache-2.0
#include "engine/inject/injector.h"

#include <time.h>

#include <csignal>

#include "base/syscall.h"
#include "engine/control/request.h"
#include "engine/engine.h"

namespace enclume::engine {

namespace {

/// The kernel sends the request that `enclume ctl` would. A program that has used up its signals or timers
/// (RLIMIT_SIGPENDING) gets none.
void lose_epc_after(std::uint64_t nanoseconds) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGSYS;
  event.sigev_value.sival_ptr =
      reinterpret_cast<void*>(control::pack(ControlRequest{ControlRequest::What::LoseEpc, 0}));
  int timer = 0;
  if (sys::raw(__NR_timer_create, CLOCK_MONOTONIC, sys::arg(&event), sys::arg(&timer)) != 0) {
    return;
  }
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(nanoseconds / kSecond);
  when.it_value.tv_nsec = static_cast<long>(nanoseconds % kSecond);
  sys::raw(__NR_timer_settime, timer, 0, sys::arg(&when), 0);
}

}  // namespace

void Injector::start(const InjectionPlan& plan) {
  plan_ = plan;
  wants_instructions_ = plan.has(Injection::Event::Interrupt);
  for (const Injection& i : plan_.all()) {
    if (i.when == Injection::When::After) {
      lose_epc_after(i.n);
    } else if (opportunity_of(i.event) == Opportunity::Entry) {
      counts_entries_ = true;
    }
  }
}

void Injector::tell(const Injection& i, std::uint64_t number) const {
  if (engine().events.on()) {
    engine().events.emit(trace::Injected{plan_.text_of(i), number});
  }
}

}  // namespace enclume::engine
