// SPDX-License-Identifier: Apache-2.0
// The enclave's heap: two-level segregated fit (Masmano et al., "TLSF", 2004). Constant time, 16-byte
// alignment, 16 bytes a block, neighbours merge at once. Where the platform has dynamic memory it grows up to
// heap_max: pages are accepted some at a time, before anybody touches them.
#include "enclume/enclave/heap.h"

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "runtime/enclave/self.h"

namespace enclume::enclave {
namespace {

constexpr std::size_t kAlign = 16;
constexpr unsigned kSteps = 8;  // classes for each power of two
// Bytes that the heap grows by at least.
constexpr std::uint64_t kGrowth = 16 * edge::kPageSize;
constexpr unsigned kLevels = 40;  // powers of two, from kAlign * kSteps on; all smaller ones are level 0

// In front of every block, and one more of size 0, in use, behind the last.
struct Block {
  std::size_t previous_size;  // payload of the block in front; 0: none
  std::size_t size_and_used;  // payload, a multiple of kAlign; bit 0: in use
  // Of a free block only, where the payload is:
  Block* next;
  Block* back;

  static constexpr std::size_t kHeader = 16;
  [[nodiscard]] std::size_t size() const { return size_and_used & ~std::size_t{1}; }
  [[nodiscard]] bool used() const { return (size_and_used & 1) != 0; }
  [[nodiscard]] char* payload() { return reinterpret_cast<char*>(this) + kHeader; }
  [[nodiscard]] Block* after() { return reinterpret_cast<Block*>(payload() + size()); }
  [[nodiscard]] Block* before() {
    return reinterpret_cast<Block*>(reinterpret_cast<char*>(this) - kHeader - previous_size);
  }
  static Block* of(void* payload) { return reinterpret_cast<Block*>(static_cast<char*>(payload) - kHeader); }
};
static_assert(offsetof(Block, next) == Block::kHeader);

struct Class {
  unsigned level, step;
};

// The class that a block of `size` belongs to.
Class class_of(std::size_t size) {
  constexpr unsigned kFirst = std::countr_zero(kAlign * kSteps);
  if (size < kAlign * kSteps) return {0, static_cast<unsigned>(size / kAlign)};
  const auto log = static_cast<unsigned>(std::bit_width(size)) - 1;
  return {log - kFirst + 1, static_cast<unsigned>(size >> (log - 3)) & (kSteps - 1)};
}

class Heap {
 public:
  // [begin, end) has pages; up to `limit` it may grow.
  void start(std::uint64_t begin, std::uint64_t end, std::uint64_t limit) {
    begin_ = end_ = begin;
    limit_ = limit;
    if (end != begin) extend(end);
  }

  HeapSize size() {
    const Lock lock(*this);
    return {end_ - begin_, limit_ - begin_};
  }

  void* allocate(std::size_t bytes) {
    const std::size_t size = rounded(bytes);
    if (size == 0) return nullptr;
    const Lock lock(*this);
    Block* const block = find_or_grow(size);
    if (block == nullptr) return nullptr;
    split(block, size);
    block->size_and_used |= 1;
    return block->payload();
  }

  // `alignment`: a power of two.
  void* allocate_aligned(std::size_t alignment, std::size_t bytes) {
    if (alignment <= kAlign) return allocate(bytes);
    const std::size_t size = rounded(bytes);
    // Room in front for a block of its own, which is freed again.
    if (size == 0 || alignment > edge::kMaxSize) return nullptr;
    const Lock lock(*this);
    Block* block = find_or_grow(size + alignment + Block::kHeader + kAlign);
    if (block == nullptr) return nullptr;
    const std::uint64_t start = address_of(block->payload());
    std::uint64_t aligned = (start + alignment - 1) & ~(alignment - 1);
    if (aligned != start) {
      if (aligned - start < Block::kHeader + kAlign) aligned += alignment;
      Block* const rest = Block::of(reinterpret_cast<void*>(aligned));
      const std::size_t in_front = aligned - start - Block::kHeader;
      rest->previous_size = in_front;
      rest->size_and_used = block->size() - in_front - Block::kHeader;
      rest->after()->previous_size = rest->size();
      block->size_and_used = in_front;
      insert(block);
      block = rest;
    }
    split(block, size);
    block->size_and_used |= 1;
    return block->payload();
  }

  void release(void* payload) {
    // Freed twice, or never allocated.
    if (payload != nullptr && !put_back(Block::of(payload))) std::abort();
  }

  static std::size_t size_of(void* payload) { return Block::of(payload)->size(); }

 private:
  // False, and the heap is as it was, if this is no block in use.
  bool put_back(Block* block) {
    const Lock lock(*this);
    if (!block->used() || block->after()->previous_size != block->size()) return false;
    block->size_and_used &= ~std::size_t{1};
    if (Block* const after = block->after(); !after->used()) {
      remove(after);
      block->size_and_used += Block::kHeader + after->size();
    }
    if (block->previous_size != 0) {
      if (Block* const before = block->before(); !before->used()) {
        remove(before);
        before->size_and_used += Block::kHeader + block->size();
        block = before;
      }
    }
    block->after()->previous_size = block->size();
    insert(block);
    return true;
  }

  class Lock {
   public:
    explicit Lock(Heap& heap) : heap_(heap) {
      while (heap_.locked_.test_and_set(std::memory_order_acquire)) wait_a_little();
    }
    ~Lock() { heap_.locked_.clear(std::memory_order_release); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    const Critical critical_;
    Heap& heap_;
  };

  // 0: more than there can be.
  static std::size_t rounded(std::size_t bytes) {
    if (bytes > edge::kMaxSize) return 0;
    return bytes == 0 ? kAlign : (bytes + kAlign - 1) & ~(kAlign - 1);
  }

  void insert(Block* block) {
    const auto [level, step] = class_of(block->size());
    block->back = nullptr;
    block->next = free_[level][step];
    if (block->next != nullptr) block->next->back = block;
    free_[level][step] = block;
    steps_[level] |= 1U << step;
    levels_ |= std::uint64_t{1} << level;
  }

  void remove(Block* block) {
    const auto [level, step] = class_of(block->size());
    if (block->next != nullptr) block->next->back = block->back;
    if (block->back != nullptr) {
      block->back->next = block->next;
      return;
    }
    free_[level][step] = block->next;
    if (block->next != nullptr) return;
    steps_[level] &= ~(1U << step);
    if (steps_[level] == 0) levels_ &= ~(std::uint64_t{1} << level);
  }

  // To the next class, so that whatever is in it is big enough.
  static std::size_t rounded_to_class(std::size_t size) {
    if (size < kAlign * kSteps) return size;
    const std::size_t step = std::size_t{1} << (std::bit_width(size) - 4);
    return (size + step - 1) & ~(step - 1);
  }

  Block* find_or_grow(std::size_t size) {
    if (Block* const block = find(size)) return block;
    return grow(rounded_to_class(size)) ? find(size) : nullptr;
  }

  // What ends at the heap's end becomes a free block of at least `size`. False, and no page was wasted on
  // it, if that is more than there may be; or if the host has no pages, and then what it had is kept.
  bool grow(std::size_t size) {
    Block* const tail = last_ != nullptr && last_->previous_size != 0 ? last_->before() : nullptr;
    const std::size_t have = tail != nullptr && !tail->used() ? tail->size() : 0;
    // Of the new pages the end mark takes one header, and where there is no heap yet its first block another.
    const std::uint64_t missing = edge::page_up(size - have + 2 * Block::kHeader);
    if (missing > limit_ - end_) return false;
    std::uint64_t wish = missing < kGrowth ? kGrowth : missing;
    if (wish > limit_ - end_) wish = limit_ - end_;
    const std::uint64_t got = accept_pages(end_, wish);
    if (got != 0) extend(end_ + got);
    return got >= missing;
  }

  // Takes [end_, to) in, which has pages.
  void extend(std::uint64_t to) {
    Block* block = last_;
    if (block == nullptr) {
      block = reinterpret_cast<Block*>(end_);
      block->previous_size = 0;
      block->size_and_used = to - end_ - 2 * Block::kHeader;
    } else {
      // The end mark becomes the header of the new block.
      block->size_and_used = to - end_ - Block::kHeader;
      if (block->previous_size != 0 && !block->before()->used()) {
        Block* const before = block->before();
        remove(before);
        before->size_and_used += Block::kHeader + block->size();
        block = before;
      }
    }
    end_ = to;
    last_ = block->after();
    last_->previous_size = block->size();
    last_->size_and_used = 1;
    insert(block);
  }

  // A free block of at least `size`, taken out of its list.
  Block* find(std::size_t size) {
    auto [level, step] = class_of(rounded_to_class(size));
    unsigned steps = steps_[level] & (~0U << step);
    if (steps == 0) {
      const std::uint64_t levels = levels_ & (~std::uint64_t{1} << level);
      if (levels == 0) return nullptr;
      level = static_cast<unsigned>(std::countr_zero(levels));
      steps = steps_[level];
    }
    Block* const block = free_[level][std::countr_zero(steps)];
    remove(block);
    return block;
  }

  // Gives back what `block` has beyond `size`.
  void split(Block* block, std::size_t size) {
    const std::size_t rest = block->size() - size;
    if (rest < Block::kHeader + kAlign) return;
    block->size_and_used = size;
    Block* const second = block->after();
    second->previous_size = size;
    second->size_and_used = rest - Block::kHeader;
    second->after()->previous_size = second->size();
    insert(second);
  }

  std::atomic_flag locked_ = ATOMIC_FLAG_INIT;
  std::uint64_t begin_ = 0, end_ = 0, limit_ = 0;
  Block* last_ = nullptr;  // the end mark; null: there is no heap
  std::uint64_t levels_ = 0;
  unsigned steps_[kLevels] = {};
  Block* free_[kLevels][kSteps] = {};
};

Heap heap;

// std::has_single_bit() is a function of libgcc where there is no POPCNT.
constexpr bool is_power_of_two(std::size_t number) {
  return number != 0 && (number & (number - 1)) == 0;
}

}  // namespace

void start_heap() noexcept {
  const edge::Layout where = layout();
  heap.start(base() + where.heap, base() + where.heap_end,
             base() + (has_dynamic_memory ? where.heap_limit : where.heap_end));
}

HeapSize heap_size() noexcept {
  return heap.size();
}

}  // namespace enclume::enclave

extern "C" {

void* malloc(std::size_t bytes) {
  return enclume::enclave::heap.allocate(bytes);
}

void free(void* payload) {
  enclume::enclave::heap.release(payload);
}

void* calloc(std::size_t count, std::size_t size) {
  std::size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return nullptr;
  void* const result = malloc(bytes);
  if (result != nullptr) std::memset(result, 0, bytes);
  return result;
}

void* realloc(void* old, std::size_t bytes) {
  if (old == nullptr) return malloc(bytes);
  if (bytes == 0) {
    free(old);
    return nullptr;
  }
  const std::size_t have = enclume::enclave::heap.size_of(old);
  if (have >= bytes) return old;
  void* const result = malloc(bytes);
  if (result == nullptr) return nullptr;
  std::memcpy(result, old, have);
  free(old);
  return result;
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return enclume::enclave::is_power_of_two(alignment)
             ? enclume::enclave::heap.allocate_aligned(alignment, bytes)
             : nullptr;
}

int posix_memalign(void** result, std::size_t alignment, std::size_t bytes) {
  if (!enclume::enclave::is_power_of_two(alignment) || alignment < sizeof(void*)) return EINVAL;
  void* const block = aligned_alloc(alignment, bytes);
  if (block == nullptr) return ENOMEM;
  *result = block;
  return 0;
}
}
