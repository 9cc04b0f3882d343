// SPDX-License-Identifier: Apache-2.0
// What an enclave has told of an exception that nobody handled: as a value, and as text with the names that
// are in its image.
//
// Debug enclaves tell by themselves. A production enclave tells nothing unless it was built with DUMPS: its
// registers can be anything, a key among them, and a host can make it fail wherever it likes. See
// docs/runtime.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "enclume/edge/registers.h"

namespace enclume {

/// What has ended a call, as its enclave tells it.
struct Dump {
  /// One exception.
  struct Level {
    std::uint8_t vector = 0;               ///< 0 #DE, 6 #UD, 13 #GP, 14 #PF…
    std::optional<std::uint64_t> address;  ///< of a page fault in full, of #GP 0; only with `registers`
    std::uint32_t error_code = 0;          ///< with `address` only
    std::optional<Registers> registers;    ///< at the exception; nothing with DUMPS BACKTRACE
    /// RIP, then the return addresses, innermost first, as offsets from `base`. At most 32.
    /// Where RIP is at the very start or end of a function, its caller is missing.
    std::vector<std::uint64_t> frames;
  };
  std::string image;       ///< the file that the enclave was loaded from
  std::uint64_t base = 0;  ///< ELRANGE's first address
  /// The exception that ended the call; behind it what has happened in its handlers, the outermost first.
  std::vector<Level> levels;
};

/// Says what stands at an address, as "name+0x12" or "name at file.cc:34".
class Symbolizer {
 public:
  Symbolizer() = default;
  virtual ~Symbolizer() = default;
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;
  /// `offset`: from the enclave's base. Empty: not known.
  [[nodiscard]] virtual std::string describe(std::uint64_t offset) const = 0;
};

/// By the symbol table of an enclave's image, or of its unsigned file, in C++'s own names. Null if there is
/// none. (By line: enclume/host/lines.h.)
[[nodiscard]] std::unique_ptr<Symbolizer> symbols_of(const std::string& path);

/// Lines of text. Without `symbolizer` by symbols_of(dump.image).
[[nodiscard]] std::string to_text(const Dump& dump, const Symbolizer* symbolizer = nullptr);

/// Called on the thread of the call, after the enclave has been left for good and its TCS is free again.
using DumpHandler = std::function<void(const Dump&)>;

/// to_text() to standard error.
void print_dump(const Dump& dump);

}  // namespace enclume
