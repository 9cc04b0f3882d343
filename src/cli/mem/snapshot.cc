// SPDX-License-Identifier: Apache-2.0
#include "cli/mem/snapshot.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>

#include "arch/structs/secinfo.h"
#include "kernel/layout.h"
#include "kernel/shared.h"

namespace enclume::cli {
namespace {

using kernel::EnclavePage;
using kernel::EnclaveShared;
using kernel::kPcmdSize;

constexpr std::uint64_t kBatch = 1024;  // pages whose entries are read at once
constexpr int kMaxLooks = 20;           // at a page that comes and goes

// Shared state is full of atomics, whose bytes are read as they stand in the other process.
template <typename T>
class Bytes {
 public:
  explicit Bytes(std::size_t count = 1) : count_(count), memory_(new std::byte[count * sizeof(T)]()) {}
  void* data() { return memory_.get(); }
  [[nodiscard]] std::size_t size() const { return count_ * sizeof(T); }
  const T& operator[](std::size_t n) const { return reinterpret_cast<const T*>(memory_.get())[n]; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { delete[] memory; }
  };
  std::size_t count_;
  std::unique_ptr<std::byte[], Free> memory_;
};

class EnclaveReader {
 public:
  EnclaveReader(const MetadataReader& read, EnclaveView& view)
      : read_(read), view_(view), layout_(kernel::MetadataLayout::of(view.size)) {}

  // False if the metadata went away.
  bool read_ranges() {
    Bytes<arch::EpcmEntry> secs;
    if (!read_(layout_.epcm + layout_.pages * sizeof(arch::EpcmEntry), secs.data(), secs.size()))
      return false;
    view_.lost = view_.secs_resident && !secs[0].load().valid;
    // Which of the words of the lowest level have a page, by the level above.
    Bytes<std::uint64_t> above(layout_.index_words[1]);
    if (!read_(layout_.index + layout_.index_level[1] * 8, above.data(), above.size())) return false;
    for (std::uint64_t word = 0; word < layout_.index_words[0]; ++word) {
      if ((above[word / 64] >> (word % 64) & 1) != 0) words_.push_back(word);
    }
    for (std::size_t i = 0; i < words_.size();) {
      std::size_t end = i + 1;
      while (end < words_.size() && words_[end] == words_[i] + (end - i) && end - i < kBatch / 64) ++end;
      if (!read_stretch(words_[i], end - i)) return false;
      i = end;
    }
    return true;
  }

 private:
  bool read_stretch(std::uint64_t first_word, std::uint64_t words) {
    const std::uint64_t first = first_word * 64;
    const std::uint64_t count = std::min(words * 64, layout_.pages - first);
    Bytes<std::uint64_t> present(words);
    Bytes<EnclavePage> pages(count);
    Bytes<arch::EpcmEntry> epcm(count);
    if (!read_(layout_.index + (layout_.index_level[0] + first_word) * 8, present.data(), present.size()) ||
        !read_(layout_.page_table + first * sizeof(EnclavePage), pages.data(), pages.size()) ||
        !read_(layout_.epcm + first * sizeof(arch::EpcmEntry), epcm.data(), epcm.size())) {
      return false;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if ((present[i / 64] >> (i % 64) & 1) != 0) add(first + i, kind_of(first + i, pages[i], epcm[i]));
    }
    return true;
  }

  // The words of a page are read one after the other, and it may have been written out or loaded in between:
  // what they say together was never so, then, and is looked at again.
  PageKind kind_of(std::uint64_t number, const EnclavePage& page, const arch::EpcmEntry& entry) {
    PageKind kind;
    if (is_settled(number, page, entry, kind)) return kind;
    for (int looks = 0; looks < kMaxLooks; ++looks) {
      Bytes<EnclavePage> page_again;
      Bytes<arch::EpcmEntry> entry_again;
      if (!read_(layout_.page_table + number * sizeof(EnclavePage), page_again.data(), page_again.size()) ||
          !read_(layout_.epcm + number * sizeof(arch::EpcmEntry), entry_again.data(), entry_again.size()) ||
          is_settled(number, page_again[0], entry_again[0], kind)) {
        break;
      }
    }
    return kind;
  }

  // `kind` as the words say, and whether they can be of one moment.
  bool is_settled(std::uint64_t number, const EnclavePage& page, const arch::EpcmEntry& entry,
                  PageKind& kind) {
    const kernel::PageState state = page.load();
    kind = {};
    kind.type = state.type;
    kind.max_permissions = state.max_prot;
    kind.untouched = state.untouched;
    const arch::EpcmState epcm = entry.load();
    if (epcm.valid) {
      kind.type = epcm.type;
      kind.permissions = kernel::Protection::of((epcm.r ? 1U : 0U) | (epcm.w ? 2U : 0U) | (epcm.x ? 4U : 0U));
      kind.pending = epcm.pending;
      kind.modified = epcm.modified;
      kind.restricted = epcm.pr;
      kind.blocked = epcm.blocked;
      kind.thread = epcm.type == arch::PageType::Tcs ? entry.owner.load() : 0;
      return true;
    }
    const bool was_written = page.va_slot.load() != 0;
    kind.residence = was_written && !view_.lost ? Residence::kEvicted : Residence::kLost;
    return was_written ? read_evicted(number, kind) : view_.lost;
  }

  // EWB has left SECINFO in the page's PCMD, in the clear. False if there is none: the page is back.
  bool read_evicted(std::uint64_t number, PageKind& kind) {
    std::uint64_t flags = 0;
    if (!read_(layout_.pcmd + number * kPcmdSize, &flags, sizeof(flags)) || flags == 0) return false;
    namespace f = arch::secinfo_flags;
    kind.permissions = kernel::Protection::of(static_cast<unsigned>(flags & f::kRwx));
    kind.pending = (flags & f::kPending) != 0;
    kind.modified = (flags & f::kModified) != 0;
    kind.restricted = (flags & f::kPr) != 0;
    return true;
  }

  void add(std::uint64_t number, const PageKind& kind) {
    if (!view_.ranges.empty()) {
      PageRange& last = view_.ranges.back();
      if (last.first + last.count == number && last.kind == kind) {
        ++last.count;
        return;
      }
    }
    view_.ranges.push_back({number, 1, kind});
  }

  const MetadataReader& read_;
  EnclaveView& view_;
  kernel::MetadataLayout layout_;
  std::vector<std::uint64_t> words_;
};

}  // namespace

std::uint64_t EnclaveView::pages() const {
  std::uint64_t sum = 0;
  for (const auto& range : ranges) sum += range.count;
  return sum;
}

std::uint64_t EnclaveView::pages(Residence residence) const {
  std::uint64_t sum = 0;
  for (const auto& range : ranges) sum += range.kind.residence == residence ? range.count : 0;
  return sum;
}

std::uint64_t EnclaveView::epc_pages() const {
  return pages(Residence::kEpc) + pages(Residence::kLost) + va_pages + (secs_resident ? 1 : 0);
}

std::optional<EnclaveView> view_enclave(const MetadataReader& read) {
  Bytes<EnclaveShared> header;
  if (!read(0, header.data(), header.size()) || header[0].magic.load() != kernel::kEnclaveMagic) {
    return std::nullopt;
  }
  const EnclaveShared& shared = header[0];
  const std::uint32_t flags = shared.flags.load();
  EnclaveView view;
  view.number = shared.number.load();
  view.created = (flags & kernel::enclave_flag::kCreated) != 0;
  view.initialized = (flags & kernel::enclave_flag::kInitialized) != 0;
  view.debug = (flags & kernel::enclave_flag::kDebug) != 0;
  if (!view.created) return view;
  view.base = shared.base.load();
  view.size = shared.size.load();
  view.va_pages = shared.va_pages.load();
  view.secs_resident = shared.secs.load().resident;
  if (view.size < kPageSize || view.size > kernel::kMaxEnclaveSize || (view.size & (view.size - 1)) != 0) {
    return std::nullopt;
  }
  if (!EnclaveReader(read, view).read_ranges()) return std::nullopt;
  return view;
}

}  // namespace enclume::cli
