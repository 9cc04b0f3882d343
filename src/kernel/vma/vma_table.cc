// SPDX-License-Identifier: Apache-2.0
#include "kernel/vma/vma_table.h"

#include <algorithm>
#include <new>

#include "base/panic.h"

namespace enclume::kernel {

// Why readers never see a half-written snapshot: a writer fills the one that is not current, makes it
// current, and moves version_. The snapshot that was current is filled again only after that. A reader that
// finds version_ unmoved at the end has read a snapshot that nobody wrote to meanwhile. Entries are read
// with acquire and written with release so that neither side's accesses move across its version_.

namespace {

struct Prots {
  static std::uint32_t pack(const Vma& v) { return v.prot.bits() | (v.may_prot.bits() << 4) | (v.pkey << 8); }
};

}  // namespace

template <typename F>
auto VmaTable::read(F&& f) const noexcept {
  for (;;) {
    const std::uint64_t before = version_.load(std::memory_order_acquire);
    const Snapshot* s = current_.load(std::memory_order_acquire);
    const std::size_t count = s == nullptr ? 0 : s->count.load(std::memory_order_acquire);
    auto result = f(s, count);
    if (version_.load(std::memory_order_acquire) == before) {
      return result;
    }
  }
}

namespace {

/// Word by word to where it stays: a copy of words just written, by wider loads, waits for them in the
/// processor, and this is what the handler of a fault does most often.
template <typename Entry>
void load_into(Vma& v, const Entry& entry) noexcept {
  v.range.begin = LinearAddress(entry.begin.load(std::memory_order_acquire));
  v.range.end = LinearAddress(entry.end.load(std::memory_order_acquire));
  v.enclave = entry.enclave.load(std::memory_order_acquire);
  const std::uint32_t bits = entry.prots.load(std::memory_order_acquire);
  v.prot = Protection::of(bits);
  v.may_prot = Protection::of(bits >> 4);
  v.pkey = bits >> 8;
}

template <typename Entry>
bool holds(const Entry& entry, LinearAddress address) noexcept {
  return entry.begin.load(std::memory_order_acquire) <= address.value() &&
         address.value() < entry.end.load(std::memory_order_acquire);
}

}  // namespace

Vma VmaTable::Entry::load() const noexcept {
  Vma v;
  load_into(v, *this);
  return v;
}

void VmaTable::Entry::store(const Vma& v) noexcept {
  begin.store(v.range.begin.value(), std::memory_order_release);
  end.store(v.range.end.value(), std::memory_order_release);
  enclave.store(v.enclave, std::memory_order_release);
  prots.store(Prots::pack(v), std::memory_order_release);
}

std::size_t VmaTable::Snapshot::first_ending_after(LinearAddress address, std::size_t n) const noexcept {
  std::size_t low = 0;
  std::size_t high = n;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (entries[middle].end.load(std::memory_order_acquire) <= address.value()) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::optional<Vma> VmaTable::find_from(LinearAddress address) const noexcept {
  return read([address](const Snapshot* s, std::size_t count) -> std::optional<Vma> {
    const std::size_t i = count == 0 ? 0 : s->first_ending_after(address, count);
    if (i == count) {
      return std::nullopt;
    }
    return s->entries[i].load();
  });
}

std::optional<Vma> VmaTable::find(LinearAddress address) const noexcept {
  std::atomic<std::uint32_t>& hint = hint_for(address);
  std::optional<Vma> found;
  for (;;) {  // as read()
    const std::uint64_t before = version_.load(std::memory_order_acquire);
    const Snapshot* s = current_.load(std::memory_order_acquire);
    const std::size_t count = s == nullptr ? 0 : s->count.load(std::memory_order_acquire);
    std::size_t i = hint.load(std::memory_order_relaxed);
    if (i >= count || !holds(s->entries[i], address)) {
      i = count == 0 ? 0 : s->first_ending_after(address, count);
      if (i < count) {
        hint.store(static_cast<std::uint32_t>(i), std::memory_order_relaxed);
      }
    }
    if (i < count && holds(s->entries[i], address)) {
      load_into(found.emplace(), s->entries[i]);
    } else {
      found.reset();
    }
    if (version_.load(std::memory_order_acquire) == before) {
      return found;
    }
  }
}

bool VmaTable::overlaps(LinearRange range) const noexcept {
  const auto vma = find_from(range.begin);
  return vma && vma->range.overlaps(range);
}

bool VmaTable::maps(const Enclave& enclave) const noexcept {
  if (enclave.mapped()) {
    const auto vma = find_from(enclave.elrange().begin);
    if (vma && vma->enclave == &enclave) {
      return true;
    }
  }
  return count(enclave) != 0;
}

std::size_t VmaTable::count(const Enclave& enclave) const noexcept {
  return read([&enclave](const Snapshot* s, std::size_t count) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < count; ++i) {
      n += s->entries[i].enclave.load(std::memory_order_acquire) == &enclave ? 1U : 0U;
    }
    return n;
  });
}

std::size_t VmaTable::size() const noexcept {
  return read([](const Snapshot*, std::size_t count) { return count; });
}

VmaTable::Snapshot* VmaTable::spare_for(std::size_t count) noexcept {
  if (spare_ == nullptr || spare_->capacity < count) {
    const std::size_t wanted = align_up(sizeof(Snapshot) + 2 * count * sizeof(Entry), kPageSize);
    void* memory = platform_.allocate_pages(wanted);
    if (memory == nullptr) {
      return nullptr;
    }
    // The old one may still have readers: it is left to them, a loss that doubling keeps small.
    auto* snapshot = new (memory) Snapshot;
    snapshot->capacity = (wanted - sizeof(Snapshot)) / sizeof(Entry);
    snapshot->entries = reinterpret_cast<Entry*>(snapshot + 1);
    spare_ = snapshot;
  }
  return spare_;
}

void VmaTable::publish(Snapshot& snapshot, std::size_t count) noexcept {
  ENCLUME_CHECK(count <= snapshot.capacity);
  snapshot.count.store(count, std::memory_order_release);
  spare_ = current_.load(std::memory_order_relaxed);
  current_.store(&snapshot, std::memory_order_release);
  version_.fetch_add(1, std::memory_order_release);
}

void VmaTable::after_fork_in_child() noexcept {
  lock_.reset_in_child();
  // Another thread of the parent may have been between publish()'s steps.
  if (spare_ == current_.load()) {
    spare_ = nullptr;
  }
}

/// Appends to the spare snapshot what the next version holds.
class VmaTable::Draft {
 public:
  Draft(VmaTable& table, std::size_t growth) noexcept
      : table_(table), count_before_(table.size()), out_(table.spare_for(count_before_ + growth)) {}
  [[nodiscard]] explicit operator bool() const noexcept { return out_ != nullptr; }

  void append(const Vma& v) noexcept {
    if (v.range.begin < v.range.end) {
      ENCLUME_CHECK(count_ < out_->capacity);
      out_->entries[count_++].store(v);
    }
  }
  /// f(vma) for each VMA of the current version, in order.
  template <typename F>
  void for_each(F&& f) const noexcept {
    const Snapshot* now = table_.current_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < count_before_; ++i) {
      f(now->entries[i].load());
    }
  }
  /// For appends out of order: insertion sort, short ways only.
  void sort() noexcept {
    for (std::size_t i = 1; i < count_; ++i) {
      const Vma v = out_->entries[i].load();
      std::size_t j = i;
      for (; j > 0 && v.range.begin < out_->entries[j - 1].load().range.begin; --j) {
        out_->entries[j].store(out_->entries[j - 1].load());
      }
      out_->entries[j].store(v);
    }
  }
  void publish() noexcept { table_.publish(*out_, count_); }

 private:
  VmaTable& table_;
  std::size_t count_before_;
  Snapshot* out_;
  std::size_t count_ = 0;
};

namespace {

/// The parts of a VMA before, within and after a range; empty ones have begin >= end.
struct Pieces {
  Vma before;
  Vma within;
  Vma after;
};

Pieces cut(const Vma& v, LinearRange range) {
  Pieces p{v, v, v};
  p.before.range.end = std::min(v.range.end, range.begin);
  p.within.range.begin = std::max(v.range.begin, range.begin);
  p.within.range.end = std::min(v.range.end, range.end);
  p.after.range.begin = std::max(v.range.begin, range.end);
  return p;
}

}  // namespace

SysResult<void> VmaTable::Writer::insert(const Vma& vma) noexcept {
  ENCLUME_CHECK(vma.range.begin < vma.range.end && !table_.overlaps(vma.range),
                {"begin", vma.range.begin.value()}, {"end", vma.range.end.value()});
  before_ = nullptr;
  Draft draft(table_, 1);
  if (!draft) {
    return fail(Errno::NoMemory);
  }
  bool placed = false;
  draft.for_each([&](const Vma& v) {
    if (!placed && vma.range.begin < v.range.begin) {
      draft.append(vma);
      placed = true;
    }
    draft.append(v);
  });
  if (!placed) {
    draft.append(vma);
  }
  publish(draft);
  return {};
}

SysResult<void> VmaTable::Writer::remove(LinearRange range) noexcept {
  before_ = nullptr;
  if (!table_.overlaps(range)) {
    return {};
  }
  Draft draft(table_, 1);
  if (!draft) {
    return fail(Errno::NoMemory);
  }
  draft.for_each([&](const Vma& v) {
    const Pieces p = cut(v, range);
    draft.append(p.before);
    draft.append(p.after);
  });
  publish(draft);
  return {};
}

SysResult<void> VmaTable::Writer::protect(LinearRange range, Protection prot,
                                          std::optional<unsigned> pkey) noexcept {
  before_ = nullptr;
  if (!table_.overlaps(range)) {
    return {};
  }
  Draft draft(table_, 2);
  if (!draft) {
    return fail(Errno::NoMemory);
  }
  draft.for_each([&](const Vma& v) {
    if (v.prot == prot && v.pkey == pkey.value_or(v.pkey)) {
      draft.append(v);  // mprotect_fixup() does not split when nothing changes
      return;
    }
    Pieces p = cut(v, range);
    p.within.prot = prot;
    p.within.pkey = pkey.value_or(v.pkey);
    draft.append(p.before);
    draft.append(p.within);
    draft.append(p.after);
  });
  publish(draft);
  return {};
}

SysResult<void> VmaTable::Writer::replace(const Vma& vma) noexcept {
  ENCLUME_CHECK(vma.range.begin < vma.range.end, {"begin", vma.range.begin.value()});
  before_ = nullptr;
  Draft draft(table_, 2);
  if (!draft) {
    return fail(Errno::NoMemory);
  }
  draft.append(vma);
  draft.for_each([&](const Vma& v) {
    const Pieces p = cut(v, vma.range);
    draft.append(p.before);
    draft.append(p.after);
  });
  draft.sort();
  publish(draft);
  return {};
}

void VmaTable::Writer::publish(Draft& draft) noexcept {
  before_ = table_.current_.load(std::memory_order_relaxed);
  draft.publish();
}

void VmaTable::Writer::undo() noexcept {
  if (before_ != nullptr) {
    table_.publish(*before_, before_->count.load(std::memory_order_relaxed));
    before_ = nullptr;
  }
}

}  // namespace enclume::kernel
