// SPDX-License-Identifier: Apache-2.0
#include "kernel/layout.h"

#include "arch/epc/epcm.h"
#include "kernel/shared.h"

namespace enclume::kernel {

MetadataLayout MetadataLayout::of(std::uint64_t size) noexcept {
  MetadataLayout l;
  l.pages = size / kPageSize;
  l.max_va_pages = l.pages / kVaSlotsPerPage + 1;  // the SECS needs a slot too

  std::uint64_t at = kHeaderLength;
  const auto place = [&at](std::uint64_t bytes) {
    const std::uint64_t here = at;
    at = align_up(at + bytes, kPageSize);
    return here;
  };
  l.secs = place(kPageSize);
  l.epcm = place((l.pages + 1 + l.max_va_pages) * sizeof(arch::EpcmEntry));
  l.page_table = place(l.pages * sizeof(EnclavePage));

  std::uint64_t bits = l.pages;
  std::uint64_t words = 0;
  for (unsigned level = 0; level < kIndexLevels; ++level) {
    l.index_level[level] = words;
    l.index_words[level] = (bits + 63) / 64;
    words += l.index_words[level];
    bits = l.index_words[level];
  }
  l.index = place(words * sizeof(std::uint64_t));

  l.va = place(l.max_va_pages * kPageSize);
  l.va_slots = place(l.max_va_pages * (kVaSlotsPerPage / 8));
  l.pcmd = place((l.pages + 1) * kPcmdSize);
  l.spare = place(kPageSize);
  l.length = at;
  return l;
}

}  // namespace enclume::kernel
