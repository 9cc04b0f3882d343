// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/recover.h"

#include <x86intrin.h>

#include "arch/cpu_state.h"
#include "engine/engine.h"
#include "engine/fast/entry.h"
#include "engine/fast/exit_sites.h"
#include "engine/fast/layout.h"
#include "engine/sgx.h"
#include "engine/signals/context.h"

namespace enclume::engine {

namespace {

std::uint64_t address_of(const char* label) {
  return reinterpret_cast<std::uint64_t>(label);
}

/// RIP as a place in enter.S.
class Place {
 public:
  explicit Place(std::uint64_t rip) : rip_(rip) {}
  [[nodiscard]] bool before(const char* label) const { return rip_ < address_of(label); }
  [[nodiscard]] bool at(const char* label) const { return rip_ == address_of(label); }
  /// The instruction at `label` has been executed.
  [[nodiscard]] bool behind(const char* label) const { return rip_ > address_of(label); }

 private:
  std::uint64_t rip_;
};

bool on_way_in(std::uint64_t rip) {
  return rip >= address_of(enter_places().begin) && rip < address_of(enter_places().back_end);
}

/// What the way in has pushed: where the program's RSP is, and its registers unless they are back already.
void restore_pushed(SigContext& m) {
  const EnterPlaces& in = enter_places();
  const Place place(m.rip);
  const bool popping = place.at(in.pop) || place.at(in.back_pop);
  const bool popped = place.at(in.jump) || place.at(in.back_jump);
  if (popped || !place.behind(in.begin)) {
    return;
  }
  const bool flags_only = popping || place.at(in.flags);
  const std::uint64_t program = m.rsp + (flags_only ? 8 : ENTER_SIZE);
  const bool saved = !flags_only && !place.before(in.saved);
  std::uint64_t words[ENTER_SIZE / 8]{};
  const auto* from = reinterpret_cast<const void*>(program - ENTER_SIZE);
  if (enclume_guarded_copy(words, from, sizeof(words)) == 0) {
    m.flags = words[ENTER_FLAGS / 8];
    if (saved) {
      m.r8 = words[ENTER_R8 / 8];
      m.rdi = words[ENTER_RDI / 8];
      m.rsi = words[ENTER_RSI / 8];
      m.rdx = words[ENTER_RDX / 8];
      m.rax = words[ENTER_RAX / 8];
    }
  }
  m.rsp = program;
}

/// Gives back what the thread has claimed of `door`.
void take_back(const SigContext& m, ThreadBlock& block, const FastDoor& door) {
  const EnterPlaces& in = enter_places();
  const Place place(m.rip);
  const bool zf = (m.flags & arch::rflags::kZf) != 0;
  const bool undoing = !place.before(in.undo);
  const bool claimed =
      undoing ? !place.behind(in.undo_claim) : !place.before(in.claimed) || (place.at(in.claim_done) && zf);
  const bool counted =
      undoing ? !place.behind(in.undo_count) : !place.before(in.counted) || (place.at(in.count_done) && zf);
  if (claimed) {
    door.page->atomic_state().store(arch::tcs_state::kInactive, std::memory_order_release);
  }
  if (counted) {
    std::atomic_ref(*door.tracking).fetch_sub(block.fast.one);
  }
}

Recovered back_to_enclu(UContext& uc, ThreadBlock& block) {
  const EnterPlaces& in = enter_places();
  SigContext& m = uc.mcontext;
  const Place place(m.rip);
  // From the claim on, and until it is taken back, RSI is the door.
  if (!place.before(in.claim) && place.before(in.undo_inside)) {
    take_back(m, block, *reinterpret_cast<const FastDoor*>(m.rsi));
  }
  if (place.before(in.back)) {
    block.fast.door = nullptr;
    block.inside.store(0, std::memory_order_seq_cst);
  }
  restore_pushed(m);
  m.rip = m.rcx;
  return Recovered::AtEntry;
}

/// PKRU of the enclave that the thread is in now. `host`: the frame still has the one with which it came.
void enter_with_rights(UContext& uc, ThreadBlock& block, bool host) {
  if (host) {
    block.host_pkru = frame_pkru(uc);
  }
  set_frame_pkru(uc, outside_fence(block.host_pkru, enclume_epc_fence) & block.fast.door->closed);
}

/// The rest of EENTER. The bases are the host's again, since the handler runs.
Recovered complete_entry(UContext& uc, ThreadBlock& block, EntryFacts& facts, std::uint64_t aep) {
  SigContext& m = uc.mcontext;
  const EnterPlaces& in = enter_places();
  const Place place(m.rip);
  enter_with_rights(uc, block, place.at(in.tallied) || !place.behind(in.fence));
  restore_pushed(m);
  const FastDoor& door = *block.fast.door;
  door.page->aep = aep;
  auto& gpr = *reinterpret_cast<arch::Gprsgx*>(door.gpr);
  gpr.ursp = m.rsp;
  gpr.urbp = m.rbp;
  door.epcm->owner.store(block.lp.id, std::memory_order_release);
  m.rax = door.cssa;
  m.rcx = aep + arch::kEncluLength;
  m.rip = door.entry;
  facts = {1, door.fs, door.gs};
  block.fast.stale = 1;
  return Recovered::Entered;
}

void add(std::atomic<std::uint64_t>& counter, std::uint64_t n) {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

/// The rest of ERESUME. The extended state is loaded.
Recovered complete_resume(UContext& uc, ThreadBlock& block, EntryFacts& facts, std::uint64_t aep) {
  SigContext& m = uc.mcontext;
  FastThread& fast = block.fast;
  const FastDoor& door = *fast.door;
  const EnterPlaces& in = enter_places();
  const Place place(m.rip);
  const bool tallying = !place.before(in.resume_tally) && place.before(in.resume_end);
  const bool counted = tallying ? place.at(in.resume_tallied) : !place.before(in.resume_counted);
  if (fast.counts != nullptr && !counted) {
    fast.entered_at = __rdtsc();
    add(fast.counts->eresume, 1);
  }
  const bool before_fence = tallying || !place.behind(in.resume_fence);
  enter_with_rights(uc, block, door.pkru == nullptr && before_fence);
  door.page->aep = aep;
  door.page->atomic_cssa().store(door.cssa, std::memory_order_release);
  door.epcm->owner.store(block.lp.id, std::memory_order_release);
  const auto& g = reinterpret_cast<const arch::Gprsgx*>(door.gpr)->gpr;
  m.rax = g[0];
  m.rcx = g[1];
  m.rdx = g[2];
  m.rbx = g[3];
  m.rbp = g[5];
  m.rsi = g[6];
  m.rdi = g[7];
  m.r8 = g[8];
  m.r9 = g[9];
  m.r10 = g[10];
  m.r11 = g[11];
  m.r12 = g[12];
  m.r13 = g[13];
  m.r14 = g[14];
  m.r15 = g[15];
  m.rip = fast.resume.rip;
  m.flags = fast.resume.rflags;
  m.rsp = fast.resume.rsp;
  facts = {1, fast.resume_fs, fast.resume_gs};
  fast.stale = 1;
  return Recovered::Entered;
}

bool on_way_out(std::uint64_t rip) {
  return rip >= address_of(leave_places().begin) && rip < address_of(leave_places().stay_end);
}

constexpr std::uint64_t kStatus = arch::rflags::kCf | arch::rflags::kPf | arch::rflags::kAf |
                                  arch::rflags::kZf | arch::rflags::kSf | arch::rflags::kOf;

/// The status flags as LAHF and SETO have kept them.
std::uint64_t kept_flags(std::uint64_t now, std::uint64_t kept) {
  const std::uint64_t low = kept >> 8 & (kStatus & ~arch::rflags::kOf);
  return (now & ~kStatus) | low | ((kept & 1) != 0 ? arch::rflags::kOf : 0);
}

/// The enclave at its ENCLU, all registers as it left them.
Recovered back_to_exit(UContext& uc, const ThreadBlock& block) {
  const LeavePlaces& out = leave_places();
  SigContext& m = uc.mcontext;
  const Place place(m.rip);
  const FastThread& fast = block.fast;
  const bool first = !place.behind(out.begin);
  const std::uint64_t tail = first ? m.rcx : fast.tail;
  if (!place.before(out.flags)) {
    m.flags = kept_flags(m.flags, fast.flags);
  }
  if (!place.before(out.spilled) && place.before(out.compared)) {
    m.rdx = fast.rdx;
  }
  m.rcx = fast.rcx;
  m.rax = 4;
  m.rip = ExitSites::enclu_of_tail(tail);
  return Recovered::AtExit;
}

/// EEXIT has been counted, which is done before all else.
bool is_tallying_exit(const Place& place) {
  const LeavePlaces& out = leave_places();
  return !place.before(out.tallied) && !place.behind(out.ticked);
}

/// The rest of EEXIT. The bases are the host's again, since the handler runs.
Recovered complete_exit(UContext& uc, ThreadBlock& block, EntryFacts& facts) {
  const LeavePlaces& out = leave_places();
  SigContext& m = uc.mcontext;
  FastThread& fast = block.fast;
  const bool tallying = is_tallying_exit(Place(m.rip));
  if (tallying && !Place(m.rip).behind(out.ticks)) {
    add(fast.counts->ticks_inside, __rdtsc() - fast.entered_at);
  }
  const Place place(tallying ? address_of(out.commit) : m.rip);
  if (place.before(out.fenced)) {
    set_frame_pkru(uc, pkru_after_exit(fast.door->xfrm, block.host_pkru, frame_pkru(uc), enclume_epc_fence));
    if (!place.before(out.fence)) {
      m.rsi = fast.rsi;
    }
  }
  if (place.before(out.rcx)) {
    if (!place.behind(out.state)) {
      fast.rcx = fast.door->page->aep;
      fast.door->epcm->owner.store(0, std::memory_order_release);
      fast.door->page->atomic_state().store(arch::tcs_state::kInactive, std::memory_order_release);
    }
    if (!place.behind(out.count)) {
      std::atomic_ref(*fast.door->tracking).fetch_sub(fast.one);
    }
  }
  block.inside.store(0, std::memory_order_seq_cst);
  block.exits.fetch_add(1, std::memory_order_seq_cst);
  fast.door = nullptr;
  fast.stale = 1;
  facts.enclave = 0;
  // TF is the host's, who has none, or this path would not have been taken.
  m.flags = kept_flags(m.flags, fast.flags) & ~arch::rflags::kTf;
  m.rdx = fast.rdx;
  m.rcx = fast.rcx;
  m.rax = 4;
  m.rip = m.rbx;
  return Recovered::Left;
}

bool is_on_direct_path(std::uint64_t rip, const EntryFacts& facts) {
  return on_way_in(rip) || on_way_out(rip) ||
         (facts.enclave != 0 && engine().sgx->native().exits().of_trampoline(rip));
}

}  // namespace

Recovered recover_direct_path(UContext& uc, ThreadBlock& block, EntryFacts& facts, bool behind_int3) {
  if (behind_int3 && is_on_direct_path(uc.mcontext.rip - 1, facts)) {
    --uc.mcontext.rip;  // the instruction that it stands for has not been executed
  }
  const EnterPlaces& in = enter_places();
  const LeavePlaces& out = leave_places();
  const std::uint64_t rip = uc.mcontext.rip;
  const Place place(rip);
  if (on_way_out(rip)) {
    const bool left = (!place.before(out.commit) && place.before(out.end)) || is_tallying_exit(place);
    return left ? complete_exit(uc, block, facts) : back_to_exit(uc, block);
  }
  if (facts.enclave != 0) {
    if (const auto inside = engine().sgx->native().exits().of_trampoline(rip)) {
      ExitSites::leave_trampoline(*inside, uc.mcontext, block.fast.rcx);
      return Recovered::AtExit;
    }
  }
  if (!on_way_in(rip)) {
    return Recovered::Elsewhere;
  }
  // Not from RCX, which WRPKRU wants to be 0.
  const std::uint64_t aep = engine().sgx->mm().vdso->instruction.value();
  if (!place.before(in.resume_commit) && place.before(in.resume_end)) {
    return complete_resume(uc, block, facts, aep);
  }
  const bool committed = (!place.before(in.commit) && place.before(in.end)) || place.at(in.tallied);
  return committed ? complete_entry(uc, block, facts, aep) : back_to_enclu(uc, block);
}

bool recover_unregistered(UContext& uc) {
  if (!on_way_in(uc.mcontext.rip)) {
    return false;
  }
  restore_pushed(uc.mcontext);
  uc.mcontext.rip = uc.mcontext.rcx;
  return true;
}

void settle(ThreadBlock& block) {
  FastThread& fast = block.fast;
  if (fast.stale == 0) {
    return;
  }
  fast.stale = 0;
  const std::uint32_t id = block.lp.id;
  if (fast.door == nullptr) {
    block.lp = {};
    block.lp.id = id;
    return;
  }
  block.lp = fast.door->lp;
  block.lp.id = id;
  block.lp.entry_epoch = fast.epoch;
  block.lp.host_fs_base = block.host_fs;
  block.lp.host_gs_base = block.host_gs;
  block.xfrm = block.lp.xfrm;
}

}  // namespace enclume::engine
