// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/memory.h"

#include <cstring>

#include "runtime/enclave/self.h"

namespace enclume::enclave {
namespace {

// ELRANGE. In the data segment, not .bss: zero until the enclave has been started, and then nothing is
// outside.
std::uint64_t range_begin = 0;
std::uint64_t range_size = 0;

constexpr std::size_t kWord = 8;
// From here on the string instructions are faster than a loop.
constexpr std::size_t kLong = 256;

void move_words(void* to, const void* from, std::size_t words) noexcept {
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

// A few bytes within one word of the outside: whatever the store buffers hold of it must not be observable.
void put_bytes(std::uint64_t to, const unsigned char* from, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  std::uint16_t selector;
  asm volatile("mov %%ds, %0\n\tverw %0" : "=m"(selector) : : "cc", "memory");
  for (std::size_t i = 0; i < bytes; ++i) {
    *reinterpret_cast<volatile unsigned char*>(to + i) = from[i];
  }
  asm volatile("mfence\n\tlfence" : : : "memory");
}

// `bytes` bytes from offset `skip` of the word at `word`.
void take_bytes(unsigned char* to, std::uint64_t word, std::size_t skip, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  const std::uint64_t value = *reinterpret_cast<const volatile std::uint64_t*>(word);
  for (std::size_t i = 0; i < bytes; ++i) {
    to[i] = static_cast<unsigned char>(value >> (8 * (skip + i)));
  }
}

}  // namespace

void learn_range() noexcept {
  range_begin = base();
  range_size = layout().size;
}

bool is_outside(std::uint64_t address, std::size_t bytes) noexcept {
  bool outside = bytes == 0;
  if (!outside && range_size != 0) {
    const std::uint64_t last = address + (bytes - 1);
    outside = last >= address && (last < range_begin || address >= range_begin + range_size);
  }
  asm volatile("lfence" : : : "memory");
  return outside;
}

void copy_in(void* to, std::uint64_t from, std::size_t bytes) noexcept {
  auto* out = static_cast<unsigned char*>(to);
  const std::size_t skip = from % kWord;
  if (skip != 0) {
    const std::size_t head = bytes < kWord - skip ? bytes : kWord - skip;
    take_bytes(out, from - skip, skip, head);
    out += head;
    from += head;
    bytes -= head;
  }
  const std::size_t words = bytes / kWord;
  if (bytes >= kLong) {
    move_words(out, reinterpret_cast<const void*>(from), words);
  } else {
    for (std::size_t i = 0; i < words; ++i) {
      const std::uint64_t value = *reinterpret_cast<const volatile std::uint64_t*>(from + i * kWord);
      std::memcpy(out + i * kWord, &value, sizeof value);
    }
  }
  take_bytes(out + words * kWord, from + words * kWord, 0, bytes % kWord);
}

void copy_out(std::uint64_t to, const void* from, std::size_t bytes) noexcept {
  const auto* in = static_cast<const unsigned char*>(from);
  const std::size_t skip = to % kWord;
  if (skip != 0) {
    const std::size_t head = bytes < kWord - skip ? bytes : kWord - skip;
    put_bytes(to, in, head);
    in += head;
    to += head;
    bytes -= head;
  }
  const std::size_t words = bytes / kWord;
  if (bytes >= kLong) {
    move_words(reinterpret_cast<void*>(to), in, words);
  } else {
    for (std::size_t i = 0; i < words; ++i) {
      std::uint64_t value;
      std::memcpy(&value, in + i * kWord, sizeof value);
      *reinterpret_cast<volatile std::uint64_t*>(to + i * kWord) = value;
    }
  }
  put_bytes(to + words * kWord, in + words * kWord, bytes % kWord);
}

}  // namespace enclume::enclave
