// SPDX-License-Identifier: Apache-2.0
// Several threads run leaves on the same pages. Meant for the thread sanitizer, and true without it.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "arch/epc/tracking.h"
#include "unit/arch_encls/stage.h"

namespace enclume::arch {
namespace {

using namespace test;

void run_threads(std::size_t count, const std::function<void(std::size_t)>& body) {
  std::atomic<std::size_t> ready{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      ready.fetch_add(1);
      while (ready.load() < count) {
        std::this_thread::yield();
      }
      body(i);
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
}

/// Operands that one thread has for itself; made before threads start.
struct Operands {
  explicit Operands(FakeMachine& machine)
      : pageinfo(machine.allocate<Pageinfo>()),
        secinfo(machine.allocate<Secinfo>()),
        pcmd(machine.allocate<Pcmd>()),
        buffer(machine.allocate_pages(1)) {}

  [[nodiscard]] LinearAddress operands() const { return LinearAddress::of(&pageinfo); }
  void for_adding(LinearAddress secs, std::uint64_t linaddr) {
    secinfo = {};
    secinfo.flags = Stage::reg(secinfo_flags::kR | secinfo_flags::kW);
    pageinfo = {linaddr, Stage::address_of(buffer), Stage::address_of(&secinfo), secs.value()};
  }
  void for_paging() { pageinfo = {0, Stage::address_of(buffer), Stage::address_of(&pcmd), 0}; }

  Pageinfo& pageinfo;
  Secinfo& secinfo;
  Pcmd& pcmd;
  std::byte* buffer;
};

constexpr std::size_t kThreads = 4;

TEST(Contention, OfEaddOnOneEnclaveLosesNothing) {
  constexpr std::size_t kEach = 25;
  FakeMachine machine(kThreads * kEach + 1);
  EnclaveBuilder enclave(machine, 0);
  Secs secs = default_secs();
  secs.size = 0x100'0000;
  Stage::must(enclave.create(secs));
  std::vector<Operands> operands;
  for (std::size_t i = 0; i < kThreads; ++i) {
    operands.emplace_back(machine);
  }
  const LinearAddress secs_at = enclave.secs_address();

  run_threads(kThreads, [&](std::size_t thread) {
    for (std::size_t i = 0; i < kEach; ++i) {
      const std::size_t page = 1 + thread * kEach + i;
      operands[thread].for_adding(secs_at, kEnclaveBase + page * kPageSize);
      const LinearAddress at = LinearAddress::of(machine.epc_page(page).data);
      // #GP is what a hash in use looks like.
      LeafResult r = gp();
      while ((r = eadd(machine.machine(), machine, operands[thread].operands(), at)) == gp()) {
      }
      EXPECT_EQ(r, leaf_success());
      while ((r = eextend(machine.machine(), machine, secs_at, at)) == gp()) {
      }
      EXPECT_EQ(r, leaf_success());
    }
  });
  EXPECT_EQ(enclave.secs().children(), kThreads * kEach);
  EXPECT_EQ(enclave.secs().internal.hash_blocks, 1 + kThreads * kEach * 6);
}

TEST(Contention, OnOneFreePageHasOneWinner) {
  for (int round = 0; round < 50; ++round) {
    Stage s;
    std::vector<Operands> operands;
    for (std::size_t i = 0; i < kThreads; ++i) {
      operands.emplace_back(s.machine);
    }
    std::atomic<int> winners{0};
    run_threads(kThreads, [&](std::size_t thread) {
      Operands& o = operands[thread];
      o.pageinfo = {kEnclaveBase + Stage::kFreeAt, 0, 0, s.at(Stage::kSecs).value()};
      const LeafResult r = thread % 2 == 0
                               ? eaug(s.machine.machine(), s.machine, o.operands(), s.at(Stage::kFree))
                               : epa(s.machine.machine(), s.machine, 3, s.at(Stage::kFree));
      EXPECT_TRUE(r == leaf_success() || r == gp() || r == epc_pf(s.at(Stage::kFree))) << describe(r);
      winners += r == leaf_success() ? 1 : 0;
    });
    EXPECT_EQ(winners, 1);
    const bool child = s.state(Stage::kFree).type == PageType::Reg;
    EXPECT_EQ(s.enclave.secs().children(), child ? 4U : 3U);
  }
}

TEST(Contention, OnOneVersionLoadsItOnce) {
  for (int round = 0; round < 50; ++round) {
    Stage s;
    std::vector<Operands> operands;
    for (std::size_t i = 0; i < kThreads; ++i) {
      operands.emplace_back(s.machine);
    }
    const LinearAddress slot = s.at(Stage::kVa) + 8;
    Stage::must(eblock(s.machine.machine(), s.machine, s.at(Stage::kData)));
    Stage::must(etrack(s.machine.machine(), s.machine, s.at(Stage::kSecs)));
    operands[0].for_paging();
    Stage::must(ewb(s.machine.machine(), s.machine, operands[0].operands(), s.at(Stage::kData), slot));
    for (std::size_t i = 1; i < kThreads; ++i) {
      std::memcpy(operands[i].buffer, operands[0].buffer, kPageSize);
      operands[i].pcmd = operands[0].pcmd;
    }
    std::atomic<int> winners{0};
    run_threads(kThreads, [&](std::size_t thread) {
      Operands& o = operands[thread];
      o.pageinfo = {kEnclaveBase + Stage::kDataAt, Stage::address_of(o.buffer), Stage::address_of(&o.pcmd),
                    s.at(Stage::kSecs).value()};
      // Each into a page of its own, so that only the slot is in common.
      const LeafResult r =
          eldu(s.machine.machine(), s.machine, o.operands(), s.at(Stage::kSpare + thread), slot);
      EXPECT_TRUE(r == leaf_success() || r == code(LeafCode::MacCompareFail) || r == gp()) << describe(r);
      winners += r == leaf_success() ? 1 : 0;
    });
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(s.enclave.secs().children(), 3U);
  }
}

TEST(Contention, OfEverythingOnAFewPagesKeepsTheBooks) {
  constexpr std::size_t kPages = 8;
  FakeMachine machine(kPages);
  EnclaveBuilder enclave(machine, 0);
  Stage::must(enclave.create(Stage::debug_secs()));
  Stage::must(epa(machine.machine(), machine, 3, machine.epc_address(1)));
  enclave.secs().set_initialised();
  std::vector<Operands> operands;
  for (std::size_t i = 0; i < kThreads; ++i) {
    operands.emplace_back(machine);
  }
  Secs& secs = enclave.secs();
  const LinearAddress secs_at = enclave.secs_address();

  run_threads(kThreads, [&](std::size_t thread) {
    std::mt19937_64 random(thread);
    Operands& o = operands[thread];
    const Machine& m = machine.machine();
    bool have_blob = false;
    std::uint64_t blob_address = 0;
    const LinearAddress slot = machine.epc_address(1) + thread * 8;
    for (int i = 0; i < 3000; ++i) {
      const std::size_t index = 2 + random() % (kPages - 2);
      const LinearAddress at = LinearAddress::of(machine.epc_page(index).data);
      std::uint64_t value = random();
      switch (random() % 12) {
        case 0:
        case 1:
          o.pageinfo = {kEnclaveBase + index * kPageSize, 0, 0, secs_at.value()};
          static_cast<void>(eaug(m, machine, o.operands(), at));
          break;
        case 2:
          static_cast<void>(eremove(m, machine, at));
          break;
        case 3:
        case 4:
          static_cast<void>(eblock(m, machine, at));
          break;
        case 5:
          static_cast<void>(etrack(m, machine, secs_at));
          break;
        case 6: {
          o.for_paging();
          const LeafResult r = ewb(m, machine, o.operands(), at, slot);
          if (r.has_value() && !r->zf) {
            have_blob = true;
            blob_address = o.pageinfo.linaddr;
          }
          break;
        }
        case 7:
          if (have_blob) {
            o.pageinfo = {blob_address, Stage::address_of(o.buffer), Stage::address_of(&o.pcmd),
                          secs_at.value()};
            const LeafResult r = eldu(m, machine, o.operands(), at, slot);
            // The slot is this thread's alone, so the blob is good until it has been loaded.
            EXPECT_TRUE(r == leaf_success() || r == gp() || r == epc_pf(at)) << describe(r);
            have_blob = r != leaf_success();
          }
          break;
        case 8:
          o.secinfo = {};
          o.secinfo.flags = secinfo_flags::kR;
          static_cast<void>(emodpr(m, machine, LinearAddress::of(&o.secinfo), at));
          break;
        case 9:
          o.secinfo = {};
          o.secinfo.flags = secinfo_flags_of(PageType::Trim, 0);
          static_cast<void>(emodt(m, machine, LinearAddress::of(&o.secinfo), at));
          break;
        case 10:
          static_cast<void>(edbgwr(m, machine, at, value));
          static_cast<void>(edbgrd(m, machine, at, value));
          break;
        default: {
          const std::uint32_t epoch = tracking_enter(secs);
          std::this_thread::yield();
          tracking_leave(secs, epoch);
          break;
        }
      }
      // What an EACCEPT would do now and then, under the same lock.
      if (random() % 3 == 0) {
        const EpcPage page = machine.epc_page(index);
        const EpcPageLock lock(page);
        EpcmState state = page.epcm->load();
        if (lock && state.valid && state.type != PageType::Va && !state.blocked &&
            is_tracked(secs, page.epcm->blocked_epoch.load())) {
          state.pending = state.modified = state.pr = false;
          page.epcm->store(state);
        }
      }
    }
  });

  std::uint32_t children = 0;
  for (std::size_t i = 0; i < kPages; ++i) {
    const EpcPage page = machine.epc_page(i);
    const EpcmState state = page.epcm->load();
    EXPECT_EQ(page.epcm->lock, 0U) << i;
    EXPECT_FALSE(state.pending && state.modified) << i;
    if (state.valid && state.type != PageType::Secs && state.type != PageType::Va) {
      ++children;
      EXPECT_EQ(page.epcm->enclave_secs, enclave.secs_page().address.value);
    }
  }
  EXPECT_EQ(secs.children(), children);
  EXPECT_EQ(tracking_inside(secs), 0U);
  EXPECT_EQ(secs.internal.measurement_lock, 0U);
  EXPECT_EQ(secs.internal.tracking_lock, 0U);
}

// The promise of tracking: when a page is tracked, whoever could have seen its old state has left.
TEST(Contention, TrackingNeverReleasesAPageThatSomebodyMayStillSee) {
  Stage s;
  Secs& secs = s.enclave.secs();
  EpcmEntry& entry = s.epcm(Stage::kData);
  std::atomic<std::uint64_t> generation{0};  // stands for the translation of the page
  std::array<std::atomic<std::uint64_t>, kThreads> seen{};
  std::atomic<bool> done{false};

  run_threads(kThreads, [&](std::size_t thread) {
    if (thread != 0) {
      while (!done) {
        const LinearAddress tcs(thread * kPageSize);
        const std::uint32_t epoch = tracking_enter(secs, tcs);
        seen[thread] = generation.load() + 1;  // a logical processor fills its TLB
        std::this_thread::yield();
        seen[thread] = 0;
        tracking_leave(secs, epoch, tcs);
      }
      return;
    }
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t old = generation.load();
      generation.store(old + 1);  // the EPCM entry changes
      tracking_mark(secs, entry);
      while (etrack(s.machine.machine(), s.machine, s.at(Stage::kSecs)) != leaf_success()) {
        std::this_thread::yield();
      }
      while (!is_tracked(secs, entry.blocked_epoch.load())) {
        std::this_thread::yield();
      }
      for (const auto& tlb : seen) {
        const std::uint64_t view = tlb.load();
        EXPECT_TRUE(view == 0 || view > old + 1) << "a stale translation is in use";
      }
    }
    done = true;
  });
}

// Linux ends with an error if ETRACK fails after everybody has been thrown out, so it must not.
TEST(Contention, TrackingNeverCountsAnEntryInAnEpochThatIsOver) {
  Stage s;
  Secs& secs = s.enclave.secs();
  std::array<std::atomic<std::uint32_t>, kThreads> entries{};  // odd: may be inside
  std::atomic<bool> done{false};

  run_threads(kThreads, [&](std::size_t thread) {
    if (thread != 0) {
      while (!done) {
        entries[thread].fetch_add(1);
        const LinearAddress tcs(thread * kPageSize);
        tracking_leave(secs, tracking_enter(secs, tcs), tcs);
        entries[thread].fetch_add(1);
      }
      return;
    }
    for (int i = 0; i < 20000; ++i) {
      const bool advanced = tracking_advance(secs);
      EXPECT_TRUE(advanced) << "after " << i;
      if (!advanced) {
        break;
      }
      for (std::size_t other = 1; other < kThreads; ++other) {  // the IPI
        const std::uint32_t seen = entries[other].load();
        while ((seen & 1) != 0 && entries[other].load() == seen) {
          std::this_thread::yield();
        }
      }
    }
    done = true;
  });
}

}  // namespace
}  // namespace enclume::arch
