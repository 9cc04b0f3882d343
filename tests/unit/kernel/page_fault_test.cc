// SPDX-License-Identifier: Apache-2.0
// Page faults of enclave code and of ENCLU: which are resolved, which become which signal.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "kernel/encls.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using arch::Access;
namespace pfec = arch::pfec;

class PageFaultTest : public ::testing::Test {
 protected:
  Outcome fault(std::uint64_t offset, std::uint32_t code) {
    return handle_enclave_fault(w.kernel, LinearAddress(kTestBase + offset), code | pfec::kUser);
  }
  bool at_once(std::uint64_t offset, std::uint32_t code) {
    return kernel::augment_at_once(w.kernel, LinearAddress(kTestBase + offset), code | pfec::kUser);
  }
  void protect(std::uint64_t begin, std::uint64_t end, Protection prot) {
    kernel::VmaTable::Writer writer(w.vmas, w.platform.thread_id());
    ASSERT_TRUE(writer.protect({LinearAddress(kTestBase + begin), LinearAddress(kTestBase + end)}, prot));
    w.platform.native.clear();
  }

  KernelWorld w;
  EnclaveImage image = test_image();
};

TEST_F(PageFaultTest, NoMappingComesFirst) {
  w.load(image);
  for (const std::uint32_t code : {0U, pfec::kSgx | pfec::kPresent, pfec::kProtectionKey}) {
    EXPECT_EQ(fault(0x200000, code), Outcome::BadMapping);
  }
}

TEST_F(PageFaultTest, AccessErrorsAsLinuxOrdersThem) {
  w.load(image);
  EXPECT_EQ(fault(part::kData, pfec::kProtectionKey | pfec::kSgx), Outcome::BadKey);
  EXPECT_EQ(fault(part::kData, pfec::kSgx | pfec::kPresent), Outcome::BadAccess);
  EXPECT_EQ(fault(part::kCode, pfec::kWrite), Outcome::BadAccess);
  EXPECT_EQ(fault(part::kData, pfec::kWrite), Outcome::Resolved);
  EXPECT_EQ(fault(part::kData, pfec::kPresent), Outcome::BadAccess);
  EXPECT_EQ(fault(part::kData, pfec::kPresent | pfec::kInstruction), Outcome::BadAccess);
  // Not present, fetch, no VM_EXEC: Linux loads the page, the retry faults with P.
  EXPECT_EQ(fault(part::kData, pfec::kInstruction), Outcome::Resolved);
  protect(part::kData, part::kData + kPage, kernel::kProtNone);
  EXPECT_EQ(fault(part::kData, 0), Outcome::BadAccess);
  EXPECT_EQ(fault(part::kData, pfec::kWrite), Outcome::BadAccess);
}

TEST_F(PageFaultTest, EpcmViolationIsNotBelievedIfAPageWasEvictedMeanwhile) {
  w.load(image);
  const std::uint64_t before = w.kernel.shared.evictions.load();
  const auto violation = [&](std::uint64_t evictions) {
    return handle_enclave_fault(w.kernel, LinearAddress(kTestBase + part::kData),
                                pfec::kUser | pfec::kSgx | pfec::kPresent, evictions);
  };
  EXPECT_EQ(violation(before), Outcome::BadAccess);
  while (kernel::reclaim_batch(w.kernel) == 0) {
  }
  EXPECT_GT(w.kernel.shared.evictions.load(), before);
  EXPECT_EQ(fault(part::kData, 0), Outcome::Resolved);  // it is there again
  EXPECT_EQ(violation(before), Outcome::Resolved);
  EXPECT_EQ(violation(w.kernel.shared.evictions.load()), Outcome::BadAccess);
}

TEST_F(PageFaultTest, BeforeInitAnUnknownPageIsABusError) {
  Enclave& e = w.build(image);
  w.map_pages(e);
  EXPECT_EQ(fault(0x80000, 0), Outcome::Bus);
  EXPECT_EQ(fault(part::kData, 0), Outcome::Resolved);
}

TEST_F(PageFaultTest, BeforeCreateEverythingIsABusError) {
  w.map(w.open_device(), {LinearAddress(kTestBase), LinearAddress(kTestBase + 0x10000)}, kernel::kProtAll);
  EXPECT_EQ(fault(0, 0), Outcome::Bus);
}

TEST_F(PageFaultTest, PageAddedUnderAMappingThatAllowsMore) {
  Enclave& e = w.open_device();
  w.map(e, {LinearAddress(kTestBase), LinearAddress(kTestBase + 0x100000)}, kernel::kProtAll);
  KernelWorld::must(w.create(e, image.secs(kTestBase)), "create");
  for (const auto& [offset, page] : image.pages()) {
    KernelWorld::must(w.add(e, offset, page), "add");
  }
  EXPECT_EQ(fault(part::kData, 0), Outcome::Bus);
  kernel::UserSpace space(w.kernel);
  const auto walk = space.walk(LinearAddress(kTestBase + part::kData), Access::Read);
  ASSERT_FALSE(walk);
  EXPECT_EQ(walk.error().error_code, pfec::kUser);
}

// sgx_reclaimer_block(): the PTE goes in all processors before EBLOCK.
TEST_F(PageFaultTest, PageThatIsBlockedIsInNoPageTable) {
  Enclave& e = w.load(image);
  kernel::UserSpace space(w.kernel);
  const LinearAddress address(kTestBase + part::kData);
  ASSERT_TRUE(space.walk(address, Access::Read));
  ASSERT_TRUE(kernel::succeeded(kernel::Encls(w.kernel, e).eblock(part::kData / kPageSize)));
  const auto walk = space.walk(address, Access::Read);
  ASSERT_FALSE(walk);
  EXPECT_EQ(walk.error().error_code, pfec::kUser);
  EXPECT_EQ(fault(part::kData, pfec::kUser), Outcome::Resolved);
  EXPECT_TRUE(space.walk(address, Access::Read));
}

TEST_F(PageFaultTest, ReadsWritesAndFetchesRun) {
  Enclave& e = w.load(image);
  EnclaveThread thread(w, e);
  EXPECT_EQ(thread.read(part::kData + 17), 1);
  EXPECT_EQ(thread.read(part::kData + kPage), 2);
  thread.write(part::kData + 17, 99);
  EXPECT_EQ(thread.read(part::kData + 17), 99);
  EXPECT_EQ(thread.access(part::kCode, Access::Execute), Outcome::Resolved);
  EXPECT_EQ(thread.exits, 0);
}

TEST_F(PageFaultTest, ErrorCodesThatTheKernelsSelftestSees) {
  Enclave& e = w.load(image);
  EnclaveThread thread(w, e);
  // pte_permissions: the VMA says no.
  thread.write(part::kData, 1);
  protect(part::kData, part::kData + kPage, kernel::kProtRead);
  EXPECT_EQ(thread.access(part::kData + 8, Access::Write), Outcome::BadAccess);
  EXPECT_EQ(thread.last_fault.error_code, 0x7);
  protect(part::kData, part::kData + kPage, kernel::kProtReadWrite);
  // epcm_permissions: the EPCM says no.
  kernel::uapi::EnclaveRestrictPermissions restrict {part::kData, kPage, kR, 0, 0};
  ASSERT_EQ(w.ioctl(e, Command::RestrictPermissions, restrict), 0);
  EXPECT_EQ(thread.access(part::kData, Access::Write), Outcome::BadAccess);
  EXPECT_EQ(thread.last_fault.error_code, 0x8007);
  EXPECT_EQ(thread.read(part::kData), 1);
}

TEST_F(PageFaultTest, FirstTouchAddsAPendingPage) {
  Enclave& e = w.load(image);
  EnclaveThread thread(w, e);
  const std::uint64_t used = w.shared->epc_used;
  constexpr std::uint64_t kNew = 0x80000;
  EXPECT_EQ(thread.access(kNew, Access::Write), Outcome::BadAccess);
  EXPECT_EQ(thread.last_fault.error_code, 0x8007);
  EXPECT_EQ(thread.exits, 2);  // one to add it, one because it is pending
  EXPECT_EQ(w.shared->epc_used, used + 1);
  EXPECT_TRUE(e.epc_page(kNew / kPage).epcm->load().pending);
  EXPECT_EQ(e.page(kNew / kPage).load().max_prot, kernel::kProtAll);

  EXPECT_EQ(thread.accept(kNew, kPtReg | kR | kW | kPending), arch::leaf_success());
  thread.write(kNew, 7);
  EXPECT_EQ(thread.read(kNew), 7);

  // EACCEPT itself may be the first touch; nobody outside sees anything.
  const int exits = thread.exits;
  EXPECT_EQ(thread.accept(kNew + kPage, kPtReg | kR | kW | kPending), arch::leaf_success());
  EXPECT_EQ(thread.exits, exits + 1);
  w.expect_consistent();
}

// A page without memory is not given any before it is touched. What marks it here stands for nothing real: a
// hole is zeros.
TEST_F(PageFaultTest, AugmentingWritesNothingToAHole) {
  Enclave& e = w.load(image);
  constexpr std::uint64_t kNew = 0x80;
  std::byte* const data = e.epc_page(kNew).data;
  ASSERT_TRUE(e.is_hole(kNew));
  *data = std::byte{0xff};
  EXPECT_EQ(fault(kNew * kPage, pfec::kWrite), Outcome::Resolved);
  EXPECT_EQ(*data, std::byte{0xff});
  EXPECT_FALSE(e.is_hole(kNew));
}

// Another process of this enclave has read ahead what it has not added.
TEST_F(PageFaultTest, AugmentingZeroesWhatMayBeNoHole) {
  Enclave& e = w.load(image);
  constexpr std::uint64_t kNew = 0x80;
  e.shared().windows.fetch_add(1);
  EXPECT_FALSE(e.is_hole(kNew));
  std::byte* const data = e.epc_page(kNew).data;
  std::memset(data, 0xff, kPage);
  EXPECT_EQ(fault(kNew * kPage, pfec::kWrite), Outcome::Resolved);
  EXPECT_TRUE(std::all_of(data, data + kPage, [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(PageFaultTest, AugmentingFindsTheInjectedFullEpc) {
  w.load(image);
  w.platform.full_epc = true;
  EXPECT_EQ(fault(0x80000, pfec::kWrite), Outcome::Bus);
  EXPECT_EQ(fault(0x80000, pfec::kWrite), Outcome::Resolved);
}

// While the thread is inside: as by handle_enclave_fault(), or not at all.
TEST_F(PageFaultTest, AugmentingAtOnceAddsTheSamePage) {
  Enclave& e = w.load(image);
  const std::uint64_t used = w.shared->epc_used;
  EXPECT_TRUE(at_once(0x80010, pfec::kWrite));
  EXPECT_EQ(fault(0x81010, pfec::kWrite), Outcome::Resolved);
  EXPECT_EQ(w.shared->epc_used, used + 2);
  EXPECT_EQ(e.page(0x80).load(), e.page(0x81).load());
  EXPECT_EQ(e.epc_page(0x80).epcm->load(), e.epc_page(0x81).epcm->load());
  EXPECT_FALSE(at_once(0x80010, pfec::kWrite)) << "it is there";
  w.expect_consistent();
}

TEST_F(PageFaultTest, AugmentingAtOnceLeavesToOthersWhatIsNoEaug) {
  w.load(image);
  const std::uint64_t used = w.shared->epc_used;
  EXPECT_FALSE(at_once(part::kData, 0));
  EXPECT_FALSE(at_once(0x200000, 0)) << "no mapping";
  EXPECT_FALSE(at_once(0x80000, pfec::kSgx | pfec::kPresent));
  EXPECT_FALSE(at_once(0x80000, pfec::kProtectionKey));
  protect(0x80000, 0x82000, kernel::kProtRead);
  EXPECT_FALSE(at_once(0x80000, pfec::kWrite));
  EXPECT_TRUE(at_once(0x80000, 0));
  protect(0x80000, 0x82000, kernel::kProtNone);
  EXPECT_FALSE(at_once(0x81000, 0));
  EXPECT_EQ(w.shared->epc_used, used + 1);
}

TEST_F(PageFaultTest, AugmentingAtOnceComesNotBeforeInit) {
  Enclave& e = w.build(image);
  w.map_pages(e);
  EXPECT_FALSE(at_once(0x80000, 0));
}

TEST_F(PageFaultTest, AugmentingAtOnceWaitsForNobody) {
  Enclave& e = w.load(image);
  constexpr int kOther = 1;
  ASSERT_TRUE(e.shared().lock.try_lock(kOther));
  EXPECT_FALSE(at_once(0x80000, 0));
  e.shared().lock.unlock();
  const std::uint64_t total = w.shared->epc_total;
  w.shared->epc_total = w.shared->epc_used.load();
  EXPECT_FALSE(at_once(0x80000, 0)) << "an eviction would need the thread outside";
  w.shared->epc_total = total;
  EXPECT_TRUE(at_once(0x80000, 0));
  EXPECT_FALSE(e.shared().lock.held_by(w.platform.thread_id()));
  w.expect_consistent();
}

TEST_F(PageFaultTest, NoPageIsAddedWithoutSgx2) {
  arch::MachineConfig config = default_config();
  config.sgx2 = false;
  KernelWorld old(64, config);
  Enclave& e = old.load(image);
  EnclaveThread thread(old, e);
  EXPECT_FALSE(augment_at_once(old.kernel, LinearAddress(kTestBase + 0x80000), pfec::kUser));
  EXPECT_EQ(thread.access(0x80000, Access::Read), Outcome::Bus);
}

TEST_F(PageFaultTest, AugmentingTakesAVersionArrayPageWhenDue) {
  Enclave& e = w.load(image);
  EXPECT_EQ(e.shared().va_pages, 1);
  const std::uint64_t have = e.shared().page_count;
  for (std::uint64_t n = have; n <= 512; ++n) {
    ASSERT_EQ(
        handle_enclave_fault(w.kernel, LinearAddress(kTestBase + 0x10000 + (n % 200) * kPage), pfec::kUser),
        Outcome::Resolved);
  }
  w.expect_consistent();
}

TEST_F(PageFaultTest, EpcExhaustedIsABusError) {
  Enclave& e = w.load(image);
  w.shared->epc_total = w.shared->epc_used.load();
  // Everything of this process is blocked from eviction by nothing, so reclaim makes room...
  EXPECT_EQ(fault(0x80000, 0), Outcome::Resolved);
  // ...but with no enclave page in the EPC at all there is none to make.
  KernelWorld tiny(64);
  Enclave& small = tiny.load(image);
  while (reclaim_batch(tiny.kernel) > 0) {
  }
  EXPECT_EQ(small.shared().secs_children, 0);
  tiny.shared->epc_total = tiny.shared->epc_used.load();
  EXPECT_EQ(handle_enclave_fault(tiny.kernel, LinearAddress(kTestBase + part::kData), pfec::kUser),
            Outcome::Bus);
  tiny.shared->epc_total = 64;
  EXPECT_EQ(handle_enclave_fault(tiny.kernel, LinearAddress(kTestBase + part::kData), pfec::kUser),
            Outcome::Resolved);
  (void)e;
}

TEST_F(PageFaultTest, OrdinaryMemoryInTheWalk) {
  kernel::UserSpace space(w.kernel);
  const int here = 5;
  const auto ok = space.walk(address_of(here), Access::Read);
  ASSERT_TRUE(ok);
  EXPECT_FALSE(ok->epc);
  const auto nowhere = space.walk(LinearAddress(0x1000), Access::Execute);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error(),
            (arch::Fault{arch::Vector::PF, pfec::kUser | pfec::kInstruction, LinearAddress(0x1000)}));
}

}  // namespace
}  // namespace enclume::test
