// SPDX-License-Identifier: Apache-2.0
// Why a transition was trapped: each that was has one of these reasons, so that their counts add up.
#pragma once

#include <cstdint>

namespace enclume::engine {

enum class Slow : std::uint8_t {
  // No transition of the process is direct.
  FastOff,  ///< --fast off
  Strict,
  Traced,        ///< a trace tells of each leaf
  Injected,      ///< --inject counts entries
  NoDescriptor,  ///< FS need not be libc's, and there is no descriptor to tell threads apart
  PerfEvent,     ///< a breakpoint by perf_event_open(2) may be on an ENCLU

  // Entries.
  OtherEnclu,  ///< not by the vDSO function's
  Debugger,    ///< one has taken the way in away, or set a breakpoint on the ENCLU
  SingleStep,
  OptIn,          ///< TCS.FLAGS.DBGOPTIN
  Forked,         ///< the first one of a forked process
  NewThread,      ///< the first one of a thread
  SharedFs,       ///< two threads have one FS base
  OtherFs,        ///< FS is not libc's, or not the one that the thread was met with
  OtherStack,     ///< RSP is far from where the thread has entered before
  NoCounters,     ///< --stats has none left for this thread
  NewTcs,         ///< not known yet, or another TCS has its place
  OtherFrame,     ///< the TCS is known with another SSA frame
  Changed,        ///< mappings, permissions or pages are not as they were
  FrameLayout,    ///< the SSA frame spans pages, or XRSTOR would read it another way
  ProtectionKey,  ///< the TCS or the frame is under one of the program's, or ERESUME's frame closes key 0
  AexNotify,
  PageHeld,   ///< for an instruction that has been trapped
  Disturbed,  ///< all would have been well: a signal came, or the TCS was in use; exits: or ES was lost

  // Exits.
  NoDoor,           ///< entered in a way that can't be left directly
  NewSite,          ///< the first one from there, or since the page has changed
  NewSelector,      ///< the thread has no selector yet
  NoSelectors,      ///< no modify_ldt(2), a seccomp filter, no memory below 2 GiB
  Unwatched,        ///< nothing would tell that the enclave reads its code: no keys, no perf_event_open(2)
  TooManyThreads,   ///< for the LDT
  NoLoad,           ///< no `mov $4` in front of the ENCLU
  Undecided,        ///< it may be a part of another instruction
  BranchedInto,     ///< a branch may lead into it
  Writable,         ///< the page is
  NotWatched,       ///< pages are executed as they are, or this one is not the enclave's any more
  TooManySites,     ///< of one page, or of the process
  NoRoom,           ///< for a trampoline near the enclave, or for the patched page
  LaidTooOften,     ///< the page has lost its jump again and again
  NoDebugRegister,  ///< to watch it with
  Read,             ///< the enclave has read it
  kNumber
};

/// Whether it is about the place of an EEXIT, which shall be told.
[[nodiscard]] constexpr bool is_of_site(Slow why) {
  return why >= Slow::NoLoad;
}

}  // namespace enclume::engine
