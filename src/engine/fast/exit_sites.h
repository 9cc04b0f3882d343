// SPDX-License-Identifier: Apache-2.0
// The EEXITs that enclaves leave by without a trap: for each a trampoline near the enclave, and for each
// thread a segment selector that tells the trampoline whose exit it is.
//
// On the way out nothing is the host's: FS, GS, RSP and all registers but RAX (and RCX, once it is saved) are
// the enclave's. ES has no meaning in 64-bit mode. The kernel keeps it per thread, signal frames leave it
// alone, and an enclave may not load it (SDM Vol. 3D, "Illegal Instructions Inside an Enclave"). So each
// thread that has to leave directly gets a data segment in the LDT, whose base and limit mean nothing; a
// table below 2 GiB, which a 32-bit displacement reaches, leads from the selector to the thread's block.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <type_traits>

#include "base/types.h"
#include "engine/fast/read_watch.h"
#include "engine/signals/frame.h"
#include "engine/stats/slow.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

struct ExitSite {
  std::uint64_t load = 0;        ///< address of the instruction that loads 4, at which the jump is
  std::uint64_t enclu = 0;       ///< address of the ENCLU behind it
  std::uint64_t trampoline = 0;  ///< the jump's target
  std::uint64_t jump_at = 0;     ///< address of the jump's opcode, behind `load`'s prefix if that stays
  std::array<std::byte, 5> original{};  ///< what is at `jump_at`
  WatchedWords watched{};               ///< all that differs from it
  std::uint32_t laid = 0;               ///< how often the page's copy has been laid with it
  std::uint32_t trapped = 0;            ///< exits that were not direct though they could be
  std::uint32_t too_few = 64;           ///< of them to be watched
  std::uint64_t watched_since = 0;      ///< by NativeProtection's count
  Slow why_unwatched = Slow::NewSite;   ///< the last time that was tried
  bool is_watched = false;              ///< `watched` is, for its sake
  bool read = false;                    ///< the enclave has read it

  /// Another enclave may be there from now on.
  void forget_history() {
    laid = 0;
    trapped = 0;
    too_few = ExitSite{}.too_few;
    why_unwatched = Slow::NewSite;
    read = false;
  }

  /// The jump, as it stands at `jump_at`.
  [[nodiscard]] std::array<std::byte, 5> jump() const;
  /// Where it is, and which words it changes: as few as can be. `code` is what stands at `load`.
  void place_jump(std::span<const std::byte> code);
};

/// Sites are never removed, nor is a trampoline changed: a thread may always be in one. Additions need a
/// lock, which NativeProtection has.
class ExitSites {
 public:
  static constexpr std::size_t kMaxSites = 512;

  [[nodiscard]] ExitSite* find(std::uint64_t load, std::uint64_t enclu);
  /// A site with its trampoline within a jump's reach of it, outside `elrange`; or why there is none. Signal
  /// context: safe under NativeProtection's lock.
  /// `code` are the bytes from `load` to `enclu`.
  [[nodiscard]] std::expected<ExitSite*, Slow> add(std::uint64_t load, std::uint64_t enclu,
                                                   LinearRange elrange, std::span<const std::byte> code);
  /// Calls f(ExitSite&) for each.
  template <typename F>
  void for_each(F&& f) {
    for (std::size_t i = 0; i < count_.load(std::memory_order_acquire); ++i) {
      f(sites_[i]);
    }
  }
  /// The site in whose trampoline RIP is, and how far in. Lock-free. Signal context: safe.
  struct Inside {
    const ExitSite* site;
    std::uint64_t offset;
  };
  [[nodiscard]] std::optional<Inside> of_trampoline(std::uint64_t rip) const;

  /// Puts the registers of a thread whose RIP is in a trampoline to where the enclave stands: at the ENCLU,
  /// with RAX = 4. `rcx` is ThreadBlock::fast.rcx. Signal context: safe.
  static void leave_trampoline(const Inside& inside, SigContext& m, std::uint64_t rcx);
  /// The ENCLU of the site whose trampoline has this tail.
  [[nodiscard]] static std::uint64_t enclu_of_tail(std::uint64_t tail);

 private:
  [[nodiscard]] std::uint64_t place_near(std::uint64_t load, LinearRange elrange);

  /// Begin to exist when they are added.
  union Sites {
    constexpr Sites() : none{} {}
    ~Sites() = default;
    ExitSite& operator[](std::size_t i) { return all[i]; }
    const ExitSite& operator[](std::size_t i) const { return all[i]; }
    std::byte none;
    ExitSite all[kMaxSites];
  };
  static_assert(std::is_trivially_destructible_v<ExitSite>);

  std::atomic<std::size_t> count_{0};
  std::array<std::atomic<std::uint64_t>, 64> pages_{};  ///< addresses, 0: none yet
  std::array<std::uint16_t, 64> used_{};                ///< bytes
  Sites sites_;
};

/// Whether there can be a selector for it: the LDT is smaller than the arena.
[[nodiscard]] bool has_place_in_ldt(const ThreadBlock& block);
/// Gives the calling thread a selector, if it has none and can have one. Signal context: safe.
void give_selector(ThreadBlock& block);
/// Whether the kernel gives none (CONFIG_MODIFY_LDT_SYSCALL, a filter), or there is no place for the table.
[[nodiscard]] bool no_selectors();

/// Loads ES with the calling thread's selector, or 0: a new thread inherits its creator's.
void load_selector(const ThreadBlock& block);

}  // namespace enclume::engine
