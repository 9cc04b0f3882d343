// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/native_protection.h"

#include <sys/mman.h>

#include "base/panic.h"
#include "base/syscall.h"
#include "engine/engine.h"
#include "kernel/layout.h"
#include "kernel/vma/effective_protection.h"

namespace enclume::engine {

bool NativeProtection::set(LinearRange range, unsigned prot, unsigned pkey) {
  const Features& machine = engine().features;
  // The EPC's key, or none; but a key that the program chose is there for the enclave to feel.
  const int key = pkey == 0 && machine.epc_pkey >= 0 ? machine.epc_pkey : static_cast<int>(pkey);
  auto r = machine.pkeys ? sys::call(__NR_pkey_mprotect, range.begin.value(), range.size(), prot, key)
                         : sys::call(__NR_mprotect, range.begin.value(), range.size(), prot);
  if (!r && r.error() == Errno::Invalid) {
    // The program has freed the key since. It stays on the pages, as Linux would leave it.
    r = sys::call(__NR_mprotect, range.begin.value(), range.size(), prot);
  }
  // Unmapped behind our back: then there is nothing that enclave code could do to it either, so any error
  // but a full table of mappings counts as done.
  return r.has_value() || r.error() != Errno::NoMemory ||
         sys::raw(__NR_mprotect, static_cast<long>(range.begin.value()), static_cast<long>(kPageSize),
                  PROT_NONE) == -ENOMEM;
}

void NativeProtection::apply_vma(const kernel::Vma& vma, std::uint64_t first_page, std::uint64_t end_page) {
  const kernel::Enclave& enclave = *vma.enclave;
  kernel::ProtectionRuns runs(enclave, first_page, end_page, vma.prot);
  while (const auto run = runs.next()) {
    const LinearAddress begin = enclave.page_address(run->first);
    if (set({begin, begin + run->count * kPageSize}, run->prot.bits(), vma.pkey)) {
      continue;
    }
    // Too many mappings. One mapping for the whole VMA, without any permission, is always less than what is
    // there; the pages in use come back one by one through faults.
    ENCLUME_CHECK(set(vma.range, PROT_NONE, vma.pkey), {"vma", vma.range.begin.value()},
                  {"size", vma.range.size()});
    return;
  }
}

void NativeProtection::apply(kernel::Enclave& enclave, std::uint64_t first_page, std::uint64_t count) {
  if (!enclave.mapped() || first_page >= enclave.pages()) {
    return;
  }
  const std::uint64_t end_page = count < enclave.pages() - first_page ? first_page + count : enclave.pages();
  LinearAddress at = enclave.page_address(first_page);
  const LinearAddress end = at + (end_page - first_page) * kPageSize;
  while (at < end) {
    const auto vma = kernel_.vmas.find_from(at);
    if (!vma || vma->range.begin >= end) {
      return;
    }
    if (vma->enclave == &enclave) {
      const LinearAddress begin = vma->range.begin > at ? vma->range.begin : at;
      const LinearAddress stop = vma->range.end < end ? vma->range.end : end;
      apply_vma(*vma, enclave.page_number(begin), enclave.page_number(begin) + (stop - begin) / kPageSize);
    }
    at = vma->range.end;
  }
}

void NativeProtection::apply_all(kernel::Enclave& enclave) {
  enclave.protection_seen.store(enclave.shared().protection_epoch.load(std::memory_order_acquire),
                                std::memory_order_relaxed);
  apply(enclave, 0, enclave.pages());
}

void NativeProtection::sync(kernel::Enclave& enclave) {
  if (enclave.protection_seen.load(std::memory_order_relaxed) !=
      enclave.shared().protection_epoch.load(std::memory_order_acquire)) {
    apply_all(enclave);
  }
}

SysResult<void> map_native(const kernel::Enclave& enclave, LinearRange range) {
  const std::uint64_t offset = kernel::kEpcOffset + (range.begin.value() - enclave.base());
  const auto r = sys::call(__NR_mmap, range.begin.value(), range.size(), PROT_NONE, MAP_SHARED | MAP_FIXED,
                           enclave.file().value, offset);
  if (!r) {
    return fail(r.error());
  }
  return {};
}

}  // namespace enclume::engine
