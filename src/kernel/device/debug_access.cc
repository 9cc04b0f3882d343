// SPDX-License-Identifier: Apache-2.0
#include "kernel/device/debug_access.h"

#include <algorithm>
#include <cstring>

#include "kernel/enclave_lock.h"
#include "kernel/encls.h"
#include "kernel/resident_page.h"

namespace enclume::kernel {

namespace {

constexpr std::uint64_t kWord = 8;

/// f(word) sees the word's old value and says whether it is to be written back.
template <typename F>
SysResult<void> on_word(const Kernel& kernel, Enclave& enclave, Protection vma_prot, LinearAddress address,
                        F&& f) noexcept {
  const std::uint64_t number = enclave.page_number(address);
  EpcReservation epc(kernel, enclave);
  EnclaveLock lock(kernel, enclave);
  if (number >= enclave.pages() || !enclave.index().contains(number) ||
      !enclave.page(number).load().max_prot.covers(vma_prot)) {
    return fail(Errno::Fault);
  }
  if (!make_resident(kernel, enclave, lock, epc, number)) {
    return fail(Errno::Fault);
  }
  Encls encls(kernel, enclave);
  std::uint64_t word = 0;
  if (!succeeded(encls.edbgrd(number, address.page_offset(), word))) {
    return fail(Errno::Io);
  }
  if (f(word) && !succeeded(encls.edbgwr(number, address.page_offset(), word))) {
    return fail(Errno::Io);
  }
  return {};
}

/// Walks [address, address + size) word by word. As in Linux, the VMA of the first byte decides for all, and
/// one word that is refused fails the whole. step(word, offset in the word, bytes, done).
template <typename Step>
SysResult<std::size_t> each_word(const Kernel& kernel, LinearAddress address, std::size_t size,
                                 Step step) noexcept {
  const auto vma = kernel.vmas.find(address);
  if (!vma || !vma->enclave->created() || !vma->enclave->debug()) {
    return fail(Errno::Fault);
  }
  if (!vma->enclave->ensure_mapped(kernel.platform)) {
    return fail(Errno::Fault);
  }
  std::size_t done = 0;
  while (done < size) {
    const LinearAddress at = address + done;
    const std::uint64_t inside = at.value() % kWord;
    const std::size_t bytes = std::min<std::uint64_t>(kWord - inside, size - done);
    const auto r = on_word(kernel, *vma->enclave, vma->prot, at - inside,
                           [&](std::uint64_t& word) { return step(word, inside, bytes, done); });
    if (!r) {
      return fail(r.error());
    }
    done += bytes;
  }
  return done;
}

}  // namespace

SysResult<std::size_t> debug_read(const Kernel& kernel, LinearAddress from, std::byte* to,
                                  std::size_t size) noexcept {
  return each_word(kernel, from, size,
                   [&](std::uint64_t& word, std::uint64_t inside, std::size_t bytes, std::size_t done) {
                     std::memcpy(to + done, reinterpret_cast<const std::byte*>(&word) + inside, bytes);
                     return false;
                   });
}

SysResult<std::size_t> debug_write(const Kernel& kernel, LinearAddress to, const std::byte* from,
                                   std::size_t size) noexcept {
  return each_word(kernel, to, size,
                   [&](std::uint64_t& word, std::uint64_t inside, std::size_t bytes, std::size_t done) {
                     std::memcpy(reinterpret_cast<std::byte*>(&word) + inside, from + done, bytes);
                     return true;
                   });
}

}  // namespace enclume::kernel
