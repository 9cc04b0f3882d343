// SPDX-License-Identifier: Apache-2.0
// Enclaves of three runtimes in one process under load: threads that wander from one into the next,
// exceptions in all of them, C++ exceptions out of all of them, signals all the time. Nothing goes astray.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "neighbours/neighbour.h"

namespace {

using namespace neighbours;

constexpr unsigned kThreads = 4, kDepth = 4;
static_assert(kThreads * kDepth <= ENCLAVE_THREADS);

struct Thrown {
  unsigned thread;
};

class Neighbours : public testing::Test {
 protected:
  Neighbours() : all_{make_raw(), make_bare(), make_own(ENCLUME_TEST_NEIGHBOUR_IMAGE)} {}

  // A chain of `left` visits, at whose end one in eight throws.
  std::uint64_t wander(unsigned thread, std::mt19937& random, unsigned left) {
    if (left == 0) {
      if (random() % 8 == 0) throw Thrown{thread};
      return 0;
    }
    const auto where = random() % all_.size();
    const auto trouble = static_cast<Trouble>(random() % kTroubles);
    ++made_[where][static_cast<std::size_t>(trouble)];
    ++entries_;
    return all_[where]->visit(trouble, 1, [&](std::uint64_t) { return wander(thread, random, left - 1); });
  }

  void work(unsigned thread, std::uint64_t entries) {
    std::mt19937 random(thread);
    while (entries_ < entries) {
      const unsigned depth = 1 + static_cast<unsigned>(random() % kDepth);
      try {
        if (wander(thread, random, depth) != depth) ++wrong_;
        ++returned_;
      } catch (const Thrown& thrown) {
        if (thrown.thread != thread) ++wrong_;
        ++thrown_;
      }
    }
  }

  void hammer(std::uint64_t entries) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back([this, i, entries] { work(i, entries); });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong_, 0U);
    EXPECT_GT(returned_, 0U);
    EXPECT_GT(thrown_, 0U);
    for (std::size_t i = 0; i < all_.size(); ++i) {
      SCOPED_TRACE(all_[i]->name());
      for (const Trouble trouble : {Trouble::kDivide, Trouble::kIllegal, Trouble::kRead}) {
        EXPECT_GT(all_[i]->seen(trouble), 0U);
        EXPECT_EQ(all_[i]->seen(trouble), made_[i][static_cast<std::size_t>(trouble)]);
      }
      EXPECT_EQ(all_[i]->strangers(), 0U);
      EXPECT_TRUE(every_tcs_is_free(*all_[i]));
    }
  }

 private:
  std::array<std::unique_ptr<Neighbour>, 3> all_;
  std::array<std::array<std::atomic<std::uint64_t>, kTroubles>, 3> made_{};
  std::atomic<std::uint64_t> entries_ = 0, returned_ = 0, thrown_ = 0, wrong_ = 0;
};

std::atomic<std::uint64_t> ticks = 0;

TEST_F(Neighbours, NoExceptionGoesAstray) {
  hammer(40'000);
}

TEST_F(Neighbours, NoExceptionGoesAstrayUnderATimersSignals) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++ticks; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);
  const itimerval often{{0, 500}, {0, 500}}, never{};
  setitimer(ITIMER_PROF, &often, nullptr);
  hammer(20'000);
  setitimer(ITIMER_PROF, &never, nullptr);
  EXPECT_GT(ticks, 0U);
}

TEST_F(Neighbours, WhoHasTheSignalsLaterMayPassThemOn) {
  // A handler in front of all, as another library might install it: what is not its own goes on.
  static std::array<struct sigaction, NSIG> before;
  static std::atomic<std::uint64_t> passed = 0;
  struct sigaction action {};
  action.sa_sigaction = [](int number, siginfo_t* info, void* context) {
    ++passed;
    before[static_cast<std::size_t>(number)].sa_sigaction(number, info, context);
  };
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  constexpr std::array kSignals{SIGSEGV, SIGFPE, SIGILL};
  for (const int number : kSignals) sigaction(number, &action, &before[static_cast<std::size_t>(number)]);
  hammer(10'000);
  for (const int number : kSignals) sigaction(number, &before[static_cast<std::size_t>(number)], nullptr);
  EXPECT_GT(passed, 0U);
}

}  // namespace
