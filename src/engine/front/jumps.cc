// SPDX-License-Identifier: Apache-2.0
// sigsetjmp() and siglongjmp(). libc saves and restores the kernel's mask, which never has an owned signal in
// it; the engine's part of the program's mask (signals/mask.h) has to travel too, or a handler of SIGSEGV
// that leaves by siglongjmp() would leave SIGSEGV blocked for good.
//
// It goes into the last word of the jmp_buf: libc's sigset_t has 128 bytes, of which the kernel writes the
// first eight, and libc keeps a shadow stack pointer in the third eight
// (sysdeps/unix/sysv/linux/x86/setjmpP.h).
#include <setjmp.h>

#include <cstring>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/front/real.h"
#include "engine/front/signals.h"
#include "engine/signals/mask.h"
#include "engine/start/alone.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kMark = 0x656e636c756d6500;  // above the six bits of pack_owned()
constexpr std::size_t kMarkOffset = sizeof(sigset_t) - sizeof(kMark);

using Jump = void(__jmp_buf_tag*, int);
// Not called real_…, which order.ld puts where nothing is written at start.
Real<Jump> next_siglongjmp{"siglongjmp"};
Real<Jump> next_longjmp_chk{"__longjmp_chk"};
Real<int(__jmp_buf_tag*, int)> next_sigsetjmp{"__sigsetjmp"};

/// Jumps happen in signal handlers, where nothing may be looked up.
[[gnu::constructor]] void look_up() {
  if (!has_libc()) {
    return;  // a static program has its own
  }
  next_siglongjmp.find_at_start();
  next_longjmp_chk.find_at_start();
  next_sigsetjmp.find_at_start();
}

std::byte* mark_of(__jmp_buf_tag& buffer) {
  return reinterpret_cast<std::byte*>(&buffer.__saved_mask) + kMarkOffset;
}

/// The mask as a whole, before libc restores the kernel's part again: so a signal that becomes deliverable
/// meets, as on Linux, the new mask on the old stack.
void restore_mask(__jmp_buf_tag& buffer) {
  if (!engine().active || buffer.__mask_was_saved == 0) {
    return;
  }
  std::uint64_t word;
  std::memcpy(&word, mark_of(buffer), sizeof(word));
  if ((word & ~std::uint64_t{0xff}) != kMark) {
    return;
  }
  SignalSet mask;
  std::memcpy(&mask, &buffer.__saved_mask, sizeof(mask));
  mask |= unpack_owned(static_cast<std::uint8_t>(word));
  (void)front_sigprocmask(SIG_SETMASK, &mask, nullptr);
}

[[noreturn]] void jump(Real<Jump>& real, __jmp_buf_tag* buffer, int value) {
  restore_mask(*buffer);
  real(buffer, value);
  __builtin_unreachable();
}

}  // namespace

/// Notes the mask; the address of libc's function, which needs the caller's stack and return address as they
/// are: jumps.S goes on there.
extern "C" [[gnu::visibility("hidden")]] void* enclume_before_sigsetjmp(__jmp_buf_tag* buffer,
                                                                        int save_mask) {
  // Without the mask libc's own callers have buffers that are shorter.
  if (engine().active && save_mask != 0) {
    SignalSet mask = 0;
    (void)front_sigprocmask(SIG_BLOCK, nullptr, &mask);
    const std::uint64_t word = kMark | pack_owned(mask);
    std::memcpy(mark_of(*buffer), &word, sizeof(word));
  }
  return reinterpret_cast<void*>(next_sigsetjmp.get());
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT [[noreturn]] void siglongjmp(__jmp_buf_tag* buffer, int value) noexcept {
  jump(next_siglongjmp, buffer, value);
}
ENCLUME_EXPORT [[noreturn]] void longjmp(__jmp_buf_tag* buffer, int value) noexcept {
  jump(next_siglongjmp, buffer, value);
}
ENCLUME_EXPORT [[noreturn]] void _longjmp(__jmp_buf_tag* buffer, int value) noexcept {
  jump(next_siglongjmp, buffer, value);
}
/// Under _FORTIFY_SOURCE, all of them. It refuses to jump down the stack, except off the alternate stack; but
/// what libc learns from the kernel about that is the engine's stack.
ENCLUME_EXPORT [[noreturn]] void __longjmp_chk(__jmp_buf_tag* buffer, int value) noexcept {
  jump(on_alternate_stack() ? next_siglongjmp : next_longjmp_chk, buffer, value);
}
