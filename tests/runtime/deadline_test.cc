// SPDX-License-Identifier: Apache-2.0
// A call whose time is over ends, whatever it does; everything else goes on, and the TCS can be used again.
#include "runtime/deadline.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>
#include <vector>

#include "enclume/host/enclave.h"

namespace {
thread_local std::function<std::uint32_t()> when_called_back;
}  // namespace

void deadline::nothing() {}

std::uint32_t deadline::call_back() {
  return when_called_back();
}

namespace {

using namespace deadline;
using namespace std::chrono_literals;
using enclume::Code;
using Loaded = enclume::Enclave<Deadline>;

Loaded load(const char* image = ENCLUME_TEST_DEADLINE_IMAGE,
            const enclume::LoadOptions& options = {.when_busy = enclume::WhenBusy::kFail}) {
  auto enclave = Loaded::load(image, options);
  if (!enclave) {
    ADD_FAILURE() << describe(enclave.error().code) << " (" << enclave.error().system << ")";
    std::exit(1);
  }
  return *enclave;
}

Code code_of(const auto& result) {
  return result ? Code::kOk : result.error().code;
}

// On a machine with much else to do.
constexpr auto kBound = 2s;

// Ends in time, not before its time, and leaves both TCS usable.
template <auto F, typename... A>
void expect_to_end(const Loaded& enclave, A... arguments) {
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(code_of(enclave.with_deadline(20ms).call<F>(arguments...)), Code::kDeadline);
    const auto time = std::chrono::steady_clock::now() - start;
    EXPECT_GE(time, 20ms);
    EXPECT_LT(time, kBound);
    EXPECT_EQ(enclave.call<add>(1U, 2U), 3U);
  }
}

TEST(Deadline, EndsAnEndlessLoop) {
  expect_to_end<spin>(load());
}

TEST(Deadline, IsNoticedInAChildOfFork) {
  // The parent's thread looks at the clock already, and sleeps for a long time.
  const auto parents = load().with_deadline(1h);
  EXPECT_TRUE(parents.call<add>(1U, 2U));
  const pid_t child = fork();
  if (child == 0) {
    const auto enclave = load();
    const bool ended = code_of(enclave.with_deadline(20ms).call<spin>()) == Code::kDeadline;
    _exit(ended && enclave.call<add>(1U, 2U) == 3U ? 0 : 1);
  }
  int status = -1;
  for (int i = 0; i < 1000 && waitpid(child, &status, WNOHANG) == 0; ++i) std::this_thread::sleep_for(10ms);
  kill(child, SIGKILL);
  EXPECT_EQ(status, 0);
}

TEST(Deadline, EndsAnEndlessLoopInAHandler) {
  expect_to_end<spin_in_handler>(load());
}

TEST(Deadline, EndsAnEndlessLoopFarDownAStack) {
  expect_to_end<spin_on_stack>(load(), std::uint64_t{20});
}

TEST(Deadline, EndsACallThatIsMostlyOutside) {
  expect_to_end<call_outside_for_ever>(load());
}

TEST(Deadline, EndsASleepInAConditionVariable) {
  const auto enclave = load();
  expect_to_end<lock_and_sleep>(enclave);
  // Its mutex was open when it slept.
  EXPECT_EQ(enclave.call<is_mutex_free>(), true);
}

TEST(Deadline, EndsASleepInAMutex) {
  expect_to_end<sleep_in_mutex>(load());
}

TEST(Deadline, LeavesTheHeapWhole) {
  const auto enclave = load();
  for (int i = 0; i < 30; ++i) {
    ASSERT_EQ(code_of(enclave.with_deadline(3ms).call<churn>()), Code::kDeadline);
    // Would wait for ever for a heap that is locked.
    ASSERT_EQ(enclave.call<churn_for>(100U), 100U);
  }
}

TEST(Deadline, LeavesOtherThreadsAlone) {
  const auto enclave = load();
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) EXPECT_EQ(enclave.call<churn_for>(50U), 50U);
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(code_of(enclave.with_deadline(3ms).call<spin>()), Code::kDeadline);
  }
  stop = true;
  other.join();
}

TEST(Deadline, OfSeveralThreadsAtOnce) {
  const auto enclave = load();
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const auto timed = enclave.with_deadline(std::chrono::milliseconds(1 + t * 3));
        EXPECT_EQ(code_of(timed.call<spin>()), Code::kDeadline);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(enclave.call<add>(1U, 2U), 3U);
}

TEST(Deadline, ThatIsNotReachedChangesNothing) {
  const auto enclave = load();
  const auto timed = enclave.with_deadline(1h);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(timed.call<add>(1U, 2U), 3U);
  EXPECT_EQ(timed.call<churn_for>(1000U), 1000U);
}

TEST(Deadline, ThatIsOverBeforeTheCallBeginsEndsIt) {
  const auto enclave = load();
  for (int i = 0; i < 100; ++i) {
    const auto result = enclave.with_deadline(std::chrono::microseconds(i)).call<spin>();
    ASSERT_EQ(code_of(result), Code::kDeadline);
  }
  EXPECT_EQ(enclave.call<add>(1U, 2U), 3U);
}

TEST(Deadline, MeetsTheEndOfTheCallAnywhere) {
  // Either it is done or it is over; a TCS that was left halfway would show.
  const auto enclave = load();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(enclave.call<allocate_for>(1000U), 1000U);
  const auto usual = std::chrono::steady_clock::now() - start;
  int done = 0, over = 0;
  for (int i = 0; i < 600; ++i) {
    // From nothing to much more than it takes.
    const auto limit = usual * (i % 100) / 25 * (1 + i / 100) * (1 + i / 100);
    const auto result = enclave.with_deadline(limit).call<allocate_for>(1000U);
    ASSERT_TRUE(code_of(result) == Code::kOk || code_of(result) == Code::kDeadline);
    ++(result ? done : over);
  }
  EXPECT_GT(done, 0);
  EXPECT_GT(over, 0);
  EXPECT_EQ(enclave.call<add>(1U, 2U), 3U);
}

TEST(Deadline, EndsTheWaitForATcs) {
  const auto enclave = load(ENCLUME_TEST_DEADLINE_FRAGILE_IMAGE, {});  // which has one
  std::atomic<bool> is_inside = false, stop = false;
  std::thread other([&] {
    when_called_back = [&] {
      is_inside = true;
      while (!stop) std::this_thread::sleep_for(1ms);
      return 1;
    };
    EXPECT_EQ(enclave.call<nested_spin>(), 1U);
  });
  while (!is_inside) std::this_thread::sleep_for(1ms);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of(enclave.with_deadline(20ms).call<add>(1U, 2U)), Code::kDeadline);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
  stop = true;
  other.join();
  // That one was in nobody's way.
  EXPECT_EQ(enclave.with_deadline(1h).call<add>(1U, 2U), 3U);
}

TEST(Deadline, WritesNoDump) {
  int dumps = 0;
  const auto enclave = load(ENCLUME_TEST_DEADLINE_IMAGE, {.on_dump = [&](const enclume::Dump&) { ++dumps; }});
  expect_to_end<spin>(enclave);
  expect_to_end<spin_in_handler>(enclave);
  EXPECT_EQ(dumps, 0);
}

TEST(Deadline, IsThatOfCallsWithinTheCall) {
  const auto enclave = load();
  Code inner = Code::kOk;
  when_called_back = [&] {
    inner = code_of(enclave.call<spin>());
    return 1;
  };
  EXPECT_EQ(code_of(enclave.with_deadline(200ms).call<nested_spin>()), Code::kDeadline);
  EXPECT_EQ(inner, Code::kDeadline);
  // And one of its own, which leaves the outer call alone.
  when_called_back = [&] {
    inner = code_of(enclave.with_deadline(20ms).call<spin>());
    return 1;
  };
  EXPECT_EQ(enclave.call<nested_spin>(), 1U);
  EXPECT_EQ(inner, Code::kDeadline);
  when_called_back = nullptr;
}

TEST(Deadline, IsThatOfCallsToOtherEnclavesWithinTheCall) {
  const auto enclave = load(), other = load();
  Code inner = Code::kOk;
  when_called_back = [&] {
    inner = code_of(other.call<spin>());
    return 1;
  };
  EXPECT_EQ(code_of(enclave.with_deadline(200ms).call<nested_spin>()), Code::kDeadline);
  EXPECT_EQ(inner, Code::kDeadline);
  when_called_back = nullptr;
  EXPECT_EQ(enclave.call<add>(1U, 2U), 3U);
  EXPECT_EQ(other.call<add>(1U, 2U), 3U);
}

TEST(Deadline, WaitsForAHostsFunction) {
  const auto enclave = load();
  int begun = 0, done = 0;
  // The first times it may be over before the function begins.
  for (auto limit = 5ms; begun == 0; limit *= 2) {
    when_called_back = [&] {
      ++begun;
      std::this_thread::sleep_for(2 * limit);
      ++done;
      return 1;
    };
    EXPECT_EQ(code_of(enclave.with_deadline(limit).call<nested_spin>()), Code::kDeadline);
    EXPECT_EQ(done, begun);
  }
  when_called_back = nullptr;
  EXPECT_EQ(enclave.call<add>(1U, 2U), 3U);
}

TEST(Deadline, WithoutLeaveToSurviveEndsTheEnclave) {
  const auto enclave = load(ENCLUME_TEST_DEADLINE_FRAGILE_IMAGE);
  // If it has begun, which it may not have in so short a time.
  auto limit = 5ms;
  for (; enclave.call<add>(1U, 2U) == 3U && limit < 5s; limit *= 2) {
    EXPECT_EQ(code_of(enclave.with_deadline(limit).call<spin>()), Code::kDeadline);
  }
  EXPECT_EQ(code_of(enclave.call<add>(1U, 2U)), Code::kCrashed);
}

}  // namespace
