// SPDX-License-Identifier: Apache-2.0
//
// ADD_PAGES with every wrong argument, order and state: see ioctl_errno_test.cc.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "conformance/ioctl_errno_fixture.h"

namespace enclume::test {
namespace {

class AddPagesTest : public IoctlTest {
 protected:
  void SetUp() override {
    IoctlTest::SetUp();
    source_ = mmap(nullptr, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(source_, MAP_FAILED);
    arguments_ = {.src = address_of(source_),
                  .offset = 0,
                  .length = kPage,
                  .secinfo = address_of(&secinfo_),
                  .flags = SGX_PAGE_MEASURE,
                  .count = 0x5555};
  }
  void TearDown() override { munmap(source_, 8 * kPage); }
  int add() { return add_pages(fd_.get(), arguments_); }

  void* source_ = nullptr;
  Secinfo secinfo_{.flags = kPtReg | kR | kW, .reserved = {}};
  sgx_enclave_add_pages arguments_{};
};

TEST_F(AddPagesTest, GoodArgumentsSucceedAndCountTheBytes) {
  create();
  arguments_.length = 3 * kPage;
  EXPECT_EQ(add(), 0);
  EXPECT_EQ(arguments_.count, 3 * kPage);
}

TEST_F(AddPagesTest, BeforeCreateIsEinval) {
  EXPECT_EQ(add(), EINVAL);
  EXPECT_EQ(arguments_.count, 0x5555u) << "count is not written";
}

TEST_F(AddPagesTest, AfterInitIsEinval) {
  initialise();
  arguments_.offset = 0x8000;
  EXPECT_EQ(add(), EINVAL);
  EXPECT_EQ(arguments_.count, 0x5555u);
}

TEST_F(AddPagesTest, StateIsCheckedBeforeTheArgumentIsRead) {
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_ADD_PAGES, bad_pointer()), EINVAL);
}

TEST_F(AddPagesTest, UnreadableArgumentIsEfault) {
  create();
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_ADD_PAGES, bad_pointer()), EFAULT);
}

TEST_F(AddPagesTest, UnalignedSourceIsEinval) {
  create();
  arguments_.src += 8;
  EXPECT_EQ(add(), EINVAL);
}

TEST_F(AddPagesTest, UnalignedOffsetIsEinval) {
  create();
  arguments_.offset = 0x800;
  EXPECT_EQ(add(), EINVAL);
}

TEST_F(AddPagesTest, BadLengthIsEinval) {
  create();
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{0x800}, std::uint64_t{0x1001}, ~std::uint64_t{0}}) {
    arguments_.length = length;
    EXPECT_EQ(add(), EINVAL) << std::hex << length;
  }
  EXPECT_EQ(arguments_.count, 0x5555u);
}

TEST_F(AddPagesTest, RangeBeyondTheEnclaveIsEinval) {
  create();
  arguments_.offset = kSize;
  EXPECT_EQ(add(), EINVAL);
  arguments_.offset = kSize - kPage;
  arguments_.length = 2 * kPage;
  EXPECT_EQ(add(), EINVAL);
  arguments_.length = kPage;
  EXPECT_EQ(add(), 0) << "the last page";
}

TEST_F(AddPagesTest, RangeThatWrapsIsEinval) {
  create();
  arguments_.offset = ~std::uint64_t{0} - kPage + 1;
  arguments_.length = 2 * kPage;
  EXPECT_EQ(add(), EINVAL);
}

TEST_F(AddPagesTest, UnreadableSecinfoIsEfault) {
  create();
  arguments_.secinfo = address_of(bad_pointer());
  EXPECT_EQ(add(), EFAULT);
  EXPECT_EQ(arguments_.count, 0x5555u);
}

TEST_F(AddPagesTest, UnalignedSecinfoIsFine) {
  create();
  std::vector<std::uint8_t> buffer(sizeof secinfo_ + 3);
  std::memcpy(buffer.data() + 3, &secinfo_, sizeof secinfo_);
  arguments_.secinfo = address_of(buffer.data() + 3);
  EXPECT_EQ(add(), 0);
}

TEST_F(AddPagesTest, RangeIsCheckedBeforeSecinfoIsRead) {
  create();
  arguments_.secinfo = address_of(bad_pointer());
  arguments_.length = 0;
  EXPECT_EQ(add(), EINVAL);
}

TEST_F(AddPagesTest, PageTypesButRegAndTcsAreEinval) {
  create();
  for (std::uint64_t type = 0; type < 256; ++type) {
    if (type == 1 || type == 2) continue;
    secinfo_.flags = type << 8;
    EXPECT_EQ(add(), EINVAL) << type;
  }
}

TEST_F(AddPagesTest, WriteWithoutReadIsEinval) {
  create();
  for (const std::uint64_t permissions : {kW, kW | kX}) {
    secinfo_.flags = kPtReg | permissions;
    EXPECT_EQ(add(), EINVAL) << permissions;
  }
}

TEST_F(AddPagesTest, EveryOtherPermissionIsFine) {
  create();
  for (const std::uint64_t permissions : {std::uint64_t{0}, kR, kX, kR | kX, kR | kW, kR | kW | kX}) {
    secinfo_.flags = kPtReg | permissions;
    EXPECT_EQ(add(), 0) << permissions;
    arguments_.offset += kPage;
  }
}

TEST_F(AddPagesTest, TcsWithAnyPermissionIsEinval) {
  create();
  for (const std::uint64_t permissions : {kR, kX, kR | kW, kR | kW | kX}) {
    secinfo_.flags = kPtTcs | permissions;
    EXPECT_EQ(add(), EINVAL) << permissions;
  }
}

TEST_F(AddPagesTest, ReservedSecinfoFlagsAreEinval) {
  create();
  for (unsigned bit = 3; bit < 64; ++bit) {
    if (bit >= 8 && bit < 16) continue;  // The page type.
    secinfo_.flags = kPtReg | kR | std::uint64_t{1} << bit;
    EXPECT_EQ(add(), EINVAL) << bit;
  }
}

TEST_F(AddPagesTest, ReservedSecinfoBytesAreEinval) {
  create();
  for (std::size_t i = 0; i < secinfo_.reserved.size(); ++i) {
    secinfo_.reserved = {};
    secinfo_.reserved[i] = 1;
    EXPECT_EQ(add(), EINVAL) << i;
  }
}

TEST_F(AddPagesTest, OccupiedOffsetIsEbusyAndCountsWhatCameBefore) {
  create();
  arguments_.offset = 2 * kPage;
  ASSERT_EQ(add(), 0);
  arguments_.offset = 0;
  arguments_.length = 4 * kPage;
  EXPECT_EQ(add(), EBUSY);
  EXPECT_EQ(arguments_.count, 2 * kPage);
  arguments_.offset = 3 * kPage;
  arguments_.length = kPage;
  EXPECT_EQ(add(), 0) << "nothing was added behind the page that failed";
}

TEST_F(AddPagesTest, UnmappedSourceIsEfaultAndCountsWhatCameBefore) {
  create();
  munmap(static_cast<std::uint8_t*>(source_) + 2 * kPage, kPage);
  arguments_.length = 4 * kPage;
  const int error = add();
  EXPECT_EQ(error, EFAULT);
  EXPECT_EQ(arguments_.count, 2 * kPage);
}

// get_user_pages() wants VM_READ, also where the processor would let the page be read.
TEST_F(AddPagesTest, SourceWithoutReadPermissionIsEfault) {
  create();
  for (const int protection : {PROT_NONE, PROT_WRITE, PROT_EXEC}) {
    mprotect(source_, kPage, protection);
    EXPECT_EQ(add(), EFAULT) << protection;
    EXPECT_EQ(arguments_.count, 0u);
  }
}

TEST_F(AddPagesTest, SourceInTheKernelsVvarPagesIsEfault) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("[vvar") == std::string::npos) continue;
    create();
    arguments_.src = std::stoull(line, nullptr, 16);
    EXPECT_EQ(add(), EFAULT);
    return;
  }
  GTEST_SKIP() << "no such pages here";
}

TEST_F(AddPagesTest, PageThatFailedCanBeAddedLater) {
  create();
  mprotect(source_, kPage, PROT_NONE);
  ASSERT_EQ(add(), EFAULT);
  mprotect(source_, kPage, PROT_READ);
  EXPECT_EQ(add(), 0);
}

TEST_F(AddPagesTest, TcsWithReservedFieldsIsEio) {
  create();
  secinfo_.flags = kPtTcs;
  Tcs tcs{};
  tcs.fslimit = tcs.gslimit = 0xfff;
  tcs.reserved[100] = 1;
  std::memcpy(source_, &tcs, sizeof tcs);
  EXPECT_EQ(add(), EIO) << "EADD refuses it";
  EXPECT_EQ(arguments_.count, 0u);
}

TEST_F(AddPagesTest, UnknownFlagsAreIgnored) {
  create();
  arguments_.flags = ~std::uint64_t{0};
  EXPECT_EQ(add(), 0);
}

TEST_F(AddPagesTest, SourceOnAFileSystemMountedNoexecIsEacces) {
  // /proc and /sys are commonly mounted noexec, and some of their files can be mapped; without one, no claim.
  const Fd file(open("/sys/kernel/notes", O_RDONLY));
  void* mapped = file ? mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, file.get(), 0) : MAP_FAILED;
  if (mapped == MAP_FAILED) GTEST_SKIP() << "needs a file that can be mapped on a file system mounted noexec";
  munmap(mapped, kPage);
  if (void* executable = mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(), 0);
      executable != MAP_FAILED) {
    munmap(executable, kPage);
    GTEST_SKIP() << "/sys is not mounted noexec here";
  }
  mapped = mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, file.get(), 0);
  create();
  arguments_.src = address_of(mapped);
  EXPECT_EQ(add(), EACCES);
  munmap(mapped, kPage);
}

TEST_F(AddPagesTest, FailedPagesAreNotMeasured) {
  create();
  // A failure between two good pages; the measurement must be that of the good ones.
  for (const auto& [offset, page] : image_.pages()) {
    std::memcpy(source_, page.bytes.data(), kPage);
    secinfo_.flags = page.secinfo_flags;
    arguments_.offset = offset;
    arguments_.length = kPage;
    ASSERT_EQ(add(), 0);
    EXPECT_EQ(add(), EBUSY);
    mprotect(source_, kPage, PROT_NONE);
    arguments_.offset = offset + 4 * kPage;
    EXPECT_EQ(add(), EFAULT);
    mprotect(source_, kPage, PROT_READ | PROT_WRITE);
  }
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image_)), 0);
}

}  // namespace
}  // namespace enclume::test
