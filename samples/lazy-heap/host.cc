// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <vector>

#include "enclume/host/enclave.h"
#include "lazy_heap.h"

namespace {

using Enclave = enclume::Enclave<LazyHeap>;

void show_heap(const Enclave& enclave) {
  const auto use = enclave.call<lazy_heap::heap_use>();
  if (use) std::cout << use->kib << " KiB of heap, up to " << use->limit_kib << " KiB\n";
}

}  // namespace

int main(int argc, char** argv) {
  const auto enclave = Enclave::load(argc > 1 ? argv[1] : "lazy-heap.enclave");
  if (!enclave) {
    std::cerr << "lazy-heap: " << describe(enclave.error().code) << '\n';
    return 1;
  }
  std::cout << "loaded: ";
  show_heap(*enclave);

  // Each value begins with its number. A call whose arguments find no room in the heap is an error like any
  // other.
  std::vector<std::byte> value(std::size_t{256} << 10);
  int kept = 0;
  for (; kept < 100; ++kept) {
    value[0] = static_cast<std::byte>(kept);
    if (!enclave->call<lazy_heap::keep>(value).value_or(false)) break;
  }
  std::cout << kept << " values of 256 KiB: ";
  show_heap(*enclave);
  int good = 0;
  for (int i = 0; i < kept; ++i) {
    const std::byte number{static_cast<unsigned char>(i)};
    good += enclave->call<lazy_heap::count_equal>(std::span(&number, 1)) == 1U ? 1 : 0;
  }
  if (good == kept) std::cout << "all as they were\n";
  static_cast<void>(enclave->call<lazy_heap::forget_all>());
  std::cout << "forgotten: ";
  show_heap(*enclave);

  constexpr std::uint64_t kDepth = 20'000;
  const auto sum = enclave->call<lazy_heap::sum_recursively>(kDepth);
  std::cout << "depth " << kDepth << ": ";
  if (sum) {
    std::cout << (*sum == kDepth * (kDepth + 1) / 2 ? "reached\n" : "the sum is wrong\n");
  } else {
    std::cout << describe(sum.error().code) << '\n';
  }
}
