// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/transfer.h"

#include <cstdlib>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/memory.h"
#include "runtime/enclave/self.h"

namespace enclume::enclave {

CallMemory::~CallMemory() {
  for (Block* block = far_; block != nullptr;) {
    Block* const next = block->next;
    std::free(block);
    block = next;
  }
}

void* CallMemory::allocate(std::size_t bytes) noexcept {
  const std::size_t rounded = (bytes + 15) & ~std::size_t{15};
  if (rounded < bytes) return nullptr;
  if (rounded <= sizeof near_ - used_) {
    void* const result = near_ + used_;
    used_ += rounded;
    // An address of its own even for nothing.
    return rounded == 0 && used_ == sizeof near_ ? static_cast<void*>(near_) : result;
  }
  if (rounded > SIZE_MAX - sizeof(Block)) return nullptr;
  auto* const block = static_cast<Block*>(std::malloc(sizeof(Block) + rounded));
  if (block == nullptr) return nullptr;
  block->next = far_;
  far_ = block;
  return block + 1;
}

OutboundBase::OutboundBase(const edge::Mailbox& mailbox) noexcept
    : scratch_(mailbox.scratch), size_(mailbox.scratch_size) {
  // Aligned, or it is not used.
  if (scratch_ % 16 != 0 || !is_outside(scratch_, size_)) size_ = 0;
}

std::uint64_t OutboundBase::reserve(std::size_t bytes) noexcept {
  if (code_ != Code::kOk) return 0;
  if (bytes > SIZE_MAX / 2) {
    refuse(Code::kOutOfMemory);
    return 0;
  }
  const std::size_t rounded = bytes == 0 ? 16 : (bytes + 15) & ~std::size_t{15};
  if (used_ <= size_ && rounded <= size_ - used_) {
    const std::uint64_t at = scratch_ + used_;
    used_ += rounded;
    return at;
  }
  // The host's allocator. Its request is one word, which the scratch memory must have room for.
  if (size_ < 16 || used_ > size_ - 16) {
    refuse(Code::kOutOfMemory);
    return 0;
  }
  const std::uint64_t words = scratch_ + used_;
  const std::uint64_t request = rounded;
  copy_out(words, &request, sizeof request);
  if (const Code code = leave(ENCLUME_OCALL_ALLOCATE, words, used_ + 16); code != Code::kOk) {
    refuse(code);
    return 0;
  }
  std::uint64_t at;
  copy_in(&at, words, sizeof at);
  if (at == 0) {
    refuse(Code::kOutOfMemory);
    return 0;
  }
  if (at % 16 != 0 || !is_outside(at, rounded)) {
    refuse(Code::kBadPointer);
    return 0;
  }
  return at;
}

Code call_host(std::uint32_t number, std::uint64_t& word) noexcept {
  OutboundBase out(offered());
  const std::uint64_t at = out.reserve(sizeof word);
  if (at == 0) return out.code();
  copy_out(at, &word, sizeof word);
  const Code code = leave(number, at, out.used());
  if (code == Code::kOk) copy_in(&word, at, sizeof word);
  return code;
}

std::uint64_t OutboundBase::send(const void* data, std::size_t bytes) noexcept {
  const std::uint64_t at = reserve(bytes);
  if (at == 0) return 0;
  copy_out(at, data, bytes);
  return at;
}

}  // namespace enclume::enclave
