// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/heap.h"
#include "lazy_heap.h"

ENCLUME_ENCLAVE(LazyHeap);

namespace lazy_heap {
namespace {

struct Value {
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size;
};
std::vector<Value> values;

}  // namespace

HeapUse heap_use() {
  const auto size = enclume::enclave::heap_size();
  return {size.bytes / 1024, size.limit / 1024};
}

bool keep(std::span<const std::byte> value) {
  // The kind of new that says when there is no room: the other kind ends the call.
  std::unique_ptr<std::byte[]> copy(new (std::nothrow) std::byte[value.size()]);
  if (copy == nullptr) return false;
  std::copy(value.begin(), value.end(), copy.get());
  values.push_back({std::move(copy), value.size()});
  return true;
}

std::uint64_t count_equal(std::span<const std::byte> value) {
  return static_cast<std::uint64_t>(std::count_if(values.begin(), values.end(), [&](const Value& kept) {
    return kept.size >= value.size() && std::memcmp(kept.bytes.get(), value.data(), value.size()) == 0;
  }));
}

void forget_all() {
  values.clear();
}

[[gnu::noinline]] std::uint64_t sum_recursively(std::uint64_t depth) {
  // Something on the stack that the compiler can't do without.
  volatile std::uint64_t place[24] = {depth};
  return depth == 0 ? 0 : sum_recursively(depth - 1) + place[0];
}

}  // namespace lazy_heap
