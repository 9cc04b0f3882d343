// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/tracee.h"

#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "arch/cpu_state.h"
#include "base/syscall.h"
#include "engine/calls/tracee_maps.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

std::uint64_t pointer(const void* p) {
  return reinterpret_cast<std::uint64_t>(p);
}

/// The first word of an interface whose debugger is this.
constexpr std::uint64_t interface_word(Announce announce) {
  return 1 | static_cast<std::uint64_t>(announce) << 32;
}

bool is_interface(pid_t tid, std::uint64_t address) {
  std::uint64_t word = 0;
  return address != 0 && peek(tid, address, word) &&
         (word == interface_word(Announce::Off) || word == interface_word(Announce::ToTracer));
}

}  // namespace

SysResult<long> trace(long request, pid_t tid, std::uint64_t address, std::uint64_t data) {
  return sys::call(__NR_ptrace, request, tid, address, data);
}

SysResult<long> trace(long request, pid_t tid, std::uint64_t address, const void* data) {
  return trace(request, tid, address, pointer(data));
}

std::uint64_t peek_register(pid_t tid, std::size_t offset) {
  std::uint64_t value = 0;
  return trace(PTRACE_PEEKUSER, tid, offset, &value) ? value : 0;
}

void set_tf(Tracee& tracee, bool on) {
  constexpr std::size_t kFlags = offsetof(user, regs.eflags);
  const std::uint64_t flags = peek_register(tracee.tid, kFlags);
  const std::uint64_t wanted = on ? flags | arch::rflags::kTf : flags & ~arch::rflags::kTf;
  if (wanted != flags) {
    (void)trace(PTRACE_POKEUSER, tracee.tid, kFlags, wanted);
    tracee.our_tf = on;
  }
}

bool peek(pid_t tid, std::uint64_t address, std::uint64_t& value) {
  return trace(PTRACE_PEEKDATA, tid, address, &value).has_value();
}

std::uint64_t in_tracee(const Tracee& tracee, const void* of_engine) {
  return tracee.interface + (pointer(of_engine) - pointer(&enclume_debugger));
}

bool find_engine(Tracee& tracee) {
  if (!is_interface(tracee.tid, tracee.interface)) {
    const std::uint64_t offset = pointer(&enclume_debugger) - engine().text.begin.value();
    const std::uint64_t begin = tracee_library(tracee.tid, engine().text.begin.value());
    tracee.interface = begin != 0 ? begin + offset : 0;
    if (!is_interface(tracee.tid, tracee.interface)) {
      tracee.interface = 0;
      return false;
    }
  }
  return true;
}

void set_announce(const Tracee& tracee, Announce announce) {
  (void)trace(PTRACE_POKEDATA, tracee.tid, tracee.interface, interface_word(announce));
}

void show_enclu(const Tracee& tracee) {
  std::uint64_t slot = 0;
  std::uint64_t enclu = 0;
  if (peek(tracee.tid, in_tracee(tracee, &enclume_debugger.direct_slot), slot) && slot != 0 &&
      peek(tracee.tid, in_tracee(tracee, &enclume_debugger.direct_enclu), enclu)) {
    (void)trace(PTRACE_POKEDATA, tracee.tid, slot, enclu);
  }
}

bool is_active(const Tracee& tracee) {
  std::uint64_t active = 0;
  return peek(tracee.tid, in_tracee(tracee, &engine().active), active) && (active & 0xff) != 0;
}

bool is_probe(const Tracee& tracee, const siginfo_t& info) {
  const int signal = info.si_signo;
  if (is_owned(signal) && info.si_code == SI_TKILL && info.si_pid == tracee.tid) {
    return true;  // made in libc's code, perhaps; of the program nothing has run yet that could
  }
  const LinearRange& text = engine().text;
  const std::uint64_t begin = in_tracee(tracee, reinterpret_cast<const void*>(text.begin.value()));
  return is_owned(signal) && signal != SIGTRAP &&
         peek_register(tracee.tid, offsetof(user, regs.rip)) - begin < text.size();
}

bool is_inside(const Tracee& tracee) {
  const ThreadArena::Places places = engine().arena.places();
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  if (!peek(tracee.tid, in_tracee(tracee, places.begin), begin) ||
      !peek(tracee.tid, in_tracee(tracee, places.size), size)) {
    return false;
  }
  if (peek_register(tracee.tid, offsetof(user, regs.rsp)) - begin < size) {
    return true;
  }
  std::uint64_t slot = 0;
  std::uint64_t block = 0;
  return peek(tracee.tid, in_tracee(tracee, places.tids) + ThreadArena::tid_offset(tracee.tid), slot) &&
         static_cast<std::uint32_t>(slot) != 0 &&
         peek(tracee.tid,
              begin + (static_cast<std::uint32_t>(slot) - 1) * std::uint64_t{SLOT_SIZE} + SLOT_BLOCK,
              block) &&
         (block >> 8 * BLOCK_SELECTOR & 0xff) == SELECTOR_BLOCK;
}

}  // namespace enclume::engine
