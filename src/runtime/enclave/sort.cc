// SPDX-License-Identifier: Apache-2.0
// qsort and bsearch. A heap sort: no memory beside the array, and no order of elements for which it is slow.
#include <cstddef>
#include <cstdlib>

namespace {

class Elements {
 public:
  Elements(void* base, std::size_t size, int (*compare)(const void*, const void*))
      : base_(static_cast<unsigned char*>(base)), size_(size), compare_(compare) {}

  [[nodiscard]] bool less(std::size_t a, std::size_t b) const { return compare_(at(a), at(b)) < 0; }

  void swap(std::size_t a, std::size_t b) const {
    unsigned char *left = at(a), *right = at(b);
    for (std::size_t i = 0; i < size_; ++i) {
      const unsigned char byte = left[i];
      left[i] = right[i];
      right[i] = byte;
    }
  }

  /// Makes a heap of the first `count` below `root`, whose children are heaps.
  void sift(std::size_t root, std::size_t count) const {
    for (;;) {
      std::size_t child = 2 * root + 1;
      if (child >= count) return;
      if (child + 1 < count && less(child, child + 1)) ++child;
      if (!less(root, child)) return;
      swap(root, child);
      root = child;
    }
  }

 private:
  [[nodiscard]] unsigned char* at(std::size_t i) const { return base_ + i * size_; }

  unsigned char* base_;
  std::size_t size_;
  int (*compare_)(const void*, const void*);
};

}  // namespace

extern "C" {

void qsort(void* base, std::size_t count, std::size_t size, int (*compare)(const void*, const void*)) {
  const Elements elements(base, size, compare);
  for (std::size_t i = count / 2; i-- != 0;) elements.sift(i, count);
  for (std::size_t left = count; left > 1; --left) {
    elements.swap(0, left - 1);
    elements.sift(0, left - 1);
  }
}

void* bsearch(const void* key, const void* base, std::size_t count, std::size_t size,
              int (*compare)(const void*, const void*)) {
  const auto* from = static_cast<const unsigned char*>(base);
  while (count != 0) {
    const unsigned char* const middle = from + count / 2 * size;
    const int order = compare(key, middle);
    if (order == 0) return const_cast<unsigned char*>(middle);
    if (order > 0) {
      from = middle + size;
      count -= count / 2 + 1;
    } else {
      count /= 2;
    }
  }
  return nullptr;
}
}
