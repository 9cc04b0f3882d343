// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/memory.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/syscall.h"
#include "engine/calls/devices.h"
#include "engine/calls/mapping_change.h"
#include "engine/calls/pkeys.h"
#include "engine/control/ioctl.h"
#include "engine/engine.h"
#include "engine/pages/native_protection.h"
#include "engine/pages/source_mapping.h"
#include "engine/sgx.h"
#include "engine/signals/mask.h"
#include "engine/trace/hooks.h"
#include "engine/trace/symbols.h"
#include "kernel/device/ioctl.h"
#include "kernel/enclave_table.h"
#include "kernel/uapi/sgx.h"
#include "kernel/vma/may_map.h"
#include "kernel/vma/vma_table.h"

namespace enclume::engine {

namespace {

using kernel::Kernel;
using kernel::Protection;
using kernel::Vma;
using kernel::VmaTable;

constexpr unsigned long kSgxMagic = 0xa4;

Kernel& kernel_half() {
  return engine().sgx->kernel();
}

bool read_implies_exec() {
  const long p = sys::raw(__NR_personality, 0xffffffff);
  return p >= 0 && (p & READ_IMPLIES_EXEC) != 0;
}

/// PR_GET_MDWE: nothing becomes executable that was not mapped so, and nothing is both that and writable.
bool denies_write_exec(int prot) {
  constexpr int kGetMdwe = 66;  // Linux 6.3; before, nobody could ask for it
  constexpr long kRefuseExecGain = 1;
  const long policy = (prot & PROT_EXEC) != 0 ? sys::raw(__NR_prctl, kGetMdwe, 0, 0, 0, 0) : 0;
  return policy > 0 && (policy & kRefuseExecGain) != 0;
}

LinearRange pages_of(std::uint64_t address, std::uint64_t length) {
  return {LinearAddress(address), LinearAddress(address + align_up(length, kPageSize))};
}

/// The part of the mapping that has pages of the enclave behind it. What lies outside ELRANGE has none and
/// stays an inaccessible reservation.
LinearRange inside_elrange(const Vma& vma) {
  const LinearRange elrange = vma.enclave->elrange();
  return {std::max(vma.range.begin, elrange.begin), std::min(vma.range.end, elrange.end)};
}

/// Lays the enclave's file where the VMA has pages of the enclave. Without a SECS it has no place in the file
/// yet: CREATE does this again.
SysResult<void> map_file(const Vma& vma) {
  if (!vma.enclave->mapped()) {
    return {};
  }
  const LinearRange inside = inside_elrange(vma);
  return inside.begin < inside.end ? map_native(*vma.enclave, inside) : SysResult<void>{};
}

/// After a mapping that could not be made.
void give_back(LinearRange range, bool fixed) {
  const auto begin = static_cast<long>(range.begin.value());
  const auto size = static_cast<long>(range.size());
  if (fixed) {
    sys::raw(__NR_mmap, begin, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
             0);
  } else {
    sys::raw(__NR_munmap, begin, size);
  }
}

void apply_protection(const Vma& vma) {
  const LinearRange inside = inside_elrange(vma);
  if (!vma.enclave->mapped() || inside.begin >= inside.end) {
    return;
  }
  engine().sgx->native().apply(*vma.enclave, vma.enclave->page_number(inside.begin),
                               inside.size() / kPageSize);
}

SysResult<long> map_enclave(std::uint64_t address, std::size_t length, int prot, int flags, int fd) {
  const SignalsBlocked blocked;
  const auto enclave = enclave_of(fd);
  if (!enclave) {
    return fail(enclave.error());
  }
  if (const auto r = kernel::may_choose_address(static_cast<unsigned>(flags)); !r) {
    return fail(r.error());
  }
  if (length == 0) {
    return fail(Errno::Invalid);
  }
  if (auto r = (*enclave)->created() ? (*enclave)->ensure_mapped(kernel_half().platform) : SysResult<void>{};
      !r) {
    return fail(r.error());
  }
  const OpenMode mode = open_mode(fd);
  Shootdown shootdown;
  VmaTable::Writer writer(kernel_half().vmas, sys::gettid());

  // The kernel finds the place: an inaccessible reservation, over which the file is laid. Where the place is
  // known and all of it has pages behind it, the file alone.
  const int placement =
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT));
  const bool fixed = (flags & MAP_FIXED) != 0 && (flags & MAP_FIXED_NOREPLACE) == 0;
  if (fixed && (address & kPageMask) != 0) {
    return fail(Errno::Invalid);
  }
  LinearRange range = pages_of(address, length);
  if (!fixed) {
    const auto place = sys::call(__NR_mmap, address, length, PROT_NONE, placement, -1, 0);
    if (!place) {
      return fail(place.error());
    }
    range = pages_of(static_cast<std::uint64_t>(*place), length);
  }
  kernel::MmapRequest request;
  request.range = range;
  request.prot = static_cast<unsigned>(prot);
  request.flags = static_cast<unsigned>(flags);
  request.fd_readable = mode.readable;
  request.fd_writable = mode.writable;
  request.read_implies_exec = read_implies_exec();
  request.deny_write_exec = denies_write_exec(prot);
  const auto vma = kernel::may_mmap(kernel_half(), **enclave, request);
  if (!vma) {
    if (!fixed) {
      sys::raw(__NR_munmap, static_cast<long>(range.begin.value()), static_cast<long>(range.size()));
    }
    return fail(vma.error());
  }
  const bool file_alone = fixed && (*enclave)->mapped() && inside_elrange(*vma) == range;
  {
    MappingChange change(writer, shootdown);
    if (fixed && !file_alone) {
      const auto place = sys::call(__NR_mmap, address, length, PROT_NONE, placement, -1, 0);
      if (!place) {
        return fail(place.error());
      }
    }
    // The file is there before anybody finds the VMA, and gives permissions to what is there.
    if (const auto r = map_file(*vma); !r) {
      if (file_alone) {
        return fail(r.error());
      }
      if (fixed && change.take_out(range)) {
        change.forget(range);
      }
      give_back(range, fixed);
      return fail(r.error());
    }
    if (const auto r = change.replace(*vma); !r) {
      give_back(range, fixed);  // no mapping of EPC that nobody knows of
      return fail(r.error());
    }
    change.forget(range);
  }
  apply_protection(*vma);
  return static_cast<long>(range.begin.value());
}

SysResult<long> protect(std::uint64_t address, std::size_t length, int prot, int key) {
  const SignalsBlocked blocked;
  Shootdown shootdown;
  VmaTable::Writer writer(kernel_half().vmas, sys::gettid());
  const LinearRange range = pages_of(address, length);
  if ((address & kPageMask) != 0 || range.end < range.begin) {
    return sys::call(__NR_pkey_mprotect, address, length, prot, key);  // the kernel's own answer
  }
  if (const auto r = may_use_pkey(key); !r) {
    return fail(r.error());
  }
  const std::optional<unsigned> pkey = key < 0 ? std::nullopt : std::optional(static_cast<unsigned>(key));
  const kernel::MprotectVerdict verdict = kernel::may_mprotect(
      kernel_half(), range, static_cast<unsigned>(prot), read_implies_exec(), denies_write_exec(prot));

  // Stretch by stretch: what is an enclave's gets what the enclave allows, the rest is the kernel's.
  const LinearRange allowed{range.begin, verdict.allowed_end};
  LinearAddress at = allowed.begin;
  while (at < allowed.end) {
    const auto vma = kernel_half().vmas.find_from(at);
    const LinearAddress plain_end =
        vma && vma->range.begin < allowed.end ? (vma->range.begin > at ? vma->range.begin : at) : allowed.end;
    if (plain_end > at) {
      const auto r = sys::call(__NR_pkey_mprotect, at.value(), plain_end - at, prot, key);
      if (!r) {
        return r;
      }
      at = plain_end;
      continue;
    }
    const LinearAddress end = vma->range.end < allowed.end ? vma->range.end : allowed.end;
    const LinearRange part{at, end};
    if (!Protection::of(static_cast<unsigned>(prot)).covers(vma->prot)) {
      shootdown.add(*vma->enclave);
    }
    if (const auto r = writer.protect(part, Protection::of(static_cast<unsigned>(prot)), pkey); !r) {
      return fail(r.error());
    }
    if (vma->enclave->mapped() && vma->enclave->elrange().overlaps(part)) {
      engine().sgx->native().apply(*vma->enclave, vma->enclave->page_number(at), part.size() / kPageSize);
    }
    at = end;
  }
  if (verdict.error) {
    return fail(*verdict.error);
  }
  return 0L;
}

}  // namespace

bool enclave_memory_concerned(std::uint64_t address, std::size_t length) {
  return engine().active && any_enclave() && kernel_half().vmas.overlaps(pages_of(address, length));
}

SysResult<long> front_mmap(void* address, std::size_t length, int prot, int flags, int fd, off_t offset) {
  const bool file = engine().active && fd >= 0 && (flags & MAP_ANONYMOUS) == 0;
  const Device device = file ? device_of(fd) : Device::None;
  if (device == Device::Provision) {
    return fail(static_cast<Errno>(ENODEV));  // its driver has no mmap
  }
  if (device == Device::Enclave) {
    const auto at = reinterpret_cast<std::uint64_t>(address);
    const bool aligned = (static_cast<std::uint64_t>(offset) & kPageMask) == 0;
    return traced(trace::Mmap{LinearAddress(at), length, prot, flags, fd, static_cast<std::uint64_t>(offset)},
                  [&]() -> SysResult<long> {
                    return aligned ? map_enclave(at, length, prot, flags, fd) : fail(Errno::Invalid);
                  });
  }
  if ((flags & MAP_FIXED) != 0 &&
      enclave_memory_concerned(reinterpret_cast<std::uint64_t>(address), length)) {
    return traced(
        trace::Mmap{LinearAddress::of(address), length, prot, flags, fd, static_cast<std::uint64_t>(offset)},
        [&] {
          const SignalsBlocked blocked;
          Shootdown shootdown;
          VmaTable::Writer writer(kernel_half().vmas, sys::gettid());
          MappingChange change(writer, shootdown);
          const auto r = sys::call(__NR_mmap, address, length, prot, flags, fd, offset);
          const LinearRange range = pages_of(reinterpret_cast<std::uint64_t>(address), length);
          if (r && change.take_out(range)) {
            change.forget(range);
          }
          return r;
        });
  }
  forget_source_mapping();
  return sys::call(__NR_mmap, address, length, prot, flags, fd, offset);
}

SysResult<long> front_munmap(void* address, std::size_t length) {
  forget_source_mapping();
  const auto at = reinterpret_cast<std::uint64_t>(address);
  if (!enclave_memory_concerned(at, length) || (at & kPageMask) != 0 || length == 0) {
    return sys::call(__NR_munmap, address, length);
  }
  return traced(trace::Munmap{LinearAddress(at), length}, [&] {
    const SignalsBlocked blocked;
    SysResult<long> r = 0L;
    {
      Shootdown shootdown;
      VmaTable::Writer writer(kernel_half().vmas, sys::gettid());
      MappingChange change(writer, shootdown);
      // From the table first: another thread could be given the place, and be told that it is an enclave's.
      const LinearRange range = pages_of(at, length);
      if (const auto taken = change.take_out(range); !taken) {
        return SysResult<long>(fail(taken.error()));
      }
      r = sys::call(__NR_munmap, address, length);
      if (r) {
        change.forget(range);
      } else {
        change.undo();
      }
    }
    release_unused_enclaves();
    return r;
  });
}

SysResult<long> front_mprotect(void* address, std::size_t length, int prot, int key) {
  const auto at = reinterpret_cast<std::uint64_t>(address);
  if (is_epc_pkey(key) && length != 0 && (at & kPageMask) == 0) {
    return fail(Errno::Invalid);  // the program has not allocated it
  }
  if (enclave_memory_concerned(at, length)) {
    return traced(trace::Mprotect{LinearAddress(at), length, prot, key},
                  [&] { return protect(at, length, prot, key); });
  }
  return key < 0 ? sys::call(__NR_mprotect, address, length, prot)
                 : sys::call(__NR_pkey_mprotect, address, length, prot, key);
}

namespace {

SysResult<long> move_mapping(void* address, std::size_t old_size, std::size_t new_size, int flags, void* to,
                             bool source) {
  const auto from = reinterpret_cast<std::uint64_t>(address);
  const SignalsBlocked blocked;
  if (source) {
    if ((flags & MREMAP_DONTUNMAP) != 0) {
      return fail(Errno::Invalid);  // vma_to_resize(): not for VM_DONTEXPAND and VM_PFNMAP
    }
    if (const auto r = kernel::may_mremap(align_up(old_size, kPageSize), align_up(new_size, kPageSize)); !r) {
      return fail(r.error());
    }
  }
  Shootdown shootdown;
  VmaTable::Writer writer(kernel_half().vmas, sys::gettid());
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  const LinearRange old_range = pages_of(from, old_size);
  const LinearRange new_range = pages_of(fixed ? reinterpret_cast<std::uint64_t>(to) : from, new_size);
  const LinearRange target = fixed ? new_range : LinearRange{};
  std::optional<Vma> moved;
  {
    MappingChange change(writer, shootdown);
    // From the table first, as for munmap(). An enclave's mapping doesn't grow: it shrinks where it is or is
    // moved.
    LinearRange leaving{};
    if (source) {
      leaving = {fixed ? old_range.begin : old_range.begin + new_range.size(), old_range.end};
      if (fixed) {
        const LinearRange part{old_range.begin, old_range.begin + new_range.size()};
        moved = kernel_half().vmas.find(part.begin);
        if (moved && moved->range.end < part.end) {
          return fail(Errno::Fault);  // more than one mapping
        }
        change.unify(old_range);
      }
      if (const auto r = change.take_out(leaving); !r) {
        return fail(r.error());
      }
    }
    const auto r = sys::call(__NR_mremap, address, old_size, new_size, flags, to);
    if (!r) {
      change.undo();
      return r;
    }
    change.forget(leaving);
    if (!moved) {
      if (fixed && change.take_out(target)) {
        change.forget(target);
      }
      return r;
    }
    // The page of an address is the one at that address now.
    moved->range = target;
    give_back(target, true);
    (void)map_file(*moved);
    if (change.replace(*moved)) {
      change.forget(target);
    }
  }
  apply_protection(*moved);
  return static_cast<long>(target.begin.value());
}

SysResult<long> ioctl_on_enclave(int fd, kernel::FileIdentity file, unsigned cmd, std::uint64_t argument) {
  const int tid = sys::gettid();
  if (ThreadBlock* block = engine().current_thread();
      block != nullptr) {                  // the kernel's half may have to find it
    engine().watch_enclave_calls(*block);  // while it may: the program may confine itself before it enters
  }
  const SignalsBlocked blocked;
  const auto enclave = enclave_of(fd, file);
  if (!enclave) {
    return fail(enclave.error());
  }
  IoctlCaller caller(tid, blocked.before());
  const Kernel kernel = kernel_half().on(caller);
  if ((*enclave)->created()) {
    if (const auto r = (*enclave)->ensure_mapped(caller); !r) {
      return fail(r.error());
    }
  }
  engine().stats.add(0, Count::Ioctls);
  const auto result = kernel::sgx_ioctl(kernel, **enclave, cmd, LinearAddress(argument));
  // Of a call that failed, `count` may be what the program left there.
  if (result && engine().trace_instructions &&
      cmd == static_cast<unsigned>(kernel::uapi::Command::AddPages)) {
    kernel::uapi::EnclaveAddPages pages;
    if (caller.copy_from_user(&pages, LinearAddress(argument), sizeof(pages)) && pages.count != 0) {
      const LinearAddress begin((*enclave)->base() + pages.offset);
      note_enclave_source({begin, begin + pages.count}, LinearAddress(pages.src), tid);
    }
  }
  if (result && cmd == static_cast<unsigned>(kernel::uapi::Command::Create)) {
    VmaTable::Writer writer(kernel_half().vmas, tid);
    LinearAddress at;
    while (const auto vma = kernel_half().vmas.find_from(at)) {
      if (vma->enclave == *enclave && map_file(*vma)) {
        apply_protection(*vma);
      }
      at = vma->range.end;
    }
  } else if (result && cmd == static_cast<unsigned>(kernel::uapi::Command::Init)) {
    engine().sgx->native().apply_all(**enclave);
  }
  return result;
}

}  // namespace

SysResult<long> front_mremap(void* address, std::size_t old_size, std::size_t new_size, int flags, void* to) {
  forget_source_mapping();
  const bool source = enclave_memory_concerned(reinterpret_cast<std::uint64_t>(address),
                                               old_size != 0 ? old_size : kPageSize);
  const bool target =
      (flags & MREMAP_FIXED) != 0 && enclave_memory_concerned(reinterpret_cast<std::uint64_t>(to), new_size);
  if (!source && !target) {
    return sys::call(__NR_mremap, address, old_size, new_size, flags, to);
  }
  return traced(trace::Mremap{LinearAddress::of(address), old_size, new_size, flags, LinearAddress::of(to)},
                [&] { return move_mapping(address, old_size, new_size, flags, to, source); });
}

namespace {

/// Linux do_vfs_ioctl(): what it answers for any file. The rest is for the drivers, which know nothing else,
/// or for regular files, which a descriptor of the devices only looks like.
bool is_for_any_file(unsigned command) {
  switch (command) {
    case FIOCLEX:
    case FIONCLEX:
    case FIONBIO:
    case FIOASYNC:
    case FIGETBSZ:
    case FIFREEZE:
    case FITHAW:
    case FS_IOC_FIEMAP:
    case FICLONE:
    case FICLONERANGE:
    case FIDEDUPERANGE:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<SysResult<long>> front_ioctl(int fd, unsigned long command, std::uint64_t argument) {
  if (may_be_device(fd) && !is_for_any_file(static_cast<unsigned>(command)) &&
      ((command >> 8) & 0xff) != kSgxMagic && !is_control_ioctl(static_cast<unsigned>(command)) &&
      device_of(fd) != Device::None) {
    return fail(Errno::NotTty);
  }
  // The magic number of SGX, or ours, decides; no other device is looked at.
  kernel::FileIdentity file;
  const auto cmd = static_cast<unsigned>(command);
  const bool ours = is_control_ioctl(cmd);
  if (!engine().active || (!ours && ((command >> 8) & 0xff) != kSgxMagic) ||
      device_of(fd, file) != Device::Enclave) {
    return std::nullopt;
  }
  return traced_ioctl(fd, cmd, argument, [&] {
    return ours ? control_ioctl(fd, file, cmd, argument) : ioctl_on_enclave(fd, file, cmd, argument);
  });
}

}  // namespace enclume::engine
