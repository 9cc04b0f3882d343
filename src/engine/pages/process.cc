// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/process.h"

#include <linux/time_types.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "arch/epc/tracking.h"
#include "arch/structs/tcs.h"
#include "base/lock.h"
#include "base/syscall.h"
#include "engine/calls/devices.h"
#include "engine/control/obey.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/pages/process_files.h"
#include "engine/pages/source_mapping.h"
#include "engine/sgx.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

/// How many threads of a process run: one that has only its first thread, which has ended, is gone. 0 if
/// nobody knows.
long threads_of_process(int pid) {
  constexpr int kNumThreads = 20;
  return process_stat_field(pid, kNumThreads).value_or(0);
}

bool process_has_executed(int pid) {
  constexpr int kFlags = 9;
  constexpr long kForkNoExec = 0x40;  // PF_FORKNOEXEC of include/linux/sched.h
  // A kernel that has no such flags to show says 0, which Linux does not say of a program.
  const long flags = process_stat_field(pid, kFlags).value_or(0);
  return flags != 0 && (flags & kForkNoExec) == 0;
}

bool process_is_gone(int pid) {
  return sys::raw(__NR_tkill, pid, 0) == -ESRCH || (thread_is_gone(pid) && threads_of_process(pid) == 1);
}

bool process_has_let_go(int pid, bool forked) {
  return process_is_gone(pid) || (forked && process_has_executed(pid));
}

}  // namespace

bool ProcessPlatform::copy_from_user(void* to, LinearAddress from, std::size_t size) noexcept {
  return enclume_guarded_copy(to, reinterpret_cast<const void*>(from.value()), size) == 0;
}

bool ProcessPlatform::copy_to_user(LinearAddress to, const void* from, std::size_t size) noexcept {
  return enclume_guarded_copy(reinterpret_cast<void*>(to.value()), from, size) == 0;
}

std::optional<kernel::SourceMapping> ProcessPlatform::source_mapping(LinearAddress address) noexcept {
  return find_source_mapping(address, thread_id());
}

std::byte* ProcessPlatform::map_file(kernel::FileHandle file, kernel::FilePart part, std::uint64_t offset,
                                     std::uint64_t length) noexcept {
  (void)part;
  const auto r =
      sys::call(__NR_mmap, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.value, offset);
  return r ? reinterpret_cast<std::byte*>(*r) : nullptr;
}

void ProcessPlatform::unmap_file(kernel::FilePart part, std::byte* where, std::uint64_t length) noexcept {
  (void)part;
  sys::raw(__NR_munmap, sys::arg(where), static_cast<long>(length));
}

void ProcessPlatform::discard(std::byte* where, std::uint64_t length) noexcept {
  if (sys::raw(__NR_madvise, sys::arg(where), static_cast<long>(length), MADV_REMOVE) == -EINVAL) {
    // mlockall() of the program's has locked it, as it could not lock EPC pages.
    sys::raw(__NR_munlock, sys::arg(where), static_cast<long>(length));
    sys::raw(__NR_madvise, sys::arg(where), static_cast<long>(length), MADV_REMOVE);
  }
}

void* ProcessPlatform::allocate_pages(std::size_t size) noexcept {
  const auto r = sys::call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return r ? reinterpret_cast<void*>(*r) : nullptr;
}

void ProcessPlatform::revoke(kernel::Enclave& enclave, std::uint64_t first_page,
                             std::uint64_t count) noexcept {
  engine().sgx->native().apply(enclave, first_page, count);
}

void ProcessPlatform::withhold(kernel::Enclave& enclave, std::span<const std::uint64_t> pages) noexcept {
  engine().sgx->native().withhold(enclave, pages);
}

namespace {

std::uint32_t count_inside(const kernel::Enclave& enclave) {
  return arch::tracking_inside(*reinterpret_cast<arch::Secs*>(enclave.secs_page().data));
}

/// Threads of this process that are inside, or on their way.
std::uint32_t own_inside(std::uint64_t secs) {
  std::uint32_t count = 0;
  engine().arena.for_each([&](const ThreadBlock& block) {
    count += block.inside.load(std::memory_order_seq_cst) == secs ? 1U : 0U;
  });
  return count;
}

bool used_by_another_process(const kernel::Enclave& enclave, int pid) {
  const kernel::KernelShared& shared = engine().sgx->kernel().shared;
  for (const kernel::Attachment& a : std::span(shared.attachments).first(shared.attachments_end.load())) {
    if (a.number.load(std::memory_order_relaxed) == enclave.number() &&
        a.process.load(std::memory_order_relaxed) != pid) {
      return true;
    }
  }
  return false;
}

bool used_by_another_that_lives(const kernel::Enclave& enclave, int pid) {
  const kernel::KernelShared& shared = engine().sgx->kernel().shared;
  for (const kernel::Attachment& a : std::span(shared.attachments).first(shared.attachments_end.load())) {
    const std::int32_t process = a.process.load(std::memory_order_relaxed);
    if (a.number.load(std::memory_order_relaxed) == enclave.number() && process != pid &&
        !process_has_let_go(process, a.forked.load())) {
      return true;
    }
  }
  return false;
}

/// How often threads of this process have left an enclave.
std::uint64_t own_exits() {
  std::uint64_t count = 0;
  engine().arena.for_each(
      [&](const ThreadBlock& block) { count += block.exits.load(std::memory_order_seq_cst); });
  return count;
}

/// Runs look(), and says whether nobody can have been inside or on the way meanwhile: whoever is counted
/// then, or has a TCS that nobody owns, was killed between the steps of an entry or exit.
template <typename F>
bool while_nobody_lives_inside(const kernel::Enclave& enclave, F&& look) {
  const std::uint64_t secs = enclave.secs_page().address.value;
  const std::uint64_t exits = own_exits();
  if (own_inside(secs) != 0 || used_by_another_that_lives(enclave, sys::getpid())) {
    return false;
  }
  look();
  return own_inside(secs) == 0 && own_exits() == exits;
}

/// Takes those from the counts who were killed on their way.
void forget_the_dead(const kernel::Enclave& enclave) {
  auto& stripes = arch::secs_of(enclave.secs_page()).stripes;
  std::array<std::uint64_t, arch::kTrackingStripes> words{};
  const bool dead_only = while_nobody_lives_inside(enclave, [&] {
    for (std::size_t i = 0; i < words.size(); ++i) {
      words[i] = std::atomic_ref(stripes[i].word).load();
    }
  });
  for (std::size_t i = 0; dead_only && i < words.size(); ++i) {
    std::atomic_ref(stripes[i].word)
        .compare_exchange_strong(words[i], words[i] & arch::tracking_word::kEpochMask);
  }
}

/// Frees a TCS that is in use, or about to be, and has no owner. The enclave's lock is held.
bool free_abandoned_tcs(const kernel::Enclave& enclave, const arch::EpcPage& page) {
  const arch::EpcmState state = page.epcm->load();
  if (!state.valid || state.type != arch::PageType::Tcs) {
    return false;
  }
  // Who died in the midst of an entry holds the page, too, and may not have come to STATE. ENCLS holds it
  // with the enclave's lock only, which is the caller's.
  constexpr std::uint32_t kHeldAlone = 1;
  const auto tcs_state = arch::tcs_of(page).atomic_state();
  std::uint64_t active = arch::tcs_state::kInactive;
  std::uint32_t held = 0;
  const bool abandoned = while_nobody_lives_inside(enclave, [&] {
    if (page.epcm->owner.load() == 0) {
      active = tcs_state.load();
      held = page.epcm->lock.load();
    }
  });
  if (!abandoned) {
    return false;
  }
  const bool was_held = held == kHeldAlone && enclave.shared().lock.held_by(engine().handler_thread_id()) &&
                        page.epcm->lock.compare_exchange_strong(held, 0);
  const bool was_active = active == arch::tcs_state::kActive &&
                          tcs_state.compare_exchange_strong(active, arch::tcs_state::kInactive);
  return was_held || was_active;
}

}  // namespace

bool ProcessPlatform::kick(kernel::Enclave& enclave, std::optional<std::uint32_t> epoch) noexcept {
  constexpr int kLooksBeforeNap = 1000;
  // A direct entry counts itself in first and then looks at the pages. So what the caller has done to them
  // must be seen before the count is read here.
  __asm__ volatile("mfence" ::: "memory");  // GCC knows no fences under -fsanitize=thread
  if (count_inside(enclave) == 0) {
    return true;
  }
  // Threads of this process: known by their blocks. Who enters from now on has not used the stale
  // translations that the caller is after.
  const std::uint64_t secs = enclave.secs_page().address.value;
  const int me = sys::gettid();
  const int pid = sys::getpid();
  engine().arena.for_each([&](ThreadBlock& block) {
    if (block.tid != me && block.inside.load(std::memory_order_seq_cst) == secs) {
      block.kicked_at.store(block.exits.load(std::memory_order_seq_cst), std::memory_order_relaxed);
      block.kicked_by.store(me, std::memory_order_relaxed);
      kick_thread(pid, block.tid);
    }
  });
  bool all_left = true;
  engine().arena.for_each([&](ThreadBlock& block) {
    if (block.kicked_by.load(std::memory_order_relaxed) != me) {
      return;
    }
    const auto left = [&] {
      return block.inside.load(std::memory_order_seq_cst) != secs ||
             block.exits.load(std::memory_order_seq_cst) != block.kicked_at.load(std::memory_order_relaxed);
    };
    // Where the thread is running it takes a signal's time; a nap is ten times as long.
    for (int looks = 0; looks < kLooksBeforeNap && !left(); ++looks) {
      __builtin_ia32_pause();
    }
    for (int tries = 0; tries < 2000 && !left() && alive(block.tid); ++tries) {
      relax();
    }
    all_left = all_left && (left() || !alive(block.tid));
    block.kicked_by.store(0, std::memory_order_relaxed);
  });
  // The other process may have ended inside, and not be on the list any more.
  const std::uint32_t inside = count_inside(enclave);
  if (inside != 0 && (used_by_another_process(enclave, pid) || inside > own_inside(secs))) {
    all_left = kick_other_processes(enclave, epoch) && all_left;
    if (count_inside(enclave) > own_inside(secs)) {
      forget_the_dead(enclave);
    }
  }
  return all_left;
}

void ProcessPlatform::interrupt(const kernel::Enclave& enclave) noexcept {
  // A thread says where it goes and then looks at the mappings, which the caller has changed before.
  __asm__ volatile("mfence" ::: "memory");
  const std::uint64_t secs = enclave.secs_page().address.value;
  const int me = sys::gettid();
  const int pid = sys::getpid();
  engine().arena.for_each([&](const ThreadBlock& block) {
    if (block.tid != me && block.inside.load(std::memory_order_seq_cst) == secs) {
      kick_thread(pid, block.tid);
    }
  });
}

namespace {

/// f(entry, page number, owner) for each TCS with a thread inside that is none of this process's.
template <typename F>
void for_each_other_owner(const kernel::Enclave& enclave, F&& f) {
  const int me = sys::gettid();
  for (std::uint64_t page = enclave.index().next(0); page != kernel::PageIndex::kNone;
       page = enclave.index().next(page + 1)) {
    const kernel::PageState state = enclave.page(page).load();
    if (state.type != arch::PageType::Tcs || !state.resident) {
      continue;
    }
    arch::EpcmEntry* entry = enclave.epc_page(page).epcm;
    const auto owner = static_cast<int>(entry->owner.load(std::memory_order_acquire));
    if (owner != 0 && owner != me && engine().arena.find(owner) == nullptr) {
      f(*entry, page, owner);
    }
  }
}

}  // namespace

bool ProcessPlatform::kick_other_processes(kernel::Enclave& enclave,
                                           std::optional<std::uint32_t> epoch) noexcept {
  auto& secs = arch::secs_of(enclave.secs_page());
  const auto epoch_over = [&] { return epoch && arch::tracking_inside(secs, *epoch) == 0; };
  const int patience = epoch ? 100 : 2000;
  // Threads of other processes show only as owners of TCS pages.
  bool any_gone = false;
  bool all_left = true;
  for_each_other_owner(enclave, [&](const arch::EpcmEntry& entry, std::uint64_t, int owner) {
    const auto stays = [&] {
      return entry.owner.load(std::memory_order_acquire) == static_cast<std::uint32_t>(owner) &&
             !epoch_over() && !thread_is_gone(owner);
    };
    const int process = process_of_thread(owner);
    if (process > 0 && !thread_is_gone(owner)) {
      kick_thread(process, owner);
      int tries = 0;
      for (; tries < patience && stays(); ++tries) {
        relax();
      }
      all_left = all_left && tries < patience;
    }
    any_gone = any_gone || thread_is_gone(owner);
  });
  if (any_gone) {  // and nobody else is counted in an epoch before this one
    for_each_other_owner(enclave, [&](const arch::EpcmEntry&, std::uint64_t page, int owner) {
      if (thread_is_gone(owner)) {
        (void)free_tcs_of_dead_thread(enclave, page);
      }
    });
  }
  return all_left;
}

bool ProcessPlatform::free_tcs_of_dead_thread(kernel::Enclave& enclave, std::uint64_t number) noexcept {
  const arch::EpcPage page = enclave.epc_page(number);
  std::uint32_t owner = page.epcm->owner.load(std::memory_order_acquire);
  if (owner == 0) {
    return free_abandoned_tcs(enclave, page);
  }
  if (engine().arena.find(static_cast<int>(owner)) != nullptr || !thread_is_gone(static_cast<int>(owner)) ||
      !page.epcm->owner.compare_exchange_strong(owner, 0)) {
    return false;
  }
  auto& tcs = *reinterpret_cast<arch::Tcs*>(page.data);
  std::atomic_ref(tcs.cssa).fetch_add(1);
  std::atomic_ref(tcs.state).store(0);
  // The count last: from then on the TCS may be evicted.
  auto& secs = *reinterpret_cast<arch::Secs*>(enclave.secs_page().data);
  const LinearAddress address = enclave.page_address(number);
  const std::uint32_t now = arch::tracking_epoch(secs);
  // Which epoch it entered in is not known. Counts of the one before block the next ETRACK for good, so they
  // go first.
  const std::uint64_t word = std::atomic_ref(arch::tracking_stripe(secs, address)).load();
  if (arch::tracking_word::inside(word, now + 1) != 0) {
    arch::tracking_leave(secs, now + 1, address);
  } else if (arch::tracking_word::inside(word, now) != 0) {
    arch::tracking_leave(secs, now, address);
  }
  return true;
}

bool ProcessPlatform::ask_to_evict(int process, std::uint32_t enclave) noexcept {
  return send_request(process, {ControlRequest::What::Evict, enclave});
}

void ProcessPlatform::relax() noexcept {
  const __kernel_timespec pause{0, 100'000};
  sys::raw(__NR_nanosleep, sys::arg(&pause), 0);
}

int ProcessPlatform::thread_id() noexcept {
  return engine().handler_thread_id();
}
int ProcessPlatform::process_id() noexcept {
  return sys::getpid();
}
bool ProcessPlatform::alive(int thread) noexcept {
  return !thread_is_gone(thread);
}
bool ProcessPlatform::process_exists(int process) noexcept {
  return sys::raw(__NR_tkill, process, 0) != -ESRCH;
}
bool ProcessPlatform::has_let_go(int process, bool forked) noexcept {
  return process_has_let_go(process, forked);
}

bool ProcessPlatform::signal_pending() noexcept {
  return false;  // only an ioctl can be interrupted
}

bool IoctlCaller::signal_pending() noexcept {
  // What came before the ioctl has been delivered; and the answer costs a good part of what a page does.
  constexpr unsigned kAskEvery = 8;
  if (pending_ || asked_++ % kAskEvery != kAskEvery - 1) {
    return pending_;  // once there it stays, and has to be seen by whoever asks next
  }
  // Signals are blocked now; what the program had unblocked before decides.
  SignalSet pending = 0;
  sys::raw(__NR_rt_sigpending, sys::arg(&pending), sizeof(pending));
  pending_ = (pending & ~mask_) != 0;
  return pending_;
}

namespace {

/// Whether the process may write to files of any length: a write beyond the limit would raise SIGXFSZ.
bool files_unlimited() {
  struct {
    std::uint64_t soft, hard;
  } limit{};
  return sys::raw(__NR_prlimit64, 0, RLIMIT_FSIZE, 0, sys::arg(&limit)) == 0 && limit.soft == ~0ULL;
}

/// One fault maps a few of the pages that have memory already.
void map_pages(const std::byte* where, std::uint64_t length) {
  for (std::uint64_t at = 0; at < length; at += kPageSize) {
    (void)*static_cast<const volatile std::byte*>(where + at);
  }
}

/// pwrite(2) whole, as far as it goes.
std::uint64_t write_file(kernel::FileHandle file, std::uint64_t offset, const void* from,
                         std::uint64_t length) {
  const long n = sys::raw(__NR_pwrite64, file.value, sys::arg(from), static_cast<long>(length),
                          static_cast<long>(offset));
  return n > 0 ? static_cast<std::uint64_t>(n) : 0;
}

}  // namespace

/// Writing zeros is the cheapest way to make memory for a file of memory: whole pages need no clearing.
/// (MADV_POPULATE_WRITE and fallocate() cost half as much again.)
void ProcessPlatform::prefault(kernel::FileHandle file, std::uint64_t offset, std::byte* where,
                               std::uint64_t length) noexcept {
  static constexpr std::array<std::byte, 16 * kPageSize> kZeros{};
  if (!files_unlimited()) {
    return;
  }
  std::uint64_t done = 0;
  while (done < length) {
    const std::uint64_t n =
        write_file(file, offset + done, kZeros.data(), std::min<std::uint64_t>(length - done, kZeros.size()));
    if (n == 0) {
      break;
    }
    done += n;
  }
  map_pages(where, done);
}

/// The kernel writes the program's memory to the file itself: one copy, and no clearing.
std::uint64_t ProcessPlatform::load_from_user(kernel::FileHandle file, std::uint64_t offset, std::byte* where,
                                              LinearAddress from, std::uint64_t length) noexcept {
  if (!files_unlimited()) {
    return 0;
  }
  const std::uint64_t n =
      align_down(write_file(file, offset, reinterpret_cast<const void*>(from.value()), length), kPageSize);
  map_pages(where, n);
  return n;
}

void ProcessPlatform::count_pages(PageEvent what, std::uint64_t pages) noexcept {
  constexpr Count kCounts[] = {Count::PagesAdded, Count::PagesAugmented, Count::PagesOut, Count::PagesIn,
                               Count::PagesRemoved};
  engine().stats.add(0, kCounts[static_cast<std::size_t>(what)], pages);
}

std::uint64_t ProcessPlatform::paging_clock() noexcept {
  return engine().stats.now();
}

void ProcessPlatform::count_paging(std::uint64_t time) noexcept {
  engine().stats.add(0, Count::TicksPaging, time);
}

std::optional<arch::LeafCode> ProcessPlatform::injected_einit_code() noexcept {
  std::optional<arch::LeafCode> code;
  engine().injector.at(Opportunity::Einit,
                       [&](const Injection& i) { code = static_cast<arch::LeafCode>(i.value); });
  return code;
}

bool ProcessPlatform::injected_full_epc() noexcept {
  bool full = false;
  engine().injector.at(Opportunity::Eaug, [&](const Injection&) { full = true; });
  return full;
}

bool ProcessPlatform::injected_full_backing() noexcept {
  bool full = false;
  engine().injector.at(Opportunity::Eviction, [&](const Injection&) { full = true; });
  return full;
}

bool ProcessPlatform::is_provision_device(int fd) noexcept {
  return device_of(fd) == Device::Provision;
}

}  // namespace enclume::engine
