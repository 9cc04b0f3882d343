// SPDX-License-Identifier: Apache-2.0
// An EPC that is too small: nothing may be lost, nobody may hang, the accounts must balance.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include "kernel/attachments.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using arch::Access;

TEST(ReclaimTest, EnclaveFourTimesTheEpc) {
  KernelWorld w(64);
  Enclave& e = w.load(test_image(0x100000, 240));
  w.expect_consistent();
  EnclaveThread thread(w, e);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 240; ++i) {
      const std::uint64_t at = part::kData + i * kPage + 100;
      ASSERT_EQ(thread.read(at), static_cast<std::uint8_t>(i + 1 + static_cast<unsigned>(round))) << i;
      thread.write(at, static_cast<std::uint8_t>(i + 2 + static_cast<unsigned>(round)));
      ASSERT_LE(w.shared->epc_used, 64);
    }
    w.expect_consistent();
  }
}

class TinyEpc : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(TinyEpc, RandomAccessesFindWhatWasWritten) {
  KernelWorld w(GetParam());
  constexpr std::uint64_t kDataPages = 60;
  Enclave& e = w.load(test_image(0x100000, kDataPages));
  EnclaveThread thread(w, e);
  std::array<std::uint8_t, kDataPages> model;
  for (std::size_t i = 0; i < kDataPages; ++i) {
    model[i] = static_cast<std::uint8_t>(i + 1);
  }
  std::mt19937_64 random(GetParam());
  for (int step = 0; step < 3000; ++step) {
    const std::uint64_t page = random() % kDataPages;
    const std::uint64_t at = part::kData + page * kPage + page * 8;
    if (random() % 3 == 0) {
      model[page] = static_cast<std::uint8_t>(random());
      thread.write(at, model[page]);
    } else {
      ASSERT_EQ(thread.read(at), model[page]) << "step " << step;
    }
    if (random() % 50 == 0 && thread.inside()) {
      thread.leave();
    }
  }
  w.expect_consistent();
}

// 7: SECS, VA, TCS, two SSA pages, and room for two pages of data.
INSTANTIATE_TEST_SUITE_P(Sizes, TinyEpc, ::testing::Values(8, 9, 12, 20, 40));

TEST(ReclaimTest, TheSecsGoesLastAndComesBackFirst) {
  KernelWorld w(64);
  Enclave& e = w.load(test_image());
  std::uint64_t left = e.shared().secs_children;
  ASSERT_TRUE(e.shared().secs.load().resident);
  while (reclaim_batch(w.kernel) > 0) {
    left = e.shared().secs_children;
  }
  EXPECT_EQ(left, 0);
  EXPECT_FALSE(e.shared().secs.load().resident);
  EXPECT_EQ(w.shared->epc_used, e.shared().va_pages);
  w.expect_consistent();

  EnclaveThread thread(w, e);
  EXPECT_EQ(thread.read(part::kData), 1);
  EXPECT_TRUE(e.shared().secs.load().resident);
  w.expect_consistent();
}

TEST(ReclaimTest, TheSecsStaysBeforeInit) {
  KernelWorld w(64);
  const EnclaveImage image = test_image();
  Enclave& e = w.build(image);
  while (reclaim_batch(w.kernel) > 0) {
  }
  EXPECT_EQ(e.shared().secs_children, 0);
  EXPECT_TRUE(e.shared().secs.load().resident);
  EXPECT_EQ(w.init(e, image), 0);
}

// An enclave of another process, of which this one knows how many pages it has.
class RivalTest : public ::testing::Test {
 protected:
  static constexpr int kProcess = 424242;
  static constexpr std::uint32_t kNumber = 4711;

  void hold(std::uint64_t pages) {
    const OwnerLockGuard guard(w_.shared->lock, gettid());
    rival_ = kernel::attach_process(*w_.shared, kNumber, pages, {kProcess}).record;
  }
  // What its process does when it is asked.
  void answer_with(std::uint64_t pages) {
    w_.platform.on_ask = [this, pages](int process, std::uint32_t number) {
      EXPECT_EQ(process, kProcess);
      EXPECT_EQ(number, kNumber);
      ++asked_;
      const std::uint64_t given = std::min(pages, rival_->epc_pages.load());
      rival_->epc_pages -= given;
      w_.shared->epc_used -= given;
      return true;
    };
  }

  /// Has more pages than are left, and uses them all.
  void need_pages() {
    Enclave& e = w_.load(test_image(0x100000, 60));
    EnclaveThread thread(w_, e);
    for (std::uint64_t page = 0; page < 60; ++page) {
      EXPECT_EQ(thread.read(part::kData + page * kPage), page + 1);
    }
  }

  KernelWorld w_{64};
  kernel::EnclaveRecord* rival_ = nullptr;
  int asked_ = 0;
};

TEST_F(RivalTest, GivesPagesToWhoHasNone) {
  hold(64);
  answer_with(32);
  Enclave& e = w_.load(test_image());
  EXPECT_TRUE(e.initialized());
  EXPECT_GT(asked_, 0);
  EXPECT_EQ(w_.shared->epc_used, e.shared().epc_pages() + rival_->epc_pages);
}

TEST_F(RivalTest, IsLeftAloneByWhoHasAsMany) {
  hold(32);
  answer_with(32);
  need_pages();
  EXPECT_EQ(asked_, 0);
}

TEST_F(RivalTest, IsNotWaitedForEachTimeWhenItIsSilent) {
  hold(48);
  answer_with(0);
  need_pages();
  EXPECT_GE(asked_, 1);
  EXPECT_LT(asked_, 10);
}

TEST_F(RivalTest, IsAskedForItsLastPagesWhereNothingElseIsLeft) {
  hold(64);
  answer_with(1);
  EXPECT_TRUE(w_.load(test_image(0x100000, 4)).initialized());
}

// What an attacker with the machine's memory may do to an evicted page. One page is lost by it, and no other.
class EvictedPageTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPages = 40;
  struct Evicted {
    std::array<std::byte, kPage> ciphertext;
    std::array<std::byte, kernel::kPcmdSize> pcmd;
  };

  EvictedPageTest() : w_(256), e_(w_.load(test_image(0x100000, kPages))), thread_(w_, e_) {}

  void evict_all() {
    thread_.leave();
    while (reclaim_batch(w_.kernel) > 0) {
    }
  }
  static std::uint64_t number(std::uint64_t page) { return part::kData / kPage + page; }
  Evicted take(std::uint64_t page) {
    Evicted copy;
    std::memcpy(copy.ciphertext.data(), e_.epc_page(number(page)).data, kPage);
    std::memcpy(copy.pcmd.data(), e_.pcmd(number(page)), kernel::kPcmdSize);
    return copy;
  }
  void put(std::uint64_t page, const Evicted& copy) {
    std::memcpy(e_.epc_page(number(page)).data, copy.ciphertext.data(), kPage);
    std::memcpy(e_.pcmd(number(page)), copy.pcmd.data(), kernel::kPcmdSize);
  }
  // Whether the enclave gets the page back.
  bool comes_back(std::uint64_t page) {
    return thread_.access(part::kData + page * kPage, Access::Read) == Outcome::Resolved;
  }
  void expect_the_others_unharmed() {
    for (std::uint64_t page = 10; page < kPages; ++page) {
      EXPECT_EQ(thread_.read(part::kData + page * kPage), static_cast<std::uint8_t>(page + 1));
    }
  }

  KernelWorld w_;
  Enclave& e_;
  EnclaveThread thread_;
};

TEST_F(EvictedPageTest, IsNoPlaintext) {
  evict_all();
  const std::array<std::byte, 64> zeros{};
  EXPECT_NE(std::memcmp(e_.epc_page(number(3)).data + 1024, zeros.data(), zeros.size()), 0);
  EXPECT_TRUE(comes_back(3));
}

TEST_F(EvictedPageTest, TamperedWithDoesNotComeBack) {
  evict_all();
  e_.epc_page(number(3)).data[777] ^= std::byte{1};
  EXPECT_FALSE(comes_back(3));
  EXPECT_FALSE(comes_back(3)) << "nor at the second try";
  expect_the_others_unharmed();
}

// sgx_encl_load_page() tries it again at each touch.
TEST_F(EvictedPageTest, ThatWasRefusedComesBackWhenItIsAsItWas) {
  evict_all();
  const Evicted page = take(3);
  e_.epc_page(number(3)).data[100] ^= std::byte{1};
  EXPECT_FALSE(comes_back(3));
  EXPECT_FALSE(comes_back(3));
  put(3, page);
  EXPECT_TRUE(comes_back(3));
  EXPECT_EQ(thread_.read(part::kData + 3 * kPage), 4);
}

TEST_F(EvictedPageTest, WithOtherPermissionsDoesNotComeBack) {
  evict_all();
  e_.pcmd(number(3))[0] ^= std::byte{4};  // SECINFO.FLAGS.X
  EXPECT_FALSE(comes_back(3));
  expect_the_others_unharmed();
}

TEST_F(EvictedPageTest, AnotherPageInItsPlaceDoesNotComeBack) {
  evict_all();
  const Evicted third = take(3), fourth = take(4);
  put(3, fourth);
  put(4, third);
  EXPECT_FALSE(comes_back(3));
  EXPECT_FALSE(comes_back(4));
  expect_the_others_unharmed();
}

TEST_F(EvictedPageTest, AnOlderVersionDoesNotComeBack) {
  evict_all();
  const Evicted old = take(3);
  thread_.write(part::kData + 3 * kPage, 99);
  evict_all();
  put(3, old);
  EXPECT_FALSE(comes_back(3));
  expect_the_others_unharmed();
}

TEST(ReclaimTest, EvictedPagesTakeNoMemoryBeside) {
  KernelWorld w(1024);
  Enclave& e = w.load(test_image(0x400000, 600));
  const auto blocks = [&] {
    struct stat s {};
    fstat(e.file().value, &s);
    return s.st_blocks * 512 / static_cast<long>(kPage);
  };
  // The SSA frames are zeros, which have none until they are encrypted; and one page is the one just paged.
  const auto before = blocks() + 3;
  while (reclaim_batch(w.kernel) > 0) {
  }
  // Ciphertext in their place, and 1/32 for the PCMDs.
  EXPECT_LE(blocks(), before + 600 / 32 + 4);
  EnclaveThread thread(w, e);
  for (std::uint64_t i = 0; i < 600; ++i) {
    ASSERT_EQ(thread.read(part::kData + i * kPage), static_cast<std::uint8_t>(i + 1));
  }
  EXPECT_LE(blocks(), before + 4);  // the PCMDs are gone again
}

TEST(ReclaimTest, PagesInUseSurviveTheirNeighbours) {
  KernelWorld w(1024);
  Enclave& e = w.load(test_image(0x400000, 400));
  EnclaveThread thread(w, e);
  w.platform.on_kick = [&](Enclave&) {
    if (thread.inside()) {
      thread.leave();
    }
  };
  constexpr std::uint64_t kHot = 16;
  const auto touch_hot = [&] {
    for (std::uint64_t i = 0; i < kHot; ++i) {
      thread.read(part::kData + i * kPage);
    }
  };
  // The first batch knows nothing yet: it takes what it marks. From then on hot pages are touched between
  // batches, the others never.
  ASSERT_GT(reclaim_batch(w.kernel), 0);
  touch_hot();
  std::uint64_t evicted_hot = 0;
  for (int batch = 0; batch < 20; ++batch) {
    ASSERT_GT(reclaim_batch(w.kernel), 0);
    for (std::uint64_t i = 0; i < kHot; ++i) {
      evicted_hot += e.page(part::kData / kPage + i).load().resident ? 0U : 1U;
    }
    touch_hot();
  }
  EXPECT_EQ(evicted_hot, 0);
}

TEST(ReclaimTest, AThreadInsideIsKickedOutBeforeItsPageGoes) {
  KernelWorld w(64);
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  thread.write(part::kData, 42);
  ASSERT_TRUE(thread.inside());
  w.platform.on_kick = [&](Enclave&) {
    if (thread.inside()) {
      thread.leave();
    }
  };
  while (reclaim_batch(w.kernel) > 0) {
  }
  EXPECT_FALSE(thread.inside());
  EXPECT_GT(w.platform.kicks, 0);
  EXPECT_EQ(e.shared().secs_children, 0);
  EXPECT_EQ(thread.read(part::kData), 42);
  w.expect_consistent();
}

TEST(ReclaimTest, AThreadThatDoesNotLeaveLeavesBlockedPagesThatWorkAgainLater) {
  KernelWorld w(64);
  Enclave& e = w.load(test_image());
  EnclaveThread stopped(w, e);
  ASSERT_EQ(stopped.enter(), Outcome::Resolved);
  EXPECT_EQ(reclaim_batch(w.kernel), 0);  // kicks come to nothing
  EXPECT_GT(w.platform.relaxations, 100);
  w.expect_consistent();

  stopped.leave();
  EXPECT_EQ(stopped.read(part::kData), 1);
  EXPECT_EQ(stopped.read(part::kData + kPage), 2);
  w.expect_consistent();
}

TEST(ReclaimTest, NativePermissionsNeverOutliveAnEviction) {
  KernelWorld w(64);
  Enclave& e = w.load(test_image(0x100000, 30));
  EnclaveThread thread(w, e);
  for (std::uint64_t i = 0; i < 30; ++i) {
    thread.read(part::kData + i * kPage);
  }
  thread.leave();
  const std::uint64_t epoch = e.shared().protection_epoch;
  while (reclaim_batch(w.kernel) > 0) {
    for (const auto& [address, prot] : w.platform.native) {
      const std::uint64_t page = e.page_number(LinearAddress(address));
      EXPECT_TRUE(effective_protection(e, page, kernel::kProtReadWrite).covers(prot)) << page;
    }
  }
  EXPECT_GT(e.shared().protection_epoch, epoch);
}

// To look through all pages takes as long as hundreds of evictions.
TEST(ReclaimTest, WhoEntersDuringARevocationLeavesThePermissionsToIt) {
  KernelWorld w(64);
  Enclave& e = w.load(test_image(0x100000, 30));
  e.protection_seen = e.shared().protection_epoch.load();
  int settled = 0;
  int unsettled = 0;
  w.platform.on_revoke = [&](Enclave& enclave) {
    EXPECT_NE(enclave.protection_seen, enclave.shared().protection_epoch);
    ++(enclave.protection_settled() ? settled : unsettled);
  };
  EXPECT_GT(reclaim_batch(w.kernel), 0);
  EXPECT_GT(settled, 0);
  EXPECT_EQ(unsettled, 0);
  EXPECT_TRUE(e.protection_settled());

  settled = 0;
  e.shared().protection_epoch.fetch_add(1);  // another process, before that
  EXPECT_FALSE(e.protection_settled());
  EXPECT_GT(reclaim_batch(w.kernel), 0);
  EXPECT_EQ(settled, 0);
  EXPECT_GT(unsettled, 0);
  EXPECT_FALSE(e.protection_settled());
}

TEST(ReclaimTest, BalanceKeepsPagesFree) {
  KernelWorld w(1024);
  w.load(test_image(0x400000, 900));
  w.shared->epc_total = w.shared->epc_used + 10;
  EXPECT_GT(balance_epc(w.kernel), 0);
  EXPECT_GE(free_epc_pages(*w.shared), 64);
  EXPECT_EQ(balance_epc(w.kernel), 0);
  w.expect_consistent();
}

TEST(ReclaimTest, TheBiggestEnclavePays) {
  KernelWorld w(1024);
  Enclave& small = w.load(test_image(0x100000, 4));
  Enclave& big = w.load(test_image(0x100000, 100), kTestBase + 0x1000000);
  const std::uint64_t before = small.shared().secs_children;
  for (int i = 0; i < 3; ++i) {
    EXPECT_GT(reclaim_batch(w.kernel), 0);
  }
  EXPECT_EQ(small.shared().secs_children, before);
  EXPECT_LT(big.shared().secs_children, 104);
}

TEST(ReclaimTest, NothingIsLostWhileTheBackingStoreIsFull) {
  constexpr std::uint64_t kDataPages = 60;
  KernelWorld w(64);
  Enclave& e = w.load(test_image(0x100000, kDataPages));
  EnclaveThread thread(w, e);
  ASSERT_EQ(thread.read(part::kData), 1);  // what was evicted last comes first
  std::uint64_t gone = kDataPages;
  for (std::uint64_t i = 0; i < kDataPages; ++i) {
    gone = e.page(e.page_number(LinearAddress(e.base() + part::kData)) + i).load().resident ? gone : i;
  }
  ASSERT_LT(gone, kDataPages) << "all of it fits";

  w.platform.full_backing = true;
  const auto used = w.shared->epc_used.load();
  w.shared->epc_total = used;
  EXPECT_EQ(thread.access(part::kData + gone * kPage, Access::Read), Outcome::Bus);
  Enclave& other = w.open_device();
  EXPECT_EQ(w.create(other, test_image().secs(kTestBase + 0x1000000)), std::unexpected(Errno::NoMemory));
  EXPECT_EQ(w.shared->epc_used, used);
  w.expect_consistent();

  w.platform.full_backing = false;
  for (std::uint64_t i = 0; i < kDataPages; ++i) {
    EXPECT_EQ(thread.read(part::kData + i * kPage), static_cast<std::uint8_t>(i + 1)) << i;
  }
  w.expect_consistent();
}

TEST(ReclaimStress, AnEnclaveMayGoWhileItsPagesAreWanted) {
  KernelWorld w(1024);
  std::atomic<bool> stop = false;
  std::thread reclaimer([&] {
    while (!stop) {
      (void)reclaim_batch(w.kernel);
    }
  });
  for (int round = 0; round < 100; ++round) {
    Enclave& e = w.load(test_image());
    const int fd = e.file().value;
    {
      kernel::VmaTable::Writer writer(w.vmas, w.platform.thread_id());
      ASSERT_TRUE(writer.remove(e.elrange()));
    }
    w.enclaves.release(e, e.identity());
    close(fd);
  }
  stop = true;
  reclaimer.join();
  EXPECT_EQ(w.shared->epc_used, 0);
}

/// Threads with a TCS each, in an enclave bigger than the EPC, under one rule: a kicked thread leaves at its
/// next instruction.
TEST(ReclaimStress, ManyThreadsLoseNothing) {
  constexpr unsigned kThreads = 4;
  constexpr std::uint64_t kDataPages = 80;
  KernelWorld w(60);
  EnclaveImage image = test_image(0x200000, kDataPages);
  for (unsigned t = 0; t < kThreads; ++t) {
    Tcs tcs = test_tcs();
    tcs.ossa = 0x110000 + t * 0x2000;
    image.add_tcs(0x100000 + t * kPage, tcs);
    image.add_page(tcs.ossa, kPtReg | kR | kW, {});
    image.add_page(tcs.ossa + kPage, kPtReg | kR | kW, {});
  }
  Enclave& e = w.load(image);

  std::array<std::atomic<std::uint64_t>, kThreads> left{};
  std::array<std::atomic<bool>, kThreads> inside{};
  std::array<std::atomic<bool>, kThreads> kicked{};
  w.platform.on_kick = [&](Enclave&) {
    for (unsigned t = 0; t < kThreads; ++t) {
      const std::uint64_t before = left[t];
      kicked[t] = true;
      for (int i = 0; i < 1000 && inside[t] && left[t] == before; ++i) {
        usleep(10);
      }
    }
  };

  // Each page counts how often it was written, in all threads together.
  std::array<std::atomic<unsigned>, kDataPages> writes{};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      EnclaveThread thread(w, e, 0x100000 + t * kPage);
      std::mt19937_64 random(t);
      const auto note = [&] { inside[t] = thread.inside(); };
      for (int step = 0; step < 1500; ++step) {
        if (kicked[t].exchange(false) && thread.inside()) {
          thread.leave();
          ++left[t];
        }
        note();
        const std::uint64_t page = random() % kDataPages;
        ASSERT_EQ(thread.access(part::kData + page * kPage + 64, Access::Write,
                                [&](std::byte* p) {
                                  *p = static_cast<std::byte>(static_cast<unsigned>(*p) + 1U);
                                  ++writes[page];
                                }),
                  Outcome::Resolved);
        note();
      }
      if (thread.inside()) {
        thread.leave();
        ++left[t];
      }
      inside[t] = false;
    });
  }
  for (auto& t : threads) {
    t.join();
  }
  w.platform.on_kick = {};
  EnclaveThread check(w, e);
  for (std::uint64_t page = 0; page < kDataPages; ++page) {
    EXPECT_EQ(check.read(part::kData + page * kPage + 64), static_cast<std::uint8_t>(page + 1 + writes[page]))
        << page;
  }
  w.expect_consistent();
}

}  // namespace
}  // namespace enclume::test
