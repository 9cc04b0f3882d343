// SPDX-License-Identifier: Apache-2.0
// A growing array in anonymous memory of its own. The engine lives in other people's programs, whose
// allocator may be theirs, may be broken, or may not be ready when our constructor runs.
#pragma once

#include <linux/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "base/syscall.h"
#include "base/types.h"

namespace enclume::engine {

template <typename T, std::size_t N>
class ImmortalArray;

/// Signal context: unsafe (system calls, no lock of its own).
template <typename T>
class MappedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  constexpr MappedArray() = default;
  /// Lies in `lent`, which outlives it, until that is full: most are small, and a mapping takes the start of
  /// a process longer than all else about it.
  explicit constexpr MappedArray(std::span<T> lent)
      : data_(lent.data()), capacity_(lent.size()), lent_(true) {}
  ~MappedArray() { release(); }
  MappedArray(const MappedArray&) = delete;
  MappedArray& operator=(const MappedArray&) = delete;
  MappedArray(MappedArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)),
        lent_(std::exchange(other.lent_, false)) {}
  MappedArray& operator=(MappedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(lent_, other.lent_);
    return *this;
  }

  /// False if there is no memory; the array is then as before.
  [[nodiscard]] bool push_back(const T& value) noexcept {
    if (size_ == capacity_ && !grow(size_ + 1)) {
      return false;
    }
    data_[size_++] = value;
    return true;
  }

  /// `count` zeroed elements, whatever was there before.
  [[nodiscard]] bool assign_zeroed(std::size_t count) noexcept {
    if (count <= capacity_) {
      if (count != 0) {
        std::memset(data_, 0, count * sizeof(T));
      }
    } else {
      release();
      if (!grow(count)) {
        return false;
      }
    }
    size_ = count;
    return true;
  }

  void clear() noexcept { size_ = 0; }
  /// Keeps the first `count` elements.
  void truncate(std::size_t count) noexcept { size_ = count < size_ ? count : size_; }
  void pop_back() noexcept { --size_; }

  [[nodiscard]] T& back() noexcept { return data_[size_ - 1]; }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return data_[i]; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::span<T> view() noexcept { return {data_, size_}; }
  [[nodiscard]] std::span<const T> view() const noexcept { return {data_, size_}; }
  [[nodiscard]] T* begin() noexcept { return data_; }
  [[nodiscard]] T* end() noexcept { return data_ + size_; }
  [[nodiscard]] const T* begin() const noexcept { return data_; }
  [[nodiscard]] const T* end() const noexcept { return data_ + size_; }

 private:
  template <typename U, std::size_t N>
  friend class ImmortalArray;

  bool grow(std::size_t count) noexcept {
    const std::size_t wanted = count > 2 * capacity_ ? count : 2 * capacity_;
    const std::size_t bytes = align_up(wanted * sizeof(T), kPageSize);
    const auto mapped =
        data_ == nullptr || lent_
            ? sys::call(__NR_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            : sys::call(__NR_mremap, data_, align_up(capacity_ * sizeof(T), kPageSize), bytes,
                        MREMAP_MAYMOVE);
    if (!mapped.has_value()) {
      return false;
    }
    auto* const larger = reinterpret_cast<T*>(*mapped);
    if (std::exchange(lent_, false)) {
      std::copy_n(data_, size_, larger);
    }
    data_ = larger;
    capacity_ = bytes / sizeof(T);
    return true;
  }

  void release() noexcept {
    if (data_ != nullptr && !lent_) {
      sys::raw(__NR_munmap, sys::arg(data_), sys::arg(align_up(capacity_ * sizeof(T), kPageSize)));
    }
    data_ = nullptr;
    size_ = 0;
    capacity_ = 0;
    lent_ = false;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  bool lent_ = false;
};

/// The same without a destructor, for globals: handlers and other threads may run to the process's very end.
/// Up to N elements lie in itself.
template <typename T, std::size_t N>
class ImmortalArray {
 public:
  [[nodiscard]] std::span<const T> view() const noexcept {
    return {mapped_ != nullptr ? mapped_ : inside_.data(), size_};
  }

  /// Takes the elements of `from`, which then has none that matter.
  void adopt(MappedArray<T>& from) noexcept {
    if (mapped_ == nullptr && from.size_ <= N) {
      std::copy_n(from.data_, from.size_, inside_.begin());
      size_ = from.size_;
      return;
    }
    if (from.lent_ && !from.grow(from.capacity_ + 1)) {
      return;  // what is not known is only looked at again
    }
    std::swap(mapped_, from.data_);
    std::swap(capacity_, from.capacity_);
    size_ = from.size_;
    from.size_ = 0;
  }

 private:
  std::array<T, N> inside_{};
  T* mapped_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;  // of what is mapped
};

}  // namespace enclume::engine
