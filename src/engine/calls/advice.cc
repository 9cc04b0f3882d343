// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/advice.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/syscall.h"
#include "engine/calls/memory.h"
#include "engine/engine.h"
#include "engine/sgx.h"
#include "kernel/kernel.h"
#include "kernel/vma/vma_table.h"

namespace enclume::engine {

namespace {

constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, Linux 5.18
constexpr int kCollapse = 25;        // MADV_COLLAPSE, Linux 6.1

/// What madvise_vma_behavior() (Linux 6.12, mm/madvise.c) says of a shared mapping of a device with VM_IO,
/// VM_PFNMAP, VM_DONTEXPAND and VM_DONTDUMP. 0: it does as asked, or nothing.
int error_of_advice(int advice) {
  switch (advice) {
    case MADV_REMOVE:
      return ENODEV;  // vfs_fallocate() on a device
    case MADV_DONTNEED:
    case kDontNeedLocked:
    case MADV_FREE:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_DOFORK:
    case MADV_DODUMP:
    case MADV_WIPEONFORK:
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
    case kCollapse:
      return EINVAL;
    default:
      return 0;
  }
}

}  // namespace

std::optional<SysResult<long>> front_madvise(void* address, std::size_t length, int advice) {
  const int error = error_of_advice(advice);
  const auto at = reinterpret_cast<std::uint64_t>(address);
  if (error == 0 || (at & kPageMask) != 0 || !enclave_memory_concerned(at, length)) {
    return std::nullopt;
  }
  return fail(static_cast<Errno>(error));
}

std::optional<SysResult<long>> front_mlock(void* address, std::size_t length, unsigned flags) {
  const auto start = reinterpret_cast<std::uint64_t>(address);
  const LinearRange range{LinearAddress(align_down(start, kPageSize)),
                          LinearAddress(align_up(start + length, kPageSize))};
  if (range.end < range.begin || !enclave_memory_concerned(range.begin.value(), range.size())) {
    return std::nullopt;
  }
  const kernel::VmaTable& vmas = engine().sgx->kernel().vmas;
  for (LinearAddress at = range.begin; at < range.end;) {
    const auto vma = vmas.find_from(at);
    const LinearAddress plain_end = vma ? std::min(std::max(vma->range.begin, at), range.end) : range.end;
    if (plain_end > at) {
      if (const auto r = sys::call(__NR_mlock2, at.value(), plain_end - at, flags); !r) {
        return r;
      }
      at = plain_end;
    } else {
      at = vma->range.end;
    }
  }
  return 0L;
}

}  // namespace enclume::engine
