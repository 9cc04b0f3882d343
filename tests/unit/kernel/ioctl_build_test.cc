// SPDX-License-Identifier: Apache-2.0
// CREATE, ADD_PAGES, INIT, PROVISION: Linux's errno for each wrong thing, and nothing changed by it.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>

#include "kernel/enclave_lock.h"
#include "kernel/resident_page.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using kernel::uapi::EnclaveAddPages;
using kernel::uapi::EnclaveCreate;
using kernel::uapi::EnclaveInit;
using kernel::uapi::EnclaveProvision;

constexpr LinearAddress kUnmapped{0x1000};

TEST(IoctlTest, UnknownCommandsAreNotForThisDevice) {
  KernelWorld w;
  Enclave& e = w.open_device();
  EXPECT_EQ(w.ioctl(e, Command::VepcRemoveAll, LinearAddress(0)), fail(Errno::NotTty));
  for (const unsigned command : {0U, 0xa400U, 0x4008a408U, 0x4008a400U ^ 0x10000U, 0xc028a407U}) {
    EXPECT_EQ(sgx_ioctl(w.kernel, e, command, LinearAddress(0)), fail(Errno::NotTty)) << command;
  }
}

TEST(IoctlTest, OneAtATime) {
  KernelWorld w;
  Enclave& e = w.open_device();
  constexpr int kSomebody = 123456;
  e.shared().ioctl_owner = kSomebody;
  EXPECT_EQ(w.create(e, test_image().secs(kTestBase)), fail(Errno::Busy));
  w.platform.dead.insert(kSomebody);
  EXPECT_EQ(w.create(e, test_image().secs(kTestBase)), 0);
  EXPECT_EQ(e.shared().ioctl_owner, 0);
}

struct BadSecs {
  const char* name;
  void (*spoil)(Secs&);
  Errno error;
};
void PrintTo(const BadSecs& b, std::ostream* os) {
  *os << b.name;
}

class CreateTest : public ::testing::TestWithParam<BadSecs> {};

TEST_P(CreateTest, BadSecsIsRefusedAndAGoodOneStillAccepted) {
  KernelWorld w;
  Enclave& e = w.open_device();
  Secs secs = test_image().secs(kTestBase);
  GetParam().spoil(secs);
  EXPECT_EQ(w.create(e, secs), fail(GetParam().error));
  EXPECT_FALSE(e.created());
  EXPECT_EQ(w.shared->epc_used, 0);
  EXPECT_EQ(w.create(e, test_image().secs(kTestBase)), 0);
  w.expect_consistent();
}

INSTANTIATE_TEST_SUITE_P(
    All, CreateTest,
    ::testing::Values(BadSecs{"SizeZero", [](Secs& s) { s.size = 0; }, Errno::Invalid},
                      BadSecs{"SizeNotPowerOfTwo", [](Secs& s) { s.size = 0x3000; }, Errno::Invalid},
                      BadSecs{"SizeTooLongForAFile", [](Secs& s) { s.size = 1ULL << 63; }, Errno::Invalid},
                      BadSecs{"SizeOnePage", [](Secs& s) { s.size = 4096; }, Errno::Io},
                      BadSecs{"SizeOneByte", [](Secs& s) { s.size = 1; }, Errno::Io},
                      BadSecs{"SizeBeyondTheProcessor", [](Secs& s) { s.size = 1ULL << 47; }, Errno::Io},
                      BadSecs{"SizeFarBeyond", [](Secs& s) { s.size = 1ULL << 62; }, Errno::Io},
                      BadSecs{"BaseUnaligned", [](Secs& s) { s.base += 4096; }, Errno::Io},
                      BadSecs{"BaseNotCanonical", [](Secs& s) { s.base = 1ULL << 48; }, Errno::Io},
                      BadSecs{"SsaFrameTooSmall", [](Secs& s) { s.ssa_frame_pages = 0; }, Errno::Io},
                      BadSecs{"XfrmWithoutSse", [](Secs& s) { s.xfrm = 1; }, Errno::Io},
                      BadSecs{"MiscselectUnknown", [](Secs& s) { s.miscselect = 2; }, Errno::Io},
                      BadSecs{"ReservedByte", [](Secs& s) { s.reserved1[23] = 1; }, Errno::Io}),
    [](const auto& p) { return std::string(p.param.name); });

TEST(CreateTest2, FaultsAndStates) {
  KernelWorld w;
  Enclave& e = w.open_device();
  EXPECT_EQ(w.ioctl(e, Command::Create, kUnmapped), fail(Errno::Fault));
  EnclaveCreate arg{kUnmapped.value()};
  EXPECT_EQ(w.ioctl(e, Command::Create, arg), fail(Errno::Fault));
  const Secs secs = test_image().secs(kTestBase);
  EXPECT_EQ(w.create(e, secs), 0);
  EXPECT_EQ(e.base(), kTestBase);
  EXPECT_EQ(e.size(), secs.size);
  EXPECT_EQ(w.create(e, secs), fail(Errno::Invalid));
  w.expect_consistent();
}

TEST(CreateTest2, NeedsTwoEpcPagesAndAddressSpace) {
  KernelWorld w(1);
  Enclave& e = w.open_device();
  const Secs secs = test_image().secs(kTestBase);
  EXPECT_EQ(w.create(e, secs), fail(Errno::NoMemory));
  EXPECT_EQ(w.shared->epc_used, 0);
  w.shared->epc_total = 2;
  w.platform.refuse_mappings = true;
  EXPECT_EQ(w.create(e, secs), fail(Errno::NoMemory));
  EXPECT_EQ(w.shared->epc_used, 0);
  w.platform.refuse_mappings = false;
  EXPECT_EQ(w.create(e, secs), 0);
  EXPECT_EQ(w.shared->epc_used, 2);
}

/// An enclave that waits for a page, and the arguments that would add one.
class AddPagesTest : public ::testing::Test {
 protected:
  AddPagesTest() : e(w.open_device()) {
    KernelWorld::must(w.create(e, test_image().secs(kTestBase)), "create");
  }

  SysResult<long> add() { return w.ioctl(e, Command::AddPages, arg); }
  /// Fails with `error`, adds nothing, and leaves count at 0 in the argument if it is written back.
  void expect_refused(Errno error) {
    EXPECT_EQ(add(), fail(error));
    EXPECT_EQ(e.shared().secs_children, 0);
    w.expect_consistent();
  }

  KernelWorld w;
  Enclave& e;
  std::array<UserPage, 4> source{};
  Secinfo secinfo{kPtReg | kR | kW, {}};
  EnclaveAddPages arg{address_of(source).value(), 0x3000, kPage, address_of(secinfo).value(), 1, 0};
};

TEST_F(AddPagesTest, EachBadArgument) {
  const EnclaveAddPages good = arg;
  const auto with = [&](auto change, Errno error) {
    arg = good;
    change(arg);
    expect_refused(error);
  };
  with([](auto& a) { a.src += 8; }, Errno::Invalid);
  with([](auto& a) { a.offset += 8; }, Errno::Invalid);
  with([](auto& a) { a.length = 0; }, Errno::Invalid);
  with([](auto& a) { a.length = 4095; }, Errno::Invalid);
  with([](auto& a) { a.offset = 0x100000; }, Errno::Invalid);
  with([](auto& a) { a.offset = 0xff000, a.length = 0x2000; }, Errno::Invalid);
  with([](auto& a) { a.offset = ~0xfffULL, a.length = 0x2000; }, Errno::Invalid);
  with([](auto& a) { a.secinfo = kUnmapped.value(); }, Errno::Fault);
  with([](auto& a) { a.src = kUnmapped.value(); }, Errno::Fault);
  EXPECT_EQ(w.ioctl(e, Command::AddPages, kUnmapped), fail(Errno::Fault));
  // The range is checked before SECINFO is read.
  with([](auto& a) { a.length = 0, a.secinfo = kUnmapped.value(); }, Errno::Invalid);
}

TEST_F(AddPagesTest, EachBadSecinfo) {
  const std::array<std::uint64_t, 10> bad = {
      kR | kW,                     // PT_SECS
      3 << 8 | kR,                 // PT_VA
      kPtTrim,                     //
      kPtReg | kW,                 // W without R
      kPtTcs | kR,                 // a TCS has no permissions
      kPtReg | kR | kPending,      //
      kPtReg | kR | kModified,     //
      kPtReg | kR | kPr,           //
      kPtReg | kR | 0x40,          //
      kPtReg | kR | (1ULL << 16),  //
  };
  for (const std::uint64_t flags : bad) {
    SCOPED_TRACE(flags);
    secinfo.flags = flags;
    expect_refused(Errno::Invalid);
  }
  secinfo.flags = kPtReg | kR;
  secinfo.reserved[55] = 1;
  expect_refused(Errno::Invalid);
}

TEST_F(AddPagesTest, MaximumPermissionsComeFromSecinfo) {
  const std::array<std::pair<std::uint64_t, Protection>, 5> cases = {{
      {kPtReg, kernel::kProtNone},
      {kPtReg | kX, kernel::kProtExec},
      {kPtReg | kR | kW, kernel::kProtReadWrite},
      {kPtReg | kR | kW | kX, kernel::kProtAll},
      {kPtTcs, kernel::kProtReadWrite},
  }};
  for (const auto& [flags, prot] : cases) {
    secinfo.flags = flags;
    ASSERT_EQ(add(), 0) << flags;
    EXPECT_EQ(arg.count, kPage);
    const kernel::PageState state = e.page(arg.offset / kPage).load();
    EXPECT_EQ(state.max_prot, prot);
    EXPECT_EQ(static_cast<std::uint64_t>(state.type) << 8, flags & 0xff00);
    arg.offset += kPage;
  }
  w.expect_consistent();
}

TEST_F(AddPagesTest, ASecondPageAtTheSamePlaceIsBusyAndComesBeforeTheSource) {
  ASSERT_EQ(add(), 0);
  arg.src = kUnmapped.value();
  EXPECT_EQ(add(), fail(Errno::Busy));
  EXPECT_EQ(arg.count, 0);
  w.expect_consistent();
}

TEST_F(AddPagesTest, PartialProgressIsCounted) {
  arg.offset = 0x5000;
  ASSERT_EQ(add(), 0);  // in the way of the third of the next call
  arg.offset = 0x3000;
  arg.length = 4 * kPage;
  EXPECT_EQ(add(), fail(Errno::Busy));
  EXPECT_EQ(arg.count, 2 * kPage);
  EXPECT_EQ(e.shared().secs_children, 3);
  w.expect_consistent();
}

TEST_F(AddPagesTest, SourceThatEndsHalfWay) {
  void* two = mmap(nullptr, 2 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_EQ(munmap(static_cast<char*>(two) + kPage, kPage), 0);
  arg.src = LinearAddress::of(two).value();
  arg.length = 2 * kPage;
  EXPECT_EQ(add(), fail(Errno::Fault));
  EXPECT_EQ(arg.count, kPage);
  munmap(two, kPage);
}

TEST_F(AddPagesTest, SourceMappings) {
  w.platform.mapping_of = [](LinearAddress) { return std::nullopt; };
  expect_refused(Errno::Fault);
  w.platform.mapping_of = [](LinearAddress a) {
    return kernel::SourceMapping{{a.page(), a.page() + kPage}, false};
  };
  expect_refused(Errno::Access);
  w.platform.mapping_of = [](LinearAddress a) {
    return kernel::SourceMapping{{a.page(), a.page() + kPage}, true, false};
  };
  expect_refused(Errno::Fault);
  // find_vma() gives the next one above.
  w.platform.mapping_of = [](LinearAddress a) {
    return kernel::SourceMapping{{a.page() + kPage, a.page() + 2 * kPage}, true};
  };
  expect_refused(Errno::Fault);
  w.platform.mapping_of = [](LinearAddress a) {
    return kernel::SourceMapping{{a.page() + kPage, a.page() + 2 * kPage}, false};
  };
  expect_refused(Errno::Access);

  w.platform.mapping_of = {};
  w.platform.source_questions = 0;
  arg.length = 4 * kPage;
  EXPECT_EQ(add(), 0);
  EXPECT_EQ(w.platform.source_questions, 1);  // one answer covers them all
}

TEST_F(AddPagesTest, AnEnclaveIsNoSource) {
  w.map(e, {LinearAddress(kTestBase), LinearAddress(kTestBase + 0x100000)}, kernel::kProtReadWrite);
  arg.src = kTestBase;
  expect_refused(Errno::Fault);
}

TEST_F(AddPagesTest, Signals) {
  arg.length = 3 * kPage;
  w.platform.signal_after = 0;
  expect_refused(Errno::Restart);
  EXPECT_EQ(arg.count, 0);
  w.platform.signal_after = 2;
  EXPECT_EQ(add(), 0);
  EXPECT_EQ(arg.count, 2 * kPage);
}

TEST_F(AddPagesTest, ResultThatCannotBeWrittenIsAFaultThoughThePageIsIn) {
  w.platform.refuse_writes = true;
  EXPECT_EQ(add(), fail(Errno::Fault));
  EXPECT_EQ(e.shared().secs_children, 1);
}

TEST_F(AddPagesTest, FullEpcBeforeInit) {
  // Nothing runs yet, so pages of the enclave itself make room.
  w.shared->epc_total = 6;
  for (int i = 0; i < 20; ++i) {
    source[0].bytes.fill(static_cast<std::uint8_t>(i));
    ASSERT_EQ(add(), 0) << i;
    arg.offset += kPage;
  }
  w.expect_consistent();
  // The SECS stays in the EPC before INIT: the measurement is in it.
  EXPECT_TRUE(e.shared().secs.load().resident);
}

TEST_F(AddPagesTest, EpcTooSmallForAnything) {
  w.shared->epc_total = 2;
  expect_refused(Errno::NoMemory);
}

/// Whether the page of the enclave's file has memory.
bool has_memory(const Enclave& e, std::uint64_t page) {
  unsigned char state = 0;
  EXPECT_EQ(mincore(e.epc_page(page).data, kPage, &state), 0);
  return (state & 1) != 0;
}

TEST(AddPagesAheadTest, MemoryThatWasAskedForAheadIsGivenBackByInit) {
  KernelWorld w;
  const EnclaveImage image = test_image(0x100000, 20);
  Enclave& e = w.build(image);
  const std::uint64_t last = part::kData / kPage + 19;
  EXPECT_TRUE(has_memory(e, last));
  EXPECT_TRUE(has_memory(e, last + 1)) << "pages came one after the other: nothing was asked for ahead";
  KernelWorld::must(w.init(e, image), "init");
  EXPECT_TRUE(has_memory(e, last));
  EXPECT_FALSE(has_memory(e, last + 1));
  EXPECT_EQ(w.shared->epc_used, e.shared().epc_pages()) << "it never counted as EPC";
}

TEST_F(AddPagesTest, NoMemoryIsAskedForAheadBehindOnePageAlone) {
  source[0].bytes[0] = source[1].bytes[0] = 1;
  arg.length = 2 * kPage;
  EXPECT_EQ(add(), 0);
  arg.offset += 2 * kPage;
  arg.length = kPage;
  EXPECT_EQ(add(), 0);
  EXPECT_TRUE(has_memory(e, 5));
  EXPECT_FALSE(has_memory(e, 6)) << "it follows others, but they came together";
  arg.offset += kPage;
  EXPECT_EQ(add(), 0);
  EXPECT_TRUE(has_memory(e, 7)) << "the second one in a row";
}

TEST_F(AddPagesTest, OneWordAnywhereMakesAPageNoPageOfZeros) {
  arg.flags = 0;
  // All places in what is looked at in one step, at the page's beginning and at its end.
  for (std::uint64_t place = 0; place < 16; ++place) {
    const std::uint64_t at = place < 8 ? place * 8 : kPage - 128 + place * 8;
    source[0].bytes[at + 7] = 1;
    EXPECT_EQ(add(), 0);
    EXPECT_EQ(e.epc_page(arg.offset / kPage).data[at + 7], std::byte{1}) << at;
    source[0].bytes[at + 7] = 0;
    arg.offset += 2 * kPage;
  }
}

TEST_F(AddPagesTest, PagesOfZerosTakeNoMemory) {
  source[2].bytes[4095] = 1;
  arg.length = 4 * kPage;
  arg.flags = 0;
  EXPECT_EQ(add(), 0);
  EXPECT_EQ(arg.count, 4 * kPage);
  EXPECT_FALSE(has_memory(e, 3));
  EXPECT_FALSE(has_memory(e, 4));
  EXPECT_EQ(e.epc_page(5).data[4095], std::byte{1});
  EXPECT_EQ(w.shared->epc_used, e.shared().epc_pages()) << "they are in the EPC all the same";
  w.expect_consistent();
}

TEST_F(AddPagesTest, AMeasuredPageOfZerosIsMeasuredAsOne) {
  EnclaveImage image(0x100000, {});
  for (std::uint64_t i = 0; i < 6; ++i) {
    image.add_page(0x3000 + i * kPage, kPtReg | kR | kW, {});
  }
  Enclave& other = w.open_device();
  KernelWorld::must(w.create(other, image.secs(kTestBase)), "create");
  std::array<UserPage, 6> zeros{};
  arg.src = address_of(zeros).value();
  arg.length = sizeof zeros;
  EXPECT_EQ(w.ioctl(other, Command::AddPages, arg), 0);
  EXPECT_FALSE(has_memory(other, 3));
  EXPECT_FALSE(has_memory(other, 8));
  EXPECT_EQ(w.init(other, image), 0) << "the signature is of another measurement";
}

TEST_F(AddPagesTest, ZerosReplaceWhatWasReadAheadBeforeASignal) {
  for (auto& page : source) {
    page.bytes.fill(0xc5);
  }
  arg.length = 4 * kPage;
  w.platform.signal_after = 2;
  EXPECT_EQ(add(), 0);
  ASSERT_EQ(arg.count, 2 * kPage);
  ASSERT_EQ(e.epc_page(6).data[0], std::byte{0xc5}) << "nothing was read ahead";
  w.platform.signal_after.reset();
  source[2] = source[3] = {};
  arg.src += 2 * kPage;
  arg.offset += 2 * kPage;
  arg.length = 2 * kPage;
  EXPECT_EQ(add(), 0);
  const std::byte* begin = e.epc_page(5).data;
  EXPECT_TRUE(std::all_of(begin, begin + 2 * kPage, [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(AddPagesTest, ZerosAreNoTcs) {
  secinfo.flags = kPtTcs;
  EXPECT_EQ(add(), 0);
  EXPECT_TRUE(has_memory(e, 3));
}

TEST_F(AddPagesTest, PagesOfZerosComeBackFromTheirEviction) {
  w.shared->epc_total = 6;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(add(), 0) << i;
    arg.offset += kPage;
  }
  EXPECT_FALSE(e.page(3).load().resident);
  {
    kernel::EpcReservation epc(w.kernel, e);
    kernel::EnclaveLock lock(w.kernel, e);
    ASSERT_TRUE(kernel::make_resident(w.kernel, e, lock, epc, 3));
  }
  const std::byte* begin = e.epc_page(3).data;
  EXPECT_TRUE(std::all_of(begin, begin + kPage, [](std::byte b) { return b == std::byte{0}; }));
}

TEST(AddPagesStateTest, OnlyBetweenCreateAndInit) {
  KernelWorld w;
  Enclave& e = w.open_device();
  const EnclaveImage image = test_image();
  const auto& [offset, page] = *image.pages().begin();
  EXPECT_EQ(w.add(e, offset, page), fail(Errno::Invalid));
  Enclave& done = w.load(image);
  EXPECT_EQ(w.add(done, 0x80000, page), fail(Errno::Invalid));
}

TEST(InitTest, MeasurementAgreesWithASecondImplementation) {
  KernelWorld w;
  ImageOptions options;
  options.attributes |= kAttributeDebug;
  const EnclaveImage image = test_image(0x100000, 5, options);
  Enclave& e = w.build(image);
  EXPECT_EQ(w.init(e, image), 0);
  EXPECT_TRUE(e.initialized());
  EXPECT_TRUE(e.debug());
  EXPECT_EQ(w.init(e, image), fail(Errno::Invalid));
  w.expect_consistent();
}

struct BadInit {
  const char* name;
  void (*spoil)(Sigstruct&);
  Errno error;
};
void PrintTo(const BadInit& b, std::ostream* os) {
  *os << b.name;
}
class BadInitTest : public ::testing::TestWithParam<BadInit> {};

TEST_P(BadInitTest, IsRefusedAndAGoodSigstructStillAccepted) {
  KernelWorld w;
  const EnclaveImage image = test_image();
  Enclave& e = w.build(image);
  Sigstruct sigstruct = signed_sigstruct(image);
  GetParam().spoil(sigstruct);
  EnclaveInit arg{address_of(sigstruct).value()};
  EXPECT_EQ(w.ioctl(e, Command::Init, arg), fail(GetParam().error));
  EXPECT_FALSE(e.initialized());
  EXPECT_EQ(w.init(e, image), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadInitTest,
    ::testing::Values(
        BadInit{"Vendor", [](Sigstruct& s) { s.vendor = 1; }, Errno::Invalid},
        BadInit{"IntelVendorButUnsigned", [](Sigstruct& s) { s.vendor = 0x8086; }, Errno::Perm},
        BadInit{"ReservedAttribute", [](Sigstruct& s) { s.attributes |= 8, s.attributes_mask |= 8; },
                Errno::Invalid},
        BadInit{"CetAttribute", [](Sigstruct& s) { s.attributes |= 0x40, s.attributes_mask |= 0x40; },
                Errno::Invalid},
        BadInit{"ReservedMisc", [](Sigstruct& s) { s.miscselect |= 2; }, Errno::Invalid},
        BadInit{"ReservedXfrm", [](Sigstruct& s) { s.xfrm |= 1ULL << 40, s.xfrm_mask |= 1ULL << 40; },
                Errno::Invalid},
        BadInit{"ReservedAttributeOutsideTheMask",
                [](Sigstruct& s) { s.attributes |= 8, s.attributes_mask &= ~8ULL; }, Errno::Perm},
        BadInit{"Header", [](Sigstruct& s) { s.header[0] ^= 1; }, Errno::Perm},
        BadInit{"Hash", [](Sigstruct& s) { s.enclave_hash[0] ^= 1; }, Errno::Perm},
        BadInit{"Signature", [](Sigstruct& s) { s.signature[5] ^= 1; }, Errno::Perm}),
    [](const auto& p) { return std::string(p.param.name); });

TEST(InitTest, FaultsAndStates) {
  KernelWorld w;
  Enclave& fresh = w.open_device();
  EnclaveInit arg{kUnmapped.value()};
  EXPECT_EQ(w.ioctl(fresh, Command::Init, arg), fail(Errno::Invalid));
  Enclave& e = w.build(test_image());
  EXPECT_EQ(w.ioctl(e, Command::Init, kUnmapped), fail(Errno::Fault));
  EXPECT_EQ(w.ioctl(e, Command::Init, arg), fail(Errno::Fault));
}

TEST(InitTest, InjectedEinitCodeIsEperm) {
  KernelWorld w;
  const EnclaveImage image = test_image();
  Enclave& e = w.build(image);
  w.platform.einit_code = arch::LeafCode::InvalidCpusvn;
  EXPECT_EQ(w.init(e, image), fail(Errno::Perm));
  EXPECT_FALSE(e.initialized());
  EXPECT_EQ(w.init(e, image), 0);
}

TEST(InitTest, EinitThatWasInterruptedIsTriedAgain) {
  KernelWorld w;
  const EnclaveImage image = test_image();
  Enclave& e = w.build(image);
  w.platform.einit_code = arch::LeafCode::UnmaskedEvent;
  EXPECT_EQ(w.init(e, image), 0);
}

/// PROVISIONKEY and EINITTOKENKEY, with and without leave.
class AttributesTest : public ::testing::Test {
 protected:
  static EnclaveImage image_with(std::uint64_t attribute) {
    ImageOptions options;
    options.attributes |= attribute;
    return test_image(0x100000, 1, options);
  }
  KernelWorld w;
};

TEST_F(AttributesTest, ProvisionKeyNeedsTheProvisionDevice) {
  const EnclaveImage image = image_with(kAttributeProvisionKey);
  Enclave& e = w.build(image);
  EXPECT_EQ(w.init(e, image), fail(Errno::Access));
  EnclaveProvision arg{3};
  EXPECT_EQ(w.ioctl(e, Command::Provision, arg), fail(Errno::Invalid));
  EXPECT_EQ(w.ioctl(e, Command::Provision, kUnmapped), fail(Errno::Fault));
  arg.fd = (1ULL << 32) | 77;  // Linux takes the low half
  EXPECT_EQ(w.ioctl(e, Command::Provision, arg), 0);
  EXPECT_EQ(w.init(e, image), 0);
}

TEST_F(AttributesTest, ProvisionBeforeCreateIsLost) {
  const EnclaveImage image = image_with(kAttributeProvisionKey);
  Enclave& e = w.open_device();
  EnclaveProvision arg{77};
  EXPECT_EQ(w.ioctl(e, Command::Provision, arg), 0);
  EXPECT_EQ(w.create(e, image.secs(kTestBase)), 0);
  for (const auto& [offset, page] : image.pages()) {
    KernelWorld::must(w.add(e, offset, page), "add");
  }
  EXPECT_EQ(w.init(e, image), fail(Errno::Access));
}

TEST_F(AttributesTest, EinittokenKeyIsNeverAllowed) {
  const EnclaveImage image = image_with(kAttributeEinittokenKey);
  Enclave& e = w.build(image);
  EnclaveProvision arg{77};
  EXPECT_EQ(w.ioctl(e, Command::Provision, arg), 0);
  EXPECT_EQ(w.init(e, image), fail(Errno::Access));
}

}  // namespace
}  // namespace enclume::test
