// SPDX-License-Identifier: Apache-2.0
// Calls in and out: what goes in comes out, and what cannot be done is an error value that costs nothing
// else.
#include <fenv.h>

#include <array>
#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "runtime/calls_host.h"

namespace {

using namespace calls;
using enclume::Code;

TEST(Ecall, ScalarsCross) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<add>(std::int8_t{-3}, 1000U, true, 2.5, Colour::kGreen), -2492 + 1);
}

TEST(Ecall, StructsWithPaddingCrossFieldByField) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<invert>(Mixed{true, 1.5, 0x00ff}), (Mixed{false, -1.5, 0xff00}));
}

TEST(Ecall, SpansAreCopiedIn) {
  const auto enclave = load();
  const std::vector<Point> points{{1, 10}, {2, 20}, {6, 60}};
  EXPECT_EQ(enclave.call<middle>(points), (Point{3, 30}));
}

TEST(Ecall, AnEmptySpanCrosses) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<middle>(std::span<const Point>()), (Point{0, 0}));
}

TEST(Ecall, SpansOfNonConstElementsComeBack) {
  const auto enclave = load();
  std::vector<std::uint32_t> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 0U);
  ASSERT_TRUE(enclave.call<twice>(numbers));
  for (std::uint32_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(numbers[i], 2 * i);
}

TEST(Ecall, AnOutSpanIsNotCopiedInAndComesBack) {
  const auto enclave = load();
  std::array<std::byte, 100> bytes;
  bytes.fill(std::byte{0x11});
  ASSERT_TRUE(enclave.call<fill>(std::span<std::byte>(bytes), 40U));
  EXPECT_EQ(bytes[39], std::byte{0xee});
  EXPECT_EQ(bytes[40], std::byte{0});
}

TEST(Ecall, ASpanThatIsExpectedComesBack) {
  const auto enclave = load();
  std::vector<std::uint32_t> numbers{1, 2, 3};
  EXPECT_EQ(enclave.call<add_and_clear>(std::span(numbers)), 6U);
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{0, 0, 0}));
  EXPECT_EQ(enclave.call<add_and_clear>(std::unexpected(Refusal::kTooSmall)), 7U);
}

TEST(Ecall, DataOfEveryLengthAndAlignmentAreCopiedExactly) {
  const auto enclave = load();
  std::array<std::byte, 96> buffer;
  for (std::size_t at = 0; at < 9; ++at) {
    for (std::size_t length = 0; length < 80; ++length) {
      buffer.fill(std::byte{0x11});
      ASSERT_TRUE(enclave.call<fill>(std::span(buffer).subspan(at, length), length));
      for (std::size_t i = 0; i < buffer.size(); ++i) {
        ASSERT_EQ(buffer[i] == std::byte{0xee}, i >= at && i < at + length)
            << at << " " << length << " " << i;
      }
    }
  }
}

TEST(Ecall, StringsOfEveryLengthComeBack) {
  const auto enclave = load();
  for (const std::uint32_t length : {0U, 1U, 15U, 16U, 17U, 4000U, 100'000U, 200'000U}) {
    EXPECT_EQ(enclave.call<repeat>("x", length), std::string(length, 'x'));
  }
}

TEST(Ecall, VectorsComeBack) {
  const auto enclave = load();
  const auto result = enclave.call<squares>(1000U);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->size(), 1000U);
  EXPECT_EQ(result->back(), 999U * 999U);
}

TEST(Ecall, StructsOfViewsCross) {
  const auto enclave = load();
  const std::array<Point, 3> points{{{1, 0}, {2, 0}, {3, 0}}};
  EXPECT_EQ(enclave.call<describe>(Drawing{true, 'T', "star", points}, std::nullopt), "star open T123");
  EXPECT_EQ(enclave.call<describe>(Drawing{false, 'T', "", points}, 2U), " closed T12");
}

TEST(Ecall, ExpectedOfTheUsersOwnErrorIsNested) {
  const auto enclave = load();
  const auto good = enclave.call<at_least>(5U, 3U);
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, "fine");
  const auto bad = enclave.call<at_least>(2U, 3U);
  ASSERT_TRUE(bad);
  ASSERT_FALSE(*bad);
  EXPECT_EQ(bad->error(), Refusal::kTooSmall);
}

TEST(Ecall, StaticObjectsAreConstructedAndPointersRelocated) {
  EXPECT_EQ(load().call<constructed>(), 4711U);
}

TEST(Ecall, ThreadLocalVariablesAreOfTheTcs) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<count_calls_of_thread>(), 101U);
  EXPECT_EQ(enclave.call<count_calls_of_thread>(), 102U);
  // Another thread while this TCS is in use, from within an OCALL, would get another: here it is free again,
  // and either answer is right but nothing else.
  std::thread([&] {
    const auto count = enclave.call<count_calls_of_thread>();
    EXPECT_TRUE(count == 101U || count == 103U);
  }).join();
}

// A host that leaves the register stack full and the precision low, and one that looks for what was computed.
TEST(Ecall, X87StateCrossesInNoDirection) {
  const auto enclave = load();
  for (const bool dirty : {false, true, false, true}) {
    constexpr std::uint16_t kSinglePrecision = 0x007f;
    if (dirty) {
      asm volatile(
          "fninit\n\tfldpi\n\tfldpi\n\tfldpi\n\tfldpi\n\tfldpi\n\tfldpi\n\tfldpi\n\tfldpi\n\tfldcw %0"
          :
          : "m"(kSinglePrecision));
    }
    const auto third = enclave.call<third_by_x87>();
    alignas(16) std::array<std::uint64_t, 64> state;
    asm volatile("fxsave %0\n\tfninit" : "=m"(state));
    EXPECT_EQ(third, 0xaaaaaaaaaaaaaaabU) << dirty;
    for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(state[4 + 2 * i], 0U) << dirty << ", register " << i;
    if (dirty) {
      EXPECT_EQ(static_cast<std::uint16_t>(state[0]), kSinglePrecision);
    }
  }
}

TEST(Ecall, TheHostsRoundingModeStaysOutsideAndIsKept) {
  const auto enclave = load();
  const double nearest = 1.0 / 3.0;
  ASSERT_EQ(fesetround(FE_UPWARD), 0);
  const auto third_inside = enclave.call<third>();
  const int mode = fegetround();
  fesetround(FE_TONEAREST);
  EXPECT_EQ(mode, FE_UPWARD);
  EXPECT_EQ(third_inside, nearest);
}

TEST(Ocall, StringsReachTheHost) {
  const auto enclave = load();
  ASSERT_TRUE(enclave.call<talk>("to the host"));
  EXPECT_EQ(heard, "to the host");
}

TEST(Ocall, DataBeyondTheScratchMemoryAreAllocated) {
  const auto enclave = load();
  const std::string text(200'001, 'y');
  ASSERT_TRUE(enclave.call<talk>(text));
  EXPECT_EQ(heard, text);
}

TEST(Ocall, SpansAreCopiedOutAndBackAndResultsIn) {
  const auto enclave = load();
  std::vector<std::uint32_t> numbers(333);
  std::iota(numbers.begin(), numbers.end(), 1U);
  EXPECT_EQ(enclave.call<ask_outside>(numbers), std::to_string(333 * 334 / 2));
}

TEST(Nested, EcallInOcallInEcallComesBackWhole) {
  EXPECT_EQ(load().call<descend>(20U), 21U);
}

TEST(Nested, TooDeepIsAnErrorOfTheInnermostCall) {
  const auto enclave = load();
  // The innermost call fails, which descend_further makes 0, and all others count on from there.
  const auto reached = enclave.call<descend>(10'000U);
  ASSERT_TRUE(reached);
  EXPECT_GT(*reached, 20U);
  EXPECT_LT(*reached, 10'000U);
  EXPECT_EQ(enclave.call<descend>(20U), 21U);
}

TEST(Handle, ThatWasMovedFromRefuses) {
  auto enclave = load();
  const auto moved = std::move(enclave);
  EXPECT_EQ(moved.call<constructed>(), 4711U);
  EXPECT_EQ(enclave.call<constructed>().error(), enclume::Error(Code::kRefused));  // NOLINT
  EXPECT_EQ(enclave.rebuild().error(), enclume::Error(Code::kRefused));
  EXPECT_EQ(enclave.base(), 0U);
}

TEST(Nested, TooDeepSaysSo) {
  const auto enclave = load();
  std::optional<enclume::Error> innermost;
  std::uint32_t depth = 0;
  waiting = [&] {
    ++depth;
    const auto result = enclave.call<talk>("deeper");
    if (!innermost) innermost = result ? enclume::Error() : result.error();
  };
  EXPECT_TRUE(enclave.call<talk>("down"));
  waiting = nullptr;
  EXPECT_EQ(innermost, enclume::Error(Code::kOutOfStack));
  EXPECT_GT(depth, 20U);
}

TEST(HostException, PassesThroughTheEnclave) {
  const auto enclave = load();
  try {
    static_cast<void>(enclave.call<ask_and_tell>(3U));
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "failure 3");
  }
}

TEST(HostException, LeavesEveryTcsFree) {
  const auto enclave = load({.when_busy = enclume::WhenBusy::kFail});
  for (std::uint32_t i = 0; i < 20; ++i) {
    EXPECT_THROW(static_cast<void>(enclave.call<ask_and_tell>(i)), std::runtime_error);
  }
  EXPECT_EQ(enclave.call<descend>(2U), 3U);
}

TEST(Threads, AllTcsWorkAtOnce) {
  const auto enclave = load();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { good += enclave.call<meet>(3U) == 3U ? 1 : 0; });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 3);
}

TEST(Threads, WithoutAFreeTcsACallFailsIfItDoesNotWantToWait) {
  const auto enclave = load({.when_busy = enclume::WhenBusy::kFail});
  std::atomic<bool> go_on = false;
  std::vector<std::thread> threads;
  std::atomic<int> outside = 0;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      // Waits in an OCALL, with its TCS in use.
      waiting = [&] {
        ++outside;
        outside.notify_one();
        go_on.wait(false);
      };
      EXPECT_TRUE(enclave.call<talk>("wait"));
    });
  }
  for (int seen = outside; seen < 3; seen = outside) outside.wait(seen);
  const auto result = enclave.call<constructed>();
  go_on = true;
  go_on.notify_all();
  for (auto& thread : threads) thread.join();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kNoThread);
  EXPECT_TRUE(enclave.call<constructed>());
}

TEST(Threads, MoreThreadsThanTcsTakeTurns) {
  const auto enclave = load();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) good += enclave.call<repeat>("ab", 3U) == "ababab" ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 8 * 200);
}

TEST(Heap, ACallThatDoesNotFitIsAnErrorAndLosesNothing) {
  const auto enclave = load();
  const auto before = enclave.call<heap_bytes_free>();
  ASSERT_TRUE(before);
  EXPECT_GT(*before, 900'000U);
  const std::vector<std::uint32_t> big(400'000);
  const auto result = enclave.call<ask_outside>(big);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kOutOfMemory);
  EXPECT_EQ(enclave.call<heap_bytes_free>(), before);
}

// Each is in the heap once, and no allocation of the container's own can fail.
TEST(Heap, VectorsAndStringsComeInWithoutASecondCopy) {
  const auto enclave = load();
  const auto before = enclave.call<heap_bytes_free>();
  const std::vector<std::uint32_t> numbers(150'000, 2);
  const std::string more(100'000, '\x01');
  EXPECT_EQ(enclave.call<add_up>(numbers, more), 400'000U);
  for (const std::size_t length : {0U, 1U, 15U, 16U, 29U, 31U, 63U, 64U, 4097U}) {
    EXPECT_EQ(enclave.call<add_up>(std::vector<std::uint32_t>(length, 3), std::string(length, '\x02')),
              5 * length);
  }
  for (const std::size_t length : {240'000U, 250'000U, 262'100U, 270'000U, 400'000U}) {
    const auto result = enclave.call<add_up>(std::vector<std::uint32_t>(length, 2), std::string(4000, 'x'));
    if (result) continue;
    EXPECT_EQ(result.error().code, Code::kOutOfMemory) << length;
  }
  EXPECT_EQ(enclave.call<heap_bytes_free>(), before);
}

TEST(Heap, CallsLoseNothing) {
  const auto enclave = load();
  const auto before = enclave.call<heap_bytes_free>();
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(enclave.call<repeat>("abc", 10'000U));
    EXPECT_TRUE(enclave.call<squares>(500U));
    EXPECT_TRUE(enclave.call<talk>(std::string(70'000, 'z')));
  }
  EXPECT_EQ(enclave.call<heap_bytes_free>(), before);
}

TEST(Unhandled, AnExceptionEndsItsCallWithTheFacts) {
  const auto enclave = load();
  const auto result = enclave.call<divide>(1U, 0U);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  EXPECT_EQ(result.error().fault.vector, 0);
  // Everything goes on.
  EXPECT_EQ(enclave.call<divide>(10U, 5U), 2U);
  EXPECT_EQ(enclave.call<descend>(5U), 6U);
}

TEST(Unhandled, EveryTcsSurvivesManyOfThem) {
  const auto enclave = load({.when_busy = enclume::WhenBusy::kFail});
  for (int i = 0; i < 100; ++i) {
    const auto result = enclave.call<divide>(1U, 0U);
    ASSERT_FALSE(result);
    ASSERT_EQ(result.error().code, Code::kFault) << i;
  }
}

TEST(Unhandled, AbortIsAnInvalidOpcode) {
  const auto result = load().call<give_up>();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().fault.vector, 6);
}

// Behind the guard page are other threads, and the heap.
TEST(Unhandled, NobodyGetsPastTheGuardAtOnce) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<take_from_stack>(std::uint64_t{40'000}), 1U);
  for (const std::uint64_t bytes : {68'000UL, 80'000UL, 140'000UL, 1'000'000UL, 1UL << 40}) {
    const auto result = enclave.call<take_from_stack>(bytes);
    ASSERT_FALSE(result) << bytes;
    EXPECT_EQ(result.error().fault.vector, 14) << bytes;
  }
  EXPECT_EQ(enclave.call<descend>(5U), 6U);
}

TEST(Unhandled, AUsedUpStackIsAPageFaultAtTheGuard) {
  const auto enclave = load();
  const auto result = enclave.call<exhaust_stack>();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  EXPECT_EQ(result.error().fault.vector, 14);
  EXPECT_EQ(enclave.call<descend>(5U), 6U);
}

TEST(Unhandled, InACallWithinACallTheOuterOneGoesOn) {
  const auto enclave = load();
  enclume::Error inner;
  waiting = [&] {
    const auto result = enclave.call<divide>(1U, 0U);
    inner = result ? enclume::Error() : result.error();
  };
  ASSERT_TRUE(enclave.call<talk>("divide"));
  waiting = nullptr;
  EXPECT_EQ(inner.code, Code::kFault);
}

TEST(Unhandled, WithoutLeaveToSurviveTheEnclaveIsCrashed) {
  const auto enclave = load({}, ENCLUME_TEST_FRAGILE_IMAGE);
  EXPECT_EQ(enclave.call<divide>(6U, 3U), 2U);
  const auto first = enclave.call<divide>(1U, 0U);
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Code::kFault);
  const auto second = enclave.call<divide>(6U, 3U);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kCrashed);
}

}  // namespace
