// SPDX-License-Identifier: Apache-2.0
#include "engine/shared_machine.h"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#include "base/lock.h"
#include "base/syscall.h"
#include "base/types.h"
#include "kernel/enclave_table.h"
#include "kernel/layout.h"

namespace enclume::engine {

namespace {

using kernel::KernelShared;

constexpr std::size_t kSize = align_up(sizeof(KernelShared), kPageSize);

/// What the tree of processes knows of its machine. In the page before the place for the state.
struct Known {
  OwnerLock lock;
  std::atomic<bool> in_place;
  std::atomic<std::int64_t> segment;
  std::atomic<std::uint64_t> identity;
};

/// Zeros, as a fresh mapping has them, until the mapping is there.
alignas(kPageSize) constinit std::byte storage[kPageSize + kSize]{};
constinit OwnerLock sharing{};
constinit std::atomic<bool> is_shared{false};
constinit std::atomic<bool> joined{false};

Known& known() {
  return *reinterpret_cast<Known*>(storage);
}

bool fill_with_random_bytes(void* to, std::size_t size) {
  std::size_t filled = 0;
  while (filled < size) {
    const long n = sys::raw(__NR_getrandom, sys::arg(static_cast<std::byte*>(to) + filled),
                            static_cast<long>(size - filled), 0);
    if (n <= 0 && n != -EINTR) {
      return false;
    }
    filled += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  return true;
}

bool start_machine(KernelShared& shared, std::uint64_t epc_pages, std::int64_t segment) {
  if (!fill_with_random_bytes(&shared.machine.boot_nonce, sizeof(shared.machine.boot_nonce))) {
    return false;
  }
  shared.epc_total.store(epc_pages);
  shared.segment.store(segment);
  return true;
}

int id_of(std::int64_t segment) {
  return static_cast<int>(segment - 1);  // 0 is a number like others
}

bool attach_over(KernelShared& shared, std::int64_t segment) {
  return sys::call(__NR_shmat, id_of(segment), &shared, SHM_REMAP).has_value();
}

/// Attaches a segment that exists, if it is the one of that machine: numbers come back.
bool attach_existing(KernelShared& shared, std::int64_t segment, std::uint64_t identity) {
  struct shmid_ds about {};
  if (segment == 0 || sys::raw(__NR_shmctl, id_of(segment), IPC_STAT, sys::arg(&about)) != 0 ||
      about.shm_segsz != kSize) {
    return false;
  }
  const auto there = sys::call(__NR_shmat, id_of(segment), 0, 0);
  if (!there) {
    return false;
  }
  const bool same = kernel::machine_identity(*reinterpret_cast<const KernelShared*>(*there)) == identity &&
                    attach_over(shared, segment);
  sys::raw(__NR_shmdt, *there);
  return same;
}

/// A new segment, which nobody has to remove: it goes with the last process that has it. 0 if there is none.
std::int64_t make_segment(KernelShared& shared) {
  constexpr int kNone = -1;
  if (sys::raw(__NR_shmctl, kNone, IPC_RMID, 0) != -EINVAL) {
    return 0;  // a filter that would let none be removed
  }
  const auto id = sys::call(__NR_shmget, IPC_PRIVATE, kSize, IPC_CREAT | 0600);
  if (!id) {
    return 0;
  }
  const std::int64_t segment = *id + 1;
  const bool attached = attach_over(shared, segment);
  sys::raw(__NR_shmctl, *id, IPC_RMID, 0);
  return attached ? segment : 0;
}

}  // namespace

KernelShared& shared_machine_place() {
  return *reinterpret_cast<KernelShared*>(storage + kPageSize);
}

SysResult<void> share_machine_place() {
  if (is_shared.load(std::memory_order_acquire)) {
    return {};
  }
  const OwnerLockGuard guard(sharing, sys::gettid());
  if (is_shared.load()) {
    return {};
  }
  if (const auto r = sys::call(__NR_mmap, storage, sizeof(storage), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      !r) {
    return fail(r.error());
  }
  is_shared.store(true, std::memory_order_release);
  return {};
}

void shared_machine_after_fork() {
  sharing.reset_in_child();
}

bool has_joined_machine() {
  return joined.load(std::memory_order_acquire);
}

SysResult<void> join_shared_machine(KernelShared& shared, std::uint64_t epc_pages) {
  if (joined.load(std::memory_order_acquire)) {
    return {};
  }
  if (const auto r = share_machine_place(); !r) {
    return r;
  }
  const OwnerLockGuard guard(known().lock, sys::gettid());
  if (joined.load()) {
    return {};
  }
  // A segment that is gone was that of relatives that are gone, and of no use to anybody.
  if (!known().in_place.load() && !attach_existing(shared, known().segment.load(), known().identity.load())) {
    const std::int64_t segment = make_segment(shared);
    if (!start_machine(shared, epc_pages, segment)) {
      return fail(Errno::NoMemory);
    }
    known().identity.store(kernel::machine_identity(shared));
    known().segment.store(segment);
    known().in_place.store(segment == 0);
  }
  joined.store(true, std::memory_order_release);
  return {};
}

bool move_to_machine_of(int fd, KernelShared& shared) {
  struct {
    std::uint64_t magic, machine;
    std::int64_t segment;
  } header{};
  static_assert(offsetof(kernel::EnclaveShared, machine) == 8 &&
                offsetof(kernel::EnclaveShared, segment) == 16);
  const long n = sys::raw(__NR_pread64, fd, sys::arg(&header), sizeof(header), kernel::kMetadataOffset);
  return n == static_cast<long>(sizeof(header)) && header.magic == kernel::kEnclaveMagic &&
         attach_existing(shared, header.segment, header.machine);
}

}  // namespace enclume::engine
