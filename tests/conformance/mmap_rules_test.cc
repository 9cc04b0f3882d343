// SPDX-License-Identifier: Apache-2.0
//
// Mappings of an enclave's descriptor: Linux 6.12 arch/x86/kernel/cpu/sgx/driver.c (sgx_mmap,
// get_unmapped_area) and encl.c (sgx_encl_may_map, sgx_vma_fault); and what dup, close, munmap and fork do to
// an enclave.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kSize = 0x10000;
constexpr std::uint64_t kTcs = 0, kText = 0x1000, kData = 0x2000, kConstants = 0x3000, kNothing = 0x4000;
constexpr std::uint64_t kAll = 0x5000;

void* pointer(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

// One page of each sort, and none at kNothing and behind kAll.
EnclaveImage image_with_all_sorts() {
  EnclaveImage image(kSize, {});
  Tcs tcs{};
  tcs.ossa = kData;
  tcs.nssa = 1;
  tcs.fslimit = tcs.gslimit = 0xfff;
  image.add_tcs(kTcs, tcs);
  const std::array<std::uint8_t, 16> bytes{};
  image.add_page(kText, kPtReg | kR | kX, bytes);
  image.add_page(kData, kPtReg | kR | kW, bytes);
  image.add_page(kConstants, kPtReg | kR, bytes);
  image.add_page(kAll, kPtReg | kR | kW | kX, bytes);
  return image;
}

class MmapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(fd_);
    ASSERT_EQ(create_enclave(fd_.get(), image_.secs(base())), 0);
    ASSERT_EQ(add_image(fd_.get(), image_), 0);
  }
  void initialise() { ASSERT_EQ(init_enclave(fd_.get(), signed_sigstruct(image_)), 0); }
  std::uint64_t base() const { return range_.base(); }
  int map(std::uint64_t offset, std::uint64_t length, int protection) {
    return map_enclave(fd_.get(), base() + offset, length, protection);
  }
  int protect(std::uint64_t offset, std::uint64_t length, int protection) {
    return mprotect(pointer(base() + offset), length, protection) == 0 ? 0 : errno;
  }

  const EnclaveImage image_ = image_with_all_sorts();
  Fd fd_ = open_sgx_enclave();
  // Twice ELRANGE, so that there is room around it that is ours.
  const Reservation range_ = Reservation::aligned(2 * kSize);
};

TEST_F(MmapTest, PrivateMappingIsEinval) {
  EXPECT_EQ(mmap(pointer(base()), kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd_.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd_.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(MmapTest, ZeroLengthIsEinval) {
  EXPECT_EQ(mmap(nullptr, 0, PROT_READ, MAP_SHARED, fd_.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(MmapTest, UnalignedFileOffsetIsEinval) {
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd_.get(), 100), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
}

struct Permission {
  const char* name;
  std::uint64_t offset;
  int allowed;
};
class PagePermissionTest : public MmapTest, public ::testing::WithParamInterface<Permission> {};

TEST_P(PagePermissionTest, MmapAndMprotectAllowTheSubsetsAndRefuseTheRest) {
  initialise();
  const auto& [name, offset, allowed] = GetParam();
  for (int protection = 0; protection <= (PROT_READ | PROT_WRITE | PROT_EXEC); ++protection) {
    const int expected = (protection & ~allowed) == 0 ? 0 : EACCES;
    EXPECT_EQ(map(offset, kPage, protection), expected) << "mmap with protection " << protection;
    ASSERT_EQ(map(offset, kPage, PROT_NONE), 0);
    EXPECT_EQ(protect(offset, kPage, protection), expected) << "mprotect to protection " << protection;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Pages, PagePermissionTest,
    ::testing::Values(Permission{"Tcs", kTcs, PROT_READ | PROT_WRITE},
                      Permission{"Text", kText, PROT_READ | PROT_EXEC},
                      Permission{"Data", kData, PROT_READ | PROT_WRITE},
                      Permission{"Constants", kConstants, PROT_READ},
                      Permission{"ReadWriteExecute", kAll, PROT_READ | PROT_WRITE | PROT_EXEC},
                      Permission{"NoPage", kNothing, PROT_READ | PROT_WRITE | PROT_EXEC}),
    [](const ::testing::TestParamInfo<Permission>& tested) { return tested.param.name; });

TEST_F(MmapTest, OneForbiddenPageInTheRangeForbidsItAll) {
  initialise();
  EXPECT_EQ(map(kText, 3 * kPage, PROT_READ), 0);
  EXPECT_EQ(map(kText, 3 * kPage, PROT_READ | PROT_WRITE), EACCES);
  EXPECT_EQ(map(kNothing, 2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
}

TEST_F(MmapTest, ProtectionsAreCheckedBeforeInitToo) {
  EXPECT_EQ(map(kText, kPage, PROT_READ | PROT_WRITE), EACCES);
  EXPECT_EQ(map(kText, kPage, PROT_READ | PROT_EXEC), 0);
}

TEST_F(MmapTest, OutsideElrangeIsAllowedBeforeInitAndEaccesAfter) {
  EXPECT_EQ(map(kSize, kPage, PROT_READ), 0);
  initialise();
  EXPECT_EQ(map(kSize, kPage, PROT_READ), EACCES);
  EXPECT_EQ(map(kSize - kPage, 2 * kPage, PROT_READ), EACCES) << "even partly";
  EXPECT_EQ(map(kSize - kPage, kPage, PROT_READ), 0);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd_.get(), 0), MAP_FAILED)
      << "wherever the kernel would put it";
  EXPECT_EQ(errno, EACCES);
}

TEST_F(MmapTest, ProtNoneIsAlwaysAllowedInElrange) {
  initialise();
  EXPECT_EQ(map(0, kSize, PROT_NONE), 0);
}

TEST_F(MmapTest, ReservationByTheDescriptorBeforeCreateWorks) {
  const Fd fresh = open_sgx_enclave();
  const Reservation range = Reservation::aligned(kSize);
  ASSERT_EQ(map_enclave(fresh.get(), range.base(), kSize, PROT_NONE), 0);
  ASSERT_EQ(create_enclave(fresh.get(), image_.secs(range.base())), 0);
  ASSERT_EQ(add_image(fresh.get(), image_), 0);
  EXPECT_EQ(mprotect(pointer(range.base() + kText), kPage, PROT_READ | PROT_EXEC), 0);
  EXPECT_EQ(mprotect(pointer(range.base() + kText), kPage, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
}

TEST_F(MmapTest, OffsetOfTheMappingDoesNotMatter) {
  initialise();
  EXPECT_NE(mmap(pointer(base() + kData), kPage, PROT_READ, MAP_SHARED | MAP_FIXED, fd_.get(), 7 * kPage),
            MAP_FAILED);
}

TEST_F(MmapTest, ReadImpliesExecPersonalityIsEacces) {
  const int status = in_child([&] {
    personality(static_cast<unsigned long>(personality(0xffffffff)) | READ_IMPLIES_EXEC);
    return map(kData, kPage, PROT_READ) == EACCES ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(MmapTest, PolicyAgainstMemoryThatBecomesExecutableHolds) {
  const int status = in_child([&] {
    if (!deny_write_exec()) return 0;
    if (map(kAll, kPage, PROT_READ | PROT_WRITE | PROT_EXEC) != EACCES) return 1;
    if (map(kAll, kPage, PROT_READ | PROT_WRITE) != 0) return 2;
    if (protect(kAll, kPage, PROT_READ | PROT_EXEC) != EACCES) return 3;
    if (map(kAll, kPage, PROT_READ | PROT_EXEC) != 0) return 4;
    return protect(kAll, kPage, PROT_READ) == 0 && protect(kAll, kPage, PROT_EXEC) == EACCES ? 0 : 5;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(MmapTest, AddressesOfARefusedMappingCanBeMappedAgain) {
  // Linux has taken the old mapping away by the time it asks the driver.
  initialise();
  ASSERT_EQ(map(kText, kPage, PROT_READ | PROT_WRITE), EACCES);
  EXPECT_EQ(map(kText, kPage, PROT_READ), 0);
}

TEST_F(MmapTest, DescriptorIsOnlyGoodForWhatItWasOpenedFor) {
  const Fd reading(open("/dev/sgx_enclave", O_RDONLY)), writing(open("/dev/sgx_enclave", O_WRONLY));
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, reading.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  void* const there = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, reading.get(), 0);
  ASSERT_NE(there, MAP_FAILED);
  EXPECT_EQ(mprotect(there, kPage, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_NONE, MAP_SHARED, writing.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  // It may be built, though.
  EXPECT_EQ(create_enclave(reading.get(), image_.secs(base())), 0);
}

TEST_F(MmapTest, FlagsThatNobodyKnowsAreEopnotsuppIfTheyAreToBeValidated) {
  const auto map_with = [&](int flags) {
    const bool mapped = mmap(pointer(base() + kData), kPage, PROT_READ, flags, fd_.get(), 0) != MAP_FAILED;
    return mapped ? 0 : errno;
  };
  EXPECT_EQ(map_with(MAP_SHARED_VALIDATE | MAP_FIXED), 0);
  EXPECT_EQ(map_with(MAP_SHARED_VALIDATE | MAP_FIXED | MAP_SYNC), EOPNOTSUPP);
  EXPECT_EQ(map_with(MAP_SHARED | MAP_FIXED | MAP_SYNC), 0);
}

// ---- What Linux does to mappings of devices (VM_IO, VM_PFNMAP, VM_DONTEXPAND) ----

TEST(AdviceTest, PagesCannotBeDroppedByAdvice) {
  ProbeEnclave probe;
  probe.write(probe.scratch(), 0x1234);
  const auto advise = [&](int advice) {
    return madvise(pointer(probe.scratch()), kPage, advice) == 0 ? 0 : errno;
  };
  EXPECT_EQ(advise(MADV_REMOVE), ENODEV);
  for (const int advice : {MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_DOFORK, MADV_DODUMP,
                           MADV_WIPEONFORK, MADV_POPULATE_READ, MADV_POPULATE_WRITE}) {
    EXPECT_EQ(advise(advice), EINVAL) << advice;
  }
  for (const int advice : {MADV_NORMAL, MADV_RANDOM, MADV_WILLNEED, MADV_DONTDUMP, MADV_NOHUGEPAGE}) {
    EXPECT_EQ(advise(advice), 0) << advice;
  }
  EXPECT_EQ(probe.read(probe.scratch()), 0x1234U);
}

TEST(AdviceTest, OrdinaryMemoryStillTakesIt) {
  const ProbeEnclave probe;
  auto* const memory = static_cast<volatile char*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  *memory = 1;
  EXPECT_EQ(madvise(const_cast<char*>(memory), kPage, MADV_DONTNEED), 0);
  EXPECT_EQ(*memory, 0);
}

TEST(AdviceTest, LockingPassesOverAnEnclave) {
  ProbeEnclave probe;
  EXPECT_EQ(mlock(pointer(probe.scratch()), kPage), 0) << errno;
  EXPECT_EQ(mlock2(pointer(probe.scratch() + 1), 10, MLOCK_ONFAULT), 0) << errno;
  EXPECT_EQ(munlock(pointer(probe.scratch()), kPage), 0);
  probe.write(probe.scratch(), 7);
  EXPECT_EQ(probe.read(probe.scratch()), 7U);
}

TEST(AdviceTest, MappingCannotBeMovedAndLeftBehind) {
  ProbeEnclave probe;
  EXPECT_EQ(mremap(pointer(probe.scratch()), kPage, kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
}

// ---- Touching what is mapped ----

class TouchTest : public ::testing::Test {
 protected:
  static ProbeOptions with_hole() {
    ProbeOptions options;
    options.minimum_size = 0x40000;
    return options;
  }
};

TEST_F(TouchTest, PageThatWasAddedAfterItsTooGenerousMappingIsSigbus) {
  // Before there is a page, any protection goes; once it is there, a mapping that allows more than it may is
  // dead.
  const Fd fd = open_sgx_enclave();
  const Reservation range = Reservation::aligned(kSize);
  const EnclaveImage image = image_with_all_sorts();
  ASSERT_EQ(create_enclave(fd.get(), image.secs(range.base())), 0);
  ASSERT_EQ(map_enclave(fd.get(), range.base() + kConstants, kPage, PROT_READ | PROT_WRITE), 0);
  ASSERT_EQ(add_image(fd.get(), image), 0);
  ASSERT_EQ(init_enclave(fd.get(), signed_sigstruct(image)), 0);
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGBUS, SIGSEGV}, reinterpret_cast<const void*>(next));
  asm volatile("mov (%0), %%al\n2:" ::"r"(range.base() + kConstants) : "rax");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGBUS);
}

TEST_F(TouchTest, HoleOfAnUninitialisedEnclaveIsSigbus) {
  const Fd fd = open_sgx_enclave();
  const Reservation range = Reservation::aligned(kSize);
  const EnclaveImage image = image_with_all_sorts();
  ASSERT_EQ(create_enclave(fd.get(), image.secs(range.base())), 0);
  ASSERT_EQ(map_enclave(fd.get(), range.base() + kNothing, kPage, PROT_READ | PROT_WRITE), 0);
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGBUS, SIGSEGV}, reinterpret_cast<const void*>(next));
  asm volatile("mov (%0), %%al\n2:" ::"r"(range.base() + kNothing) : "rax");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGBUS);
}

TEST_F(TouchTest, EnclaveAccessToAPageWhoseMappingIsGoneIsAPageFault) {
  ProbeEnclave probe;
  ASSERT_EQ(munmap(pointer(probe.scratch() + kPage), kPage), 0);
  const CallResult result = probe.call(PROBE_OP_READ, {probe.scratch() + kPage});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_error_code, kPfUser);
  EXPECT_EQ(result.run.exception_addr, probe.scratch() + kPage);
}

TEST_F(TouchTest, MappingAgainShowsTheOldContents) {
  ProbeEnclave probe;
  probe.write(probe.scratch() + kPage, 0x77);
  ASSERT_EQ(munmap(pointer(probe.scratch() + kPage), kPage), 0);
  ASSERT_EQ(map_enclave(probe.fd(), probe.scratch() + kPage, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(probe.read(probe.scratch() + kPage), 0x77u);
}

TEST_F(TouchTest, OrdinaryMemoryInTheHoleOfElrangeIsNoEnclaveMemory) {
  // Inside ELRANGE the processor insists on EPC: ordinary memory there is a page fault for the enclave.
  ProbeEnclave probe(with_hole());
  const std::uint64_t hole = probe.base() + 0x30000;
  ASSERT_NE(
      mmap(pointer(hole), kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
      MAP_FAILED);
  *reinterpret_cast<volatile std::uint64_t*>(hole) = 5;
  const CallResult result = probe.call(PROBE_OP_READ, {hole});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_addr, hole);
}

// ---- The life of an enclave ----

TEST(LifeTest, EnclaveOutlivesItsDescriptorWhileItIsMapped) {
  ProbeEnclave probe;
  probe.write(probe.scratch(), 31);
  probe.enclave().close_fd();
  EXPECT_EQ(probe.read(probe.scratch()), 31u);
}

TEST(LifeTest, DuplicateDescriptorMapsTheSameEnclave) {
  ProbeEnclave probe;
  const Fd copy(dup(probe.fd()));
  probe.enclave().close_fd();
  ASSERT_EQ(munmap(pointer(probe.scratch()), kPage), 0);
  ASSERT_EQ(map_enclave(copy.get(), probe.scratch(), kPage, PROT_READ | PROT_WRITE), 0);
  probe.write(probe.scratch(), 8);
  EXPECT_EQ(probe.read(probe.scratch()), 8u);
}

TEST(LifeTest, ClosedDescriptorIsEbadf) {
  Fd fd = open_sgx_enclave();
  const int number = fd.get();
  fd.reset();
  sgx_enclave_create arguments{};
  EXPECT_EQ(ioctl(number, SGX_IOC_ENCLAVE_CREATE, &arguments), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST(LifeTest, NumberOfAClosedDescriptorIsAnOrdinaryFileAgain) {
  Fd fd = open_sgx_enclave();
  const int number = fd.get();
  fd.reset();
  const Fd file(open("/dev/null", O_RDWR));
  ASSERT_EQ(file.get(), number);
  sgx_enclave_create arguments{};
  EXPECT_EQ(ioctl(number, SGX_IOC_ENCLAVE_CREATE, &arguments), -1);
  EXPECT_EQ(errno, ENOTTY);
  EXPECT_EQ(write(number, "x", 1), 1);
}

TEST(LifeTest, DescriptorMovedByDup2StaysTheEnclave) {
  ProbeEnclave probe;
  const Fd target(open("/dev/null", O_RDWR));
  ASSERT_EQ(dup2(probe.fd(), target.get()), target.get());
  EXPECT_EQ(map_enclave(target.get(), probe.scratch(), kPage, PROT_READ | PROT_WRITE), 0);
  probe.write(probe.scratch(), 1);
}

TEST(LifeTest, HundredEnclavesOneAfterTheOtherLeaveNothingBehind) {
  for (int i = 0; i < 100; ++i) {
    const ProbeEnclave probe;
    ASSERT_EQ(probe.call(PROBE_OP_SUM, {1, 2}).args.out[0], 3u) << i;
  }
}

TEST(LifeTest, TwentyEnclavesAtOnceKeepTheirMemoryApart) {
  std::vector<std::unique_ptr<ProbeEnclave>> probes;
  for (std::uint64_t i = 0; i < 20; ++i) {
    probes.push_back(std::make_unique<ProbeEnclave>());
    probes.back()->write(probes.back()->scratch(), i);
  }
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(probes[i]->read(probes[i]->scratch()), i);
}

TEST(LifeTest, EnclaveOfHundredsOfGibibytesWorks) {
  ProbeOptions options;
  options.minimum_size = 512ULL << 30;
  const ProbeEnclave probe(options);
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {40, 2}).args.out[0], 42u);
}

TEST(LifeTest, EnclaveWhoseRangeBeginsAtZeroWorks) {
  // Gramine does this; the pages below vm.mmap_min_addr are simply not used.
  ProbeOptions options;
  EnclaveImage image(0x1000000, options.image);
  constexpr std::uint64_t kBias = 0x800000;  // Clear of the program, which is position independent.
  const EnclaveImage probe_pages = probe_image(options);
  for (const auto& [offset, page] : probe_pages.pages()) {
    if (page.secinfo_flags == kPtTcs) {
      Tcs tcs;
      std::memcpy(&tcs, page.bytes.data(), sizeof tcs);
      tcs.ossa += kBias;
      tcs.oentry += kBias;
      tcs.ofsbase += kBias;
      tcs.ogsbase += kBias;
      image.add_tcs(kBias + offset, tcs);
    } else {
      image.add_page(kBias + offset, page.secinfo_flags, page.bytes, page.measured);
    }
  }
  const Fd fd = open_sgx_enclave();
  ASSERT_EQ(create_enclave(fd.get(), image.secs(0)), 0);
  ASSERT_EQ(add_image(fd.get(), image), 0);
  for (const auto& [offset, page] : image.pages()) {
    ASSERT_EQ(map_enclave(fd.get(), offset, kPage, page_protection(page.secinfo_flags)), 0);
  }
  ASSERT_EQ(init_enclave(fd.get(), signed_sigstruct(image)), 0);
  ProbeArgs args{.in = {20, 3}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = kBias + tcs_offset(options, 0);
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_SUM, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  EXPECT_EQ(run.function, 4u);
  EXPECT_EQ(args.out[0], 23u);
  munmap(pointer(kBias), 0x100000);
}

// ---- fork ----

TEST(ForkTest, ChildEntersTheSameEnclaveAndSharesItsMemory) {
  ProbeEnclave probe;
  probe.write(probe.scratch(), 1);
  const int status = in_child([&] {
    if (probe.read(probe.scratch()) != 1) return 2;
    probe.write(probe.scratch(), 2);
    return 0;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(probe.read(probe.scratch()), 2u);
}

TEST(ForkTest, TcsInUseInTheChildIsBusyInTheParent) {
  ProbeEnclave probe;
  auto* shared = static_cast<volatile std::uint64_t*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    probe.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(shared)),
                               address_of(const_cast<std::uint64_t*>(shared + 1))});
    _exit(0);
  }
  while (shared[1] == 0) usleep(1000);
  const CallResult result = probe.call(PROBE_OP_NOP);
  shared[0] = 1;
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(result.run.exception_vector, kVectorGp);
  EXPECT_TRUE(probe.call(PROBE_OP_NOP).exited());
}

TEST(ForkTest, TcsOfAProcessThatWasKilledInsideIsFreeWithItsLevelKept) {
  // To take a thread away, the processor leaves the enclave by an AEX: CSSA is one more, the TCS is not in
  // use.
  for (const int signal : {SIGKILL, SIGTERM}) {
    ProbeEnclave probe;
    auto* shared = static_cast<volatile std::uint64_t*>(
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      probe.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(shared)),
                                 address_of(const_cast<std::uint64_t*>(shared + 1))});
      _exit(0);
    }
    while (shared[1] == 0) usleep(1000);
    kill(child, signal);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status;
    RegisterFile seen{};
    const CallResult look = probe.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)});
    EXPECT_TRUE(look.exited()) << "signal " << signal << ", vector " << look.run.exception_vector;
    EXPECT_EQ(seen.rax, 1u) << "CSSA after signal " << signal;
  }
}

TEST(ForkTest, EnclaveOutlivesTheParent) {
  // A grandchild goes on when the child that made the enclave has exited.
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int status = in_child([&]() -> int {
    ProbeEnclave probe;
    probe.write(probe.scratch(), 55);
    if (fork() == 0) {
      while (getppid() != 1 && getppid() != 0) {
        usleep(10'000);
        static int rounds = 0;
        if (++rounds > 100) break;  // A subreaper may have adopted us; the parent has long gone.
      }
      const char answer = probe.read(probe.scratch()) == 55 ? 'y' : 'n';
      _exit(write(ends[1], &answer, 1) == 1 ? 0 : 1);
    }
    _exit(0);
  });
  EXPECT_EQ(status, 0);
  char answer = 0;
  close(ends[1]);
  EXPECT_EQ(read(ends[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
}

TEST(ForkTest, ChangeOfProtectionInTheChildStaysThere) {
  ProbeEnclave probe;
  probe.write(probe.scratch(), 0);  // fork copies the PTE; without one the error code would be 6
  const int status = in_child([&] {
    if (mprotect(pointer(probe.scratch()), kPage, PROT_READ) != 0) return 2;
    return probe.call(PROBE_OP_WRITE, {probe.scratch(), 1}).run.exception_error_code == 7 ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
  probe.write(probe.scratch(), 1);
}

TEST(ForkTest, ChildMayBuildItsOwnEnclave) {
  const ProbeEnclave parents;
  const int status = in_child([] {
    const ProbeEnclave own;
    return own.call(PROBE_OP_SUM, {2, 2}).args.out[0] == 4 ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(parents.call(PROBE_OP_NOP).exited());
}

TEST(ForkTest, ChildOfAChildOfAChildWorks) {
  const ProbeEnclave probe;
  const int status = in_child([&] {
    return in_child([&] {
             return in_child([&] { return probe.call(PROBE_OP_SUM, {2, 2}).args.out[0] == 4 ? 0 : 1; });
           }) == 0
               ? 0
               : 1;
  });
  EXPECT_EQ(status, 0);
}

// ---- Enclaves of another program ----

constexpr std::uint64_t kPassedBase = 0x100000000000;
ProbeOptions two_threads() {
  ProbeOptions options;
  options.threads = 2;
  return options;
}

LoadOptions at_the_passed_base() {
  LoadOptions options;
  options.base = kPassedBase;
  return options;
}

constexpr char kPassedFd[] = "ENCLUME_TEST_PASSED_FD";

int operate_on_passed(std::uint64_t operation, const std::vector<std::uint64_t>& in, std::uint64_t& out) {
  ProbeArgs args;
  std::copy(in.begin(), in.end(), args.in.begin());
  sgx_enclave_run run{};
  run.tcs = kPassedBase + tcs_offset(two_threads(), 1);
  const int status = enclume_test_call_vdso(operation, address_of(&args), 0, 2, 0, 0, &run, vdso_function());
  out = args.out[0];
  return status == 0 && run.function == 4 ? 0 : -1;
}

// What the program below does that is handed an enclave: maps it, enters it, reads a word and adds 1 to it.
TEST(PassedOnProgram, DISABLED_Receiver) {
  const char* const number = getenv(kPassedFd);
  ASSERT_NE(number, nullptr);
  Fd fd(std::atoi(number));
  if (const char* const socket = getenv("ENCLUME_TEST_SOCKET")) {
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ASSERT_EQ(recvmsg(std::atoi(socket), &message, 0), 1);
    int received = -1;
    std::memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
    fd = Fd(received);
  }
  const EnclaveImage image = probe_image(two_threads());
  for (const auto& [offset, page] : image.pages()) {
    ASSERT_EQ(map_enclave(fd.get(), kPassedBase + offset, kPage, page_protection(page.secinfo_flags)), 0);
  }
  const std::uint64_t word = kPassedBase + PROBE_SCRATCH;
  std::uint64_t value = 0, nothing = 0;
  ASSERT_EQ(operate_on_passed(PROBE_OP_READ, {word}, value), 0);
  EXPECT_EQ(value, 41U);
  ASSERT_EQ(operate_on_passed(PROBE_OP_WRITE, {word, value + 1}, nothing), 0);
}

class PassedOnTest : public ::testing::Test {
 protected:
  // Starts the program that the enclave is for.
  pid_t start() {
    const pid_t child = fork();
    if (child == 0) {
      execl("/proc/self/exe", "receiver", "--gtest_also_run_disabled_tests", "--gtest_brief=1",
            "--gtest_filter=PassedOnProgram.DISABLED_Receiver", nullptr);
      _exit(127);
    }
    return child;
  }
  static int end_of(pid_t child) {
    int status = -1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void TearDown() override {
    unsetenv(kPassedFd);
    unsetenv("ENCLUME_TEST_SOCKET");
  }

  ProbeEnclave probe_{two_threads(), at_the_passed_base()};
};

TEST_F(PassedOnTest, ProgramThatIsExecutedEntersTheEnclaveOfItsParent) {
  probe_.write(probe_.scratch(), 41);
  const Fd inherited(dup(probe_.fd()));
  setenv(kPassedFd, std::to_string(inherited.get()).c_str(), 1);
  EXPECT_EQ(end_of(start()), 0);
  EXPECT_EQ(probe_.read(probe_.scratch()), 42U);
}

TEST_F(PassedOnTest, ProgramThatIsSentADescriptorEntersTheEnclave) {
  probe_.write(probe_.scratch(), 41);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const Fd mine(ends[0]), its(ends[1]);
  setenv(kPassedFd, "-1", 1);
  setenv("ENCLUME_TEST_SOCKET", std::to_string(its.get()).c_str(), 1);
  const pid_t child = start();
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = probe_.fd();
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ASSERT_EQ(sendmsg(mine.get(), &message, 0), 1);
  EXPECT_EQ(end_of(child), 0);
  EXPECT_EQ(probe_.read(probe_.scratch()), 42U);
}

}  // namespace
}  // namespace enclume::test
