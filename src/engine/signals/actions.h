// SPDX-License-Identifier: Apache-2.0
// What the program asked for with sigaction(), and what the kernel was told instead.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/errno.h"
#include "base/lock.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

/// The kernel's struct sigaction, with signals' handler as an address.
struct Action {
  std::uint64_t handler = 0;  ///< 0 SIG_DFL, 1 SIG_IGN
  std::uint64_t flags = 0;
  std::uint64_t restorer = 0;
  SignalSet mask = 0;

  [[nodiscard]] bool is_default() const { return handler == 0; }
  [[nodiscard]] bool is_ignored() const { return handler == 1; }
  [[nodiscard]] bool is_handler() const { return handler > 1; }
};
static_assert(sizeof(Action) == 32);

/// In Action::flags, as the kernel has it: `restorer` counts.
inline constexpr std::uint64_t kSaRestorer = 0x04000000;

/// In Action::flags: by a system call of the program's own, so that its restorer counts. The kernel has no
/// such flag.
inline constexpr std::uint64_t kSetWithoutLibc = 1ULL << 63;

/// The program's table of dispositions. Readers are signal handlers and never wait.
class ActionTable {
 public:
  /// Installs the engine's handler for the signals that it needs. Of the others the kernel knows what the
  /// process was started with: they are looked up there until the program has changed them.
  void init();

  /// sigaction(2): `next` and `previous` may be null. Invalid for KILL, STOP and numbers out of range.
  SysResult<void> change(int signo, const Action* next, Action* previous);

  /// The program's disposition now. Signal context: safe.
  [[nodiscard]] Action get(int signo) const;

  /// The same, and back to the default if it was a SA_RESETHAND handler, as the kernel does at delivery.
  /// Signal context: safe.
  [[nodiscard]] Action take(int signo);

  /// All handlers back to the default, as CLONE_CLEAR_SIGHAND has it. Signal context: safe.
  void clear_handlers();

  /// Takes over a handler that was installed without us: libc's own, for the two signals that it reserves. An
  /// enclave that they interrupt has to be left first, as for any other.
  void adopt(int signo);

  /// sigaction(2) of a child between vfork and exec: the kernel's dispositions are its own, this table is its
  /// parent's.
  SysResult<void> change_in_vfork_child(int signo, const Action* next, Action* previous) const;

  /// Before execve(): what the program ignores has to be ignored by the kernel, too. What has been changed
  /// for that, as pack_owned() has it, is undone after a failure.
  [[nodiscard]] std::uint8_t prepare_exec() const;
  void undo_exec(std::uint8_t changed) const;

  /// Of a fork: whoever held the lock or was writing is not in the child.
  void reset_in_child();

 private:
  struct Slot {
    std::atomic<std::uint32_t> version;  ///< odd: being written
    std::atomic<std::uint64_t> handler, flags, restorer, mask;
  };

  [[nodiscard]] bool is_known(int signo) const;
  void write(int signo, const Action& action);
  static long tell_kernel(int signo, const Action& program);

  OwnerLock lock_;
  std::array<Slot, 65> slots_;
};

/// Sets the kernel's disposition to the default, so that a signal ends the process as it would without us.
void set_kernel_default(int signo);

}  // namespace enclume::engine
