// SPDX-License-Identifier: Apache-2.0
// The system calls about signals, as they come in by SIGSYS: the thread's mask and its stack are those that
// the handler's frame will restore, not the ones in force.
#pragma once

#include "base/errno.h"
#include "engine/calls/call.h"
#include "engine/sgx.h"

namespace enclume::engine {

/// rt_sigaction(2), rt_sigprocmask(2), sigaltstack(2) with pointers that may be anything. Signal context:
/// safe.
[[nodiscard]] SysResult<long> raw_sigaction(ThreadBlock* block, const Call& call);
[[nodiscard]] SysResult<long> raw_sigprocmask(Interruption& it, const Call& call);
[[nodiscard]] SysResult<long> raw_sigaltstack(Interruption& it, const Call& call);

/// The owned signals among those that are pending: they may be the engine's to tell of. Signal context: safe.
[[nodiscard]] SysResult<long> raw_sigpending(Interruption& it, const Call& call);

/// rt_sigtimedwait(2). While the thread waits, owned signals that come to other threads of the process are
/// sent here. As trapped_call() otherwise. Signal context: safe.
[[nodiscard]] bool raw_sigtimedwait(Interruption& it, Call call, siginfo_t& report);

/// Around a call that waits with a mask: what that means for the owned signals. begin_wait() is false if one
/// that is held ends the wait at once. A signal that has `interrupted` it is given to the program when the
/// handler ends; should none be, end_wait_without_handler() puts the mask back. Signal context: safe.
[[nodiscard]] bool begin_wait(ThreadBlock& block, const UContext& uc, SignalSet mask);
void end_wait(ThreadBlock& block, SignalSet mask, bool interrupted);
void end_wait_without_handler(ThreadBlock& block);

/// rt_sigreturn(2): makes the program's registers such that the kernel takes the program's frame next, with
/// what the program sees in it translated. False if there is no frame to read, which is SIGSEGV.
[[nodiscard]] bool raw_sigreturn(Interruption& it);

/// The mask that a call sets for the time it waits. `without_owned` is what the kernel gets in its place.
class TemporaryMask {
 public:
  /// Replaces the mask in `call`, if it has one that can be read.
  explicit TemporaryMask(Call& call);
  [[nodiscard]] bool present() const { return present_; }
  [[nodiscard]] SignalSet mask() const { return mask_; }
  TemporaryMask(const TemporaryMask&) = delete;
  TemporaryMask& operator=(const TemporaryMask&) = delete;

 private:
  void replace(std::uint64_t& pointer);

  struct Packed {
    std::uint64_t mask, size;
  } packed_{};
  SignalSet mask_ = 0;
  SignalSet without_owned_ = 0;
  bool present_ = false;
};

}  // namespace enclume::engine
