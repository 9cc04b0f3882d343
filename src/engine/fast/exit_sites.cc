// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/exit_sites.h"

#include <asm/ldt.h>
#include <linux/prctl.h>
#include <sys/mman.h>

#include <cstring>
#include <new>
#include <span>

#include "base/syscall.h"
#include "engine/fast/entry.h"

namespace enclume::engine {

namespace {

// -- Trampolines

constexpr std::uint64_t kTrampolineSize = 64;
/// Where in one what has been done; the bytes are in write_trampoline().
constexpr std::uint64_t kAtJump = 23;
constexpr std::uint64_t kAtTail = 29;
constexpr std::uint64_t kBehindTail = 36;
constexpr std::uint64_t kAtSlot = 48;
constexpr std::uint64_t kAtEnclu = 56;

/// A jump's reach, less what a page and the instruction take.
constexpr std::uint64_t kReach = 0x7fff0000;
/// How near the first place for a page of trampolines is tried. What lies around an enclave may be hundreds
/// of megabytes of threads' stacks and heaps: the distances grow as squares, so that all tries are far apart.
constexpr std::uint64_t kFirstTry = 1 << 20;
constexpr unsigned kTries = 64;

// -- Threads

/// The LDT's first entry that is ours. Programs that use the LDT themselves begin at 0.
constexpr std::uint32_t kFirstEntry = 512;
constexpr std::uint32_t kLdtEntries = 8192;
constexpr std::uint32_t kSelectorBits = 7;     // in the LDT, requested privilege level 3
constexpr std::uint64_t kNobody = 1ULL << 63;  // not canonical: to use it is #GP

/// From a selector to the thread's block. The table begins 7 bytes before an aligned word, so that a selector
/// as displacement leads to a whole one.
constinit std::atomic<std::uint32_t> table_at{0};
constinit std::atomic<bool> refused{false};

std::uint64_t* entry_of(std::uint32_t table, std::uint32_t selector) {
  return reinterpret_cast<std::uint64_t*>(std::uint64_t{table} + selector);
}

/// Makes the table, once. 0 if there is no room for it.
std::uint32_t make_table() {
  if (const std::uint32_t known = table_at.load(std::memory_order_acquire); known != 0) {
    return known;
  }
  constexpr std::uint64_t kSize = kLdtEntries * 8 + 2 * kPageSize;
  const auto r =
      sys::call(__NR_mmap, 0, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (!r) {
    return 0;
  }
  auto* const words = reinterpret_cast<std::uint64_t*>(*r);
  for (std::size_t i = 0; i < kSize / sizeof(*words); ++i) {
    words[i] = kNobody;
  }
  const auto table = static_cast<std::uint32_t>(*r + 1);
  std::uint32_t none = 0;
  if (!table_at.compare_exchange_strong(none, table)) {
    sys::raw(__NR_munmap, *r, static_cast<long>(kSize));
    return none;
  }
  return table;
}

void put32(std::byte* at, std::uint64_t value) {
  const auto low = static_cast<std::uint32_t>(value);
  std::memcpy(at, &low, sizeof(low));
}

/// Each 64 bytes: the block into RAX, RCX into the block, on to exit.S; and the tail, by which that comes
/// back.
void write_trampoline(std::byte* out, const ExitSite& site, std::uint32_t table) {
  constexpr unsigned char kCode[kTrampolineSize] = {
      0x8c, 0xc0,                    // 0  mov %es, %eax
      0x48, 0x8b, 0x80, 0, 0, 0, 0,  // 2  mov table(%rax), %rax
      0x48, 0x89, 0x88, 0, 0, 0, 0,  // 9  mov %rcx, FAST_RCX(%rax)
      0x48, 0x8d, 0x0d, 6, 0, 0, 0,  // 16 lea tail(%rip), %rcx
      0xff, 0x25, 19,   0, 0, 0,     // 23 jmp *slot(%rip)
      0x48, 0x8b, 0x89, 0, 0, 0, 0,  // 29 tail: mov FAST_RCX(%rcx), %rcx
      0xb8, 4,    0,    0, 0,        // 36 mov $4, %eax
      0xe9, 0,    0,    0, 0,        // 41 jmp ENCLU
      0x0f, 0x0b,                    // 46
  };
  std::memcpy(out, kCode, sizeof(kCode));
  put32(out + 5, table);
  put32(out + 12, BLOCK_FAST + FAST_RCX);
  put32(out + 32, BLOCK_FAST + FAST_RCX);
  put32(out + 42, site.enclu - (site.trampoline + 46));
  const auto exit = reinterpret_cast<std::uint64_t>(leave_places().begin);
  std::memcpy(out + kAtSlot, &exit, sizeof(exit));
  std::memcpy(out + kAtEnclu, &site.enclu, sizeof(site.enclu));
}

bool in_reach(std::uint64_t from, std::uint64_t to) {
  return from - to < kReach || to - from < kReach;
}

}  // namespace

std::array<std::byte, 5> ExitSite::jump() const {
  std::array<std::byte, 5> bytes{std::byte{0xe9}};
  put32(bytes.data() + 1, trampoline - (jump_at + bytes.size()));
  return bytes;
}

void ExitSite::place_jump(std::span<const std::byte> code) {
  std::size_t fewest = watched.size() + 1;
  // `mov $4, %rax` has a REX prefix, which may stay in front of a jump: it has no meaning there.
  for (std::uint64_t at = load; at + original.size() <= load + code.size() && at <= load + 1; ++at) {
    ExitSite site = *this;
    site.jump_at = at;
    std::memcpy(site.original.data(), code.data() + (at - load), original.size());
    site.watched = {};
    std::size_t words = 0;
    const auto bytes = site.jump();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const std::uint64_t word = align_down(at + i, 8);
      if (bytes[i] != site.original[i] && (words == 0 || site.watched[words - 1] != word)) {
        site.watched[words++] = word;
      }
    }
    if (words < fewest) {
      fewest = words;
      *this = site;
    }
  }
}

ExitSite* ExitSites::find(std::uint64_t load, std::uint64_t enclu) {
  const std::size_t count = count_.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    if (sites_[i].load == load && sites_[i].enclu == enclu) {
      return &sites_[i];
    }
  }
  return nullptr;
}

/// Room for a trampoline, in a page that is writable now.
std::uint64_t ExitSites::place_near(std::uint64_t load, LinearRange elrange) {
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    std::uint64_t page = pages_[i].load(std::memory_order_relaxed);
    if (page != 0 && (!in_reach(load, page) || used_[i] + kTrampolineSize > kPageSize)) {
      continue;
    }
    for (unsigned n = 1; page == 0 && n <= kTries; ++n) {
      // Above and below ELRANGE by turns, ever farther.
      const std::uint64_t steps = (n + 1) / 2;
      const std::uint64_t distance = steps * steps * kFirstTry;
      const std::uint64_t wanted =
          n % 2 != 0 ? elrange.end.value() + distance : elrange.begin.value() - distance;
      if (wanted >> 47 != 0 || wanted < kFirstTry || !in_reach(load, wanted)) {
        continue;
      }
      const auto r = sys::call(__NR_mmap, wanted, kPageSize, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (r && static_cast<std::uint64_t>(*r) == wanted) {
        page = wanted;
        used_[i] = 0;
        pages_[i].store(page, std::memory_order_release);
      } else if (r) {
        sys::raw(__NR_munmap, *r, static_cast<long>(kPageSize));  // a kernel before 4.17
      }
    }
    if (page == 0) {
      return 0;
    }
    const std::uint64_t place = page + used_[i];
    used_[i] = static_cast<std::uint16_t>(used_[i] + kTrampolineSize);
    return place;
  }
  return 0;
}

std::expected<ExitSite*, Slow> ExitSites::add(std::uint64_t load, std::uint64_t enclu, LinearRange elrange,
                                              std::span<const std::byte> code) {
  const std::size_t count = count_.load(std::memory_order_relaxed);
  const std::uint32_t table = make_table();
  if (table == 0) {
    return std::unexpected(Slow::NoSelectors);
  }
  if (count == kMaxSites) {
    return std::unexpected(Slow::TooManySites);
  }
  ExitSite site;
  site.load = load;
  site.enclu = enclu;
  site.trampoline = place_near(load, elrange);
  if (site.trampoline == 0) {
    return std::unexpected(Slow::NoRoom);
  }
  // Other threads may be executing this page's other trampolines, which stay executable.
  const std::uint64_t page = align_down(site.trampoline, kPageSize);
  if (!sys::call(__NR_mprotect, page, kPageSize, PROT_READ | PROT_WRITE | PROT_EXEC)) {
    return std::unexpected(Slow::NoRoom);
  }
  site.place_jump(code);
  write_trampoline(reinterpret_cast<std::byte*>(site.trampoline), site, table);
  if (!sys::call(__NR_mprotect, page, kPageSize, PROT_READ | PROT_EXEC)) {
    return std::unexpected(Slow::NoRoom);
  }
  new (&sites_[count]) ExitSite(site);
  count_.store(count + 1, std::memory_order_release);
  return &sites_[count];
}

std::optional<ExitSites::Inside> ExitSites::of_trampoline(std::uint64_t rip) const {
  for (const auto& page : pages_) {
    const std::uint64_t begin = page.load(std::memory_order_acquire);
    if (begin == 0) {
      break;
    }
    if (rip - begin >= kPageSize) {
      continue;
    }
    const std::size_t count = count_.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < count; ++i) {
      if (rip - sites_[i].trampoline < kTrampolineSize) {
        return Inside{&sites_[i], rip - sites_[i].trampoline};
      }
    }
  }
  return std::nullopt;
}

void ExitSites::leave_trampoline(const Inside& inside, SigContext& m, std::uint64_t rcx) {
  if (inside.offset >= kAtJump && inside.offset < kBehindTail) {
    m.rcx = rcx;
  }
  m.rax = 4;
  m.rip = inside.site->enclu;
}

std::uint64_t ExitSites::enclu_of_tail(std::uint64_t tail) {
  return *reinterpret_cast<const std::uint64_t*>(tail - kAtTail + kAtEnclu);
}

bool no_selectors() {
  return refused.load(std::memory_order_relaxed);
}

bool has_place_in_ldt(const ThreadBlock& block) {
  return kFirstEntry + block.slot < kLdtEntries;
}

void give_selector(ThreadBlock& block) {
  const std::uint32_t entry = kFirstEntry + block.slot;
  if (block.fast.es != 0 || no_selectors() || !has_place_in_ldt(block)) {
    return;
  }
  user_desc descriptor{};
  descriptor.entry_number = entry;
  descriptor.seg_32bit = 1;
  descriptor.read_exec_only = 1;
  descriptor.useable = 1;
  constexpr long kWriteLdt = 0x11;
  const std::uint32_t table = make_table();
  // Under a filter nothing is tried: it might kill for the call.
  if (table == 0 || sys::raw(__NR_prctl, PR_GET_SECCOMP) != 0 ||
      !sys::call(__NR_modify_ldt, kWriteLdt, &descriptor, sizeof(descriptor))) {
    refused.store(true, std::memory_order_relaxed);
    return;
  }
  const std::uint32_t selector = entry * 8 + kSelectorBits;
  *entry_of(table, selector) = reinterpret_cast<std::uint64_t>(&block);
  block.fast.es = selector;
}

void load_selector(const ThreadBlock& block) {
  std::uint32_t now;
  __asm__ volatile("movl %%es, %0" : "=r"(now));
  if (now != block.fast.es) {
    __asm__ volatile("movl %0, %%es" : : "r"(block.fast.es) : "memory");
  }
}

}  // namespace enclume::engine
