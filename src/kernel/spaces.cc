// SPDX-License-Identifier: Apache-2.0
#include "kernel/spaces.h"

namespace enclume::kernel {

using arch::Access;
using arch::Fault;
using arch::Operand;

std::expected<Operand, Fault> KernelSpace::walk(LinearAddress address, Access /*access*/) noexcept {
  if (address == kDriverPage) {
    return Operand{driver_page_, {}};
  }
  auto* data = reinterpret_cast<std::byte*>(address.value());
  arch::EpcPage page = enclave_.epc_page_of(data);
  if (hole_ != nullptr && page.data == hole_) {
    page.data = const_cast<std::byte*>(arch::kZeroPage.data());
  }
  return Operand{data, page};
}

namespace {

std::uint32_t access_bits(Access access) {
  switch (access) {
    case Access::Read:
      return arch::pfec::kUser;
    case Access::Write:
      return arch::pfec::kUser | arch::pfec::kWrite;
    case Access::Execute:
      return arch::pfec::kUser | arch::pfec::kInstruction;
  }
  return 0;
}

// x86 page tables can't express "write but not read": every present page reads.
bool page_table_allows(Protection prot, Access access) {
  switch (access) {
    case Access::Read:
      return !prot.none();
    case Access::Write:
      return prot.writable();
    case Access::Execute:
      return prot.executable();
  }
  return false;
}

void set_accessed(EnclavePage& page, std::uint32_t seen) noexcept {
  PageState state = PageState::unpack(seen);
  while (state.aged) {
    state.aged = false;
    if (page.word.compare_exchange_weak(seen, state.pack(), std::memory_order_acq_rel)) {
      return;
    }
    state = PageState::unpack(seen);
  }
}

}  // namespace

std::expected<Operand, Fault> UserSpace::walk(LinearAddress address, Access access) noexcept {
  const std::uint32_t bits = access_bits(access);
  const auto not_present = [&] { return arch::raise(Fault{arch::Vector::PF, bits, address}); };

  const auto vma = kernel_.vmas.find(address);
  if (!vma) {
    if (!address.canonical()) {
      return arch::raise(arch::general_protection());
    }
    // Ordinary memory, or none at all.
    std::byte probe;
    if (!kernel_.platform.copy_from_user(&probe, address, 1)) {
      return not_present();
    }
    return Operand{reinterpret_cast<std::byte*>(address.value()), {}};
  }
  const Enclave& enclave = *vma->enclave;
  const std::uint64_t number = enclave.page_number(address);
  if (!enclave.mapped() || number >= enclave.pages() || !enclave.index().contains(number)) {
    return not_present();
  }
  EnclavePage& page = enclave.page(number);
  const std::uint32_t word = page.word.load(std::memory_order_acquire);
  const PageState state = PageState::unpack(word);
  if (!state.resident || state.untouched || vma->prot.none() || !state.max_prot.covers(vma->prot)) {
    return not_present();
  }
  if (!page_table_allows(vma->prot, access)) {
    return arch::raise(Fault{arch::Vector::PF, bits | arch::pfec::kPresent, address});
  }
  const arch::EpcPage epc = enclave.epc_page(number);
  if (epc.epcm->load().blocked) {
    return not_present();  // Linux takes the PTE away before EBLOCK (sgx_reclaimer_block())
  }
  set_accessed(page, word);
  return Operand{epc.data + address.page_offset(), epc};
}

}  // namespace enclume::kernel
