// SPDX-License-Identifier: Apache-2.0
#include "kernel/vma/effective_protection.h"

#include <algorithm>

namespace enclume::kernel {

namespace {

Protection of_known_page(const Enclave& enclave, std::uint64_t page, Protection vma_prot) noexcept {
  const PageState state = enclave.page(page).load();
  if (!state.resident || state.aged || state.untouched || !state.max_prot.covers(vma_prot)) {
    return kProtNone;
  }
  const arch::EpcmState epcm = enclave.epc_page(page).epcm->load();
  if (!epcm.valid || epcm.blocked || epcm.pending || epcm.modified || epcm.type != arch::PageType::Reg) {
    return kProtNone;
  }
  const Protection epc_prot = Protection::of((epcm.r ? 1U : 0U) | (epcm.w ? 2U : 0U) | (epcm.x ? 4U : 0U));
  return vma_prot & epc_prot;
}

}  // namespace

Protection effective_protection(const Enclave& enclave, std::uint64_t page, Protection vma_prot) noexcept {
  if (vma_prot.none() || page >= enclave.pages() || !enclave.index().contains(page)) {
    return kProtNone;
  }
  return of_known_page(enclave, page, vma_prot);
}

ProtectionRun ProtectionRuns::stretch(std::uint64_t page) noexcept {
  if (vma_prot_.none() || page >= enclave_.pages()) {
    return {page, end_ - page, kProtNone};
  }
  if (page >= present_until_) {
    present_until_ = enclave_.index().next_absent(page, std::min(end_, enclave_.pages()));
  }
  if (page >= present_until_) {
    return {page, std::min(enclave_.index().next(page), end_) - page, kProtNone};
  }
  return {page, 1, of_known_page(enclave_, page, vma_prot_)};
}

std::optional<ProtectionRun> ProtectionRuns::next() noexcept {
  if (next_ >= end_) {
    return std::nullopt;
  }
  ProtectionRun run = stretch(next_);
  std::uint64_t at = run.first + run.count;
  while (at < end_) {
    const ProtectionRun more = stretch(at);
    if (more.prot != run.prot) {
      break;
    }
    at += more.count;
  }
  run.count = at - run.first;
  next_ = at;
  return run;
}

}  // namespace enclume::kernel
