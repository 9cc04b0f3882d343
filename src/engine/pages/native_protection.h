// SPDX-License-Identifier: Apache-2.0
// Native page permissions play the EPCM: what enclave code may not do must fault.
//
// Execution is given apart from reading and writing, by the first fetch from a page: before that, the page is
// looked through for instructions that are #UD in an enclave and that the machine would run (CPUID, SGDT,
// ...). A page that has some is executed as a private copy with these instructions replaced, and read as it
// is; see src/engine/cpuid/README.md. A page is never writable and executable at once, so that what is
// written is looked through, too.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/lock.h"
#include "base/types.h"
#include "engine/cpuid/enclave_scan.h"
#include "engine/fast/exit_sites.h"
#include "engine/pages/native_mapping.h"
#include "engine/pages/patched_pages.h"
#include "engine/stats/slow.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"
#include "kernel/vma/effective_protection.h"

namespace enclume::engine {

/// What takes much room and is seldom used. All zeros at first: in static storage it costs a process that
/// starts no page.
struct NativeTables {
  EncluTraps traps;
  ExitSites exits;
  PatchedPages patched;
};

/// Native permissions may lag behind what is allowed (a fault asks for the rest); they never exceed it once a
/// call here has returned. Signal context: safe, for a thread that holds no lock but the kernel half's.
class NativeProtection {
 public:
  NativeProtection(const kernel::Kernel& kernel, NativeTables& tables)
      : kernel_(kernel), traps_(tables.traps), exits_(tables.exits), patched_(tables.patched) {}

  /// What is looked for before a page may be executed; nothing: pages are executed as they are, and
  /// permission to do so is given with the others.
  void look_for(ClassSet instructions, decode::BranchRule branches) {
    wanted_ = instructions;
    branches_ = branches;
  }

  /// Sets these pages to effective_protection() wherever this process maps them, without execution if there
  /// is something to look for. Their contents may have changed: what was found in them is forgotten.
  void apply(kernel::Enclave& enclave, std::uint64_t first_page, std::uint64_t count);
  /// All that the process maps of the enclave.
  void apply_all(kernel::Enclave& enclave);
  /// Keeps the program from these pages, ascending but for one place, none of which may be used now: see
  /// kernel::Platform::withhold().
  void withhold(kernel::Enclave& enclave, std::span<const std::uint64_t> pages);
  /// Another process may have taken permissions away since this one looked.
  void sync(kernel::Enclave& enclave);

  /// While it lives nobody gives or takes permissions: for who changes what is mapped. Another thread that
  /// has found a VMA waits, and looks again. Not for who calls anything else of NativeProtection.
  class Standstill {
   public:
    Standstill(NativeProtection& native, int tid) : native_(native), guard_(native.lock_, tid) {}
    /// All permissions of the VMA, which is one native mapping then.
    void withdraw(const kernel::Vma& vma) { native_.clear_mapped(vma); }
    /// The range is not mapped any more, or something else is there now.
    void forget(LinearRange range) { native_.forget(range); }
    /// This VMA, or part of one, was there.
    void forget(const kernel::Vma& vma) { native_.forget_guards(vma); }

   private:
    NativeProtection& native_;
    OwnerLockGuard guard_;
  };

  // Of the VMA that these are given, what counts is what it is by now; if another enclave is there, or none,
  // they do nothing, and the access that they are for is to be repeated.

  /// For a page of `vma` that enclave code may read or write: lets it do so, as far as it is allowed.
  void allow_data(const kernel::Vma& vma, LinearAddress page);
  /// Lets it execute the page. `start`: an offset at which an instruction is known to begin.
  /// False if the page has to show its own bytes, see hold(): the caller steps. It counts as a step.
  [[nodiscard]] bool allow_fetch(const kernel::Vma& vma, LinearAddress page,
                                 std::optional<std::uint16_t> start);
  /// Lets it do both at once, on the page's own bytes: for single instructions that the caller has looked at.
  void allow_all(const kernel::Vma& vma, LinearAddress page);

  /// Whether the page can't be had for data and for execution at once, save by allow_all().
  [[nodiscard]] bool apart(const kernel::Vma& vma, LinearAddress page) const {
    return watches() &&
           kernel::effective_protection(*vma.enclave, vma.enclave->page_number(page), vma.prot).executable();
  }

  // -- Patched pages
  /// Where the copy has the instruction at `at` replaced, takes that back, since the caller knows that it is
  /// none to be trapped. False if it was not replaced.
  bool withdraw_sites(const kernel::Vma& vma, LinearRange instruction);
  /// The page of an instruction that has been trapped shall show its own bytes for a while, because a handler
  /// may read them. Nothing if there is no patch at `opcode`, or if nobody ever sees the copy's bytes. `tid`
  /// is the calling thread's.
  [[nodiscard]] std::optional<std::uint32_t> hold(const kernel::Vma& vma, LinearAddress opcode, int tid);
  void release(LinearAddress page, std::uint32_t generation);

  /// For an ENCLU of enclave code that has been trapped with EEXIT: has the next ones leave without a trap,
  /// if that can be done. `tid` is the calling thread's. Why not, or why it was not yet; Disturbed if all had
  /// been done before.
  Slow leave_directly(const kernel::Vma& vma, LinearAddress enclu, int tid);
  [[nodiscard]] const ExitSites& exits() const { return exits_; }

  /// For an ENCLU of enclave code that has often been trapped as #UD: has the next ones there trap as #OF,
  /// where that is cheaper and can be done. `tid` is the calling thread's. See enclu_traps.h.
  void trap_by_int4(const kernel::Vma& vma, LinearAddress enclu, int tid);

  // -- What reads the jumps, where nothing keeps it from them
  /// From now on no jump is laid that the enclave could read unnoticed: without a key that keeps it from
  /// reading, jumps are watched. Once, at start.
  void watch_reads() { guarded_ = true; }
  /// No further watch is set. No lock is needed.
  void watch_no_more() { unwatched_.store(true, std::memory_order_relaxed); }
  /// The calling thread, which is about to be in an enclave, watches what has to be watched. Where it can't,
  /// there is nothing to be watched afterwards.
  void join_watch(ThreadBlock& block);
  /// Exits that have to be watched are trapped from here on, for a time, and nothing is watched: a debugger
  /// wants the registers.
  void withdraw_exits(int tid);
  /// What there was to see: the bytes that differ from the page's own.
  struct Jumps {
    struct Jump {
      std::uint64_t at;
      std::array<std::byte, 5> bytes, original;
    };
    std::array<Jump, ReadWatches::kMost + 1> jump;
    std::size_t count = 0;
  };
  /// A watched word has been read: the page shows its own bytes there, for good.
  [[nodiscard]] Jumps give_up_read(std::uint64_t word, int tid);
  /// Whether a jump is in reach of an access of `size` bytes at `address`; it is given up then, as if it had
  /// been read already. For instructions under TF, whose trap hides the watch's.
  void give_up_before_read(std::uint64_t address, std::uint64_t size, int tid);
  [[nodiscard]] bool has_watches() const { return watches_.in_use(); }

  void after_fork_in_child() {
    lock_.reset_in_child();
    watches_.after_fork_in_child();
  }

 private:
  /// Pages that get their permissions together, if they may have the same.
  static constexpr std::uint64_t kAround = 16;
  /// Pages of a block in which those to come are guarded.
  static constexpr std::uint64_t kToCome = 64;
  /// Pages that are withheld by one call. The kernel flushes the TLB page by page up to 33, and beyond that
  /// all of it (arch/x86/mm/tlb.c, tlb_single_page_flush_ceiling).
  static constexpr std::uint64_t kTogether = 32;
  /// A process may have 65,530 mappings unless vm.max_map_count says otherwise, and most are the program's to
  /// have.
  static constexpr int kMaxBoundaries = 20'000;

  /// The protection key of a VMA's pages, -1 without any on this machine. With the lock held.
  [[nodiscard]] int native_key(const kernel::Vma& vma) const;
  [[nodiscard]] bool watches() const { return wanted_.intersects(wanted_); }
  [[nodiscard]] kernel::Protection data_view(kernel::Protection effective) const {
    return watches() ? kernel::Protection::of(effective.bits() & ~kernel::kProtExec.bits()) : effective;
  }
  [[nodiscard]] std::optional<kernel::Vma> as_it_is_now(const kernel::Vma& found, LinearAddress page) const;
  void clear_mapped(const kernel::Vma& vma);
  void forget(LinearRange range);
  static void forget_guards(const kernel::Vma& vma);
  void apply_vma(const kernel::Vma& vma, std::uint64_t first_page, std::uint64_t end_page);
  /// False if the permissions are gone instead, of this VMA or of all: they come back one by one. `guarded`:
  /// so many pages at the end keep their guards.
  bool set_or_clear(const kernel::Vma& vma, LinearRange range, kernel::Protection prot,
                    std::uint64_t guarded = 0);
  void count_boundaries(const kernel::Vma& vma, LinearRange range, kernel::Protection prot);
  void clear_all();
  void withhold_range(const kernel::Vma& vma, std::uint64_t first, std::uint64_t end);
  [[nodiscard]] LinearRange alike_around(const kernel::Vma& vma, LinearAddress page,
                                         kernel::Protection effective);
  [[nodiscard]] std::uint64_t guard_pages_to_come(const kernel::Vma& vma, LinearAddress page,
                                                  LinearRange alike);
  void show_original(const kernel::Vma& vma, PatchedPage& entry, kernel::Protection prot);
  [[nodiscard]] bool lift_guard(const kernel::Vma& vma, LinearAddress page, kernel::Protection prot);
  void clear(const kernel::Vma& vma);
  void read_text(const kernel::Vma& vma, std::uint64_t page, PageText& text) const;
  [[nodiscard]] bool harmless(const kernel::Vma& vma, std::uint64_t page, kernel::Protection effective);
  void allow_fetch_around(const kernel::Vma& vma, std::uint64_t page, kernel::Protection effective);
  bool show_patched(const kernel::Vma& vma, PatchedPage& entry);
  void give_up_exits(PatchedPage& entry);
  static void give_up_traps(PatchedPage& entry);
  /// The page has lost its jumps, or will have when this call is over.
  void release_watches(const PatchedPage& entry);
  void release_watch(ExitSite& site);
  void erase(PatchedPage& entry);
  [[nodiscard]] Slow watch_exit(ExitSite& site);
  bool take_exit_off(ExitSite& site);
  void make_room(const ExitSite& site);
  void withdraw_exits_locked();
  [[nodiscard]] PatchedPage* remember(LinearAddress page, const PageOffsets& sites);

  int boundaries_ = 0;  ///< places where neighbouring pages differ natively, about
  const kernel::Kernel& kernel_;
  ClassSet wanted_;
  decode::BranchRule branches_ = decode::BranchRule::Intel;
  OwnerLock lock_;
  bool guarded_ = false;                ///< see watch_reads()
  std::atomic<bool> unwatched_{false};  ///< they can't be
  ReadWatches watches_;
  std::uint64_t times_watched_ = 0;
  EncluTraps& traps_;
  ExitSites& exits_;
  PatchedPages& patched_;
};

}  // namespace enclume::engine
