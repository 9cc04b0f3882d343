// SPDX-License-Identifier: Apache-2.0
// ENCLS as the driver calls it: on pages of one enclave, operands built here (Linux: encls.h).
#pragma once

#include <cstdint>

#include "arch/encls/encls.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/secinfo.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"
#include "kernel/spaces.h"

namespace enclume::kernel {

/// Whether a leaf succeeded, raised `vector`, or left a code in RAX. EWB can complete with a code
/// (VA_SLOT_OCCUPIED); the driver never gives it an occupied slot.
inline bool succeeded(const arch::LeafResult& r) {
  return r.has_value() && r->code == arch::LeafCode::Success;
}
inline bool failed_with(const arch::LeafResult& r, arch::LeafCode code) {
  return r.has_value() && r->code == code;
}
inline bool faulted_with(const arch::LeafResult& r, arch::Vector vector) {
  return !r.has_value() && r.error().vector == vector;
}

/// Signal context: safe.
class Encls {
 public:
  Encls(const Kernel& kernel, const Enclave& enclave) noexcept
      : machine_(kernel.machine()), space_(enclave), enclave_(enclave) {}

  [[nodiscard]] arch::LeafResult ecreate(const std::byte* secs) noexcept {
    alignas(arch::kSecinfoAlignment) const arch::Secinfo secinfo{};
    alignas(arch::kPageinfoAlignment) const arch::Pageinfo p{0, number(secs), number(&secinfo), 0};
    return arch::ecreate(machine_, space_, at(&p), at(enclave_.secs_page()));
  }
  /// The contents have been read into the EPC page, where nobody sees them before.
  [[nodiscard]] arch::LeafResult eadd(std::uint64_t page, const arch::Secinfo& secinfo) noexcept {
    space_.set_driver_page(enclave_.epc_page(page).data);
    alignas(arch::kPageinfoAlignment) const arch::Pageinfo p{
        enclave_.page_address(page).value(), KernelSpace::kDriverPage.value(), number(&secinfo), secs()};
    return arch::eadd(machine_, space_, at(&p), at(enclave_.epc_page(page)));
  }
  /// `is_hole`: nothing was ever written to the page, and reading it would give it memory.
  [[nodiscard]] arch::LeafResult eextend_page(std::uint64_t page, bool is_hole) noexcept {
    space_.set_hole(is_hole ? enclave_.epc_page(page).data : nullptr);
    return arch::eextend_page(machine_, space_, at(enclave_.secs_page()), at(enclave_.epc_page(page)));
  }
  [[nodiscard]] arch::LeafResult einit(const arch::LePubKeyHash& hash, const std::byte* sigstruct,
                                       const std::byte* token) noexcept {
    return arch::einit(machine_, space_, hash, LinearAddress::of(sigstruct), at(enclave_.secs_page()),
                       LinearAddress::of(token));
  }
  [[nodiscard]] arch::LeafResult eremove(const arch::EpcPage& page) noexcept {
    return arch::eremove(machine_, space_, at(page));
  }
  [[nodiscard]] arch::LeafResult eblock(std::uint64_t page) noexcept {
    return arch::eblock(machine_, space_, at(enclave_.epc_page(page)));
  }
  [[nodiscard]] arch::LeafResult etrack() noexcept {
    return arch::etrack(machine_, space_, at(enclave_.secs_page()));
  }
  [[nodiscard]] arch::LeafResult epa(std::uint64_t va_page) noexcept {
    return arch::epa(machine_, space_, static_cast<std::uint64_t>(arch::PageType::Va),
                     at(enclave_.va_page(va_page)));
  }
  /// `slot` is a VA page * 512 + a slot in it.
  [[nodiscard]] arch::LeafResult ewb(const arch::EpcPage& page, std::byte* target, std::byte* pcmd,
                                     std::uint64_t slot) noexcept {
    space_.set_driver_page(target);
    alignas(arch::kPageinfoAlignment)
        const arch::Pageinfo p{0, KernelSpace::kDriverPage.value(), number(pcmd), 0};
    return arch::ewb(machine_, space_, at(&p), at(page), va_slot(slot));
  }
  /// The ciphertext lies where the page comes. `linaddr` 0 and `of_secs` for the SECS itself.
  [[nodiscard]] arch::LeafResult eldu(const arch::EpcPage& page, LinearAddress linaddr, bool of_secs,
                                      std::byte* pcmd, std::uint64_t slot) noexcept {
    space_.set_driver_page(page.data);
    alignas(arch::kPageinfoAlignment) const arch::Pageinfo p{
        linaddr.value(), KernelSpace::kDriverPage.value(), number(pcmd), of_secs ? 0 : secs()};
    return arch::eldu(machine_, space_, at(&p), at(page), va_slot(slot));
  }
  [[nodiscard]] arch::LeafResult eaug(std::uint64_t page) noexcept {
    space_.set_hole(enclave_.is_hole(page) ? enclave_.epc_page(page).data : nullptr);
    alignas(arch::kPageinfoAlignment)
        const arch::Pageinfo p{enclave_.page_address(page).value(), 0, 0, secs()};
    return arch::eaug(machine_, space_, at(&p), at(enclave_.epc_page(page)));
  }
  [[nodiscard]] arch::LeafResult emodpr(std::uint64_t page, std::uint64_t secinfo_flags) noexcept {
    alignas(arch::kSecinfoAlignment) const arch::Secinfo secinfo{secinfo_flags, {}};
    return arch::emodpr(machine_, space_, LinearAddress::of(&secinfo), at(enclave_.epc_page(page)));
  }
  [[nodiscard]] arch::LeafResult emodt(std::uint64_t page, arch::PageType type) noexcept {
    alignas(arch::kSecinfoAlignment) const arch::Secinfo secinfo{arch::secinfo_flags_of(type, 0), {}};
    return arch::emodt(machine_, space_, LinearAddress::of(&secinfo), at(enclave_.epc_page(page)));
  }
  [[nodiscard]] arch::LeafResult edbgrd(std::uint64_t page, std::uint64_t offset,
                                        std::uint64_t& value) noexcept {
    return arch::edbgrd(machine_, space_, at(enclave_.epc_page(page)) + offset, value);
  }
  [[nodiscard]] arch::LeafResult edbgwr(std::uint64_t page, std::uint64_t offset,
                                        std::uint64_t value) noexcept {
    return arch::edbgwr(machine_, space_, at(enclave_.epc_page(page)) + offset, value);
  }

 private:
  static std::uint64_t number(const void* p) noexcept { return LinearAddress::of(p).value(); }
  static LinearAddress at(const arch::EpcPage& page) noexcept { return LinearAddress::of(page.data); }
  static LinearAddress at(const arch::Pageinfo* p) noexcept { return LinearAddress::of(p); }
  [[nodiscard]] std::uint64_t secs() const noexcept { return number(enclave_.secs_page().data); }
  [[nodiscard]] LinearAddress va_slot(std::uint64_t slot) const noexcept {
    return at(enclave_.va_page(slot / kVaSlotsPerPage)) + slot % kVaSlotsPerPage * 8;
  }

  arch::Machine machine_;
  KernelSpace space_;
  const Enclave& enclave_;
};

}  // namespace enclume::kernel
