// SPDX-License-Identifier: Apache-2.0
// The EPC goes away, and the runtime builds its enclave again: no request is lost, none is carried out twice.
#include "runtime/loss.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "enclume/host/enclave.h"
#include "enclume/uapi/enclume_control.h"

namespace {
thread_local std::function<void()> in_meanwhile;
std::mutex kept_mutex;
std::array<loss::Account, loss::kAccounts> kept{};
}  // namespace

void loss::meanwhile() {
  if (in_meanwhile) in_meanwhile();
}

void loss::keep(std::uint32_t account, const Account& state) {
  const std::lock_guard lock(kept_mutex);
  kept.at(account) = state;
}

namespace {

using namespace loss;
using namespace std::chrono_literals;
using enclume::Code;
using Loaded = enclume::Enclave<Loss>;
using Nothing = std::expected<void, enclume::Error>;

bool lose() {
  const int fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
  const bool done = ioctl(fd, ENCLUME_IOC_LOSE_EPC, ENCLUME_LOSE_MACHINE) >= 0;
  close(fd);
  return done;
}

class EpcLoss : public testing::Test {
 protected:
  void SetUp() override {
    const int fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
    const bool can = ioctl(fd, ENCLUME_IOC_LOSE_EPC, ENCLUME_LOSE_MACHINE) >= 0 || errno != ENOTTY;
    close(fd);
    if (!can) GTEST_SKIP() << "hardware does not lose its EPC on request";
  }
  static Loaded load(enclume::WhenBusy when_busy = enclume::WhenBusy::kWait) {
    auto enclave = Loaded::load(ENCLUME_TEST_LOSS_IMAGE, {.when_busy = when_busy});
    if (!enclave) {
      ADD_FAILURE() << describe(enclave.error().code) << " (" << enclave.error().system << ")";
      std::exit(1);
    }
    return *enclave;
  }
  static Code code_of(const auto& result) { return result ? Code::kOk : result.error().code; }
};

TEST_F(EpcLoss, IsWhatEveryCallSaysFromThenOn) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<add>(0U, 1U, 5U), (Account{1, 5}));
  ASSERT_TRUE(lose());
  for (int i = 0; i < 8; ++i) EXPECT_EQ(code_of(enclave.call<add>(0U, 2U, 5U)), Code::kEnclaveLost);
}

TEST_F(EpcLoss, EndsACallThatIsInside) {
  const auto enclave = load();
  std::atomic<bool> is_over = false;
  std::thread inside([&] {
    EXPECT_EQ(code_of(enclave.call<spin>()), Code::kEnclaveLost);
    is_over = true;
  });
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(is_over);
  ASSERT_TRUE(lose());
  inside.join();
}

TEST_F(EpcLoss, EndsACallThatIsOutside) {
  const auto enclave = load();
  in_meanwhile = [] { ASSERT_TRUE(lose()); };
  std::vector<std::uint32_t> numbers{1, 2};
  EXPECT_EQ(code_of(enclave.call<add_one>(numbers)), Code::kEnclaveLost);
  in_meanwhile = nullptr;
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{1, 2}));
}

TEST_F(EpcLoss, WakesThoseWhoWaitForSomebodyInside) {
  const auto enclave = load();
  std::atomic<int> asleep = 0;
  std::vector<std::thread> sleepers;
  for (int i = 0; i < 2; ++i) {
    sleepers.emplace_back([&] {
      in_meanwhile = [&] { ++asleep; };
      EXPECT_EQ(code_of(enclave.call<sleep_for_ever>()), Code::kEnclaveLost);
    });
  }
  while (asleep != 2) std::this_thread::yield();
  std::this_thread::sleep_for(20ms);
  ASSERT_TRUE(lose());
  // Nobody is told of a loss: it takes a call to notice.
  EXPECT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
  for (auto& sleeper : sleepers) sleeper.join();
}

TEST_F(EpcLoss, IsNoticedWhenEverybodySleeps) {
  const auto enclave = load();
  std::atomic<int> asleep = 0;
  std::vector<std::thread> sleepers;
  for (int i = 0; i < 3; ++i) {
    sleepers.emplace_back([&] {
      in_meanwhile = [&] { ++asleep; };
      EXPECT_EQ(code_of(enclave.call<sleep_for_ever>()), Code::kEnclaveLost);
    });
  }
  while (asleep != 3) std::this_thread::yield();
  std::this_thread::sleep_for(20ms);
  ASSERT_TRUE(lose());
  // Waits for a TCS, of which none is free.
  EXPECT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
  for (auto& sleeper : sleepers) sleeper.join();
}

TEST_F(EpcLoss, IsOverAfterARebuild) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<add>(0U, 1U, 5U), (Account{1, 5}));
  ASSERT_TRUE(lose());
  EXPECT_EQ(code_of(enclave.call<add>(0U, 2U, 5U)), Code::kEnclaveLost);
  const Account saved[] = {{1, 5}};
  ASSERT_TRUE(enclave.rebuild([&](const Loaded& fresh) -> Nothing { return fresh.call<restore>(saved); }));
  EXPECT_EQ(enclave.call<add>(0U, 2U, 7U), (Account{2, 12}));
}

TEST_F(EpcLoss, WithoutOneARebuildDoesNothing) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<add>(0U, 1U, 5U), (Account{1, 5}));
  const auto base = enclave.base();
  ASSERT_TRUE(enclave.rebuild([](const Loaded&) -> Nothing { throw std::logic_error("not asked for"); }));
  EXPECT_EQ(enclave.base(), base);
  EXPECT_EQ(enclave.call<add>(0U, 1U, 5U), (Account{1, 5}));
}

TEST_F(EpcLoss, ARestoreThatFailsLeavesTheEnclaveLost) {
  const auto enclave = load();
  ASSERT_TRUE(lose());
  ASSERT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
  EXPECT_EQ(code_of(enclave.rebuild([](const Loaded& fresh) -> Nothing {
              EXPECT_EQ(fresh.call<add>(0U, 1U, 5U), (Account{1, 5}));
              return std::unexpected(enclume::Error(Code::kBadResult));
            })),
            Code::kBadResult);
  EXPECT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
  EXPECT_THROW(static_cast<void>(
                   enclave.rebuild([](const Loaded&) -> Nothing { throw std::runtime_error("no state"); })),
               std::runtime_error);
  EXPECT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
  ASSERT_TRUE(enclave.rebuild());
  EXPECT_EQ(enclave.call<add>(0U, 1U, 5U), (Account{1, 5}));
}

TEST_F(EpcLoss, WhileRestoringBeginsAnew) {
  const auto enclave = load();
  ASSERT_TRUE(lose());
  ASSERT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
  int tries = 0;
  const Account saved[] = {{9, 90}};
  ASSERT_TRUE(enclave.rebuild([&](const Loaded& fresh) -> Nothing {
    if (++tries < 3) lose();
    return fresh.call<restore>(saved);
  }));
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(enclave.call<add>(0U, 10U, 1U), (Account{10, 91}));
}

TEST_F(EpcLoss, ARestoreCannotRebuild) {
  const auto enclave = load();
  ASSERT_TRUE(lose());
  ASSERT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
  EXPECT_EQ(code_of(enclave.rebuild([&](const Loaded& fresh) -> Nothing { return fresh.rebuild(); })),
            Code::kRefused);
}

TEST_F(EpcLoss, RepeatsACallWithWhatItWasGiven) {
  int restored = 0;
  const auto enclave = load().with_rebuild([&](const Loaded&) -> Nothing {
    ++restored;
    return {};
  });
  int outside = 0;
  in_meanwhile = [&] {
    if (++outside == 1) lose();
  };
  std::vector<std::uint32_t> numbers{1, 2};
  EXPECT_TRUE(enclave.call<add_one>(numbers));
  in_meanwhile = nullptr;
  EXPECT_EQ(outside, 2);
  EXPECT_EQ(restored, 1);
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{2, 3}));
}

TEST_F(EpcLoss, CanBeRepairedInAnOcallOfTheLostEnclave) {
  const auto enclave = load(enclume::WhenBusy::kFail);
  in_meanwhile = [&] {
    lose();
    EXPECT_EQ(code_of(enclave.call<add>(1U, 1U, 5U)), Code::kEnclaveLost);
    ASSERT_TRUE(enclave.rebuild());
    EXPECT_EQ(enclave.call<add>(1U, 1U, 5U), (Account{1, 5}));
  };
  std::vector<std::uint32_t> numbers{1, 2};
  EXPECT_EQ(code_of(enclave.call<add_one>(numbers)), Code::kEnclaveLost);
  in_meanwhile = nullptr;
  EXPECT_EQ(enclave.call<add>(1U, 2U, 5U), (Account{2, 10}));
  EXPECT_TRUE(enclave.call<add_one>(numbers));
}

TEST_F(EpcLoss, LeavesNothingOfTheOldEnclave) {
  const auto enclave = load();
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n');
  };
  const auto turn = [&] {
    lose();
    EXPECT_EQ(code_of(enclave.call<add>(0U, 1U, 5U)), Code::kEnclaveLost);
    EXPECT_TRUE(enclave.rebuild());
    EXPECT_EQ(enclave.call<add>(0U, 1U, 5U), (Account{1, 5}));
  };
  for (int i = 0; i < 3; ++i) turn();
  const auto before = mappings();
  for (int i = 0; i < 10; ++i) turn();
  EXPECT_LE(mappings(), before + 3);  // the allocator's, say
}

// Each thread has an account of its own; the host keeps the last state of each. On until so many rebuilds
// have been seen.
void serve(const Loaded& loaded, std::uint64_t requests, int rebuilds) {
  kept = {};
  std::atomic<int> seen = 0;
  const auto enclave = loaded.with_rebuild([&](const Loaded& fresh) -> Nothing {
    std::unique_lock lock(kept_mutex);
    const auto saved = kept;
    lock.unlock();
    ++seen;
    return fresh.call<restore>(saved);
  });
  std::vector<std::thread> threads;
  for (std::uint32_t account = 0; account < kAccounts; ++account) {
    threads.emplace_back([&, account] {
      std::uint64_t sum = 0;
      for (std::uint64_t number = 1; number <= requests || seen < rebuilds; ++number) {
        const auto state = enclave.call<add>(account, number, number * (account + 1));
        sum += number * (account + 1);
        ASSERT_TRUE(state) << describe(state.error().code) << ", " << state.error().system << ", vector "
                           << state.error().fault.vector;
        ASSERT_EQ(*state, (Account{number, sum}));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(EpcLoss, LosesNoRequestOfManyCallers) {
  const auto enclave = load();
  std::atomic<bool> stop = false;
  std::thread loser([&] {
    while (!stop) {
      std::this_thread::sleep_for(5ms);
      lose();
    }
  });
  serve(enclave, 3'000, 10);
  stop = true;
  loser.join();
}

// Run with `--inject lose-epc`: at EENTERs that are counted.
TEST(InjectedLoss, LosesNoRequestOfManyCallers) {
  if (std::getenv("ENCLUME_TEST_LOSES_EPC") == nullptr) GTEST_SKIP() << "nothing is lost";
  std::optional<Loaded> enclave;
  // The first enclave may be lost before it has begun.
  while (!enclave) {
    auto loaded = Loaded::load(ENCLUME_TEST_LOSS_IMAGE);
    if (loaded) enclave = *loaded;
  }
  serve(*enclave, 1'000, 10);
}

}  // namespace
