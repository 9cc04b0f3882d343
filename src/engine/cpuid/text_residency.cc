// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/text_residency.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

#include <algorithm>
#include <array>

#include "base/syscall.h"

namespace enclume::engine {
namespace {

// Documentation/admin-guide/mm/pagemap.rst: bits of an entry.
constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kOfFile = std::uint64_t{1} << 61;  // clear for the private copy that a write makes

constexpr std::size_t kBits = 64;

// Calls visit(first page, number of pages) for each segment that can't be written.
template <typename Visitor>
void for_each_fixed_segment(const ObjectImage& image, Visitor&& visit) {
  for (const Elf64_Phdr& header : image.headers()) {
    if (header.p_type == PT_LOAD && (header.p_flags & PF_W) == 0 && header.p_filesz != 0) {
      const std::uint64_t begin = image.load_bias() + header.p_vaddr;
      const std::uint64_t first = begin / kPageSize;
      visit(first, align_up(begin + header.p_filesz, kPageSize) / kPageSize - first);
    }
  }
}

// Calls visit(page, entry) for each page; false if /proc/self/pagemap could not be read.
template <typename Visitor>
bool for_each_entry(int pagemap, std::uint64_t first, std::uint64_t count, Visitor&& visit) {
  std::array<std::uint64_t, 256> entries;
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t wanted = std::min<std::uint64_t>(entries.size(), count - done);
    const std::uint64_t bytes = wanted * sizeof(entries[0]);
    const long got = sys::raw(__NR_pread64, pagemap, sys::arg(entries.data()), sys::arg(bytes),
                              sys::arg((first + done) * sizeof(entries[0])));
    if (got != static_cast<long>(bytes)) {
      return false;
    }
    for (std::uint64_t i = 0; i < wanted; ++i) {
      visit(first + done + i, entries[i]);
    }
    done += wanted;
  }
  return true;
}

}  // namespace

TextResidency::TextResidency(const ObjectImage& image, std::size_t& kept) noexcept : image_(image) {
  std::uint64_t pages = 0;
  for_each_fixed_segment(image, [&](std::uint64_t, std::uint64_t count) { pages += count; });
  if (pages * kPageSize <= kScannedTextKept - std::min(kept, kScannedTextKept)) {
    kept += pages * kPageSize;
    return;
  }
  const auto opened = sys::call(__NR_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
  if (!opened.has_value()) {
    return;
  }
  pagemap_ = static_cast<int>(*opened);
  bool complete = mapped_.assign_zeroed((pages + kBits - 1) / kBits);
  std::size_t bit = 0;
  for_each_fixed_segment(image, [&](std::uint64_t first, std::uint64_t count) {
    complete = complete && for_each_entry(pagemap_, first, count, [&](std::uint64_t, std::uint64_t entry) {
                 mapped_[bit / kBits] |= std::uint64_t{(entry & kPresent) != 0} << bit % kBits;
                 ++bit;
               });
  });
  if (!complete) {
    sys::raw(__NR_close, pagemap_);
    pagemap_ = -1;
  }
}

TextResidency::~TextResidency() {
  if (pagemap_ >= 0) {
    sys::raw(__NR_close, pagemap_);
  }
}

void TextResidency::restore() noexcept {
  if (pagemap_ < 0) {
    return;
  }
  std::size_t bit = 0;
  for_each_fixed_segment(image_, [&](std::uint64_t first, std::uint64_t count) {
    std::uint64_t begin = first;  // of the run of pages to unmap, which ends before the page at hand
    const auto unmap_run = [&](std::uint64_t end) {
      if (end > begin) {
        // Fails for locked pages, which then stay.
        sys::raw(__NR_madvise, sys::arg(begin * kPageSize), sys::arg((end - begin) * kPageSize),
                 MADV_DONTNEED);
      }
    };
    const bool read = for_each_entry(pagemap_, first, count, [&](std::uint64_t page, std::uint64_t entry) {
      const bool was_mapped = (mapped_[bit / kBits] >> bit % kBits & 1) != 0;
      ++bit;
      if (was_mapped || (entry & (kPresent | kOfFile)) != (kPresent | kOfFile)) {
        unmap_run(page);
        begin = page + 1;
      }
    });
    if (read) {
      unmap_run(first + count);
    }
  });
}

}  // namespace enclume::engine
