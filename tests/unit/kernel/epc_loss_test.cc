// SPDX-License-Identifier: Apache-2.0
// The EPC goes away, and Linux, which is not told, meets it by faults of its leaves.
#include "kernel/epc_loss.h"

#include <gtest/gtest.h>

#include "arch/fault.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using arch::Access;

TEST(EpcLossTest, EntryOfALostEnclaveIsARefusedAccessWithTheSgxBit) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  EXPECT_FALSE(kernel::epc_lost(e));
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  EXPECT_TRUE(kernel::epc_lost(e));
  EnclaveThread thread(w, e);
  EXPECT_EQ(thread.enter(), Outcome::BadAccess);
}

TEST(EpcLossTest, ThreadInsideIsKickedOutWhileItsFrameIsThere) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  thread.write(part::kData, 7);
  ASSERT_TRUE(thread.inside());
  bool pages_were_there = false;
  w.platform.on_kick = [&](Enclave&) {
    pages_were_there = e.epc_page(part::kSsa / kPage).epcm->load().valid;
    thread.leave();
  };
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  EXPECT_TRUE(pages_were_there);
  EXPECT_EQ(thread.enter(), Outcome::BadAccess);
}

TEST(EpcLossTest, NobodyEntersOnceTheLossHasBegun) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  Outcome entered = Outcome::Resolved;
  w.platform.on_kick = [&](Enclave&) { entered = thread.enter(); };
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  EXPECT_EQ(entered, Outcome::BadAccess);
}

TEST(EpcLossTest, ContentsAndNativePermissionsAreGone) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  EnclaveThread thread(w, e);
  thread.write(part::kData, 7);
  w.platform.on_kick = [&](Enclave&) { thread.leave(); };
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  EXPECT_EQ(*e.epc_page(part::kData / kPage).data, std::byte{0});
  const std::lock_guard guard(w.platform.native_lock);
  EXPECT_TRUE(w.platform.native.at(e.base() + part::kData).none());
}

TEST(EpcLossTest, EvictedPageCannotBeLoaded) {
  KernelWorld w(12);
  Enclave& e = w.load(test_image(0x100000, 20));
  ASSERT_FALSE(e.page(part::kData / kPage).load().resident);
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  EXPECT_EQ(kernel::handle_enclave_fault(w.kernel, LinearAddress(e.base() + part::kData), arch::pfec::kUser),
            Outcome::Bus);
}

TEST(EpcLossTest, NewPageCannotBeAdded) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  const LinearAddress hole(e.base() + 0x80000);
  EXPECT_EQ(kernel::handle_enclave_fault(w.kernel, hole, arch::pfec::kUser | arch::pfec::kWrite),
            Outcome::Bus);
}

TEST(EpcLossTest, BuildingGoesOnWithEio) {
  KernelWorld w;
  const EnclaveImage image = test_image();
  Enclave& e = w.build(image);
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  EXPECT_EQ(w.add(e, 0x10000, image.pages().begin()->second), fail(Errno::Io));
  EXPECT_EQ(w.init(e, image), fail(Errno::Io));
}

TEST(EpcLossTest, Sgx2IoctlsFailAsWithAFaultingLeaf) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  kernel::uapi::EnclaveRestrictPermissions restrict {part::kData, kPage, kR, 0, 0};
  EXPECT_EQ(w.ioctl(e, Command::RestrictPermissions, restrict), fail(Errno::Fault));
  EXPECT_EQ(restrict.result, 0u);
  kernel::uapi::EnclaveModifyTypes trim{part::kData, kPage, static_cast<std::uint64_t>(arch::PageType::Trim),
                                        0, 0};
  EXPECT_EQ(w.ioctl(e, Command::ModifyTypes, trim), fail(Errno::Fault));
  kernel::uapi::EnclaveRemovePages remove{part::kData, kPage, 0};
  EXPECT_EQ(w.ioctl(e, Command::RemovePages, remove), fail(Errno::Perm));
}

TEST(EpcLossTest, TheReclaimerHasItsPagesBack) {
  KernelWorld w(64);
  Enclave& lost = w.load(test_image(0x100000, 40));
  ASSERT_TRUE(kernel::lose_epc(w.kernel, lost));
  // The second one needs nearly all of the EPC.
  Enclave& next = w.load(test_image(0x100000, 50), kTestBase + 0x1000000);
  EnclaveThread thread(w, next);
  for (std::uint64_t i = 0; i < 50; ++i) {
    ASSERT_EQ(thread.read(part::kData + i * kPage), static_cast<std::uint8_t>(i + 1));
  }
  EXPECT_LE(w.shared->epc_used, 64u);
  EnclaveThread late(w, lost);
  EXPECT_NE(late.enter(), Outcome::Resolved);
}

TEST(EpcLossTest, OtherEnclavesKeepTheirs) {
  KernelWorld w;
  Enclave& lost = w.load(test_image());
  Enclave& kept = w.load(test_image(), kTestBase + 0x1000000);
  ASSERT_TRUE(kernel::lose_epc(w.kernel, lost));
  EnclaveThread thread(w, kept);
  EXPECT_EQ(thread.read(part::kData), 1);
}

TEST(EpcLossTest, LosingItTwiceIsLosingItOnce) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  EXPECT_TRUE(kernel::epc_lost(e));
}

TEST(EpcLossTest, NothingToLoseBeforeCreate) {
  KernelWorld w;
  EXPECT_FALSE(kernel::lose_epc(w.kernel, w.open_device()));
}

TEST(EpcLossTest, LostEnclaveCanBeReleased) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  ASSERT_TRUE(kernel::lose_epc(w.kernel, e));
  const int fd = e.file().value;
  w.enclaves.release(e, e.identity());
  close(fd);
  EXPECT_EQ(w.shared->epc_used, 0u);
}

}  // namespace
}  // namespace enclume::test
