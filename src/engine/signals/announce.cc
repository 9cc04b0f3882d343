// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/announce.h"

#include <cstring>

#include "base/syscall.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

constexpr std::size_t kBreakpointWords = 16;  // siginfo: si_addr, and what follows it
constexpr std::size_t kMatchedWord = 24;
constexpr std::size_t kLeaveMask = 32;  // behind what SI_QUEUE has
static_assert(offsetof(siginfo_t, si_addr) == kBreakpointWords);

Announce wanted() {
  return static_cast<Announce>(enclume_debugger.announce);
}

/// To be taken when this handler has returned, before any instruction of the program.
void raise_on_return(SignalFrame& frame, const siginfo_t& info) {
  const SignalSet self = signal_bit(info.si_signo);
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&self), 0, sizeof(self));
  requeue(info);
  frame.uc.sigmask &= ~self;
}

}  // namespace

bool is_announced(int signo) {
  return wanted() != Announce::Off && is_owned(signo);
}

void announce(ThreadBlock& block, SignalFrame& frame, const siginfo_t& info, Cause cause) {
  const SigContext& m = frame.uc.mcontext;
  block.announced = {m.trapno, m.err, m.cr2, info.si_code, info.si_errno, cause == Cause::Sent};
  siginfo_t marked = info;
  marked.si_errno = static_cast<int>(DebuggerMark::Announced);
  if (wanted() == Announce::ToDebugger && info.si_signo == SIGTRAP && info.si_code == SI_KERNEL) {
    marked.si_code = TRAP_BRKPT;
  }
  // Now, while nothing is blocked and nothing waits: when the debugger steps off its breakpoint, a SIGTRAP
  // that is blocked would lose its handler (force_sig_info_to_task()), and of the synchronous signals that
  // wait the kernel would take the first, blocked or not (dequeue_synchronous_signal()).
  enclume_debugger_event(DebuggerEvent::Signal, info.si_signo);
  raise_on_return(frame, marked);
}

DebuggerMark debugger_mark(const siginfo_t& info) {
  if (wanted() == Announce::Off) [[likely]] {
    return DebuggerMark::None;
  }
  const auto mark = static_cast<DebuggerMark>(info.si_errno);
  return mark >= DebuggerMark::Announced && mark <= DebuggerMark::Left ? mark : DebuggerMark::None;
}

std::optional<Cause> take_announced(ThreadBlock& block, UContext& uc, siginfo_t& info) {
  const DebuggerMark mark = debugger_mark(info);
  if ((mark != DebuggerMark::Announced && mark != DebuggerMark::AnnouncedStep) || !is_owned(info.si_signo)) {
    return std::nullopt;
  }
  block.stop_in_handler = mark == DebuggerMark::AnnouncedStep;
  if (info.si_signo == SIGTRAP) {
    constexpr std::uint64_t kNone = 0;  // what set_matched_breakpoints() has put there
    std::memcpy(reinterpret_cast<std::byte*>(&info) + kMatchedWord, &kNone, sizeof(kNone));
  }
  info.si_code = block.announced.code;
  info.si_errno = block.announced.error;
  uc.mcontext.trapno = block.announced.trapno;
  uc.mcontext.err = block.announced.err;
  uc.mcontext.cr2 = block.announced.cr2;
  return block.announced.sent ? Cause::Sent : Cause::Fault;
}

void stop_in_handler(ThreadBlock& block, SignalFrame& frame) {
  block.stop_in_handler = false;
  siginfo_t stop{};
  stop.si_signo = SIGTRAP;
  stop.si_code = SI_USER;
  stop.si_errno = static_cast<int>(DebuggerMark::HandlerEntry);
  raise_on_return(frame, stop);
}

SignalSet leave_mask(const siginfo_t& leave) {
  SignalSet mask;
  std::memcpy(&mask, reinterpret_cast<const std::byte*>(&leave) + kLeaveMask, sizeof(mask));
  return mask;
}

void set_leave_mask(siginfo_t& leave, SignalSet mask) {
  std::memcpy(reinterpret_cast<std::byte*>(&leave) + kLeaveMask, &mask, sizeof(mask));
}

void stop_outside(SignalFrame& frame) {
  siginfo_t stop{};
  stop.si_signo = SIGBUS;
  stop.si_code = SI_QUEUE;
  stop.si_errno = static_cast<int>(DebuggerMark::Left);
  raise_on_return(frame, stop);
}

std::uint64_t breakpoint_address(const siginfo_t& info, unsigned n) {
  std::uint64_t address;
  std::memcpy(&address, reinterpret_cast<const std::byte*>(&info) + kBreakpointWords + n * sizeof(address),
              sizeof(address));
  return address;
}

void set_matched_breakpoints(siginfo_t& info, std::uint64_t bits) {
  bits |= 1ULL << 63;
  std::memcpy(reinterpret_cast<std::byte*>(&info) + kMatchedWord, &bits, sizeof(bits));
}

}  // namespace enclume::engine
