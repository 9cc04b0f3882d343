// SPDX-License-Identifier: Apache-2.0
//
// Three libraries in one process, each with an enclave, threads in it, exceptions, and OCALLs that enter the
// others' enclaves. Each exception has to come to the library whose enclave it happened in.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "neighbours/neighbour.h"

namespace {

using namespace neighbours;

constexpr unsigned kThreads = 4, kDepth = 4;
static_assert(kThreads * kDepth <= ENCLAVE_THREADS);
using Neighbours = std::array<std::unique_ptr<Neighbour>, 3>;
// What has happened in each enclave, by those who made it happen.
std::array<std::array<std::atomic<std::uint64_t>, kTroubles>, 3> made{};

// A chain of visits, each in the OCALL of the one before.
std::uint64_t wander(const Neighbours& all, std::mt19937& random, unsigned left) {
  if (left == 0) return 0;
  const auto where = random() % all.size();
  const auto trouble = static_cast<Trouble>(random() % kTroubles);
  ++made[where][static_cast<std::size_t>(trouble)];
  return all[where]->visit(trouble, 1, [&](std::uint64_t) { return wander(all, random, left - 1); });
}

bool run(const Neighbours& all, unsigned long rounds) {
  std::atomic<bool> good = true;
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(thread);
      try {
        for (unsigned long round = 0; round < rounds && good; ++round) {
          const unsigned depth = 1 + static_cast<unsigned>(random() % kDepth);
          if (wander(all, random, depth) != depth) good = false;
        }
      } catch (const std::exception& exception) {
        std::fprintf(stderr, "neighbours: %s\n", exception.what());
        good = false;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return good;
}

}  // namespace

int main(int argc, char** argv) try {
  Neighbours all{make_raw(), make_bare(), make_own(argc > 1 ? argv[1] : "own.enclave")};
  bool good = run(all, argc > 2 ? std::strtoul(argv[2], nullptr, 0) : 1000);

  std::printf("%-12s%10s%10s%10s%11s\n", "", "divide", "illegal", "read", "strangers");
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::printf("%-12s", all[i]->name());
    for (const Trouble trouble : {Trouble::kDivide, Trouble::kIllegal, Trouble::kRead}) {
      std::printf("%10lu", all[i]->seen(trouble));
      good = good && all[i]->seen(trouble) == made[i][static_cast<std::size_t>(trouble)];
    }
    std::printf("%11lu\n", all[i]->strangers());
    good = good && all[i]->strangers() == 0 && every_tcs_is_free(*all[i]);
  }
  std::puts(good ? "each exception has come to its own library" : "something has gone astray");
  return good ? 0 : 1;
} catch (const std::exception& exception) {
  std::fprintf(stderr, "neighbours: %s\n", exception.what());
  return 1;
}
