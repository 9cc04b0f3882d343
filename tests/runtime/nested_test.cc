// SPDX-License-Identifier: Apache-2.0
// Calls within calls: in the same enclave on another TCS, and through enclaves of other runtimes.
#include <array>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>

#include "neighbours/neighbour.h"
#include "runtime/calls_host.h"

namespace {

using namespace calls;
using enclume::Code;
using neighbours::every_tcs_is_free;
using neighbours::Neighbour;
using neighbours::Trouble;

// Runs `what` in an OCALL of `enclave`.
template <typename F>
enclume::Error in_an_ocall(const enclume::Enclave<Calls>& enclave, F what) {
  const std::function<void()> before = std::exchange(waiting, what);
  const auto result = enclave.call<talk>("x");
  waiting = before;
  return result ? enclume::Error() : result.error();
}

// What count_calls_of_thread() says in the first call by a TCS, and in the second.
constexpr std::uint32_t kFirst = 101, kSecond = 102;

TEST(AnotherTcs, HasThreadLocalVariablesOfItsOwn) {
  const auto enclave = load();
  ASSERT_EQ(enclave.call<count_calls_of_thread>(), kFirst);
  std::uint32_t same = 0, another = 0;
  ASSERT_EQ(in_an_ocall(enclave,
                        [&] {
                          same = enclave.call<count_calls_of_thread>().value_or(99);
                          another = enclave.on_another_tcs().call<count_calls_of_thread>().value_or(99);
                        }),
            enclume::Error());
  EXPECT_EQ(same, kSecond);
  EXPECT_EQ(another, kFirst);
}

TEST(AnotherTcs, IsNotWaitedForByWhoHasOne) {
  const auto enclave = load();  // three threads, and calls that wait
  enclume::Error third;
  ASSERT_EQ(in_an_ocall(enclave,
                        [&] {
                          in_an_ocall(enclave.on_another_tcs(), [&] {
                            in_an_ocall(enclave.on_another_tcs(), [&] {
                              const auto result = enclave.on_another_tcs().call<constructed>();
                              third = result ? enclume::Error() : result.error();
                            });
                          });
                        }),
            enclume::Error());
  EXPECT_EQ(third.code, Code::kNoThread);
  EXPECT_TRUE(enclave.call<constructed>());
}

TEST(AnotherTcs, IsTheOneThatCallsWithinUse) {
  const auto enclave = load();
  std::uint32_t deepest = 0;
  in_an_ocall(enclave, [&] {
    ASSERT_EQ(enclave.on_another_tcs().call<count_calls_of_thread>(), kFirst);
    in_an_ocall(enclave.on_another_tcs(),
                [&] { deepest = enclave.call<count_calls_of_thread>().value_or(99); });
  });
  EXPECT_EQ(deepest, kSecond);
}

TEST(AnotherTcs, LetsTheHostsHandlerCallTheEnclaveThatIsInterrupted) {
  const auto enclave = load();
  enclume::Error same;
  std::uint32_t another = 0;
  const auto watched = enclave.with_handler([&](const sgx_enclave_run&) {
    const auto result = enclave.call<constructed>();
    same = result ? enclume::Error() : result.error();
    another = enclave.on_another_tcs().call<count_calls_of_thread>().value_or(99);
    return enclume::OnException::kAskEnclave;
  });
  const auto result = watched.call<calls::divide>(std::uint64_t{1}, std::uint64_t{0});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  EXPECT_EQ(same.code, Code::kRefused);
  EXPECT_EQ(another, kFirst);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(enclave.call<constructed>());
}

TEST(AnotherTcs, FaultsEndTheirOwnCallAlone) {
  const auto enclave = load();
  enclume::Error inner;
  EXPECT_EQ(in_an_ocall(enclave,
                        [&] {
                          const auto result = enclave.on_another_tcs().call<calls::divide>(std::uint64_t{1},
                                                                                           std::uint64_t{0});
                          inner = result ? enclume::Error() : result.error();
                        }),
            enclume::Error());
  EXPECT_EQ(inner.code, Code::kFault);
}

// Enclaves of three runtimes in this process, each order of them, and the first again on top.
class AcrossRuntimes : public testing::TestWithParam<std::array<std::size_t, 3>> {
 protected:
  void SetUp() override {
    all_[0] = neighbours::make_own(ENCLUME_TEST_NEIGHBOUR_IMAGE);
    all_[1] = neighbours::make_raw();
    all_[2] = neighbours::make_bare();
  }
  [[nodiscard]] Neighbour& at(std::size_t level) const { return *all_[GetParam()[level % 3]]; }

  // `then` at the innermost point, four calls deep.
  std::uint64_t descend(std::size_t level, const std::function<std::uint64_t()>& then) {
    if (level == 4) return then();
    const Trouble trouble = trouble_at(level);
    const auto before = at(level).seen(trouble);
    return at(level).visit(trouble, 1, [&](std::uint64_t) {
      // The handler of this entry has seen it already, and the exceptions further in are still to come.
      EXPECT_EQ(at(level).seen(trouble), before + 1);
      return descend(level + 1, then);
    });
  }
  static Trouble trouble_at(std::size_t level) {
    return static_cast<Trouble>(1 + level % (neighbours::kTroubles - 1));
  }
  void expect_all_free() {
    for (const auto& each : all_) {
      EXPECT_TRUE(every_tcs_is_free(*each)) << each->name();
      EXPECT_EQ(each->strangers(), 0U) << each->name();
    }
  }

 private:
  std::array<std::unique_ptr<Neighbour>, 3> all_;
};

TEST_P(AcrossRuntimes, EachExceptionReachesTheHandlerOfItsEntry) {
  EXPECT_EQ(descend(0, [] { return 0; }), 4U);
  expect_all_free();
}

TEST_P(AcrossRuntimes, AHostExceptionUnwindsThemAllAndLeavesEveryTcsFree) {
  struct Thrown {
    int value;
  };
  for (int i = 0; i < 40; ++i) {  // more often than there are TCS
    try {
      descend(0, [i]() -> std::uint64_t { throw Thrown{i}; });
      FAIL() << "nothing was thrown";
    } catch (const Thrown& thrown) {
      EXPECT_EQ(thrown.value, i);
    }
  }
  expect_all_free();
}

TEST_P(AcrossRuntimes, AHostExceptionCaughtHalfwayLetsTheOuterCallsGoOn) {
  const auto result = at(0).visit(Trouble::kRead, 10, [&](std::uint64_t) {
    return at(1).visit(Trouble::kDivide, 20, [&](std::uint64_t) -> std::uint64_t {
      try {
        at(2).visit(Trouble::kIllegal, 30,
                    [](std::uint64_t) -> std::uint64_t { throw std::runtime_error("halfway"); });
      } catch (const std::runtime_error&) {
        return 1000;
      }
      return 0;
    });
  });
  EXPECT_EQ(result, 1030U);
  expect_all_free();
}

INSTANTIATE_TEST_SUITE_P(
    InEachOrder, AcrossRuntimes,
    testing::Values(std::array<std::size_t, 3>{0, 1, 2}, std::array<std::size_t, 3>{0, 2, 1},
                    std::array<std::size_t, 3>{1, 0, 2}, std::array<std::size_t, 3>{1, 2, 0},
                    std::array<std::size_t, 3>{2, 0, 1}, std::array<std::size_t, 3>{2, 1, 0}));

}  // namespace
