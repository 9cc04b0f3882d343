// SPDX-License-Identifier: Apache-2.0
// Random sequences of ioctls, leaves, accesses and entries against the second model of Linux and the EPCM,
// with threads inside and with more enclave than EPC. ENCLUME_PROPERTY_SECONDS makes it look longer,
// ENCLUME_PROPERTY_SEED elsewhere.
#include "property/call_sequence.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "enclaves/sgx_loader.h"
#include "property/budget.h"
#include "property/shrink.h"

namespace enclume::property {
namespace {

constexpr unsigned kLength = 160;
constexpr std::uint64_t kSeeds = 15;

class CallSequence : public ::testing::TestWithParam<Order> {
 protected:
  void SetUp() override {
    sgx_enclave_remove_pages nothing{};
    const test::Fd fd = test::open_sgx_enclave();
    if (test::remove_pages(fd.get(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  }
};

// What depends on the order of threads may need several tries to fail again.
bool fails(const std::vector<Call>& calls, Order order) {
  const int tries = order == Order::Turns ? 1 : 5;
  for (int i = 0; i < tries; ++i) {
    if (run(calls, order)) return true;
  }
  return false;
}

TEST_P(CallSequence, EndsAsTheSecondModelSays) {
  CallEnds ends;
  const Budget budget(1.0);
  for (std::uint64_t seed = first_seed(), least = seed + kSeeds; seed < least || budget.left(); ++seed) {
    const auto calls = random_calls(seed, kLength, GetParam());
    if (const auto found = run(calls, GetParam(), &ends)) {
      const Budget patience = Budget::of(20);
      const auto small = shrink(
          calls, [](const std::vector<Call>& candidate) { return fails(candidate, GetParam()); },
          [&] { return patience.left(); });
      FAIL() << "seed " << seed << ", step " << found->step << ": " << found->expected << " says the model, "
             << found->got << " came\n"
             << as_program(small, GetParam());
    }
  }
  if (std::getenv("ENCLUME_PROPERTY_SEED") != nullptr) return;  // a few others need not have them all
  // A sequence that never gets anywhere would agree as well.
  for (const char* end : {"accept: RAX 0", "accept: RAX 19", "accept: #GP", "accept_copy: RAX 0",
                          "extend: done", "restrict: done", "modify: done", "remove: done", "remove: EPERM",
                          "execute: done", "enter: done", "protect: EACCES", "press: value 0"}) {
    EXPECT_GE(ends[std::string("replay_") + end], 1U) << end;
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, CallSequence, ::testing::Values(Order::Turns, Order::Concurrent),
                         [](const auto& order) {
                           return order.param == Order::Turns ? "Turns" : "Concurrent";
                         });

}  // namespace
}  // namespace enclume::property

// With --print SEED, the sequence of a seed as a program, for the test of the printing.
int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc == 4 && std::string(argv[1]) == "--print") {
    using namespace enclume::property;
    const Order order = std::string(argv[3]) == "turns" ? Order::Turns : Order::Concurrent;
    std::fputs(as_program(random_calls(std::strtoull(argv[2], nullptr, 0), 160, order), order).c_str(),
               stdout);
    return 0;
  }
  return RUN_ALL_TESTS();
}
