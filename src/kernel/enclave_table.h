// SPDX-License-Identifier: Apache-2.0
// The enclaves of this process, by the identity of their files.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/ports.h"
#include "base/errno.h"
#include "base/lock.h"
#include "kernel/enclave.h"
#include "kernel/platform.h"
#include "kernel/shared.h"

namespace enclume::kernel {

/// What EnclaveShared::machine is for enclaves of this machine.
[[nodiscard]] std::uint64_t machine_identity(const KernelShared& shared) noexcept;

/// Readers take no lock. attach() and release() take the table's lock, with signals blocked.
class EnclaveTable final : public arch::Epc {
 public:
  EnclaveTable(Platform& platform, KernelShared& shared) noexcept : platform_(platform), shared_(shared) {}

  /// open() of the device, or a descriptor that came from elsewhere: maps the header, numbers the enclave if
  /// it is new, counts this process among its users. `file` must stay open until release. Returns the
  /// enclave that is already there if the identity is known (and leaves `file` to the caller).
  /// Errors: NoMemory; NoDevice for a file of another machine (another KernelShared).
  [[nodiscard]] SysResult<Enclave*> attach(FileIdentity identity, FileHandle file) noexcept;

  /// The process's last descriptor and last mapping of the enclave are gone, and none of its threads is
  /// inside. Unmaps; the last process of the machine gives the EPC pages back. The caller closes file().
  /// `identity` is the one for which that is so: another thread may have released it, and attached another
  /// enclave in its place.
  void release(Enclave& enclave, FileIdentity identity) noexcept;

  /// In the child after fork: locks of the parent's other threads are forgotten, and the child is counted as
  /// a user of each enclave. Before anything else of kernel/ is called.
  void after_fork_in_child() noexcept;

  /// Signal context: safe. Null if unknown.
  [[nodiscard]] Enclave* find(FileIdentity identity) const noexcept;
  [[nodiscard]] Enclave* find(std::uint32_t number) const noexcept;
  /// Calls f(Enclave&) for each enclave. Signal context: safe.
  template <typename F>
  void for_each(F&& f) const {
    for (Chunk* c = first_.load(std::memory_order_acquire); c != nullptr;
         c = c->next.load(std::memory_order_acquire)) {
      for (Slot& s : c->slots) {
        if (s.used.load(std::memory_order_acquire)) {
          f(s.enclave);
        }
      }
    }
  }

  /// While it exists no enclave is attached or released. Takes the table's lock, before any enclave's.
  class Kept {
   public:
    explicit Kept(EnclaveTable& table) noexcept : guard_(table.lock_, table.platform_.thread_id()) {}

   private:
    OwnerLockGuard guard_;
  };

  /// Calls f(Enclave&) on the one with this number, which is not released meanwhile. False if there is none.
  /// `f` must not call attach() or release(). Takes the table's lock.
  template <typename F>
  bool keep(std::uint32_t number, F&& f) noexcept {
    const Kept kept(*this);
    Enclave* enclave = find(number);
    if (enclave != nullptr) {
      f(*enclave);
    }
    return enclave != nullptr;
  }

  /// arch::Epc: number in bits 63:36, place in the enclave's EPCM below.
  [[nodiscard]] arch::EpcPage page(arch::EpcAddress address) noexcept override;

 private:
  struct Slot {
    std::atomic<bool> used{false};
    Enclave enclave;
  };
  static constexpr std::size_t kSlotsPerChunk = 8;
  struct Chunk {
    std::atomic<Chunk*> next{nullptr};
    Slot slots[kSlotsPerChunk];
  };

  [[nodiscard]] Slot* free_slot() noexcept;
  [[nodiscard]] SysResult<void> set_up(Enclave& enclave) noexcept;

  Platform& platform_;
  KernelShared& shared_;
  OwnerLock lock_;
  bool forked_ = false;  ///< this process has executed no program since it was forked
  std::atomic<Chunk*> first_{nullptr};
};

}  // namespace enclume::kernel
