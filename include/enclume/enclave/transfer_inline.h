// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <string>
#include <type_traits>

#include "enclume/enclave/memory.h"
#include "enclume/enclave/transfer.h"

namespace enclume::enclave {

template <std::size_t kBacks>
void* Inbound<kBacks>::receive(std::uint64_t address, std::size_t bytes) noexcept {
  if (code_ != Code::kOk) return nullptr;
  if (!is_outside(address, bytes)) {
    refuse(Code::kBadPointer);
    return nullptr;
  }
  void* copy = memory_.allocate(bytes);
  if (copy == nullptr) {
    refuse(Code::kOutOfMemory);
    return nullptr;
  }
  copy_in(copy, address, bytes);
  return copy;
}

template <std::size_t kBacks>
void* Inbound<kBacks>::receive_inout(std::uint64_t address, std::size_t bytes) noexcept {
  void* copy = receive(address, bytes);
  if (copy != nullptr) backs_[back_count_++] = {copy, address, bytes};
  return copy;
}

template <std::size_t kBacks>
void* Inbound<kBacks>::receive_out(std::uint64_t address, std::size_t bytes) noexcept {
  if (code_ != Code::kOk) return nullptr;
  if (!is_outside(address, bytes)) {
    refuse(Code::kBadPointer);
    return nullptr;
  }
  void* room = memory_.allocate(bytes);
  if (room == nullptr) {
    refuse(Code::kOutOfMemory);
    return nullptr;
  }
  std::memset(room, 0, bytes);
  backs_[back_count_++] = {room, address, bytes};
  return room;
}

template <std::size_t kBacks>
template <typename T>
T Inbound<kBacks>::receive_owned(std::uint64_t address, std::size_t elements) noexcept {
  const std::size_t bytes = elements * sizeof(typename T::value_type);
  T result;
  if (code_ != Code::kOk) return result;
  if (!is_outside(address, bytes)) {
    refuse(Code::kBadPointer);
    return result;
  }
  // A string takes one more for its end, and none below twice its own small room.
  constexpr std::size_t kSmallest = 64;
  const NextBlock block(bytes < kSmallest ? kSmallest : bytes + 1);
  if (!block.is_there()) {
    refuse(Code::kOutOfMemory);
    return result;
  }
  if constexpr (std::is_same_v<T, std::string>) {
    // GCC 12 says a greater size than it was told.
    result.resize_and_overwrite(elements, [address, elements](char* to, std::size_t) {
      copy_in(to, address, elements);
      return elements;
    });
  } else {
    result.resize(elements);
    copy_in(result.data(), address, bytes);
  }
  return result;
}

template <std::size_t kBacks>
void Inbound<kBacks>::finish() noexcept {
  for (std::size_t i = 0; i < back_count_; ++i) {
    copy_out(backs_[i].outside, backs_[i].trusted, backs_[i].bytes);
  }
}

template <std::size_t kBacks>
std::uint64_t Outbound<kBacks>::send_out(void* data, std::size_t bytes) noexcept {
  const std::uint64_t at = reserve(bytes);
  if (at != 0 && bytes != 0) {
    // The other side finds zeros, as it does in an ECALL. Only whole words: the room has them.
    static constexpr std::array<std::uint64_t, 64> kZeros{};
    const std::size_t words = (bytes + 7) & ~std::size_t{7};
    for (std::size_t done = 0; done < words; done += sizeof kZeros) {
      const std::size_t left = words - done;
      copy_out(at + done, kZeros.data(), left < sizeof kZeros ? left : sizeof kZeros);
    }
    backs_[back_count_++] = {data, at, bytes};
  }
  return at;
}

template <std::size_t kBacks>
void Outbound<kBacks>::finish() noexcept {
  for (std::size_t i = 0; i < back_count_; ++i) {
    copy_in(backs_[i].trusted, backs_[i].outside, backs_[i].bytes);
  }
}

}  // namespace enclume::enclave
