// SPDX-License-Identifier: Apache-2.0
// Entries that no decent host makes: any command, any mailbox, and a look at the registers that come back.
#pragma once

#include <array>
#include <cstdint>

#include "enclume/edge/abi.h"

namespace enclume::test {

struct Registers {
  std::array<std::uint64_t, 8> high;  ///< R8 to R15
  std::uint64_t rdi, rsi, rdx;
  alignas(16) std::array<std::array<std::uint64_t, 2>, 16> xmm;
};

/// An enclave without the host's library around it: its file, loaded and not started.
class RawEnclave {
 public:
  explicit RawEnclave(const char* image);
  ~RawEnclave();
  RawEnclave(const RawEnclave&) = delete;
  RawEnclave& operator=(const RawEnclave&) = delete;

  [[nodiscard]] std::uint64_t base() const;
  /// EENTER by TCS 0 with these registers; Mailbox.exit is ENCLUME_EXIT_REFUSED before. The vDSO function's
  /// leaf afterwards: 4 if the enclave has left by itself.
  std::uint32_t enter(std::uint64_t command, std::uint64_t mailbox, std::uint64_t argument);
  /// The same by TCS `index`, which other threads leave alone meanwhile.
  std::uint32_t enter(std::uint32_t index, edge::Mailbox& box, std::uint64_t command, std::uint64_t argument);
  /// ERESUME of TCS 0; the leaf afterwards.
  std::uint32_t resume();
  edge::Mailbox mailbox{};
  Registers after{};

 private:
  struct State;
  State* state_;
};

}  // namespace enclume::test
