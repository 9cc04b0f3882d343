// SPDX-License-Identifier: Apache-2.0
// Data breakpoints on bytes of enclave pages that are not the enclave's own, for machines without protection
// keys: there, what is mapped for execution can be read.
//
// A breakpoint event of perf_event_open(2) belongs to one thread, and fires on reads and writes of user code,
// not on fetches: the thread gets a SIGTRAP behind the instruction that has read. It lives as long as a
// mapping of it does. So no descriptor stays in the program's table, where the program could close it, and a
// forked child has none of them.
#pragma once

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "base/types.h"
#include "engine/stats/slow.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

/// Words that are watched together: of 8 bytes, aligned, as debug registers have them; 0: none.
using WatchedWords = std::array<std::uint64_t, 2>;

/// Without locks of its own, but for what says so: NativeProtection has one around it. Signal context: safe.
class ReadWatches {
 public:
  /// Of the processor's four; one is left for a debugger's watchpoint.
  static constexpr std::size_t kMost = 3;

  /// Once this has succeeded, each thread that may be in an enclave watches the words, and one that enters
  /// for the first time will: see join(). Each success is taken back by one release(). Else why not.
  [[nodiscard]] std::expected<void, Slow> watch(const WatchedWords& words);
  /// Whether there is room for them beside those that are in use.
  [[nodiscard]] bool has_room(const WatchedWords& words) const;
  /// They may be given up when others need the room, or by close().
  void release(const WatchedWords& words);
  /// Ends the watch on words in the range that have been released: something else may lie there.
  void close(LinearRange range);
  void close_released() { close({LinearAddress(), LinearAddress(~std::uint64_t{0})}); }

  /// The calling thread is about to be in an enclave. False if it can't watch what is watched: then nothing
  /// may stay that has to be. A thread has joined once it has `watch_joined`.
  [[nodiscard]] bool join(ThreadBlock& block);
  /// Whether the calling thread, which has `may_be_inside` set, need not join. No lock is needed.
  [[nodiscard]] bool joined(const ThreadBlock& block) const {
    return block.watches_seen == version_.load(std::memory_order_seq_cst);
  }

  /// Whether there is one. No lock is needed.
  [[nodiscard]] bool in_use() const { return in_use_.load(std::memory_order_relaxed) != 0; }

  /// In the child of a fork, which has none of the events.
  void after_fork_in_child();

 private:
  struct Word {
    std::uint64_t address = 0;  ///< 0: free
    std::uint32_t users = 0;
  };
  [[nodiscard]] std::size_t find(std::uint64_t address) const;
  [[nodiscard]] std::expected<void, Slow> watch_word(std::uint64_t address);
  void release_word(std::uint64_t address);
  void close_word(std::size_t n);
  [[nodiscard]] std::expected<void, Slow> open_in(const ThreadBlock& block, std::size_t n);
  [[nodiscard]] bool fires(std::size_t n);

  std::array<Word, kMost> words_{};
  std::atomic<std::uint32_t> version_{0};  ///< moves with `words_`; 0: nothing has ever been watched
  std::atomic<std::uint32_t> in_use_{0};   ///< of `words_`
  bool has_fired_ = false;                 ///< this machine's do
  std::uint32_t slots_ = 0;                ///< of the arena's, those from here on have no event
};

/// Whether a tracer has this process: the registers are left to it. Signal context: safe.
[[nodiscard]] bool has_tracer();

/// Whether the signal is one of these breakpoints', late ones included. Signal context: safe.
[[nodiscard]] bool is_read_watch(const siginfo_t& info);
/// One that the engine itself has met. Signal context: safe.
void count_own_read();
/// The word that was read then.
[[nodiscard]] std::uint64_t watched_word(const siginfo_t& info);

}  // namespace enclume::engine
