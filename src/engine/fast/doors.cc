// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/doors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <optional>

#include "arch/enclu/ssa.h"
#include "arch/structs/secs.h"
#include "base/syscall.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/fast/entry.h"
#include "engine/fast/exit_sites.h"
#include "engine/fast/thread_descriptor.h"
#include "engine/pages/enclave_keys.h"
#include "kernel/spaces.h"
#include "kernel/traps/traps.h"

extern "C" {
std::uint8_t enclume_fast_on = FAST_OFF;
std::uint64_t enclume_thread_offset = 0;
const std::atomic<std::uint64_t>* enclume_vmas_version = nullptr;
}

namespace enclume::engine {

namespace {

/// How far apart two stack pointers may be that one thread has entered with, for all between them to count as
/// its stack. What is between lies on this thread's stack, unless it has switched stacks.
constexpr std::uint64_t kStackReach = 256 * 1024;

constinit std::atomic<Slow> off_because{Slow::kNumber};  ///< kNumber: they are on

SeenWord seen(const std::atomic<std::uint32_t>& word) {
  return {&word, word.load(std::memory_order_acquire)};
}

bool same(const SeenWord& word) {
  return word.at->load(std::memory_order_acquire) == word.value;
}

/// Whether the machine's XRSTOR reads a frame as the emulated processor would. CPUID may show another
/// processor's offsets than the machine has.
bool has_native_layout(const arch::MachineConfig& config, std::uint64_t xfrm) {
  for (std::uint64_t left = xfrm & ~std::uint64_t{3}; left != 0; left &= left - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(left));
    const arch::XsaveComponent& native = engine().xsave_layout[i];
    if (native.offset != config.xsave[i].offset || native.size != config.xsave[i].size) {
      return false;
    }
  }
  return true;
}

/// The first and the last page of one of `lp`'s SSA frames.
std::array<LinearAddress, 2> frame_pages(const arch::LogicalProcessor& lp, std::uint32_t number) {
  const arch::Secs& secs = arch::secs_of(lp.secs);
  const LinearAddress frame =
      arch::ssa_frame_address(secs.base_addr, arch::tcs_of(lp.tcs).ossa, secs.ssa_frame_size, number);
  return {frame, frame + (std::uint64_t{secs.ssa_frame_size} - 1) * kPageSize};
}

/// Whether the TCS or the frame is under a protection key of the program's, which may close it: to look at
/// PKRU then is the trap's business.
bool under_program_key(const arch::LogicalProcessor& lp, std::uint32_t number, const kernel::Kernel& kernel) {
  const auto [first, last] = frame_pages(lp, number);
  return std::ranges::any_of(std::array{lp.tcs_address, first, last}, [&](LinearAddress page) {
    const auto vma = kernel.vmas.find(page);
    return vma && vma->pkey != 0;
  });
}

/// All that `lp`'s entry depends on, or false if it changes meanwhile or is more than a door has room for.
/// The words first, then the checks, then whether the words are still so: then the checks are about them.
bool look(FastDoor& door, const arch::LogicalProcessor& lp, const kernel::Kernel& kernel) {
  door.vmas = kernel.vmas.version();
  const auto vma = kernel.vmas.find(lp.tcs_address);
  if (!vma || !vma->enclave->mapped()) {
    return false;
  }
  const kernel::Enclave& enclave = *vma->enclave;
  arch::Tcs& tcs = arch::tcs_of(lp.tcs);
  arch::Secs& secs = arch::secs_of(lp.secs);
  door.protection_at = &enclave.shared().protection_epoch;
  door.protection = enclave.protection_seen.load(std::memory_order_relaxed);
  door.tcs = lp.tcs_address.value();
  door.secs = lp.secs.address.value;
  door.page = &tcs;
  door.tracking = &arch::tracking_stripe(secs, lp.tcs_address);
  door.flags = tcs.atomic_flags().load(std::memory_order_acquire);
  door.ossa = tcs.ossa;
  door.cssa = tcs.atomic_cssa().load(std::memory_order_acquire);
  door.nssa = tcs.nssa;
  door.oentry = tcs.oentry;
  door.ofsbase = tcs.ofsbase;
  door.ogsbase = tcs.ogsbase;
  door.epcm = lp.tcs.epcm;
  door.epcm_state = lp.tcs.epcm->state.load(std::memory_order_acquire);
  door.entry = secs.base_addr + tcs.oentry;
  door.fs = secs.base_addr + tcs.ofsbase;
  door.gs = secs.base_addr + tcs.ogsbase;
  door.gpr = lp.ssa.gpr;
  door.lp = lp;
  door.xfrm = lp.xfrm;
  door.base = secs.base_addr;
  door.elrange_size = secs.size;
  door.xsave = has_native_layout(kernel.config, lp.xfrm) ? lp.ssa.xsave_page[0] : nullptr;
  door.pkru = (lp.xfrm & kPkruFeature) != 0
                  ? lp.ssa.xsave_page[0] + engine().xsave_layout[kPkruComponent].offset
                  : nullptr;
  door.closed = inside_fence(~Pkru{0}, 0, own_fence(enclave));

  // The frame's pages: the one that the XSAVE area begins in, and the last.
  const auto [frame, last] = frame_pages(lp, door.cssa);
  const arch::SsaFrameLayout layout =
      arch::ssa_frame_layout(kernel.config, secs.attributes.xfrm, secs.miscselect, secs.ssa_frame_size);
  if (layout.xsave_pages != 1 || under_program_key(lp, door.cssa, kernel)) {
    return false;
  }
  door.pages = {seen(enclave.page(enclave.page_number(lp.tcs_address)).word),
                seen(enclave.page(enclave.page_number(frame)).word),
                seen(enclave.page(enclave.page_number(last)).word)};
  door.frames = {seen(enclave.epc_page(enclave.page_number(frame)).epcm->state),
                 seen(enclave.epc_page(enclave.page_number(last)).epcm->state)};

  kernel::UserSpace space(kernel);
  const auto operand = space.walk(lp.tcs_address, arch::Access::Write);
  const arch::EpcmState state = lp.tcs.epcm->load();
  const auto ssa = arch::locate_ssa_frame(kernel.machine(), space, lp.secs, frame);
  return operand && operand->epc.epcm == lp.tcs.epcm && ssa && ssa->gpr == lp.ssa.gpr && state.valid &&
         state.type == arch::PageType::Tcs && !state.blocked && !state.pending && !state.modified &&
         door.cssa < door.nssa && LinearAddress(door.entry).canonical() &&
         LinearAddress(door.fs).canonical() && LinearAddress(door.gs).canonical() && same(door.pages[0]) &&
         same(door.pages[1]) && same(door.pages[2]) && same(door.frames[0]) && same(door.frames[1]) &&
         lp.tcs.epcm->state.load() == door.epcm_state && door.protection_at->load() == door.protection &&
         kernel.vmas.version() == door.vmas;
}

/// Whether what look() has found is so still.
bool unchanged(const FastDoor& door, const arch::LogicalProcessor& lp, const kernel::Kernel& kernel) {
  const arch::Tcs* const tcs = door.page;
  return door.tcs == lp.tcs_address.value() && kernel.vmas.version() == door.vmas &&
         door.lp.ssa.gpr == lp.ssa.gpr && door.lp.secs.address == lp.secs.address &&
         door.protection_at->load() == door.protection &&
         door.epcm->state.load(std::memory_order_relaxed) == door.epcm_state && same(door.pages[0]) &&
         same(door.pages[1]) && same(door.pages[2]) && same(door.frames[0]) && same(door.frames[1]) &&
         tcs->flags == door.flags && tcs->ossa == door.ossa && tcs->cssa == door.cssa &&
         tcs->nssa == door.nssa && tcs->oentry == door.oentry && tcs->ofsbase == door.ofsbase &&
         tcs->ogsbase == door.ogsbase;
}

/// glibc's thread control block begins with its own address, and has it a second time (tcbhead_t: tcb, self).
bool is_libc_thread(std::uint64_t fs) {
  std::uint64_t head[3];
  return enclume_guarded_copy(head, reinterpret_cast<const void*>(fs), sizeof(head)) == 0 && head[0] == fs &&
         head[2] == fs;
}

bool alive(const ThreadBlock& other) {
  return sys::raw(__NR_tgkill, sys::getpid(), other.tid, 0) == 0;
}

/// Lets the thread be found by its FS base. Some programs make threads by raw clone that share one; those are
/// found out when the second is met, and neither enters directly any more. Until then the stack tells them
/// apart: two threads that run at once are on two stacks.
bool leave_block_in_tls(ThreadBlock& block, std::uint64_t fs) {
  FastThread& fast = block.fast;
  ThreadBlock* known = nullptr;
  auto* const place = reinterpret_cast<void*>(fs + enclume_thread_offset);
  if (fast.shared || !is_libc_thread(fs) || enclume_guarded_copy(&known, place, sizeof(known)) != 0) {
    return false;
  }
  if (known == &block) {
    return true;
  }
  if (known != nullptr && known->tid != 0 && !known->orphan && known->fast.fs == fs && alive(*known)) {
    known->fast.shared = true;
    known->fast.stack_size = 0;
    fast.shared = true;
    return false;
  }
  ThreadBlock* const self = &block;
  return enclume_guarded_copy(place, &self, sizeof(self)) == 0;
}

/// Lets the thread be found by the way in, if it can be told apart from all others.
void admit_thread(ThreadBlock& block, std::uint64_t fs, std::uint64_t rsp) {
  FastThread& fast = block.fast;
  if (enclume_fast_on == FAST_BY_LIBC) {
    if (!leave_block_in_tls(block, fs)) {
      fast.stack_size = 0;
      return;
    }
  } else {
    give_descriptor(block);
    if (!fast.descriptor) {
      return;
    }
  }
  // Rounded, so that the way in can compare its own RSP.
  const std::uint64_t low = align_down(rsp - ENTER_SIZE, 64);
  const std::uint64_t high = low + 128;
  const std::uint64_t end = fast.stack_low + fast.stack_size;
  if (fast.fs == fs && fast.stack_size != 0 && low + kStackReach >= fast.stack_low &&
      low <= end + kStackReach) {
    const std::uint64_t new_low = low < fast.stack_low ? low : fast.stack_low;
    fast.stack_size = (high > end ? high : end) - new_low;
    fast.stack_low = new_low;
  } else {
    fast.fs = fs;
    fast.stack_low = low;
    fast.stack_size = high - low;
  }
}

bool on_known_stack(const FastThread& fast, std::uint64_t rsp) {
  return rsp - ENTER_SIZE - fast.stack_low < fast.stack_size;
}

/// Whether the way in would find the thread.
bool is_admitted(const FastThread& fast, std::uint64_t fs, std::uint64_t rsp) {
  if (enclume_fast_on != FAST_BY_LIBC && !fast.descriptor) {
    return false;
  }
  return enclume_fast_on == FAST_BY_DESCRIPTOR || (fast.fs == fs && on_known_stack(fast, rsp));
}

/// Why not, if not.
std::optional<Slow> why_not_admitted(const ThreadBlock& block, std::uint64_t rsp) {
  const FastThread& fast = block.fast;
  if (enclume_fast_on == FAST_BY_LIBC) {
    if (fast.shared) {
      return Slow::SharedFs;
    }
    if (fast.stack_size == 0) {
      return is_libc_thread(block.host_fs) ? Slow::NewThread : Slow::OtherFs;
    }
  } else if (!fast.descriptor) {
    return no_descriptors() ? Slow::NoDescriptor : Slow::NewThread;
  }
  if (fast.forked) {
    return Slow::Forked;
  }
  if (is_admitted(fast, block.host_fs, rsp)) {
    return std::nullopt;
  }
  return fast.fs != block.host_fs ? Slow::OtherFs : Slow::OtherStack;
}

bool entered_by_vdso(const kernel::Kernel& kernel, const TrappedEntry& entry) {
  return enclume_debugger.direct_slot != 0 && kernel.mm.vdso &&
         kernel.mm.vdso->instruction.value() == entry.aep;
}

/// Whether the vDSO function still comes to enter.S, and that finds no breakpoint on the ENCLU at `aep`.
bool way_in_is_open(std::uint64_t aep) {
  std::array<std::byte, kernel::kEncluBytes.size()> code{};
  return !debugger_has_way_in() &&
         enclume_guarded_copy(code.data(), reinterpret_cast<const void*>(aep), code.size()) == 0 &&
         code == kernel::kEncluBytes;
}

/// Why this entry, which has been made by a trap, could not be direct; `block` and its door number `at` are
/// still as it found them.
Slow reason_of(const ThreadBlock& block, std::size_t at, const kernel::Kernel& kernel,
               const TrappedEntry& entry) {
  const arch::LogicalProcessor& lp = block.lp;
  const FastDoor& door = block.fast.doors[at];
  const FastDoor& first = block.fast.doors[at & ~std::size_t{1}];  // the one that the way in looks for
  const FastThread& fast = block.fast;
  if (enclume_fast_on == 0) {
    return direct_paths_off_because();
  }
  if (!entered_by_vdso(kernel, entry)) {
    return Slow::OtherEnclu;
  }
  if (!way_in_is_open(entry.aep)) {
    return Slow::Debugger;
  }
  if (lp.save_tf) {
    return Slow::SingleStep;
  }
  if (lp.dbgoptin) {
    return Slow::OptIn;
  }
  if (engine().stats.direct(block.slot) == nullptr) {
    return Slow::NoCounters;
  }
  if (const auto why = why_not_admitted(block, entry.rsp)) {
    return *why;
  }
  if (first.tcs != lp.tcs_address.value()) {
    return Slow::NewTcs;
  }
  if (door.tcs != first.tcs || door.cssa != arch::tcs_of(lp.tcs).cssa) {
    return Slow::OtherFrame;
  }
  if (!unchanged(door, lp, kernel) || first.vmas != door.vmas) {
    return Slow::Changed;
  }
  if (entry.resumed && door.xsave == nullptr) {
    return Slow::FrameLayout;
  }
  if (entry.resumed && door.pkru != nullptr && (block.host_pkru & kKeyZero) != 0) {
    return Slow::ProtectionKey;
  }
  if (entry.resumed && (door.flags & arch::tcs_flags::kAexNotify) != 0) {
    return Slow::AexNotify;
  }
  return entry.resumed && fast.held != 0 ? Slow::PageHeld : Slow::Disturbed;
}

/// Makes `door` that of the entry and the thread known, as far as they can be. False if the entry is none
/// that has a door.
bool remember(ThreadBlock& block, FastDoor& door, const kernel::Kernel& kernel, const TrappedEntry& entry) {
  const arch::LogicalProcessor& lp = block.lp;
  FastThread& fast = block.fast;
  fast.door = nullptr;
  load_selector(block);
  if (enclume_fast_on == 0 || lp.dbgoptin || lp.save_tf) {
    return false;
  }
  if (engine().stats.on() && fast.counts == nullptr) {
    fast.counts = engine().stats.direct(block.slot);
    if (fast.counts == nullptr) {
      return false;
    }
  }
  if (!unchanged(door, lp, kernel) && !look(door, lp, kernel)) {
    door.tcs = 0;
    return false;
  }
  door.other = &fast.doors[static_cast<std::size_t>(&door - fast.doors.data()) ^ 1];
  fast.door = &door;
  fast.one = arch::tracking_word::one(lp.entry_epoch);
  fast.epoch = lp.entry_epoch;
  if (!is_admitted(fast, block.host_fs, entry.rsp) && entered_by_vdso(kernel, entry)) {
    admit_thread(block, block.host_fs, entry.rsp);
  }
  return true;
}

}  // namespace

bool debugger_has_way_in() {
  std::uint64_t slot = 0;
  return enclume_debugger.direct_slot != 0 &&
         (enclume_guarded_copy(&slot, reinterpret_cast<const void*>(enclume_debugger.direct_slot),
                               sizeof(slot)) != 0 ||
          slot != reinterpret_cast<std::uint64_t>(enter_places().begin));
}

void keep_blocks_at(const void* thread_local_pointer, std::uint64_t fs_base) {
  enclume_thread_offset = reinterpret_cast<std::uint64_t>(thread_local_pointer) - fs_base;
}

void turn_off_direct_paths(Slow why) {
  enclume_fast_on = FAST_OFF;
  Slow none = Slow::kNumber;
  off_because.compare_exchange_strong(none, why);  // the first reason is told
}

Slow direct_paths_off_because() {
  return off_because.load(std::memory_order_relaxed);
}

void remember_entry(ThreadBlock& block, const kernel::Kernel& kernel, const TrappedEntry& entry) {
  const std::uint32_t frame = arch::tcs_of(block.lp.tcs).atomic_cssa().load(std::memory_order_relaxed);
  const std::size_t at = FastThread::door_of(block.lp.tcs_address.value(), frame);
  const bool counting = engine().stats.on();
  Slow why = counting ? reason_of(block, at, kernel, entry) : Slow::Disturbed;
  if (!remember(block, block.fast.doors[at], kernel, entry) &&
      (why == Slow::NewThread || why == Slow::NewTcs)) {
    why = under_program_key(block.lp, frame, kernel) ? Slow::ProtectionKey : Slow::FrameLayout;
  } else if (why == Slow::NewThread && no_descriptors()) {
    why = Slow::NoDescriptor;  // as has been found out just now
  }
  block.fast.forked = false;
  if (counting) [[unlikely]] {
    engine().stats.add_slow_entry(block.slot, why);
  }
}

}  // namespace enclume::engine
