// SPDX-License-Identifier: Apache-2.0
// The enclave's ports for edge/marshal.h: what comes in is range-checked and copied once, before anything
// looks at it; what goes out is copied to memory that the host has offered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "enclume/edge/abi.h"
#include "enclume/edge/error.h"

namespace enclume::enclave {

/// Memory for the time of one call: a little on the stack, more on the heap.
class CallMemory {
 public:
  CallMemory() noexcept {}  // leaves the bytes alone
  ~CallMemory();
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;
  /// 16-byte aligned; null if the heap is full. Never null for 0 bytes.
  [[nodiscard]] void* allocate(std::size_t bytes) noexcept;

 private:
  struct Block {
    Block* next;
    std::uint64_t pad;
  };
  alignas(16) std::byte near_[512];
  std::size_t used_ = 0;
  Block* far_ = nullptr;
};

/// While it lives, this thread's next operator new takes a block that is there already if that is big enough:
/// so a container can be filled that could not say that the heap is full.
class NextBlock {
 public:
  explicit NextBlock(std::size_t bytes) noexcept;
  ~NextBlock();
  NextBlock(const NextBlock&) = delete;
  NextBlock& operator=(const NextBlock&) = delete;
  [[nodiscard]] bool is_there() const noexcept { return is_there_; }

 private:
  bool is_there_;
};

/// Something that must be copied back when the call is over.
struct CopyBack {
  void* trusted;
  std::uint64_t outside;
  std::size_t bytes;
};

/// Receives what the host sends. `kBacks`: of how many spans the contents go back.
template <std::size_t kBacks>
class Inbound {
 public:
  [[nodiscard]] void* receive(std::uint64_t address, std::size_t bytes) noexcept;
  [[nodiscard]] void* receive_inout(std::uint64_t address, std::size_t bytes) noexcept;
  [[nodiscard]] void* receive_out(std::uint64_t address, std::size_t bytes) noexcept;
  /// A std::string or std::vector, copied to where it stays.
  template <typename T>
  [[nodiscard]] T receive_owned(std::uint64_t address, std::size_t elements) noexcept;
  void refuse(Code code) noexcept {
    if (code_ == Code::kOk) code_ = code;
  }
  [[nodiscard]] Code code() const noexcept { return code_; }
  /// Copies back; once, after the call.
  void finish() noexcept;

 private:
  CallMemory memory_;
  Code code_ = Code::kOk;
  std::size_t back_count_ = 0;
  std::array<CopyBack, kBacks> backs_;
};

/// Copies trusted data to the host's scratch memory, or, when that is full, to memory that the host
/// allocates.
class OutboundBase {
 public:
  /// `mailbox`: a trusted copy.
  explicit OutboundBase(const edge::Mailbox& mailbox) noexcept;
  [[nodiscard]] std::uint64_t send(const void* data, std::size_t bytes) noexcept;
  /// Room outside, 16-byte aligned; 0 after an error.
  [[nodiscard]] std::uint64_t reserve(std::size_t bytes) noexcept;
  [[nodiscard]] Code code() const noexcept { return code_; }
  [[nodiscard]] std::uint64_t used() const noexcept { return used_; }

 protected:
  void refuse(Code code) noexcept {
    if (code_ == Code::kOk) code_ = code;
  }

 private:
  std::uint64_t scratch_;
  std::uint64_t size_;
  std::uint64_t used_ = 0;
  Code code_ = Code::kOk;
};

template <std::size_t kBacks>
class Outbound : public OutboundBase {
 public:
  using OutboundBase::OutboundBase;
  [[nodiscard]] std::uint64_t send_inout(void* data, std::size_t bytes) noexcept {
    const std::uint64_t at = send(data, bytes);
    if (at != 0 && bytes != 0) backs_[back_count_++] = {data, at, bytes};
    return at;
  }
  [[nodiscard]] std::uint64_t send_out(void* data, std::size_t bytes) noexcept;
  /// Copies in what the host has written where it was told to; once, after the call.
  void finish() noexcept;

 private:
  std::size_t back_count_ = 0;
  std::array<CopyBack, kBacks> backs_;
};

}  // namespace enclume::enclave

#include "enclume/enclave/transfer_inline.h"
