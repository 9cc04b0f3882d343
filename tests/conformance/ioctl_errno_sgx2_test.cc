// SPDX-License-Identifier: Apache-2.0
//
// What the three SGX2 ioctls have in common, with every wrong argument, order and state: see
// ioctl_errno_test.cc.
#include <gtest/gtest.h>

#include <array>

#include "conformance/ioctl_errno_fixture.h"

namespace enclume::test {
namespace {

class Sgx2IoctlTest : public IoctlTest {
 protected:
  void SetUp() override {
    IoctlTest::SetUp();
    sgx_enclave_remove_pages nothing{};
    if (remove_pages(fd_.get(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  }

  // The three ioctls with the same range, as errno and the count they wrote.
  struct Outcome {
    int error;
    std::uint64_t count;
  };
  std::array<Outcome, 3> all(std::uint64_t offset, std::uint64_t length, std::uint64_t count = 0,
                             std::uint64_t result = 0) {
    sgx_enclave_restrict_permissions restrict_{
        .offset = offset, .length = length, .permissions = kR, .result = result, .count = count};
    sgx_enclave_modify_types modify{
        .offset = offset, .length = length, .page_type = 4, .result = result, .count = count};
    sgx_enclave_remove_pages remove{.offset = offset, .length = length, .count = count};
    const int errors[] = {restrict_permissions(fd_.get(), restrict_), modify_types(fd_.get(), modify),
                          remove_pages(fd_.get(), remove)};
    return {{{errors[0], restrict_.count}, {errors[1], modify.count}, {errors[2], remove.count}}};
  }
};

TEST_F(Sgx2IoctlTest, BeforeInitIsEinval) {
  create_and_add();
  for (const Outcome& outcome : all(0x2000, kPage)) EXPECT_EQ(outcome.error, EINVAL);
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_REMOVE_PAGES, bad_pointer()), EINVAL)
      << "state comes first";
}

TEST_F(Sgx2IoctlTest, UnreadableArgumentIsEfault) {
  initialise();
  for (const unsigned long request :
       {SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, SGX_IOC_ENCLAVE_MODIFY_TYPES, SGX_IOC_ENCLAVE_REMOVE_PAGES}) {
    EXPECT_EQ(ioctl_errno(fd_.get(), request, bad_pointer()), EFAULT);
  }
}

TEST_F(Sgx2IoctlTest, BadRangesAreEinval) {
  initialise();
  const std::uint64_t ranges[][2] = {{0x2000, 0},
                                     {0x2000, 0x800},
                                     {0x2001, kPage},
                                     {kSize, kPage},
                                     {0, kSize + kPage},
                                     {kSize - kPage, 2 * kPage},
                                     {~std::uint64_t{0xfff}, 2 * kPage}};
  for (const auto& [offset, length] : ranges) {
    for (const Outcome& outcome : all(offset, length)) {
      EXPECT_EQ(outcome.error, EINVAL) << std::hex << offset << " " << length;
      EXPECT_EQ(outcome.count, 0u);
    }
  }
}

TEST_F(Sgx2IoctlTest, NonZeroCountOrResultIsEinval) {
  initialise();
  for (const Outcome& outcome : all(0x2000, kPage, 1)) EXPECT_EQ(outcome.error, EINVAL);
  const auto outcomes = all(0x2000, kPage, 0, 1);
  EXPECT_EQ(outcomes[0].error, EINVAL);
  EXPECT_EQ(outcomes[1].error, EINVAL);
}

TEST_F(Sgx2IoctlTest, PageThatIsNotThereIsEfault) {
  initialise();
  for (const Outcome& outcome : all(0x8000, kPage)) {
    EXPECT_EQ(outcome.error, EFAULT);
    EXPECT_EQ(outcome.count, 0u);
  }
}

TEST_F(Sgx2IoctlTest, RestrictCountsWhatWasDoneBeforeTheFailure) {
  initialise();
  sgx_enclave_restrict_permissions arguments{
      .offset = 0x1000, .length = 4 * kPage, .permissions = kR, .result = 0, .count = 0};
  EXPECT_EQ(restrict_permissions(fd_.get(), arguments), EFAULT) << "the page at 0x3000 does not exist";
  EXPECT_EQ(arguments.count, 2 * kPage);
  EXPECT_EQ(arguments.result, 0u);
}

TEST_F(Sgx2IoctlTest, RestrictWithUnknownPermissionBitsIsEinval) {
  initialise();
  for (unsigned bit = 3; bit < 64; ++bit) {
    sgx_enclave_restrict_permissions arguments{.offset = 0x2000,
                                               .length = kPage,
                                               .permissions = kR | std::uint64_t{1} << bit,
                                               .result = 0,
                                               .count = 0};
    EXPECT_EQ(restrict_permissions(fd_.get(), arguments), EINVAL) << bit;
  }
}

TEST_F(Sgx2IoctlTest, RestrictToWriteWithoutReadIsEinval) {
  initialise();
  sgx_enclave_restrict_permissions arguments{
      .offset = 0x2000, .length = kPage, .permissions = kW, .result = 0, .count = 0};
  EXPECT_EQ(restrict_permissions(fd_.get(), arguments), EINVAL);
}

TEST_F(Sgx2IoctlTest, RestrictOfATcsIsEinval) {
  initialise();
  sgx_enclave_restrict_permissions arguments{
      .offset = 0, .length = kPage, .permissions = kR, .result = 0, .count = 0};
  EXPECT_EQ(restrict_permissions(fd_.get(), arguments), EINVAL);
  EXPECT_EQ(arguments.count, 0u);
}

TEST_F(Sgx2IoctlTest, ModifyToOtherTypesThanTcsAndTrimIsEinval) {
  initialise();
  for (std::uint64_t type : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{5},
                             std::uint64_t{255}, std::uint64_t{0x100}, std::uint64_t{0x104}}) {
    sgx_enclave_modify_types arguments{
        .offset = 0x2000, .length = kPage, .page_type = type, .result = 0, .count = 0};
    EXPECT_EQ(modify_types(fd_.get(), arguments), EINVAL) << type;
  }
}

TEST_F(Sgx2IoctlTest, ModifyOfATcsToTcsIsEinval) {
  initialise();
  sgx_enclave_modify_types arguments{.offset = 0, .length = kPage, .page_type = 1, .result = 0, .count = 0};
  EXPECT_EQ(modify_types(fd_.get(), arguments), EINVAL);
}

TEST_F(Sgx2IoctlTest, ModifyOfAPageThatIsNotReadWriteToTcsIsEperm) {
  initialise();
  sgx_enclave_modify_types arguments{
      .offset = 0x1000, .length = kPage, .page_type = 1, .result = 0, .count = 0};
  EXPECT_EQ(modify_types(fd_.get(), arguments), EPERM) << "the page was added read-execute";
}

TEST_F(Sgx2IoctlTest, ModifyTwiceWithoutAcceptIsEfaultWithTheProcessorsCode) {
  initialise();
  sgx_enclave_modify_types arguments{
      .offset = 0x2000, .length = kPage, .page_type = 1, .result = 0, .count = 0};
  ASSERT_EQ(modify_types(fd_.get(), arguments), 0);
  arguments = {.offset = 0x2000, .length = kPage, .page_type = 4, .result = 0, .count = 0};
  EXPECT_EQ(modify_types(fd_.get(), arguments), EFAULT);
  EXPECT_EQ(arguments.result, 20u) << "SGX_PAGE_NOT_MODIFIABLE";
  EXPECT_EQ(arguments.count, 0u);
}

TEST_F(Sgx2IoctlTest, RestrictAfterModifyIsEinvalForItIsNoRegularPageAnyMore) {
  initialise();
  sgx_enclave_modify_types modify{.offset = 0x2000, .length = kPage, .page_type = 4, .result = 0, .count = 0};
  ASSERT_EQ(modify_types(fd_.get(), modify), 0);
  sgx_enclave_restrict_permissions arguments{
      .offset = 0x2000, .length = kPage, .permissions = kR, .result = 0, .count = 0};
  EXPECT_EQ(restrict_permissions(fd_.get(), arguments), EINVAL);
}

TEST_F(Sgx2IoctlTest, RemoveOfAPageThatIsNotTrimmedIsEperm) {
  initialise();
  sgx_enclave_remove_pages arguments{.offset = 0x2000, .length = kPage, .count = 0};
  EXPECT_EQ(remove_pages(fd_.get(), arguments), EPERM);
  EXPECT_EQ(arguments.count, 0u);
}

TEST_F(Sgx2IoctlTest, RemoveOfATrimmedPageThatWasNotAcceptedIsEperm) {
  initialise();
  sgx_enclave_modify_types modify{.offset = 0x2000, .length = kPage, .page_type = 4, .result = 0, .count = 0};
  ASSERT_EQ(modify_types(fd_.get(), modify), 0);
  EXPECT_EQ(modify.count, kPage);
  sgx_enclave_remove_pages arguments{.offset = 0x2000, .length = kPage, .count = 0};
  EXPECT_EQ(remove_pages(fd_.get(), arguments), EPERM);
}

}  // namespace
}  // namespace enclume::test
