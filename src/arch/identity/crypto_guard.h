// SPDX-License-Identifier: Apache-2.0
// Around every call into libnettle and libgmp: distributions build them with the stack protector, whose
// canary is read at %fs:0x28. On a thread that an enclave has just left, FS may point anywhere.
#pragma once

#include <cstdint>

namespace enclume::arch {

/// What the platform does around cryptography. `enter` makes FS point to readable memory and returns
/// whatever `leave` needs to put things back; calls may nest.
struct CryptoHooks {
  std::uint64_t (*enter)() noexcept = nullptr;
  void (*leave)(std::uint64_t token) noexcept = nullptr;
};

/// Called once, before the first leaf runs; without it the guard does nothing. Both pointers or none.
void set_crypto_hooks(const CryptoHooks& hooks) noexcept;

/// Holds the hooks' protection for a scope. Signal context: safe if the hooks are.
class CryptoGuard {
 public:
  CryptoGuard() noexcept;
  ~CryptoGuard();
  CryptoGuard(const CryptoGuard&) = delete;
  CryptoGuard& operator=(const CryptoGuard&) = delete;

 private:
  void (*leave_)(std::uint64_t) noexcept = nullptr;
  std::uint64_t token_ = 0;
};

}  // namespace enclume::arch
