// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <mutex>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/exception.h"
#include "enclume/enclave/sync.h"
#include "runtime/deadline.h"

ENCLUME_ENCLAVE(Deadline);

namespace deadline {
namespace {

constexpr enclume::Outside<Deadline> outside;
enclume::Mutex free_mutex, held_mutex;
enclume::Mutex sleep_mutex;
enclume::ConditionVariable never;

// Nobody changes it; the compiler does not know.
volatile bool goes_on = true;

void churn_once() {
  void* const block = std::malloc(100);
  const std::lock_guard lock(free_mutex);
  std::free(block);
}

}  // namespace

void spin() {
  while (goes_on) __builtin_ia32_pause();
}

void churn() {
  for (;;) std::free(std::malloc(100));
}

std::uint64_t churn_for(std::uint32_t rounds) {
  for (std::uint32_t i = 0; i < rounds; ++i) churn_once();
  return rounds;
}

std::uint64_t allocate_for(std::uint32_t rounds) {
  for (std::uint32_t i = 0; i < rounds; ++i) std::free(std::malloc(100));
  return rounds;
}

void lock_and_sleep() {
  std::unique_lock lock(sleep_mutex);
  never.wait(lock, [] { return false; });
}

void sleep_in_mutex() {
  enclume::Mutex mutex;
  mutex.lock();
  mutex.lock();
}

void call_outside_for_ever() {
  for (;;) static_cast<void>(outside.call<nothing>());
}

void spin_in_handler() {
  const enclume::ThreadHandler handler([](enclume::Exception&) {
    spin();
    return enclume::Verdict::kSkip;
  });
  asm volatile("ud2");
}

[[gnu::noinline]] void spin_on_stack(std::uint64_t depth) {
  volatile unsigned char page[1024];
  page[0] = 1;
  if (depth == 0) {
    spin();
  } else {
    spin_on_stack(depth - 1);
  }
  page[1] = page[0];
}

std::uint64_t add(std::uint64_t a, std::uint64_t b) {
  return a + b;
}

bool is_mutex_free() {
  const bool is_free = sleep_mutex.try_lock();
  if (is_free) sleep_mutex.unlock();
  return is_free;
}

std::uint32_t nested_spin() {
  return outside.call<call_back>().value_or(77);
}

}  // namespace deadline
