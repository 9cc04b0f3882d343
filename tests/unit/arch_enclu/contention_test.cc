// SPDX-License-Identifier: Apache-2.0
// Threads that race for one TCS, and an eviction that waits for them. Run under the thread sanitizer these
// prove more: the plain variables below are only ever touched by whom the protocol lets.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::Reg;

constexpr unsigned kThreads = 4;

// A logical processor of its own on the shared machine.
class Runner {
 public:
  Runner(World& world, std::uint32_t id) : world_(world) {
    lp.id = id;
    cpu.xsave = {xsave_.data(), static_cast<std::uint32_t>(xsave_.size()), 3, nullptr};
    const std::uint16_t fcw = 0x037f;
    std::memcpy(xsave_.data(), &fcw, sizeof(fcw));
    xsave_[24] = std::byte{0x80};
    xsave_[25] = std::byte{0x1f};
    xsave_[512] = std::byte{3};
  }
  arch::LeafResult enter(arch::EncluLeaf leaf) {
    cpu.rip = kEncluAt;
    cpu[Reg::Rax] = static_cast<std::uint64_t>(leaf);
    cpu[Reg::Rbx] = kBase + at::kTcs;
    cpu[Reg::Rcx] = kAep;
    return arch::enclu(world_.fake.machine(), lp, cpu, world_.fake);
  }
  void leave(bool by_aex) {
    if (by_aex) {
      arch::aex(world_.fake.machine(), lp, cpu, {});
    } else {
      cpu[Reg::Rax] = 4;
      cpu[Reg::Rbx] = kAep;
      EXPECT_TRUE(arch::enclu(world_.fake.machine(), lp, cpu, world_.fake).has_value());
    }
  }

  arch::LogicalProcessor lp;
  arch::CpuState cpu;

 private:
  World& world_;
  alignas(64) std::array<std::byte, 576> xsave_{};
};

TEST(ContentionTest, OneThreadAtATimeIsInside) {
  constexpr unsigned kRounds = 20'000;
  World w;
  std::atomic<unsigned> inside{0};
  std::atomic<std::uint64_t> entries{0};
  std::uint64_t& plain = w.object_at<std::uint64_t>(at::kData);

  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= kThreads; ++id) {
    threads.emplace_back([&, id] {
      Runner runner(w, id);
      std::mt19937 random(id);
      for (unsigned i = 0; i < kRounds; ++i) {
        const bool resume = (random() & 1) != 0;
        const arch::LeafResult r = runner.enter(resume ? arch::EncluLeaf::Eresume : arch::EncluLeaf::Eenter);
        if (!r.has_value()) {
          ASSERT_EQ(r.error(), arch::general_protection()) << "busy, or no frame to resume or to use";
          continue;
        }
        ASSERT_EQ(inside.fetch_add(1), 0U);
        ASSERT_EQ(w.page(w.tcs_index).epcm->owner, id);
        ++plain;
        entries.fetch_add(1, std::memory_order_relaxed);
        inside.fetch_sub(1);
        runner.leave((random() & 1) != 0);
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  EXPECT_EQ(plain, entries);
  EXPECT_GT(entries, 0U);
  EXPECT_EQ(arch::tracking_inside(w.secs()), 0U);
  EXPECT_EQ(w.tcs().state, arch::tcs_state::kInactive);
  EXPECT_LE(w.tcs().cssa, w.tcs().nssa);
}

TEST(ContentionTest, ResumedContextIsAlwaysTheLastSavedOne) {
  constexpr unsigned kRounds = 10'000;
  World w;
  {
    Runner first(w, 1);
    ASSERT_TRUE(first.enter(arch::EncluLeaf::Eenter).has_value());
    first.cpu[Reg::R8] = 0;
    first.leave(true);
  }
  // R8 counts in the interrupted context, wherever that goes on.
  std::atomic<std::uint64_t> resumed{0};
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= kThreads; ++id) {
    threads.emplace_back([&, id] {
      Runner runner(w, id);
      for (unsigned i = 0; i < kRounds; ++i) {
        if (runner.enter(arch::EncluLeaf::Eresume).has_value()) {
          ++runner.cpu[Reg::R8];
          resumed.fetch_add(1, std::memory_order_relaxed);
          runner.leave(true);
        }
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  EXPECT_EQ(w.gprsgx(0).gpr[8], resumed);
  EXPECT_EQ(w.tcs().cssa, 1U);
}

TEST(ContentionTest, TrackedSsaPageIsOutOfEverybodysReach) {
  constexpr unsigned kEvictions = 5'000;
  WorldOptions options;
  options.nssa = 1;
  World w(options);
  arch::EpcmEntry& entry = w.epcm_at(at::kSsa);
  const arch::EpcPage page = w.page_at(at::kSsa);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> faults{0};
  std::atomic<std::uint64_t> entries{0};

  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= 2; ++id) {
    threads.emplace_back([&, id] {
      Runner runner(w, id);
      while (!stop) {
        const arch::LeafResult r = runner.enter(w.tcs().atomic_cssa().load() != 0 ? arch::EncluLeaf::Eresume
                                                                                  : arch::EncluLeaf::Eenter);
        if (r.has_value()) {
          entries.fetch_add(1, std::memory_order_relaxed);
          runner.leave(true);
        } else if (r.error().vector == arch::Vector::PF) {
          faults.fetch_add(1, std::memory_order_relaxed);
          std::this_thread::yield();
        }
      }
    });
  }

  // What the kernel does to evict a page: EBLOCK, ETRACK, and EWB once nobody is left from before.
  for (unsigned i = 0; i < kEvictions; ++i) {
    arch::EpcmState s = entry.load();
    s.blocked = true;
    entry.store(s);
    arch::tracking_mark(w.secs(), entry);
    while (!arch::tracking_advance(w.secs())) {
      std::this_thread::yield();
    }
    while (!arch::is_tracked(w.secs(), entry.blocked_epoch)) {
      std::this_thread::yield();
    }
    std::array<std::byte, kPageSize> copy;
    std::memcpy(copy.data(), page.data, kPageSize);
    std::memset(page.data, 0xee, kPageSize);
    std::this_thread::yield();
    ASSERT_EQ(page.data[kPageSize - 1], std::byte{0xee}) << "somebody saved registers into an evicted page";
    std::memcpy(page.data, copy.data(), kPageSize);
    s.blocked = false;
    entry.store(s);
    if (faults == 0 || entries == 0) {
      --i;  // the count begins when the threads have met the page in both states
      std::this_thread::yield();
    }
  }
  stop = true;
  for (std::thread& t : threads) {
    t.join();
  }
}

}  // namespace
}  // namespace enclume::test
