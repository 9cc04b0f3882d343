// SPDX-License-Identifier: Apache-2.0
// ENCLUs of enclave code that have INT 4 in place of their first two bytes in the copy of their page that is
// executed. Hypervisors intercept #UD, which is what an ENCLU raises here. Gate 4 is open to user code: its
// #OF goes to the kernel at once, and costs 3.2 us where the other takes 5.6 (an AMD EPYC under KVM). So does
// HLT's #GP, but for that one the kernel looks at the instruction, and faults once more since nobody can read
// the copy.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace enclume::engine {

inline constexpr std::uint64_t kInt4Length = 2;

struct EncluTrap {
  std::uint64_t address;
  std::uint32_t laid;  ///< how often the page's copy has been laid with it
};

/// A table of bounded size, without locks: NativeProtection has one around it. Sites stay where they are.
/// Signal context: safe.
class EncluTraps {
 public:
  static constexpr std::size_t kMost = 64;

  /// The site of this address, made if needed. Null if there are too many.
  [[nodiscard]] EncluTrap* at(std::uint64_t address) {
    for (std::size_t i = 0; i < count_; ++i) {
      if (sites_[i].address == address) {
        return &sites_[i];
      }
    }
    if (count_ == kMost) {
      return nullptr;
    }
    sites_[count_] = {address, 0};
    return &sites_[count_++];
  }
  /// Another enclave may be there from now on.
  void forget_history(LinearRange range) {
    for (std::size_t i = 0; i < count_; ++i) {
      if (range.contains(LinearAddress(sites_[i].address))) {
        sites_[i].laid = 0;
      }
    }
  }

 private:
  std::size_t count_ = 0;
  std::array<EncluTrap, kMost> sites_{};
};

/// Counts ENCLUs that have raised #UD natively, by their addresses: which of them to replace. One for each
/// thread.
class UndefinedEnclus {
 public:
  /// Whether it is time to look after this one; from time to time again, if that has not helped.
  [[nodiscard]] bool often(std::uint64_t enclu) noexcept {
    Entry& entry = entries_[(enclu * 0x9e3779b97f4a7c15ULL) >> 62];
    if (entry.enclu != enclu) {
      entry = {enclu, 0};
    }
    return ++entry.count % kOften == 0;
  }

 private:
  static constexpr std::uint64_t kOften = 16;
  struct Entry {
    std::uint64_t enclu;
    std::uint64_t count;
  };
  std::array<Entry, 4> entries_{};
};

}  // namespace enclume::engine
