// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/native_mapping.h"

#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#include "base/syscall.h"
#include "engine/start/message.h"
#include "kernel/layout.h"

namespace enclume::engine {

namespace {

SysResult<long> change_protection(std::uint64_t address, std::uint64_t size, unsigned prot, int key) {
  if (key < 0) {
    return sys::call(__NR_mprotect, address, size, prot);
  }
  const auto r = sys::call(__NR_pkey_mprotect, address, size, prot, key);
  // The program may have freed the key since. It stays on the pages, as Linux would leave it.
  return !r && r.error() == Errno::Invalid ? sys::call(__NR_mprotect, address, size, prot) : r;
}

/// Gives the new mapping its permissions where nobody sees it, and then its place: at the place nobody finds
/// anything but the old one or the new one.
bool put_in_place(std::uint64_t from, LinearRange range, unsigned prot, int key) {
  if (change_protection(from, range.size(), prot, key) &&
      sys::call(__NR_mremap, from, range.size(), range.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
                range.begin.value())) {
    return true;
  }
  sys::raw(__NR_munmap, static_cast<long>(from), static_cast<long>(range.size()));
  return false;
}

/// What protect_native() says of what the kernel has answered.
bool done(const SysResult<long>& r, LinearRange range) {
  return r.has_value() || r.error() != Errno::NoMemory ||
         sys::raw(__NR_mprotect, static_cast<long>(range.begin.value()), static_cast<long>(kPageSize),
                  PROT_NONE) == -ENOMEM;
}

/// The range of the enclave's file, mapped afresh with permissions that an old mapping may not gain. False if
/// the program has closed the descriptor, or they are not to be had at all.
bool map_again(const kernel::Enclave& enclave, LinearRange range, unsigned prot, int key) {
  struct stat st;
  const int fd = enclave.file().value;
  if (sys::raw(__NR_fstat, fd, sys::arg(&st)) != 0 ||
      kernel::FileIdentity{st.st_dev, st.st_ino} != enclave.identity()) {
    return false;
  }
  const std::uint64_t offset = kernel::kEpcOffset + (range.begin.value() - enclave.base());
  return sys::call(__NR_mmap, range.begin.value(), range.size(), prot, MAP_SHARED | MAP_FIXED, fd, offset) &&
         (key < 0 || change_protection(range.begin.value(), range.size(), prot, key));
}

}  // namespace

SysResult<void> map_native(const kernel::Enclave& enclave, LinearRange range) {
  const std::uint64_t offset = kernel::kEpcOffset + (range.begin.value() - enclave.base());
  const auto r = sys::call(__NR_mmap, range.begin.value(), range.size(), PROT_NONE, MAP_SHARED | MAP_FIXED,
                           enclave.file().value, offset);
  if (!r) {
    return fail(r.error());
  }
  return {};
}

bool allow_native(const kernel::Enclave& enclave, LinearRange range, unsigned prot, int key) {
  const auto r = change_protection(range.begin.value(), range.size(), prot, key);
  const bool forbidden = !r && (r.error() == Errno::Access || r.error() == Errno::Perm);
  if (!forbidden || (prot & PROT_EXEC) == 0) {
    return done(r, range);
  }
  if (!map_again(enclave, range, prot, key)) {
    refuse(
        "a policy forbids that memory becomes executable (PR_SET_MDWE, systemd's MemoryDenyWriteExecute, or "
        "SELinux), as an enclave's pages do here; leave it off, or keep the enclave's descriptor open");
  }
  return true;
}

bool protect_native(LinearRange range, unsigned prot, int key) {
  return done(change_protection(range.begin.value(), range.size(), prot, key), range);
}

bool lay_original(const kernel::Enclave& enclave, LinearRange range, unsigned prot, int key) {
  // An old size of 0 asks for a second mapping of the same pages: mremap(2). The alias is a shared mapping.
  const std::byte* alias = enclave.epc_page(enclave.page_number(range.begin)).data;
  const auto second = sys::call(__NR_mremap, alias, 0, range.size(), MREMAP_MAYMOVE);
  return second && put_in_place(static_cast<std::uint64_t>(*second), range, prot, key);
}

bool lay_copy(LinearAddress page, std::span<const std::byte, kPageSize> bytes, unsigned prot, int key) {
  const auto copy =
      sys::call(__NR_mmap, 0, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!copy) {
    return false;
  }
  std::memcpy(reinterpret_cast<void*>(*copy), bytes.data(), kPageSize);
  return put_in_place(static_cast<std::uint64_t>(*copy), {page, page + kPageSize}, prot, key);
}

}  // namespace enclume::engine
