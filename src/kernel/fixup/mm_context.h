// SPDX-License-Identifier: Apache-2.0
// What the kernel keeps of an address space for its exceptions (Linux: mm->context). It lives in the
// process's private memory, and so does what fork copies, threads and vfork share, and exec forgets: just as
// an mm.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/errno.h"
#include "base/types.h"
#include "kernel/fixup/design.h"
#include "kernel/fixup/fixup_state.h"

namespace enclume::kernel {

/// The ENCLU exception handler of design `per-mm`: one word, so that threads can register while others fault.
/// Signal context: safe, all of it.
class EncluHandler {
 public:
  /// Errors: Busy (there is one, of whatever address).
  [[nodiscard]] SysResult<void> set(LinearAddress handler, bool write_once) noexcept {
    std::uint64_t none = 0;
    const std::uint64_t word = handler.value() | (write_once ? kWriteOnce : 0);
    return word_.compare_exchange_strong(none, word) ? SysResult<void>() : fail(Errno::Busy);
  }

  /// Errors: NoEntry (another or none), Perm (registered for good).
  [[nodiscard]] SysResult<void> clear(LinearAddress handler) noexcept {
    std::uint64_t word = handler.value();
    if (word_.compare_exchange_strong(word, 0)) {
      return {};
    }
    return fail(word == (handler.value() | kWriteOnce) ? Errno::Perm : Errno::NoEntry);
  }

  [[nodiscard]] std::optional<LinearAddress> get() const noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed) & ~kWriteOnce;
    return word == 0 ? std::nullopt : std::optional(LinearAddress(word));
  }

 private:
  static constexpr std::uint64_t kWriteOnce = 1ULL << 63;  ///< no bit of a user-space address

  std::atomic<std::uint64_t> word_{0};
};

struct MmContext {
  ExceptionDesign design = ExceptionDesign::Vdso;
  std::optional<FixupSite> vdso;  ///< set once, when the vDSO image is mapped
  EncluHandler enclu_handler;

  [[nodiscard]] FixupState fixup_state() const noexcept {
    return {.vdso = vdso, .handler = design == ExceptionDesign::PerMm ? enclu_handler.get() : std::nullopt};
  }
};

}  // namespace enclume::kernel
