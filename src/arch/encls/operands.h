// SPDX-License-Identifier: Apache-2.0
// What the supervisor leaves have in common: reaching their operands, and the faults of those that are wrong.
#pragma once

#include <cstddef>
#include <cstring>
#include <expected>
#include <type_traits>

#include "arch/epc/epcm.h"
#include "arch/epc/tracking.h"
#include "arch/fault.h"
#include "arch/machine.h"
#include "arch/ports.h"
#include "arch/structs/secs.h"
#include "base/types.h"

namespace enclume::arch {

/// The fault of an operand that is no EPC page, or one in the wrong state. The error code has P, W and SGX,
/// as KVM injects it for failed leaves (Linux arch/x86/kvm/vmx/sgx.c); a processor without SGX2 raises #GP
/// instead (there, too). Signal context: safe.
[[nodiscard]] inline Fault epc_violation(const Machine& machine, LinearAddress address) noexcept {
  return machine.config.sgx2 ? epcm_fault(address, pfec::kWrite) : general_protection();
}

/// The EPC page that an address leads to: the page tables' own fault, or epc_violation() if it leads
/// elsewhere. Signal context: safe.
[[nodiscard]] inline std::expected<EpcPage, Fault> resolve_epc(const Machine& machine, AddressSpace& space,
                                                               LinearAddress address) noexcept {
  const auto operand = space.walk(address, Access::Write);
  if (!operand.has_value()) {
    return raise(operand.error());
  }
  if (!operand->epc) {
    return raise(epc_violation(machine, address));
  }
  return operand->epc;
}

/// A copy of `size` bytes of ordinary memory that don't cross a page: what is checked is what is used,
/// whatever other threads write there. From an EPC page come all ones, as for any access that is not the
/// enclave's. Signal context: safe.
[[nodiscard]] inline std::expected<void, Fault> read_memory(AddressSpace& space, LinearAddress address,
                                                            std::byte* to, std::size_t size) noexcept {
  const auto operand = space.walk(address, Access::Read);
  if (!operand.has_value()) {
    return raise(operand.error());
  }
  if (operand->epc) {
    std::memset(to, 0xff, size);
  } else if (operand->data != to) {  // what a driver has read into its place already is there
    std::memcpy(to, operand->data, size);
  }
  return {};
}

/// A structure, by read_memory(). The caller has checked its alignment, so it lies in one page.
template <typename T>
[[nodiscard]] std::expected<T, Fault> read_operand(AddressSpace& space, LinearAddress address) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kPageSize);
  T value;
  if (const auto read = read_memory(space, address, reinterpret_cast<std::byte*>(&value), sizeof(T));
      !read.has_value()) {
    return raise(read.error());
  }
  return value;
}

/// Stores to memory found by walk(…, Access::Write); writes to an EPC page vanish. Signal context: safe.
inline void write_memory(const Operand& operand, const void* from, std::size_t size) noexcept {
  if (!operand.epc && operand.data != from) {  // what a driver wants in its place is there already
    std::memcpy(operand.data, from, size);
  }
}

/// Whether the page holds the SECS of an enclave. Signal context: safe.
[[nodiscard]] inline bool is_secs(const EpcPage& page) noexcept {
  const EpcmState state = page.epcm->load();
  return state.valid && state.type == PageType::Secs;
}

/// The SECS of the enclave that a valid page of type REG, TCS or TRIM belongs to. A SECS with children can't
/// go away, so the caller needs the page's lock only. Signal context: safe.
[[nodiscard]] inline Secs& secs_of_child(const Machine& machine, const EpcPage& child) noexcept {
  return secs_of(machine.epc.page(EpcAddress{child.epcm->enclave_secs.load(std::memory_order_relaxed)}));
}

/// Fills the EPCM entry of an invalid page that the caller has locked; VALID comes last. `secs_page` is the
/// enclave's, which the page becomes a child of, or empty for a SECS or a version array.
/// Signal context: safe.
inline void occupy(const EpcPage& page, EpcmState state, const EpcPage& secs_page,
                   LinearAddress address) noexcept {
  page.epcm->enclave_secs.store(secs_page.address.value, std::memory_order_relaxed);
  page.epcm->enclave_address.store(address.value(), std::memory_order_relaxed);
  page.epcm->blocked_epoch.store(0, std::memory_order_relaxed);
  page.epcm->owner.store(0, std::memory_order_relaxed);
  if (secs_page) {
    secs_of(secs_page).add_child();
    tracking_clear(secs_of(secs_page), *page.epcm);
  }
  state.valid = true;
  page.epcm->store(state);
}

/// Makes a page free; a child leaves its enclave. The caller has locked the page. Signal context: safe.
inline void vacate(const Machine& machine, const EpcPage& page) noexcept {
  const EpcmState state = page.epcm->load();
  const bool child = state.type != PageType::Secs && state.type != PageType::Va;
  Secs* const secs = child ? &secs_of_child(machine, page) : nullptr;
  page.epcm->store(EpcmState{});
  if (secs != nullptr) {
    secs->remove_child();  // from here on the SECS may go, too
  }
}

/// Exclusive use of the measurement (or of the tracking) of an enclave: never waits.
class SecsFieldLock {
 public:
  explicit SecsFieldLock(std::uint32_t& word) noexcept : word_(word) {
    std::uint32_t free = 0;
    held_ = word_.compare_exchange_strong(free, 1, std::memory_order_acquire);
  }
  ~SecsFieldLock() {
    if (held_) {
      word_.store(0, std::memory_order_release);
    }
  }
  SecsFieldLock(const SecsFieldLock&) = delete;
  SecsFieldLock& operator=(const SecsFieldLock&) = delete;
  [[nodiscard]] explicit operator bool() const noexcept { return held_; }

 private:
  std::atomic_ref<std::uint32_t> word_;
  bool held_;
};

}  // namespace enclume::arch
