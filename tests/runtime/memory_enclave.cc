// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <cstring>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/heap.h"
#include "runtime/memory.h"

ENCLUME_ENCLAVE(Memory);

namespace memory {
namespace {

constexpr enclume::Outside<Memory> outside;

unsigned char mark_of(std::uint64_t n) {
  return static_cast<unsigned char>(n * 7 + 1);
}

bool is_filled(const unsigned char* block, std::uint64_t bytes, unsigned char mark) {
  for (std::uint64_t i = 0; i < bytes; ++i) {
    if (block[i] != mark) return false;
  }
  return true;
}

}  // namespace

Size heap() {
  const auto [bytes, limit] = enclume::enclave::heap_size();
  return {bytes, limit};
}

std::uint64_t fill(std::uint64_t count, std::uint64_t bytes) {
  // Chained by their first word, so that nothing else is allocated.
  struct Node {
    Node* next;
    unsigned char data[];
  };
  Node* first = nullptr;
  std::uint64_t got = 0;
  for (; got < count; ++got) {
    auto* const node = static_cast<Node*>(std::malloc(sizeof(Node) + bytes));
    if (node == nullptr) break;
    node->next = first;
    first = node;
    std::memset(node->data, mark_of(got), bytes);
  }
  bool all = true;
  for (std::uint64_t n = got; first != nullptr;) {
    Node* const next = first->next;
    all = is_filled(first->data, bytes, mark_of(--n)) && all;
    std::free(first);
    first = next;
  }
  return all ? got : ~std::uint64_t{0};
}

bool can_have(std::uint64_t bytes, std::uint64_t alignment) {
  auto* const block = static_cast<unsigned char*>(std::aligned_alloc(alignment, bytes));
  if (block == nullptr) return false;
  block[0] = block[bytes - 1] = 1;
  const bool is_aligned = reinterpret_cast<std::uint64_t>(block) % alignment == 0;
  std::free(block);
  return is_aligned;
}

[[gnu::noinline]] std::uint64_t recurse(std::uint64_t depth) {
  volatile unsigned char page[1024];
  for (auto& byte : page) byte = mark_of(depth);
  const std::uint64_t below = depth == 0 ? 1 : recurse(depth - 1);
  for (const auto& byte : page) {
    if (byte != mark_of(depth)) return 0;
  }
  return below;
}

std::uint64_t jump_down(std::uint64_t bytes) {
  auto* const low = static_cast<volatile unsigned char*>(__builtin_alloca(bytes));
  low[0] = 5;
  return low[0];
}

[[gnu::noinline]] std::uint64_t call_around(std::uint64_t depth) {
  volatile unsigned char page[3000];
  for (auto& byte : page) byte = mark_of(depth);
  const std::uint64_t below = depth == 0 ? 1 : outside.call<come_back>(depth - 1).value_or(0);
  for (const auto& byte : page) {
    if (byte != mark_of(depth)) return 0;
  }
  return below;
}

}  // namespace memory
