// SPDX-License-Identifier: Apache-2.0
// Mutex and condition variable, under a host that does what it should, and under one that does not.
#include "runtime/sync.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "enclume/host/enclave.h"
#include "runtime/raw_entry.h"

namespace {

using namespace synchronised;
using namespace std::chrono_literals;
using Loaded = enclume::Enclave<Sync>;

Loaded load() {
  auto enclave = Loaded::load(ENCLUME_TEST_SYNC_IMAGE);
  if (!enclave) std::exit(1);
  return *enclave;
}

constexpr std::uint32_t kRounds = 20'000;

template <typename F>
void on_threads(std::uint32_t count, F work) {
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < count; ++i) threads.emplace_back([=] { work(i); });
  for (auto& thread : threads) thread.join();
}

TEST(Mutex, LetsOneInAtATime) {
  const auto enclave = load();
  on_threads(kThreads, [&](std::uint32_t) { EXPECT_EQ(enclave.call<hammer>(kRounds), 0U); });
  EXPECT_EQ(enclave.call<counter>(), std::uint64_t{kThreads} * kRounds);
}

TEST(Mutex, WorksWithTheStandardsLocks) {
  EXPECT_EQ(load().call<standard_locks>(), true);
}

TEST(ConditionVariable, WaitsLongerThanNanosecondsCanSay) {
  const auto enclave = load();
  std::atomic<bool> is_over = false;
  std::thread waiting([&] {
    EXPECT_EQ(enclave.call<wait_for_release_for_ages>(), true);
    is_over = true;
  });
  while (!is_over && enclave.call<sleepers>().value_or(0) == 0) std::this_thread::yield();
  EXPECT_TRUE(enclave.call<release>(false));
  waiting.join();
}

TEST(StaticVariable, WhoseThreadEndsTheEnclaveIsNotWaitedFor) {
  const auto enclave = load();
  std::atomic<int> faults = 0, crashes = 0;
  on_threads(2, [&](std::uint32_t) {
    const auto result = enclave.call<make_static>();
    faults += !result && result.error().code == enclume::Code::kFault ? 1 : 0;
    crashes += !result && result.error().code == enclume::Code::kCrashed ? 1 : 0;
  });
  EXPECT_EQ(faults, 1);
  EXPECT_EQ(crashes, 1);
}

TEST(ConditionVariable, LosesNoNotification) {
  const auto enclave = load();
  constexpr std::uint64_t kItems = 20'000;
  std::atomic<std::uint64_t> sum = 0;
  on_threads(kThreads, [&](std::uint32_t i) {
    if (i % 2 == 0) {
      EXPECT_TRUE(enclave.call<produce>(kItems));
    } else {
      sum += enclave.call<consume>(kItems).value_or(0);
    }
  });
  EXPECT_EQ(sum, kThreads / 2 * (kItems * (kItems + 1) / 2));
}

TEST(ConditionVariable, GivesUpWhenTheTimeIsOver) {
  const auto enclave = load();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(enclave.call<wait_for_release>(30'000'000U), false);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 30ms);
  EXPECT_EQ(enclave.call<wait_for_release>(0U), false);
  EXPECT_EQ(enclave.call<sleepers>(), 0U);
}

TEST(ConditionVariable, WakesOneOrAll) {
  const auto enclave = load();
  constexpr std::uint64_t kLong = 60'000'000'000;
  std::atomic<std::uint32_t> done = 0;
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < kThreads - 1; ++i) {
    threads.emplace_back([&] {
      EXPECT_EQ(enclave.call<wait_for_release>(kLong), true);
      ++done;
    });
  }
  while (enclave.call<sleepers>() != kThreads - 1) std::this_thread::yield();
  ASSERT_TRUE(enclave.call<release>(false));
  while (done == 0) std::this_thread::yield();
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(done, 1U);
  ASSERT_TRUE(enclave.call<release>(true));
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(done, kThreads - 1);
}

// A host of our own: what becomes of SLEEP and WAKE is up to the test.
class Hostile : public testing::Test {
 protected:
  // Answers one OCALL of thread `index`: its number, and the word, which becomes the result. The status that
  // the enclave is given.
  using Answer = std::uint64_t (*)(std::uint32_t index, std::uint64_t number, std::uint64_t& word);

  void SetUp() override {
    enclume::edge::Mailbox mailbox{};
    ASSERT_EQ(enclave_.enter(0, mailbox, ENCLUME_COMMAND_START, Sync::kFingerprint), kEexit);
    ASSERT_EQ(mailbox.value, kOk);
  }

  template <auto F>
  std::uint64_t call(std::uint32_t index, std::uint64_t argument, Answer answer) {
    alignas(64) std::uint64_t scratch[128]{};
    std::uint64_t words[8]{argument};
    enclume::edge::Mailbox mailbox{};
    mailbox.words = reinterpret_cast<std::uint64_t>(words);
    mailbox.scratch = reinterpret_cast<std::uint64_t>(scratch);
    mailbox.scratch_size = sizeof scratch;
    std::uint32_t leaf = enclave_.enter(index, mailbox, ENCLUME_COMMAND_CALL, Sync::Inside::index<F>());
    while (leaf == kEexit && mailbox.exit == ENCLUME_EXIT_OCALL) {
      std::uint64_t& word = *reinterpret_cast<std::uint64_t*>(mailbox.out_words);
      leaf = enclave_.enter(index, mailbox, ENCLUME_COMMAND_RETURN, answer(index, mailbox.value, word));
    }
    EXPECT_EQ(leaf, kEexit);
    EXPECT_EQ(mailbox.exit, std::uint64_t{ENCLUME_EXIT_DONE});
    EXPECT_EQ(mailbox.value, kOk);
    return words[0];
  }

  void expect_exclusion(Answer answer) {
    on_threads(kThreads, [&](std::uint32_t i) { EXPECT_EQ(call<hammer>(i, kRounds / 4, answer), 0U); });
    EXPECT_EQ(call<counter>(0, 0, answer), std::uint64_t{kThreads} * (kRounds / 4));
  }

  static constexpr std::uint32_t kEexit = 4;
  static constexpr std::uint64_t kOk = 0;
  enclume::test::RawEnclave enclave_{ENCLUME_TEST_SYNC_IMAGE};
};

TEST_F(Hostile, FutexThatReturnsAtOnceLetsOneInAtATime) {
  expect_exclusion([](std::uint32_t, std::uint64_t, std::uint64_t& word) -> std::uint64_t {
    word = 0;
    return kOk;
  });
}

TEST_F(Hostile, FutexThatWakesNobodyLetsOneInAtATime) {
  // Nobody would ever go on if it did not end at all, which would be all the same.
  expect_exclusion([](std::uint32_t, std::uint64_t number, std::uint64_t& word) -> std::uint64_t {
    if (number == ENCLUME_OCALL_SLEEP) std::this_thread::sleep_for(100us);
    word = 0;
    return kOk;
  });
}

TEST_F(Hostile, FutexThatLiesLetsOneInAtATime) {
  expect_exclusion([](std::uint32_t, std::uint64_t, std::uint64_t& word) -> std::uint64_t {
    thread_local std::minstd_rand random;
    word = random();                            // woken, not woken, an address, whatever
    return random() % 3 == 0 ? kOk : random();  // and errors that there are, and that there are not
  });
}

TEST_F(Hostile, NotificationsAreNotInventedByTheHost) {
  // Whoever waits for items gets items, each once, however often it is woken for nothing.
  constexpr std::uint64_t kItems = 2'000;
  std::atomic<std::uint64_t> sum = 0;
  on_threads(kThreads, [&](std::uint32_t i) {
    const Answer answer = [](std::uint32_t, std::uint64_t, std::uint64_t& word) -> std::uint64_t {
      word = 0;
      return kOk;
    };
    if (i % 2 == 0) {
      call<produce>(i, kItems, answer);
    } else {
      sum += call<consume>(i, kItems, answer);
    }
  });
  EXPECT_EQ(sum, kThreads / 2 * (kItems * (kItems + 1) / 2));
}

TEST_F(Hostile, AClockThatLiesEndsAWaitAndNothingElse) {
  EXPECT_EQ(call<wait_for_release>(0, 1'000'000'000'000,
                                   [](std::uint32_t, std::uint64_t, std::uint64_t& word) -> std::uint64_t {
                                     word = 1;
                                     return kOk;
                                   }),
            0U);
  EXPECT_EQ(call<sleepers>(0, 0, nullptr), 0U);
}

}  // namespace
