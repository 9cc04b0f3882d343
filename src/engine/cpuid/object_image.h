// SPDX-License-Identifier: Apache-2.0
// A loaded ELF object as dl_iterate_phdr shows it, read with bounds checks: nothing in it is trusted to be
// well-formed.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

namespace enclume::engine {

/// A range of code, from one past the other.
struct CodeRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  [[nodiscard]] constexpr std::uint64_t size() const { return end - begin; }
  [[nodiscard]] constexpr bool contains(std::uint64_t address) const {
    return address >= begin && address < end;
  }
  friend constexpr bool operator==(const CodeRange&, const CodeRange&) = default;
};

class ObjectImage {
 public:
  /// `path` names the file for what memory does not hold (symbols); may be null. All must outlive the image,
  /// and the object must stay loaded.
  ObjectImage(std::uint64_t load_bias, std::span<const Elf64_Phdr> headers, const char* path) noexcept
      : bias_(load_bias), headers_(headers), path_(path) {}

  [[nodiscard]] std::uint64_t load_bias() const noexcept { return bias_; }
  [[nodiscard]] std::span<const Elf64_Phdr> headers() const noexcept { return headers_; }
  [[nodiscard]] const char* path() const noexcept { return path_; }

  /// Calls `visit(CodeRange)` for each segment that is executable and can be read.
  template <typename Visitor>
  void for_each_executable(Visitor&& visit) const {
    for (const Elf64_Phdr& header : headers_) {
      if (header.p_type == PT_LOAD && (header.p_flags & (PF_X | PF_R)) == (PF_X | PF_R)) {
        visit(CodeRange{bias_ + header.p_vaddr, bias_ + header.p_vaddr + header.p_filesz});
      }
    }
  }

  /// The executable segment around an address.
  [[nodiscard]] std::optional<CodeRange> executable_around(std::uint64_t address) const noexcept {
    std::optional<CodeRange> found;
    for_each_executable([&](const CodeRange& segment) {
      if (segment.contains(address)) {
        found = segment;
      }
    });
    return found;
  }

  /// True if some loaded segment contains the address.
  [[nodiscard]] bool contains(std::uint64_t address) const noexcept {
    for (const Elf64_Phdr& header : headers_) {
      if (header.p_type == PT_LOAD && address - (bias_ + header.p_vaddr) < header.p_memsz) {
        return true;
      }
    }
    return false;
  }

  /// True if one readable segment contains all of it.
  [[nodiscard]] bool readable(std::uint64_t address, std::uint64_t size) const noexcept {
    for (const Elf64_Phdr& header : headers_) {
      const std::uint64_t begin = bias_ + header.p_vaddr;
      if (header.p_type == PT_LOAD && (header.p_flags & PF_R) != 0 && address >= begin &&
          size <= header.p_memsz && address - begin <= header.p_memsz - size) {
        return true;
      }
    }
    return false;
  }

  template <typename T>
  [[nodiscard]] std::optional<T> read(std::uint64_t address) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!readable(address, sizeof(T))) {
      return std::nullopt;
    }
    T value;
    std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
    return value;
  }

  /// The bytes of a range that lies in an executable segment.
  [[nodiscard]] static std::span<const std::byte> bytes(const CodeRange& range) noexcept {
    return {reinterpret_cast<const std::byte*>(range.begin), range.size()};
  }

 private:
  std::uint64_t bias_;
  std::span<const Elf64_Phdr> headers_;
  const char* path_;
};

}  // namespace enclume::engine
