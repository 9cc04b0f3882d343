// SPDX-License-Identifier: Apache-2.0
// Names of numbers, as the manuals and headers spell them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/format.h"

namespace enclume::trace {

/// A name of up to 38 characters, in place: pointers would be relocated in each process that starts.
class Name {
 public:
  template <std::size_t kSize>
  constexpr Name(const char (&text)[kSize]) : size_(kSize - 1) {  // NOLINT(google-explicit-constructor)
    static_assert(kSize <= sizeof(text_));
    for (std::size_t i = 0; i + 1 < kSize; ++i) {
      text_[i] = text[i];
    }
  }
  // NOLINTNEXTLINE(google-explicit-constructor)
  constexpr operator std::string_view() const { return {text_, size_}; }

 private:
  char text_[39]{};
  std::uint8_t size_;
};

struct Named {
  std::uint64_t value;
  Name name;
};

/// The names of an ENCLU leaf and of its operands in RBX, RCX and RDX; an operand that it has not is empty.
struct LeafNames {
  std::string_view leaf;
  std::string_view rbx;
  std::string_view rcx;
  std::string_view rdx;
};

// Each is empty for a number without a name. Signal context: safe, all of these.
[[nodiscard]] LeafNames leaf_names(std::uint32_t leaf);
/// What a leaf of ENCLU or ENCLS leaves in RAX, without the SGX_ in front.
[[nodiscard]] std::string_view leaf_code_name(std::uint64_t code);
/// #PF and so on.
[[nodiscard]] std::string_view vector_name(std::uint64_t vector);
[[nodiscard]] bool has_error_code(std::uint64_t vector);
[[nodiscard]] std::string_view ioctl_name(std::uint32_t command);
[[nodiscard]] std::string_view errno_name(int error);
[[nodiscard]] std::string_view signal_name(int signo);
/// si_code, whose meaning depends on the signal.
[[nodiscard]] std::string_view signal_code_name(int signo, int code);
[[nodiscard]] std::string_view page_type_name(std::uint64_t type);

/// Bits as NAME|NAME, what has no name as one hexadecimal number, `none` for 0. Signal context: safe.
void put_flags(LineBuffer& line, std::uint64_t value, std::span<const Named> names, std::string_view none);
void put_prot(LineBuffer& line, int prot);
void put_map_flags(LineBuffer& line, int flags);
void put_mremap_flags(LineBuffer& line, int flags);
void put_open_flags(LineBuffer& line, int flags);
/// SECINFO.FLAGS as R-X REG: permissions, type, then the state bits that are set.
void put_secinfo(LineBuffer& line, std::uint64_t flags);

}  // namespace enclume::trace
