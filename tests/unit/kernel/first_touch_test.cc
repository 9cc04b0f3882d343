// SPDX-License-Identifier: Apache-2.0
// Page faults that the kernel resolves by itself, as often as Linux takes them: at the first touch of each
// page and again when its PTE is gone.
#include "kernel/vma/first_touch.h"

#include <gtest/gtest.h>

#include "kernel/vma/effective_protection.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using arch::Access;
namespace pfec = arch::pfec;

class FirstTouchTest : public ::testing::Test {
 protected:
  FirstTouchTest() { w.kernel.maps_on_touch = true; }

  /// The exits that one access costs.
  int exits_of(EnclaveThread& thread, std::uint64_t offset, Access access = Access::Read) {
    const int before = thread.exits;
    EXPECT_EQ(thread.access(offset, access), Outcome::Resolved);
    return thread.exits - before;
  }
  /// munmap and the same mmap again.
  void unmap(LinearRange range) {
    unmap_touched(w.kernel, range);
    w.platform.native.clear();
  }
  Protection native(const Enclave& e, std::uint64_t offset) {
    return kernel::effective_protection(e, offset / kPage, kernel::kProtReadWrite);
  }

  KernelWorld w{4 * kernel::kMaxIslands};
};

TEST_F(FirstTouchTest, CostsOneExitAndTellsItLikeAPageThatIsNotThere) {
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  EXPECT_EQ(native(e, part::kData), kernel::kProtNone);
  EXPECT_EQ(exits_of(thread, part::kData + 17, Access::Write), 1);
  EXPECT_EQ(thread.last_fault.error_code, pfec::kUser | pfec::kWrite);
  EXPECT_EQ(thread.last_fault.address, LinearAddress(kTestBase + part::kData + 17));
  EXPECT_EQ(native(e, part::kData), kernel::kProtReadWrite);
  EXPECT_EQ(exits_of(thread, part::kData + 20), 0);
  EXPECT_EQ(exits_of(thread, part::kData + kPage), 1);
}

TEST_F(FirstTouchTest, UnmappedPageFaultsOnce) {
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  EXPECT_EQ(exits_of(thread, part::kData), 1);
  EXPECT_TRUE(kernel::unmap_page(w.kernel, e, part::kData / kPage));
  EXPECT_EQ(native(e, part::kData), kernel::kProtNone);
  EXPECT_EQ(exits_of(thread, part::kData), 1);
  EXPECT_EQ(exits_of(thread, part::kData), 0);
  EXPECT_FALSE(kernel::unmap_page(w.kernel, e, 0x80000 / kPage)) << "no such page";
}

TEST_F(FirstTouchTest, IsASilentFaultAtEenter) {
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  EXPECT_EQ(thread.enter(), Outcome::Resolved);
  EXPECT_EQ(thread.exits, 0);
  EXPECT_FALSE(e.page(part::kTcs / kPage).load().untouched);
}

TEST_F(FirstTouchTest, OfAPageThatIsAddedIsTheOneThatAddsIt) {
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  constexpr std::uint64_t kNew = 0x80000;
  EXPECT_EQ(thread.access(kNew, Access::Write), Outcome::BadAccess);
  EXPECT_EQ(thread.exits, 2);  // added; pending
}

TEST_F(FirstTouchTest, ComesAgainAfterEviction) {
  KernelWorld small(64);
  small.kernel.maps_on_touch = true;
  Enclave& e = small.load(test_image(0x100000, 100));
  EnclaveThread thread(small, e);
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_EQ(thread.access(part::kData + i * kPage, Access::Read), Outcome::Resolved);
  }
  ASSERT_FALSE(e.page(part::kData / kPage).load().resident);
  EXPECT_TRUE(e.page(part::kData / kPage).load().untouched);
  EXPECT_EQ(exits_of(thread, part::kData), 1);  // loads and maps in one fault
  EXPECT_EQ(exits_of(thread, part::kData), 0);
  small.expect_consistent();
}

TEST_F(FirstTouchTest, ComesAgainAfterMunmap) {
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  exits_of(thread, part::kData);
  exits_of(thread, part::kData + kPage);
  const LinearRange first{LinearAddress(kTestBase + part::kData),
                          LinearAddress(kTestBase + part::kData + kPage)};
  unmap(first);
  EXPECT_EQ(exits_of(thread, part::kData), 1);
  EXPECT_EQ(exits_of(thread, part::kData + kPage), 0) << "that one was not unmapped";
}

TEST_F(FirstTouchTest, UnmappingTakesRangesOfAnyKind) {
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  exits_of(thread, part::kData);
  unmap({LinearAddress(0), LinearAddress(kTestBase)});
  unmap({LinearAddress(kTestBase + part::kData), LinearAddress(kTestBase + part::kData)});
  EXPECT_EQ(exits_of(thread, part::kData), 0);
  unmap({LinearAddress(0), LinearAddress(~0ULL & ~(kPage - 1))});
  thread.leave();
  EXPECT_EQ(exits_of(thread, part::kData), 1);
}

TEST_F(FirstTouchTest, ComesAgainWhenAPageBecomesATcs) {
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  exits_of(thread, part::kData, Access::Write);
  thread.leave();
  kernel::uapi::EnclaveModifyTypes types{part::kData, kPage, 1, 0, 0};
  ASSERT_EQ(w.ioctl(e, Command::ModifyTypes, types), 0);
  EXPECT_TRUE(e.page(part::kData / kPage).load().untouched);
}

TEST_F(FirstTouchTest, IsNotTakenIfTheUserDoesNotWantIt) {
  w.kernel.maps_on_touch = false;
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  EXPECT_EQ(native(e, part::kData), kernel::kProtReadWrite);
  EXPECT_EQ(exits_of(thread, part::kData, Access::Write), 0);
}

TEST_F(FirstTouchTest, TooManySeparatePlacesMapTheRest) {
  constexpr std::uint64_t kDataPages = 2 * kernel::kMaxIslands + 8;
  Enclave& e = w.load(test_image(0x4000000, kDataPages));
  EnclaveThread thread(w, e);
  ASSERT_EQ(thread.enter(), Outcome::Resolved);
  const std::uint64_t epoch = e.shared().protection_epoch;
  std::uint64_t page = 0;
  int exits = 1;
  for (; page < kDataPages && exits == 1; page += 2) {
    exits = exits_of(thread, part::kData + page * kPage);
  }
  EXPECT_LE(page, 2 * kernel::kMaxIslands + 4);
  EXPECT_EQ(exits, 0);
  EXPECT_GT(e.shared().protection_epoch, epoch) << "native permissions follow at the next entry";
  EXPECT_EQ(exits_of(thread, part::kData + (kDataPages - 1) * kPage), 0);
}

TEST_F(FirstTouchTest, NeighboursAreNoSeparatePlaces) {
  Enclave& e = w.load(test_image(0x4000000, 64));
  EnclaveThread thread(w, e);
  ASSERT_EQ(thread.enter(), Outcome::Resolved);
  const std::uint64_t before = e.shared().islands;
  for (std::uint64_t i = 0; i < 64; ++i) {
    exits_of(thread, part::kData + i * kPage);
  }
  EXPECT_LE(e.shared().islands, before + 1);
}

}  // namespace
}  // namespace enclume::test
