// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/sync.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>

#include "enclume/enclave/enclave.h"
#include "runtime/sync.h"

ENCLUME_ENCLAVE(Sync);

namespace synchronised {
namespace {

enclume::Mutex mutex;
std::atomic<std::uint32_t> inside = 0;
volatile std::uint64_t count = 0;

struct Queue {
  static constexpr std::uint32_t kPlaces = 4;
  enclume::Mutex mutex;
  enclume::ConditionVariable not_empty, not_full;
  std::array<std::uint32_t, kPlaces> items{};
  std::uint32_t first = 0, used = 0;
};
Queue queue;

enclume::Mutex gate_mutex;
enclume::ConditionVariable gate;
std::uint32_t asleep = 0, released = 0;

}  // namespace

std::uint64_t hammer(std::uint32_t rounds) {
  std::uint64_t met = 0;
  for (std::uint32_t i = 0; i < rounds; ++i) {
    const std::lock_guard lock(mutex);
    if (inside.fetch_add(1) != 0) ++met;
    const std::uint64_t before = count;
    // Long enough for others to want in, and at times long enough for them to go to sleep.
    for (std::uint32_t n = i % 64 == 0 ? 2000 : 3; n != 0; --n) __builtin_ia32_pause();
    count = before + 1;
    inside.fetch_sub(1);
  }
  return met;
}

std::uint64_t counter() {
  const std::lock_guard lock(mutex);
  return count;
}

void produce(std::uint32_t items) {
  for (std::uint32_t i = 1; i <= items; ++i) {
    std::unique_lock lock(queue.mutex);
    queue.not_full.wait(lock, [] { return queue.used < Queue::kPlaces; });
    queue.items[(queue.first + queue.used++) % Queue::kPlaces] = i;
    lock.unlock();
    queue.not_empty.notify_one();
  }
}

std::uint64_t consume(std::uint32_t items) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < items; ++i) {
    std::unique_lock lock(queue.mutex);
    queue.not_empty.wait(lock, [] { return queue.used != 0; });
    sum += queue.items[queue.first];
    queue.first = (queue.first + 1) % Queue::kPlaces;
    --queue.used;
    lock.unlock();
    queue.not_full.notify_one();
  }
  return sum;
}

namespace {
template <typename Duration>
bool wait_for_release_for(Duration time) {
  std::unique_lock lock(gate_mutex);
  ++asleep;
  const bool is_released = gate.wait_for(lock, time, [] { return released != 0; });
  if (is_released) --released;
  --asleep;
  return is_released;
}
}  // namespace

bool wait_for_release(std::uint64_t nanoseconds) {
  return wait_for_release_for(std::chrono::nanoseconds(nanoseconds));
}

bool wait_for_release_for_ages() {
  return wait_for_release_for(std::chrono::hours::max());
}

std::uint32_t sleepers() {
  const std::lock_guard lock(gate_mutex);
  return asleep;
}

void release(bool all) {
  const std::lock_guard lock(gate_mutex);
  released = all ? asleep : 1;
  if (all) {
    gate.notify_all();
  } else {
    gate.notify_one();
  }
}

bool standard_locks() {
  enclume::Mutex first, second;
  {
    const std::scoped_lock both(first, second);
    if (first.try_lock() || second.try_lock()) return false;
  }
  std::unique_lock lock(first, std::try_to_lock);
  if (!lock.owns_lock() || first.try_lock()) return false;
  lock.unlock();
  return first.try_lock();
}

std::uint64_t make_static() {
  static std::atomic<int> callers = 0;
  ++callers;
  static const std::uint64_t value = [] {
    while (callers < 2) __builtin_ia32_pause();
    std::abort();
    return std::uint64_t{1};
  }();
  return value;
}

}  // namespace synchronised
