// SPDX-License-Identifier: Apache-2.0
#include "kernel/vma/may_map.h"

#include <linux/mman.h>

#include <algorithm>

namespace enclume::kernel {

namespace {

constexpr unsigned kMapAbove4G = 0x80;  // x86's <asm/mman.h> since Linux 6.6

/// sgx_encl_may_map()
SysResult<void> may_map(const Enclave& enclave, LinearRange range, Protection prot, bool read_implies_exec) {
  const LinearRange elrange = enclave.elrange();
  if (enclave.initialized() && (range.begin < elrange.begin || range.end > elrange.end)) {
    return fail(Errno::Access);
  }
  if (read_implies_exec) {
    return fail(Errno::Access);
  }
  const LinearRange inside{std::max(range.begin, elrange.begin), std::min(range.end, elrange.end)};
  if (prot.none() || inside.begin >= inside.end) {
    return {};
  }
  const std::uint64_t end = enclave.page_number(inside.end);
  for (std::uint64_t page = enclave.index().next(enclave.page_number(inside.begin)); page < end;
       page = enclave.index().next(page + 1)) {
    const PageState state = enclave.page(page).load();
    if (state.present && !state.max_prot.covers(prot)) {
      return fail(Errno::Access);
    }
  }
  return {};
}

Protection vm_flags(unsigned prot, bool read_implies_exec) {
  const Protection p = Protection::of(prot);
  return read_implies_exec && p.readable() ? p | kProtExec : p;
}

}  // namespace

SysResult<void> may_choose_address(unsigned flags) noexcept {
  if ((flags & MAP_TYPE) == MAP_PRIVATE) {
    return fail(Errno::Invalid);
  }
  return {};
}

namespace {

/// LEGACY_MAP_MASK of include/linux/mman.h: what a file without flags of its own takes. MAP_FIXED_NOREPLACE
/// is not in it.
constexpr unsigned kLegacyMapMask = MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE |
                                    MAP_EXECUTABLE | MAP_UNINITIALIZED | MAP_GROWSDOWN | MAP_LOCKED |
                                    MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB |
                                    MAP_32BIT | kMapAbove4G | MAP_HUGE_2MB | MAP_HUGE_1GB;

}  // namespace

SysResult<Vma> may_mmap(const Kernel& kernel, Enclave& enclave, const MmapRequest& request) noexcept {
  if (auto r = may_choose_address(request.flags); !r) {
    return fail(r.error());
  }
  const unsigned type = request.flags & MAP_TYPE;
  if (type != MAP_SHARED && type != MAP_SHARED_VALIDATE) {
    return fail(Errno::Invalid);
  }
  if (type == MAP_SHARED_VALIDATE && (request.flags & ~kLegacyMapMask) != 0) {
    return fail(static_cast<Errno>(EOPNOTSUPP));
  }
  const Protection prot = vm_flags(request.prot, request.read_implies_exec);
  if (prot.writable() && !request.fd_writable) {
    return fail(Errno::Access);
  }
  if (!request.fd_readable) {
    return fail(Errno::Access);
  }
  if (auto r = enclave.ensure_mapped(kernel.platform); !r) {
    return fail(r.error());
  }
  if (auto r = may_map(enclave, request.range, prot, request.read_implies_exec); !r) {
    return fail(r.error());
  }
  if (request.deny_write_exec && prot.writable() && prot.executable()) {
    return fail(Errno::Access);  // map_deny_write_exec(), which mmap_region() asks last
  }
  const Protection may = request.fd_writable ? kProtAll : kProtRead | kProtExec;
  return Vma{request.range, prot, may, &enclave};
}

MprotectVerdict may_mprotect(const Kernel& kernel, LinearRange range, unsigned prot, bool read_implies_exec,
                             bool deny_write_exec) noexcept {
  const Protection wanted = vm_flags(prot, read_implies_exec);
  LinearAddress at = range.begin;
  for (auto vma = kernel.vmas.find_from(at); vma && vma->range.begin < range.end;
       vma = kernel.vmas.find_from(at)) {
    const LinearRange piece{std::max(vma->range.begin, range.begin), std::min(vma->range.end, range.end)};
    const bool denied =
        deny_write_exec && wanted.executable() && (wanted.writable() || !vma->prot.executable());
    if (!vma->may_prot.covers(wanted) || denied) {
      return {piece.begin, Errno::Access};
    }
    if (auto r = vma->enclave->ensure_mapped(kernel.platform); !r) {
      return {piece.begin, r.error()};
    }
    if (auto r = may_map(*vma->enclave, piece, wanted, read_implies_exec); !r) {
      return {piece.begin, r.error()};
    }
    at = vma->range.end;
  }
  return {range.end, std::nullopt};
}

SysResult<void> may_mremap(std::uint64_t old_size, std::uint64_t new_size) noexcept {
  if (align_up(new_size, kPageSize) > align_up(old_size, kPageSize)) {
    return fail(Errno::Fault);
  }
  return {};
}

}  // namespace enclume::kernel
