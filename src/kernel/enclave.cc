// SPDX-License-Identifier: Apache-2.0
#include "kernel/enclave.h"

#include "base/lock.h"

namespace enclume::kernel {

SysResult<void> Enclave::ensure_mapped(Platform& platform) noexcept {
  if (mapped() || !created()) {
    return {};
  }
  const OwnerLockGuard guard(shared_->lock, platform.thread_id());
  if (mapped()) {
    return {};
  }
  auto result = map_parts(platform, size());
  if (result) {
    mapped_.store(true, std::memory_order_release);
  }
  return result;
}

SysResult<void> Enclave::map_parts(Platform& platform, std::uint64_t size) noexcept {
  layout_ = MetadataLayout::of(size);
  epc_ = platform.map_file(file_, FilePart::Epc, kEpcOffset, size);
  metadata_ = platform.map_file(file_, FilePart::Metadata, kMetadataOffset, layout_.length);
  if (epc_ == nullptr || metadata_ == nullptr) {
    unmap_parts(platform);
    return fail(Errno::NoMemory);
  }
  epcm_ = reinterpret_cast<arch::EpcmEntry*>(metadata_ + layout_.epcm);
  page_table_ = reinterpret_cast<EnclavePage*>(metadata_ + layout_.page_table);
  index_ = PageIndex(layout_, metadata_ + layout_.index);
  return {};
}

void Enclave::unmap_parts(Platform& platform) noexcept {
  populated_ = single = {};
  mapped_.store(false, std::memory_order_release);
  const std::uint64_t size = layout_.pages * kPageSize;
  if (epc_ != nullptr) {
    platform.unmap_file(FilePart::Epc, epc_, size);
  }
  if (metadata_ != nullptr) {
    platform.unmap_file(FilePart::Metadata, metadata_, layout_.length);
  }
  if (guards != nullptr) {
    platform.unmap_file(FilePart::Metadata, reinterpret_cast<std::byte*>(guards), layout_.pages);
    guards = nullptr;
  }
  epc_ = metadata_ = nullptr;
  epcm_ = nullptr;
  page_table_ = nullptr;
  index_ = PageIndex();
  layout_ = MetadataLayout();
}

void Enclave::set_populated(PageWindow window) noexcept {
  if (populated_.empty() && !window.empty()) {
    shared_->windows.fetch_add(1);
  } else if (!populated_.empty() && window.empty()) {
    shared_->windows.fetch_sub(1);
  }
  populated_ = window;
}

bool Enclave::is_hole(std::uint64_t page) const noexcept {
  const std::uint64_t ours = populated_.empty() ? 0 : 1;
  return shared_->windows.load() == ours && page < layout_.pages && !index_.contains(page) &&
         !populated_.contains(page);
}

arch::EpcPage Enclave::epc_page(std::uint64_t page) const noexcept {
  return {&epcm_[page], epc_ + page * kPageSize, epc_address(page)};
}

arch::EpcPage Enclave::secs_page() const noexcept {
  const std::uint64_t place = layout_.pages;
  return {&epcm_[place], metadata_ + layout_.secs, epc_address(place)};
}

arch::EpcPage Enclave::va_page(std::uint64_t index) const noexcept {
  const std::uint64_t place = layout_.pages + 1 + index;
  return {&epcm_[place], metadata_ + layout_.va + index * kPageSize, epc_address(place)};
}

arch::EpcPage Enclave::epc_page_at(std::uint64_t epcm_index) const noexcept {
  if (!mapped()) {
    return {};
  }
  if (epcm_index < layout_.pages) {
    return epc_page(epcm_index);
  }
  if (epcm_index == layout_.pages) {
    return secs_page();
  }
  if (epcm_index - layout_.pages - 1 < layout_.max_va_pages) {
    return va_page(epcm_index - layout_.pages - 1);
  }
  return {};
}

arch::EpcPage Enclave::epc_page_of(const std::byte* alias) const noexcept {
  const auto offset_in = [alias](const std::byte* begin) {
    return reinterpret_cast<std::uint64_t>(alias) - reinterpret_cast<std::uint64_t>(begin);
  };
  if (epc_ == nullptr) {
    return {};
  }
  if (const std::uint64_t at = offset_in(epc_); at < layout_.pages * kPageSize) {
    return epc_page(at / kPageSize);
  }
  if (offset_in(metadata_ + layout_.secs) < kPageSize) {
    return secs_page();
  }
  if (const std::uint64_t at = offset_in(metadata_ + layout_.va); at < layout_.max_va_pages * kPageSize) {
    return va_page(at / kPageSize);
  }
  return {};
}

std::atomic<std::uint64_t>* Enclave::va_slots(std::uint64_t va_page) const noexcept {
  return reinterpret_cast<std::atomic<std::uint64_t>*>(metadata_ + layout_.va_slots +
                                                       va_page * (kVaSlotsPerPage / 8));
}

std::byte* Enclave::pcmd(std::uint64_t page) const noexcept {
  return metadata_ + layout_.pcmd + page * kPcmdSize;
}

}  // namespace enclume::kernel
