// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/site_table.h"

#include <linux/mman.h>

#include <algorithm>

#include "base/syscall.h"
#include "base/types.h"

namespace enclume::engine {

std::optional<HostSite> SiteTable::find(std::uint64_t address) const noexcept {
  // Sequentially consistent on both sides: either the writer sees this reader, or the reader its pointer.
  readers_.fetch_add(1, std::memory_order_seq_cst);
  std::optional<HostSite> found;
  if (const Block* block = current_.load(std::memory_order_seq_cst); block != nullptr) {
    const auto sites = block->view();
    const auto at = std::ranges::lower_bound(sites, address, {}, &HostSite::address);
    if (at != sites.end() && at->address == address) {
      found = *at;
    }
  }
  readers_.fetch_sub(1, std::memory_order_seq_cst);
  return found;
}

SysResult<void> SiteTable::publish(std::span<const HostSite> sites) noexcept {
  Block* const block = make_block(sites.size());
  if (block == nullptr) {
    return fail(Errno::NoMemory);
  }
  block->count = sites.size();
  std::ranges::copy(sites, block->sites());
  if (Block* old = current_.exchange(block, std::memory_order_seq_cst); old != nullptr) {
    old->next_retired = retired_;
    retired_ = old;
  }
  if (readers_.load(std::memory_order_seq_cst) == 0) {
    unmap_retired();
  }
  return {};
}

SiteTable::Block* SiteTable::make_block(std::size_t count) noexcept {
  if (!first_used_ && count <= kMostAtFirst) {
    first_used_ = true;
    return &first_.block;
  }
  const std::size_t bytes = align_up(sizeof(Block) + count * sizeof(HostSite), kPageSize);
  const auto mapped =
      sys::call(__NR_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!mapped.has_value()) {
    return nullptr;
  }
  auto* const block = reinterpret_cast<Block*>(*mapped);
  block->mapped_bytes = bytes;
  return block;
}

std::span<const HostSite> SiteTable::sites() const noexcept {
  const Block* block = current_.load(std::memory_order_relaxed);
  return block != nullptr ? block->view() : std::span<const HostSite>{};
}

void SiteTable::unmap_retired() noexcept {
  while (retired_ != nullptr) {
    Block* block = retired_;
    retired_ = block->next_retired;
    if (block != &first_.block) {
      sys::raw(__NR_munmap, sys::arg(block), sys::arg(block->mapped_bytes));
    }
  }
}

}  // namespace enclume::engine
