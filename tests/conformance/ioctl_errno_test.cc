// SPDX-License-Identifier: Apache-2.0
//
// Every ioctl of /dev/sgx_enclave with every wrong argument, order and state: the errno is that of Linux 6.12
// (arch/x86/kernel/cpu/sgx/ioctl.c and driver.c), and what Linux would leave alone is left alone.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "conformance/ioctl_errno_fixture.h"

namespace enclume::test {
namespace {

// ---- The device ----

TEST_F(IoctlTest, UnknownRequestIsEnotty) {
  const unsigned long requests[] = {_IO(SGX_MAGIC, 0x20), _IOW(SGX_MAGIC, 0x00, std::uint32_t), _IO('T', 1),
                                    _IOW(SGX_MAGIC, 0x08, std::uint64_t)};
  for (const unsigned long request : requests) {
    std::uint64_t argument[8]{};
    EXPECT_EQ(ioctl_errno(fd_.get(), request, argument), ENOTTY) << std::hex << request;
  }
}

TEST_F(IoctlTest, EpcManagementOfVirtualMachinesIsNotForThisDevice) {
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_VEPC_REMOVE_ALL, nullptr), ENOTTY);
}

TEST_F(IoctlTest, ReadAndWriteAreEinval) {
  char byte = 0;
  EXPECT_EQ(read(fd_.get(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(write(fd_.get(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(IoctlTest, EachOpenGivesAnEnclaveOfItsOwn) {
  create();
  const Fd other = open_sgx_enclave();
  const Reservation range = Reservation::aligned(kSize);
  EXPECT_EQ(create_enclave(other.get(), image_.secs(range.base())), 0);
}

TEST_F(IoctlTest, DuplicateDescriptorIsTheSameEnclave) {
  create();
  const Fd copy(dup(fd_.get()));
  EXPECT_EQ(create_enclave(copy.get(), secs()), EINVAL) << "it is created already";
}

// ---- CREATE ----

using CreateTest = IoctlTest;

TEST_F(CreateTest, GoodSecsSucceeds) {
  EXPECT_EQ(create_enclave(fd_.get(), secs()), 0);
}

TEST_F(CreateTest, UnreadableArgumentIsEfault) {
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_CREATE, bad_pointer()), EFAULT);
}

TEST_F(CreateTest, UnreadableSecsIsEfault) {
  sgx_enclave_create arguments{.src = address_of(bad_pointer())};
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_CREATE, &arguments), EFAULT);
}

TEST_F(CreateTest, SecsThatEndsInAnUnmappedPageIsEfault) {
  const Reservation two = Reservation::aligned(2 * kPage);
  mprotect(reinterpret_cast<void*>(two.base()), kPage, PROT_READ | PROT_WRITE);
  sgx_enclave_create arguments{.src = two.base() + 8};
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_CREATE, &arguments), EFAULT);
}

TEST_F(CreateTest, UnalignedSecsIsFine) {
  std::vector<std::uint8_t> buffer(sizeof(Secs) + 1);
  const Secs good = secs();
  std::memcpy(buffer.data() + 1, &good, sizeof good);
  sgx_enclave_create arguments{.src = address_of(buffer.data() + 1)};
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_CREATE, &arguments), 0);
}

TEST_F(CreateTest, SecondCreateIsEinval) {
  create();
  EXPECT_EQ(create_enclave(fd_.get(), secs()), EINVAL);
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_CREATE, bad_pointer()), EINVAL)
      << "before the argument is read";
}

TEST_F(CreateTest, SizeThatIsNoPowerOfTwoIsEinval) {
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{0x3000}, kSize + kPage, ~std::uint64_t{0}}) {
    Secs bad = secs();
    bad.size = size;
    EXPECT_EQ(create_enclave(fd_.get(), bad), EINVAL) << std::hex << size;
  }
}

// What the processor refuses (#GP of ECREATE) is EIO.
struct BadSecs {
  const char* name;
  void (*spoil)(Secs&);
};
class CreateEioTest : public IoctlTest, public ::testing::WithParamInterface<BadSecs> {};

TEST_P(CreateEioTest, IsEioAndCreateCanBeTriedAgain) {
  Secs bad = secs();
  GetParam().spoil(bad);
  EXPECT_EQ(create_enclave(fd_.get(), bad), EIO);
  EXPECT_EQ(create_enclave(fd_.get(), secs()), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Ecreate, CreateEioTest,
    ::testing::Values(BadSecs{"SizeOfOnePage", [](Secs& s) { s.size = kPage; }},
                      BadSecs{"BaseNotAlignedToSize", [](Secs& s) { s.base += kPage; }},
                      BadSecs{"BaseNotCanonical", [](Secs& s) { s.base = 0x8000'0000'0000'0000; }},
                      BadSecs{"SizeBeyondTheMachine",
                              [](Secs& s) { s.size = std::uint64_t{1} << 62, s.base = 0; }},
                      BadSecs{"NoSsaFrame", [](Secs& s) { s.ssa_frame_pages = 0; }},
                      BadSecs{"XfrmWithoutX87", [](Secs& s) { s.xfrm = 2; }},
                      BadSecs{"XfrmWithoutSse", [](Secs& s) { s.xfrm = 1; }},
                      BadSecs{"XfrmUnknown", [](Secs& s) { s.xfrm |= std::uint64_t{1} << 61; }},
                      BadSecs{"XfrmBit63", [](Secs& s) { s.xfrm |= std::uint64_t{1} << 63; }},
                      BadSecs{"MiscselectUnknown", [](Secs& s) { s.miscselect = 1u << 30; }},
                      BadSecs{"AttributeReserved3", [](Secs& s) { s.attributes |= 1 << 3; }},
                      BadSecs{"AttributeReserved63", [](Secs& s) { s.attributes |= std::uint64_t{1} << 63; }},
                      BadSecs{"ReservedBytesAtTheEnd", [](Secs& s) { s.reserved4.back() = 1; }},
                      BadSecs{"ReservedBytesAfterMrenclave", [](Secs& s) { s.reserved2[5] = 1; }},
                      BadSecs{"ReservedBytesAfterMrsigner", [](Secs& s) { s.reserved3[31] = 1; }},
                      BadSecs{"ConfigIdWithoutKss", [](Secs& s) { s.config_id[0] = 1; }},
                      BadSecs{"ConfigSvnWithoutKss", [](Secs& s) { s.config_svn = 1; }}),
    [](const ::testing::TestParamInfo<BadSecs>& tested) { return tested.param.name; });

TEST_F(CreateTest, SsaFrameTooSmallForXfrmIsEio) {
  const std::uint64_t amx = machine_xcr0() & 0x60000;
  if (amx != 0x60000) GTEST_SKIP() << "no XFRM of this machine needs more than one page (AMX would)";
  Secs bad = secs();
  bad.xfrm = 3 | amx;
  bad.ssa_frame_pages = 1;
  EXPECT_EQ(create_enclave(fd_.get(), bad), EIO);
}

// ---- INIT ----

using InitTest = IoctlTest;

TEST_F(InitTest, GoodSigstructSucceedsOnce) {
  initialise();
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image_)), EINVAL);
}

TEST_F(InitTest, BeforeCreateIsEinval) {
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image_)), EINVAL);
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_INIT, bad_pointer()), EINVAL)
      << "before the argument is read";
}

TEST_F(InitTest, UnreadableArgumentIsEfault) {
  create_and_add();
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_INIT, bad_pointer()), EFAULT);
}

TEST_F(InitTest, UnreadableSigstructIsEfault) {
  create_and_add();
  sgx_enclave_init arguments{.sigstruct = address_of(bad_pointer())};
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_INIT, &arguments), EFAULT);
}

TEST_F(InitTest, UnalignedSigstructIsFine) {
  create_and_add();
  std::vector<std::uint8_t> buffer(sizeof(Sigstruct) + 1);
  const Sigstruct good = signed_sigstruct(image_);
  std::memcpy(buffer.data() + 1, &good, sizeof good);
  sgx_enclave_init arguments{.sigstruct = address_of(buffer.data() + 1)};
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_INIT, &arguments), 0);
}

TEST_F(InitTest, UnknownVendorIsEinval) {
  create_and_add();
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  sigstruct.vendor = 1;
  SigningKey::shared().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), EINVAL);
}

TEST_F(InitTest, IntelsVendorNumberIsFine) {
  create_and_add();
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  sigstruct.vendor = 0x8086;
  SigningKey::shared().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), 0);
}

TEST_F(InitTest, ReservedAttributeInMaskIsEinval) {
  create_and_add();
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  sigstruct.attributes |= std::uint64_t{1} << 50;
  SigningKey::shared().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), EINVAL);
}

TEST_F(InitTest, ReservedMiscselectInMaskIsEinval) {
  create_and_add();
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  sigstruct.miscselect |= 1u << 30;
  SigningKey::shared().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), EINVAL);
}

TEST_F(InitTest, ReservedXfrmInMaskIsEinval) {
  create_and_add();
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  sigstruct.xfrm |= std::uint64_t{1} << 61;
  sigstruct.xfrm_mask = ~std::uint64_t{0};
  SigningKey::shared().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), EINVAL);
}

TEST_F(InitTest, ProvisionKeyWithoutPermissionIsEacces) {
  const EnclaveImage image = image_of_size(kSize, {.attributes = kAttributeMode64 | kAttributeProvisionKey});
  ASSERT_EQ(create_enclave(fd_.get(), image.secs(range_.base())), 0);
  ASSERT_EQ(add_image(fd_.get(), image), 0);
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image)), EACCES);
}

TEST_F(InitTest, EinittokenKeyIsEaccesForEverybody) {
  const EnclaveImage image = image_of_size(kSize, {.attributes = kAttributeMode64 | kAttributeEinittokenKey});
  ASSERT_EQ(create_enclave(fd_.get(), image.secs(range_.base())), 0);
  ASSERT_EQ(add_image(fd_.get(), image), 0);
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image)), EACCES);
}

TEST_F(InitTest, WrongMeasurementIsEpermAndInitCanBeTriedAgain) {
  create_and_add();
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  sigstruct.enclave_hash[0] ^= 1;
  SigningKey::shared().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), EPERM);
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image_)), 0);
}

// ---- PROVISION ----

using ProvisionTest = IoctlTest;

TEST_F(ProvisionTest, UnreadableArgumentIsEfault) {
  EXPECT_EQ(ioctl_errno(fd_.get(), SGX_IOC_ENCLAVE_PROVISION, bad_pointer()), EFAULT);
}

TEST_F(ProvisionTest, DescriptorsOfOtherFilesAreEinval) {
  const Fd null(open("/dev/null", O_RDONLY));
  EXPECT_EQ(provision(fd_.get(), null.get()), EINVAL);
  EXPECT_EQ(provision(fd_.get(), fd_.get()), EINVAL);
  EXPECT_EQ(provision(fd_.get(), -1), EINVAL);
  EXPECT_EQ(provision(fd_.get(), 999), EINVAL);
}

TEST_F(ProvisionTest, AfterCreateItAllowsTheProvisionKey) {
  const Fd device(open("/dev/sgx_provision", O_RDONLY));
  if (!device) GTEST_SKIP() << "no permission to open /dev/sgx_provision: " << std::strerror(errno);
  const EnclaveImage image = image_of_size(kSize, {.attributes = kAttributeMode64 | kAttributeProvisionKey});
  ASSERT_EQ(create_enclave(fd_.get(), image.secs(range_.base())), 0);
  ASSERT_EQ(add_image(fd_.get(), image), 0);
  EXPECT_EQ(provision(fd_.get(), device.get()), 0);
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image)), 0);
}

TEST_F(ProvisionTest, BeforeCreateItSucceedsAndIsLost) {
  const Fd device(open("/dev/sgx_provision", O_RDONLY));
  if (!device) GTEST_SKIP() << "no permission to open /dev/sgx_provision: " << std::strerror(errno);
  EXPECT_EQ(provision(fd_.get(), device.get()), 0);
  const EnclaveImage image = image_of_size(kSize, {.attributes = kAttributeMode64 | kAttributeProvisionKey});
  ASSERT_EQ(create_enclave(fd_.get(), image.secs(range_.base())), 0);
  ASSERT_EQ(add_image(fd_.get(), image), 0);
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image)), EACCES)
      << "CREATE sets the allowed attributes anew";
}

}  // namespace
}  // namespace enclume::test
