// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/held.h"

#include <dirent.h>
#include <fcntl.h>

#include <cstring>
#include <string_view>

#include "base/format.h"
#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/signals/delivery.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

/// How many threads have something that came in a front door.
std::atomic<std::uint32_t> waiting_for_front_doors{0};

// The kernel's own siginfo has 48 bytes, of which SI_QUEUE uses 32.
constexpr std::size_t kMarkOffset = 40;
constexpr std::uint64_t kForThread = 0x6461657268740001;

std::uint64_t mark_of(const siginfo_t& info) {
  std::uint64_t mark;
  std::memcpy(&mark, reinterpret_cast<const std::byte*>(&info) + kMarkOffset, sizeof(mark));
  return mark;
}

bool is_for_process(const siginfo_t& info) {
  switch (info.si_code) {
    case SI_USER:
    case SI_TIMER:
    case SI_MESGQ:
    case SI_ASYNCIO:
    case SI_SIGIO:
      return true;
    case SI_QUEUE:
      return mark_of(info) != kForThread;
    default:
      return false;
  }
}

std::size_t index_of(std::uint8_t bits) {
  return static_cast<std::size_t>(__builtin_ctz(bits));
}

std::uint8_t bit_of(int signo) {
  return pack_owned(signal_bit(signo));
}

void clear(std::atomic<std::uint8_t>& bits, std::size_t index) {
  bits.fetch_and(static_cast<std::uint8_t>(~(1U << index)));
}

/// What /proc says of a thread of this process: whether it lives, and which of the signals 1 to 31 the kernel
/// has blocked for it (Linux fs/proc/array.c do_task_stat(): fields 3 and 32).
struct ThreadState {
  bool alive = false;
  SignalSet blocked = 0;
};

ThreadState state_of_thread(int tid) {
  char path[48];
  LineBuffer(path).text("/proc/self/task/").dec(tid).text("/stat").text(std::string_view("\0", 1));
  const auto fd = sys::call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (!fd) {
    return {};
  }
  char text[512];
  const long n = sys::raw(__NR_read, *fd, sys::arg(&text[0]), sizeof(text));
  sys::raw(__NR_close, *fd);
  const std::string_view stat(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos || name_end + 2 >= stat.size()) {
    return {};
  }
  std::string_view rest = stat.substr(name_end + 2);
  const char state = rest[0];
  ThreadState found{state != 'Z' && state != 'X' && state != 'x', 0};
  for (int field = 3; field < 32; ++field) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) {
      return found;
    }
    rest.remove_prefix(space + 1);
  }
  for (std::size_t i = 0; i < rest.size() && rest[i] >= '0' && rest[i] <= '9'; ++i) {
    found.blocked = found.blocked * 10 + static_cast<SignalSet>(rest[i] - '0');
  }
  return found;
}

bool takes(const ThreadBlock& block, std::uint8_t bit) {
  return (block.virtual_mask.load() & bit) == 0 || (block.waits_for.load() & bit) != 0;
}

/// Calls f(tid) for each thread of the process until it returns true.
template <typename F>
void for_each_thread(F&& f) {
  const auto directory =
      sys::call(__NR_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!directory) {
    return;
  }
  alignas(8) std::array<char, 1024> buffer;
  bool found = false;
  while (!found) {
    const long n = sys::raw(__NR_getdents64, *directory, sys::arg(buffer.data()), buffer.size());
    if (n <= 0) {
      break;
    }
    for (long at = 0; at < n && !found;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
      at += entry->d_reclen;
      int tid = 0;
      for (const char* c = entry->d_name; *c >= '0' && *c <= '9'; ++c) {
        tid = tid * 10 + (*c - '0');
      }
      found = tid > 0 && f(tid);
    }
  }
  sys::raw(__NR_close, *directory);
}

/// A thread other than `me` that does not block the signal, or waits for it; 0 if there is none. Of a thread
/// that has no block the kernel knows: the program has not blocked the owned signals in it, but libc blocks
/// everything in its helpers (SIGEV_THREAD, aio).
int thread_that_takes(int signo, int me) {
  int found = 0;
  for_each_thread([&](int tid) {
    const ThreadBlock* block = engine().arena.find(tid);
    if (tid != me && (block == nullptr || takes(*block, bit_of(signo)))) {
      const ThreadState state = state_of_thread(tid);
      if (state.alive && (block != nullptr || (state.blocked & signal_bit(signo)) == 0)) {
        found = tid;
      }
    }
    return found != 0;
  });
  return found;
}

/// Takes one of `bits` that is held for the process; lower numbers first.
bool take_from_process(std::uint8_t bits, siginfo_t& out) {
  ProcessHeld& process = engine().process_held;
  if ((process.bits.load() & bits) == 0) {
    return false;
  }
  const OwnerLockGuard guard(process.lock, sys::gettid());
  const auto here = static_cast<std::uint8_t>(process.bits.load() & bits);
  if (here == 0) {
    return false;
  }
  out = process.info[index_of(here)];
  clear(process.bits, index_of(here));
  return true;
}

bool take_from_thread(ThreadBlock& block, std::uint8_t bits, siginfo_t& out) {
  const auto here = static_cast<std::uint8_t>(block.held_bits.load() & bits);
  if (here == 0) {
    return false;
  }
  out = block.held[index_of(here)];
  clear(block.held_bits, index_of(here));
  return true;
}

void hold_for_thread(ThreadBlock& block, const siginfo_t& info) {
  const std::uint8_t bit = bit_of(info.si_signo);
  if ((block.held_bits.load() & bit) == 0) {
    block.held[index_of(bit)] = info;
    block.held_bits.fetch_or(bit);
  }
}

void hold_for_process(const siginfo_t& info, int me) {
  const std::uint8_t bit = bit_of(info.si_signo);
  ProcessHeld& process = engine().process_held;
  {
    const OwnerLockGuard guard(process.lock, me);
    if ((process.bits.load() & bit) == 0) {
      process.info[index_of(bit)] = info;
      process.bits.fetch_or(bit);
    }
  }
  // Who unblocks it or begins to wait for it from now on looks here; who has done so before is found.
  const int tid = thread_that_takes(info.si_signo, me);
  if (siginfo_t taken; tid != 0 && take_from_process(bit, taken)) {
    if (sys::raw(__NR_rt_tgsigqueueinfo, sys::getpid(), tid, taken.si_signo, sys::arg(&taken)) < 0) {
      sys::raw(__NR_tgkill, sys::getpid(), tid, taken.si_signo);
    }
  }
}

}  // namespace

void mark_for_thread(siginfo_t& info) {
  std::memcpy(reinterpret_cast<std::byte*>(&info) + kMarkOffset, &kForThread, sizeof(kForThread));
}

void hold(ThreadBlock& block, const siginfo_t& info) {
  if (is_for_process(info)) {
    const AllBlocked blocked;
    hold_for_process(info, sys::gettid());
  } else {
    hold_for_thread(block, info);
  }
}

void hold_in_new_process(ThreadBlock& block, const siginfo_t& info) {
  hold_for_thread(block, info);
}

void hold_for_front_door(ThreadBlock& block, const siginfo_t& info) {
  hold_for_thread(block, info);
  wait_for_front_door(block);
}

void wait_for_front_door(ThreadBlock& block) {
  if (!block.held_for_front_door.exchange(true)) {
    waiting_for_front_doors.fetch_add(1);
  }
}

void release_for_front_door() {
  if (waiting_for_front_doors.load(std::memory_order_relaxed) == 0) [[likely]] {
    return;
  }
  ThreadBlock* block = engine().this_thread();
  if (block != nullptr && block->held_for_front_door.exchange(false)) {
    waiting_for_front_doors.fetch_sub(1);
    const AllBlocked blocked;
    release_held(*block);
    if (block->request_waits.exchange(false)) {
      requeue(block->request);
    }
  }
}

bool anything_to_release(const ThreadBlock& block) {
  return ((block.held_bits.load() | engine().process_held.bits.load()) & ~block.virtual_mask.load()) != 0;
}

void release_held(ThreadBlock& block) {
  const auto open = static_cast<std::uint8_t>(~block.virtual_mask.load());
  siginfo_t info;
  while (take_from_thread(block, open, info) || take_from_process(open, info)) {
    requeue(info);
  }
}

SignalSet held_pending(const ThreadBlock* block) {
  const std::uint8_t own = block != nullptr ? block->held_bits.load() : std::uint8_t{0};
  return unpack_owned(own | engine().process_held.bits.load());
}

bool take_held(ThreadBlock* block, SignalSet wanted, siginfo_t& out) {
  const std::uint8_t bits = pack_owned(wanted);
  return (block != nullptr && take_from_thread(*block, bits, out)) || take_from_process(bits, out);
}

void drop_held(int signo) {
  const auto others = static_cast<std::uint8_t>(~bit_of(signo));
  engine().arena.for_each([&](ThreadBlock& block) { block.held_bits.fetch_and(others); });
  engine().process_held.bits.fetch_and(others);
}

void forget_held_after_fork() {
  engine().process_held.lock.reset_in_child();
  engine().process_held.bits.store(0);
  waiting_for_front_doors.store(0);
}

void hand_held_to_kernel(ThreadBlock* block) {
  const AllBlocked blocked;
  siginfo_t info;
  while (take_held(block, kOwnedSet, info)) {
    requeue(info);
  }
}

}  // namespace enclume::engine
