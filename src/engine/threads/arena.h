// SPDX-License-Identifier: Apache-2.0
// Slots for threads: an alternate signal stack each, with the thread's block at its top.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/lock.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

/// One aligned range of address space, so that a stack pointer alone tells whether it is ours and whose.
/// Slots of dead threads are found and reused: nothing tells us when a thread made by raw clone ends.
/// The range is reserved with the first slot: a process that gets no signal, waits for none and has no
/// enclave needs none.
class ThreadArena {
  struct TidEntry {
    std::atomic<std::uint32_t> slot;  ///< 1 + slot, 0: not registered
  };

 public:
  static constexpr std::uint32_t kMaxSlots = 32768;
  static constexpr int kMaxTid = 1 << 22;  ///< Linux PID_MAX_LIMIT
  using TidTable = std::array<TidEntry, std::size_t{kMaxTid}>;

  /// The thread whose slot holds this stack pointer, or null. Signal context: safe.
  [[nodiscard]] ThreadBlock* of_stack(std::uint64_t rsp) const;

  /// The block of a registered thread, or null. Ids come back: a thread's own block is not looked up this way
  /// but by Engine::this_thread(). Signal context: safe.
  [[nodiscard]] ThreadBlock* find(int tid) const;

  /// A fresh block for a thread that has none. Null if there are too many threads, or the address space has
  /// no room for even a few. The caller has blocked
  /// all signals: the arena's lock is taken. Signal context: safe under that condition.
  [[nodiscard]] ThreadBlock* acquire(int tid);

  /// A block for a thread that is about to be made and has no id yet; `tid` is its maker's. It stays until
  /// the thread has adopted it, or its maker gives it back. Under the same condition.
  [[nodiscard]] ThreadBlock* reserve(int tid);
  void adopt(ThreadBlock& block, int tid);
  /// `expected` is the thread that has it, or below zero if there is none: another may have got it since.
  void give_back(ThreadBlock& block, int expected, int tid);

  /// In the child of a fork, once: it is not known whose the slots are. Only one thread has been copied, but
  /// it may have made others since, and one of those may be here first.
  void orphan_all();
  /// The thread that was copied, under its new id; `block` is its own, or null. What is orphaned still is
  /// free.
  void claim(ThreadBlock* block, int tid);

  /// For a tracer of a process with the same engine: where there the slots' beginning and their size are, and
  /// the table that has 1 + a thread's slot, as 32 bits, at tid_offset().
  struct Places {
    const void *begin, *size, *tids;
  };
  [[nodiscard]] Places places() const;
  [[nodiscard]] static std::uint64_t tid_offset(int tid) {
    return static_cast<std::uint64_t>(tid) * sizeof(TidEntry);
  }

  /// Calls f(ThreadBlock&) for each slot in use. Slots come and go meanwhile. Signal context: safe.
  template <typename F>
  void for_each(F&& f) {
    const std::uint32_t end = fresh_.load(std::memory_order_acquire);
    for (std::uint32_t slot = 0; slot < end; ++slot) {
      if (ThreadBlock* block = block_at(slot); block->tid != 0 && !block->orphan) {
        f(*block);
      }
    }
  }

 private:
  [[nodiscard]] ThreadBlock* block_at(std::uint32_t slot) const;
  [[nodiscard]] TidEntry* entry(int tid) const;
  std::uint32_t take_slot();
  ThreadBlock* make_block(std::uint32_t slot, int tid);
  void put_back(ThreadBlock& block);
  bool reserve_range();
  bool make_usable(std::uint32_t slot);
  void reclaim_dead();

  OwnerLock lock_;
  std::uint32_t capacity_ = 0;
  std::atomic<std::uint32_t> fresh_{0};  ///< slots never used begin here
  std::uint32_t in_use_ = 0;
  std::uint32_t reclaim_at_ = 64;  ///< look for dead threads when this many slots are in use
  std::uint32_t free_ = 0;  ///< 1 + head of the list of free slots, linked through ThreadBlock::slot_link
};

}  // namespace enclume::engine
