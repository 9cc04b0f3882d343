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

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kSize = 0x10000;

// An address that no process has mapped.
void* bad_pointer() {
  return reinterpret_cast<void*>(0x10);
}

int ioctl_errno(int fd, unsigned long request, void* argument) {
  return ioctl(fd, request, argument) >= 0 ? 0 : errno;
}

EnclaveImage image_of_size(std::uint64_t size, const ImageOptions& options = {}) {
  EnclaveImage image(size, options);
  Tcs tcs{};
  tcs.ossa = 0x2000;
  tcs.nssa = 1;
  tcs.fslimit = tcs.gslimit = 0xfff;
  image.add_tcs(0, tcs);
  image.add_pages(0x1000, kR | kX, std::array<std::uint8_t, kPage>{0x90});
  image.add_pages(0x2000, kR | kW, std::array<std::uint8_t, kPage>{});
  return image;
}

class IoctlTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(fd_) << "open /dev/sgx_enclave: " << std::strerror(errno); }

  Secs secs() const { return image_.secs(range_.base()); }
  void create() { ASSERT_EQ(create_enclave(fd_.get(), secs()), 0); }
  void create_and_add() {
    create();
    ASSERT_EQ(add_image(fd_.get(), image_), 0);
  }
  void initialise() {
    create_and_add();
    ASSERT_EQ(init_enclave(fd_.get(), signed_sigstruct(image_)), 0);
  }

  const EnclaveImage image_ = image_of_size(kSize);
  const Fd fd_ = open_sgx_enclave();
  const Reservation range_ = Reservation::aligned(kSize);
};

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

// ---- ADD_PAGES ----

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

TEST_F(AddPagesTest, SourceWithoutReadPermissionIsEfault) {
  create();
  mprotect(source_, kPage, PROT_NONE);
  EXPECT_EQ(add(), EFAULT);
  EXPECT_EQ(arguments_.count, 0u);
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

// ---- The SGX2 ioctls: what they have in common ----

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
