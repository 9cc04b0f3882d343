// SPDX-License-Identifier: Apache-2.0
// How `enclume ctl` talks to the engine in another process: by signals, which need no descriptor, file or
// thread in the program and whose permissions the kernel checks. docs/memory.md has the protocol in words.
#pragma once

#include <cstdint>
#include <optional>

namespace enclume::engine {

/// A request is a SIGSYS, which the engine keeps unblocked, with si_code = SI_QUEUE and this in si_value.
struct ControlRequest {
  enum class What : std::uint8_t {
    LoseEpc = 1,     ///< of one enclave, or of the whole machine; answered
    LoseOwnEpc = 2,  ///< the engine's own: the enclaves of this process, as the machine's EPC is lost
    Evict = 3,       ///< the engine's own: pages of one enclave, which another process of the machine needs
  };
  What what = What::LoseEpc;
  std::uint32_t enclave = 0;  ///< its number on the machine, 0: all
};

/// The answer: a SIGURG, which is ignored where nobody waits for it, to the process that si_pid names.
struct ControlAnswer {
  int error = 0;            ///< errno
  std::uint32_t count = 0;  ///< enclaves that have lost their EPC
};

namespace control {

inline constexpr std::uint64_t kRequestMagic = 0x45c10c7;  // bits 63:36
inline constexpr std::uint64_t kAnswerMagic = 0x45c1a45;   // bits 63:36

[[nodiscard]] constexpr std::uint64_t pack(ControlRequest r) {
  return kRequestMagic << 36 | std::uint64_t{static_cast<std::uint8_t>(r.what)} << 32 | r.enclave;
}
[[nodiscard]] constexpr std::optional<ControlRequest> request(std::uint64_t value) {
  if (value >> 36 != kRequestMagic) {
    return std::nullopt;
  }
  const auto what = static_cast<ControlRequest::What>((value >> 32) & 0xf);
  return ControlRequest{what, static_cast<std::uint32_t>(value)};
}

/// Counts above 65535 are cut: a machine has 1024 enclaves at most.
[[nodiscard]] constexpr std::uint64_t pack(ControlAnswer a) {
  return kAnswerMagic << 36 | (static_cast<std::uint64_t>(a.error) & 0xffff) << 16 | (a.count & 0xffff);
}
[[nodiscard]] constexpr std::optional<ControlAnswer> answer(std::uint64_t value) {
  if (value >> 36 != kAnswerMagic) {
    return std::nullopt;
  }
  return ControlAnswer{static_cast<int>((value >> 16) & 0xffff), static_cast<std::uint32_t>(value & 0xffff)};
}

}  // namespace control

}  // namespace enclume::engine
