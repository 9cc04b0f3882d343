// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/thread_descriptor.h"

#include <asm/ldt.h>
#include <linux/prctl.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <optional>

#include "base/syscall.h"
#include "engine/entry/entry.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/signals/mask.h"
#include "engine/threads/arena.h"

namespace enclume::engine {

namespace {

constexpr std::uint32_t kSetThreadArea = 243;  // Linux arch/x86/entry/syscalls/syscall_32.tbl
constexpr std::uint32_t kEntry = THREAD_SELECTOR >> 3;
static_assert(ThreadArena::kMaxSlots == 1U << THREAD_SLOT_BITS);
static_assert(SLOT_SIZE == 1U << SLOT_SIZE_LOG2);

/// What the kernel is told, a record for each slot and one that says nothing: of each only one thread knows.
/// They lie where 32 bits lead.
constexpr std::size_t kRecords = ThreadArena::kMaxSlots + 1;
constinit std::atomic<std::uint32_t> records_at{0};
constinit std::atomic<bool> refused{false};
constinit std::atomic<bool> tried{false};  ///< and found to work

std::uint32_t make_records() {
  if (const std::uint32_t known = records_at.load(std::memory_order_acquire); known != 0) {
    return known;
  }
  constexpr std::uint64_t kSize = align_up(kRecords * sizeof(user_desc), kPageSize);
  const auto r = sys::call(__NR_mmap, 0, kSize, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT, -1, 0);
  if (!r) {
    return 0;
  }
  const auto made = static_cast<std::uint32_t>(*r);
  std::uint32_t none = 0;
  if (!records_at.compare_exchange_strong(none, made)) {
    sys::raw(__NR_munmap, *r, static_cast<long>(kSize));
    return none;
  }
  return made;
}

/// The limit in the calling thread's descriptor, if it has one.
std::optional<std::uint32_t> limit_of_thread() {
  std::uint32_t limit = THREAD_SELECTOR;
  bool there;
  __asm__ volatile("lsl %0, %0" : "+r"(limit), "=@ccz"(there));
  return there ? std::optional(limit) : std::nullopt;
}

bool is_ours(std::uint32_t limit) {
  return (limit ^ THREAD_MARK) >> THREAD_SLOT_BITS == 0;
}

/// A program's filter might kill for INT 0x80, which it does not know.
bool is_filtered() {
  return sys::raw(__NR_prctl, PR_GET_SECCOMP) != 0;
}

/// `block` is the calling thread's if it has one, whose selector would have the call trapped.
long set_thread_area(ThreadBlock* block, std::uint32_t record) {
  if (block == nullptr) {
    return enclume_int80(kSetThreadArea, record);
  }
  block->selector.store(SELECTOR_ALLOW, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const long r = enclume_int80(kSetThreadArea, record);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  block->selector.store(enclume_host_selector, std::memory_order_relaxed);
  return r;
}

}  // namespace

bool has_thread_descriptors(ThreadBlock* block) {
  const bool there = !is_filtered() && set_thread_area(block, 0) == -EFAULT;
  tried.store(there, std::memory_order_relaxed);
  return there;
}

bool no_descriptors() {
  return refused.load(std::memory_order_relaxed);
}

void give_descriptor(ThreadBlock& block) {
  if (block.fast.descriptor || no_descriptors()) {
    return;
  }
  if (!tried.load(std::memory_order_relaxed) && block.sud_armed && !has_thread_descriptors(&block)) {
    refused.store(true, std::memory_order_relaxed);
    turn_off_direct_paths(Slow::NoDescriptor);  // as at start, where it is asked there
    return;
  }
  const AllBlocked blocked;
  // Only a thread whose clones are seen. A child of vfork has its parent's block; and if there is a
  // descriptor, it is another's, who keeps it.
  if (!block.sud_armed || sys::gettid() != block.tid || limit_of_thread()) {
    return;
  }
  const std::uint32_t records = make_records();
  if (records == 0 || is_filtered()) {
    refused.store(true, std::memory_order_relaxed);
    return;
  }
  user_desc* const record = reinterpret_cast<user_desc*>(std::uint64_t{records}) + block.slot;
  *record = {};
  record->entry_number = kEntry;
  record->limit = block.slot ^ THREAD_MARK;
  record->seg_32bit = 1;
  record->read_exec_only = 1;
  record->useable = 1;
  const auto at = static_cast<std::uint32_t>(reinterpret_cast<std::uint64_t>(record));
  if (set_thread_area(&block, at) != 0 || limit_of_thread() != record->limit) {
    refused.store(true, std::memory_order_relaxed);
    return;
  }
  block.fast.descriptor = true;
}

void drop_inherited_descriptor() {
  if (enclume_fast_on <= FAST_BY_LIBC) {
    return;
  }
  const auto limit = limit_of_thread();
  if (!limit || !is_ours(*limit)) {
    return;
  }
  // There are records, or nobody would have a descriptor. This one is nobody's: each writes the same to it.
  user_desc* const record =
      reinterpret_cast<user_desc*>(std::uint64_t{make_records()}) + ThreadArena::kMaxSlots;
  record->entry_number = kEntry;
  record->read_exec_only = 1;
  record->seg_not_present = 1;
  const auto at = static_cast<std::uint32_t>(reinterpret_cast<std::uint64_t>(record));
  if (is_filtered() || set_thread_area(nullptr, at) != 0 || limit_of_thread()) {
    turn_off_direct_paths(Slow::NoDescriptor);
  }
}

}  // namespace enclume::engine
