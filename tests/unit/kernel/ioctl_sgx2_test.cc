// SPDX-License-Identifier: Apache-2.0
// RESTRICT_PERMISSIONS, MODIFY_TYPES, REMOVE_PAGES.
#include <gtest/gtest.h>

#include "arch/epc/tracking.h"
#include "arch/structs/secs.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using arch::Access;
using kernel::uapi::EnclaveModifyTypes;
using kernel::uapi::EnclaveRemovePages;
using kernel::uapi::EnclaveRestrictPermissions;

constexpr LinearAddress kUnmapped{0x1000};
constexpr std::uint64_t kTcsType = 1;
constexpr std::uint64_t kTrimType = 4;

class Sgx2Test : public ::testing::Test {
 protected:
  Sgx2Test() : e(w.load(test_image(0x100000, 8))), thread(w, e) {
    w.platform.on_kick = [this](Enclave&) {
      if (thread.inside()) {
        thread.leave();
      }
    };
  }
  SysResult<long> restrict_to(std::uint64_t offset, std::uint64_t length, std::uint64_t permissions) {
    restrict = {offset, length, permissions, 0, 0};
    return w.ioctl(e, Command::RestrictPermissions, restrict);
  }
  SysResult<long> modify(std::uint64_t offset, std::uint64_t length, std::uint64_t type) {
    types = {offset, length, type, 0, 0};
    return w.ioctl(e, Command::ModifyTypes, types);
  }
  SysResult<long> remove(std::uint64_t offset, std::uint64_t length) {
    removal = {offset, length, 0};
    return w.ioctl(e, Command::RemovePages, removal);
  }
  void accept(std::uint64_t offset, std::uint64_t flags) {
    ASSERT_EQ(thread.access(part::kData, Access::Read), Outcome::Resolved);
    ASSERT_EQ(thread.accept(offset, flags), arch::leaf_success());
  }

  // A thread of another process that EENTER has counted, and that has not gone so far as to be found.
  void count_one_on_its_way() {
    arch::Secs& secs = arch::secs_of(e.secs_page());
    w.platform.on_kick = [this, &secs, epoch = arch::tracking_enter(secs)](Enclave&) {
      if (++kicks_ == 5) {
        arch::tracking_leave(secs, epoch);
      }
    };
  }

  KernelWorld w;
  Enclave& e;
  EnclaveThread thread;
  int kicks_ = 0;
  EnclaveRestrictPermissions restrict {};
  EnclaveModifyTypes types{};
  EnclaveRemovePages removal{};
  /// A data page other than the one with the thread's SECINFO.
  static constexpr std::uint64_t kPageA = part::kData + 2 * kPage;
};

TEST_F(Sgx2Test, NotReady) {
  arch::MachineConfig config = default_config();
  config.sgx2 = false;
  KernelWorld old(64, config);
  Enclave& first = old.open_device();
  KernelWorld young;
  Enclave& unfinished = young.build(test_image());
  for (const Command c : {Command::RestrictPermissions, Command::ModifyTypes, Command::RemovePages}) {
    EXPECT_EQ(old.ioctl(first, c, kUnmapped), fail(Errno::NoDevice));
    EXPECT_EQ(young.ioctl(unfinished, c, kUnmapped), fail(Errno::Invalid));
    EXPECT_EQ(w.ioctl(e, c, kUnmapped), fail(Errno::Fault));
  }
}

TEST_F(Sgx2Test, FeatureProbesOfRealRuntimes) {
  EXPECT_EQ(remove(0, 0), fail(Errno::Invalid));
  EXPECT_EQ(restrict_to(0, 0, 0), fail(Errno::Invalid));
}

TEST_F(Sgx2Test, RangesAndOutputs) {
  const std::array<std::pair<std::uint64_t, std::uint64_t>, 6> bad = {{
      {8, kPage},
      {0, 0},
      {0, 100},
      {0x100000, kPage},
      {0xff000, 2 * kPage},
      {~0xfffULL, 2 * kPage},
  }};
  for (const auto& [offset, length] : bad) {
    EXPECT_EQ(restrict_to(offset, length, kR), fail(Errno::Invalid));
    EXPECT_EQ(modify(offset, length, kTrimType), fail(Errno::Invalid));
    EXPECT_EQ(remove(offset, length), fail(Errno::Invalid));
  }
  restrict = {kPageA, kPage, kR, 1, 0};
  EXPECT_EQ(w.ioctl(e, Command::RestrictPermissions, restrict), fail(Errno::Invalid));
  restrict = {kPageA, kPage, kR, 0, 1};
  EXPECT_EQ(w.ioctl(e, Command::RestrictPermissions, restrict), fail(Errno::Invalid));
  types = {kPageA, kPage, kTrimType, 1, 0};
  EXPECT_EQ(w.ioctl(e, Command::ModifyTypes, types), fail(Errno::Invalid));
  types = {kPageA, kPage, kTrimType, 0, 1};
  EXPECT_EQ(w.ioctl(e, Command::ModifyTypes, types), fail(Errno::Invalid));
  removal = {kPageA, kPage, 1};
  EXPECT_EQ(w.ioctl(e, Command::RemovePages, removal), fail(Errno::Invalid));

  EXPECT_EQ(restrict_to(kPageA, kPage, 8), fail(Errno::Invalid));
  EXPECT_EQ(restrict_to(kPageA, kPage, kW), fail(Errno::Invalid));
  EXPECT_EQ(modify(kPageA, kPage, 0x100 | kTrimType), fail(Errno::Invalid));
  for (const std::uint64_t type : {0U, 2U, 3U, 5U}) {
    EXPECT_EQ(modify(kPageA, kPage, type), fail(Errno::Invalid));
  }
}

TEST_F(Sgx2Test, PagesThatAreNotThere) {
  EXPECT_EQ(restrict_to(part::kData + 6 * kPage, 4 * kPage, kR), fail(Errno::Fault));
  EXPECT_EQ(restrict.count, 2 * kPage);
  EXPECT_EQ(restrict.result, 0);
  EXPECT_EQ(modify(0x80000, kPage, kTrimType), fail(Errno::Fault));
  EXPECT_EQ(remove(0x80000, kPage), fail(Errno::Fault));
}

TEST_F(Sgx2Test, RestrictTakesNativePermissionAndNeedsAccept) {
  thread.write(kPageA, 5);
  EXPECT_EQ(restrict_to(kPageA, kPage, kR), 0);
  EXPECT_EQ(restrict.count, kPage);
  EXPECT_FALSE(thread.inside());  // kicked
  const arch::EpcmState state = e.epc_page(kPageA / kPage).epcm->load();
  EXPECT_TRUE(state.pr && state.r && !state.w);
  EXPECT_EQ(thread.access(kPageA, Access::Write), Outcome::BadAccess);
  EXPECT_EQ(thread.read(kPageA), 5);
  accept(kPageA, kPtReg | kR | kPr);
  // What was taken can't be given back from here.
  EXPECT_EQ(restrict_to(kPageA, kPage, kR | kW | kX), 0);
  EXPECT_EQ(thread.access(kPageA, Access::Write), Outcome::BadAccess);
}

TEST_F(Sgx2Test, RestrictOfOtherTypes) {
  EXPECT_EQ(restrict_to(part::kTcs, kPage, kR), fail(Errno::Invalid));
  EXPECT_EQ(restrict.count, 0);
}

TEST_F(Sgx2Test, PendingPagesReportTheLeafsCode) {
  constexpr std::uint64_t kNew = 0x80000;
  EXPECT_EQ(thread.access(kNew, Access::Read), Outcome::BadAccess);
  EXPECT_EQ(restrict_to(kNew, kPage, kR), fail(Errno::Fault));
  EXPECT_EQ(restrict.result, 20);  // SGX_PAGE_NOT_MODIFIABLE
  EXPECT_EQ(modify(kNew, kPage, kTcsType), fail(Errno::Fault));
  EXPECT_EQ(types.result, 20);
  EXPECT_EQ(e.page(kNew / kPage).load().max_prot, kernel::kProtAll);  // as before
}

TEST_F(Sgx2Test, TrimAcceptRemoveAugment) {
  const std::uint64_t used = w.shared->epc_used;
  thread.write(kPageA, 5);
  EXPECT_EQ(remove(kPageA, kPage), fail(Errno::Perm));  // not trimmed
  EXPECT_EQ(modify(kPageA, kPage, kTrimType), 0);
  EXPECT_EQ(types.count, kPage);
  EXPECT_EQ(thread.access(kPageA, Access::Read), Outcome::BadAccess);
  EXPECT_EQ(thread.last_fault.error_code, 0x8005);
  EXPECT_EQ(remove(kPageA, kPage), fail(Errno::Perm));  // not accepted
  EXPECT_EQ(removal.count, 0);
  accept(kPageA, kPtTrim | kModified);
  EXPECT_EQ(thread.access(kPageA, Access::Read), Outcome::BadAccess);
  EXPECT_EQ(thread.last_fault.error_code, 0x8005);
  EXPECT_EQ(remove(kPageA, kPage), 0);
  EXPECT_EQ(removal.count, kPage);
  EXPECT_EQ(w.shared->epc_used, used - 1);
  w.expect_consistent();

  accept(kPageA, kPtReg | kR | kW | kPending);
  EXPECT_EQ(thread.read(kPageA), 0);
  w.expect_consistent();
}

TEST_F(Sgx2Test, ManyPagesAtOnce) {
  EXPECT_EQ(modify(kPageA, 6 * kPage, kTrimType), 0);
  const int kicks = w.platform.kicks;
  EXPECT_EQ(kicks, 1);  // one IPI for the batch
  for (std::uint64_t i = 0; i < 5; ++i) {
    accept(kPageA + i * kPage, kPtTrim | kModified);
  }
  EXPECT_EQ(remove(kPageA, 6 * kPage), fail(Errno::Perm));
  EXPECT_EQ(removal.count, 5 * kPage);
  w.expect_consistent();
}

TEST_F(Sgx2Test, ARegularPageBecomesATcs) {
  constexpr std::uint64_t kNew = 0x80000;
  const LinearRange range{LinearAddress(kTestBase + kNew), LinearAddress(kTestBase + kNew + kPage)};
  w.map(e, range, kernel::kProtReadWrite);
  accept(kNew, kPtReg | kR | kW | kPending);
  const Tcs tcs = test_tcs();
  for (std::size_t i = 0; i < sizeof tcs; i += 8) {
    ASSERT_EQ(
        thread.access(kNew + i, Access::Write,
                      [&](std::byte* p) { std::memcpy(p, reinterpret_cast<const std::byte*>(&tcs) + i, 8); }),
        Outcome::Resolved);
  }
  EXPECT_EQ(modify(kNew, kPage, kTcsType), 0);
  EXPECT_EQ(e.page(kNew / kPage).load().max_prot, kernel::kProtReadWrite);
  accept(kNew, kPtTcs | kModified);
  thread.leave();
  EnclaveThread second(w, e, kNew);
  EXPECT_EQ(second.read(kPageA), 3);
  second.leave();
  // A TCS can be trimmed but not turned back.
  EXPECT_EQ(modify(kNew, kPage, kTcsType), fail(Errno::Invalid));
  EXPECT_EQ(modify(kNew, kPage, kTrimType), 0);
}

TEST_F(Sgx2Test, ATcsUnderAMappingWithExecuteIsOutOfReach) {
  constexpr std::uint64_t kNew = 0x80000;  // in a mapping with RWX
  accept(kNew, kPtReg | kR | kW | kPending);
  EXPECT_EQ(modify(kNew, kPage, kTcsType), 0);
  EXPECT_EQ(handle_enclave_fault(w.kernel, LinearAddress(kTestBase + kNew), arch::pfec::kUser), Outcome::Bus);
}

TEST_F(Sgx2Test, ATcsNeedsReadAndWriteInTheMaximum) {
  EXPECT_EQ(modify(part::kCode, kPage, kTcsType), fail(Errno::Perm));
  EXPECT_EQ(types.count, 0);
  EXPECT_EQ(types.result, 0);
}

TEST_F(Sgx2Test, EvictedPagesAreLoadedForIt) {
  thread.leave();
  while (reclaim_batch(w.kernel) > 0) {
  }
  EXPECT_EQ(restrict_to(part::kData, 8 * kPage, kR), 0);
  EXPECT_EQ(restrict.count, 8 * kPage);
  w.expect_consistent();
}

TEST_F(Sgx2Test, AnEnclaveBiggerThanTheEpcCanBeTrimmedWhole) {
  KernelWorld small(24);
  Enclave& big = small.load(test_image(0x100000, 100));
  EnclaveThread t(small, big);
  small.platform.on_kick = [&](Enclave&) {
    if (t.inside()) {
      t.leave();
    }
  };
  EnclaveModifyTypes trim{part::kData + kPage, 99 * kPage, kTrimType, 0, 0};
  EXPECT_EQ(small.ioctl(big, Command::ModifyTypes, trim), 0);
  EXPECT_EQ(trim.count, 99 * kPage);
  small.expect_consistent();
}

TEST_F(Sgx2Test, RestrictedPageCanBeAcceptedThoughSomebodyWasOnTheWayIn) {
  count_one_on_its_way();
  ASSERT_EQ(restrict_to(kPageA, kPage, kR), 0);
  accept(kPageA, kPtReg | kR | kPr);
}

}  // namespace
}  // namespace enclume::test
