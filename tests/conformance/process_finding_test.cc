// SPDX-License-Identifier: Apache-2.0
//
// How a program finds SGX: CPUID, /proc, the devices, the vDSO. See process_test.cc.
#include <cpuid.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "conformance/process_support.h"
#include "conformance/support.h"

// Resolved by the dynamic linker where it looks into the vDSO.
extern "C" int __vdso_sgx_enter_enclave(unsigned long, unsigned long, unsigned long, unsigned int,
                                        unsigned long, unsigned long, sgx_enclave_run*) __attribute__((weak));

namespace enclume::test {
namespace {

struct Cpuid {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  Cpuid(std::uint32_t leaf, std::uint32_t subleaf) { __cpuid_count(leaf, subleaf, eax, ebx, ecx, edx); }
};

TEST(CpuidTest, MaximumLeafReachesTheSgxLeaf) {
  EXPECT_GE(Cpuid(0, 0).eax, 0x12u);
}

TEST(CpuidTest, Leaf7ShowsSgxAndLaunchControl) {
  EXPECT_EQ(Cpuid(7, 0).ebx >> 2 & 1, 1u) << "SGX";
  EXPECT_EQ(Cpuid(7, 0).ecx >> 30 & 1, 1u) << "SGX_LC, without which Linux has no driver";
}

TEST(CpuidTest, Leaf12ShowsTheCapabilities) {
  const Cpuid leaf(0x12, 0);
  EXPECT_EQ(leaf.eax & 1, 1u) << "SGX1";
  EXPECT_EQ(leaf.ebx & 1, 1u) << "MISCSELECT.EXINFO";
  EXPECT_EQ(leaf.ecx, 0u);
  EXPECT_GE(leaf.edx >> 8 & 0xff, 31u) << "log2 of the largest 64-bit enclave";
}

TEST(CpuidTest, Leaf12Subleaf1ShowsWhatSecsMaySet) {
  const Cpuid leaf(0x12, 1);
  EXPECT_EQ(leaf.eax & 0x36, 0x36u) << "DEBUG, MODE64BIT, PROVISIONKEY, EINITTOKENKEY";
  const std::uint64_t xfrm = std::uint64_t{leaf.edx} << 32 | leaf.ecx;
  EXPECT_EQ(xfrm & 3, 3u);
  EXPECT_EQ(xfrm & ~machine_xcr0(), 0u) << "no more than XCR0";
}

TEST(CpuidTest, Leaf12ListsAnEpcSectionAndEnds) {
  std::uint64_t total = 0;
  std::uint32_t subleaf = 2;
  for (; subleaf < 34; ++subleaf) {
    const Cpuid leaf(0x12, subleaf);
    if ((leaf.eax & 0xf) == 0) break;
    EXPECT_EQ(leaf.eax & 0xf, 1u);
    total += (std::uint64_t{leaf.edx & 0xfffff} << 32) + (leaf.ecx & 0xfffff000);
    EXPECT_NE((std::uint64_t{leaf.ebx & 0xfffff} << 32) + (leaf.eax & 0xfffff000), 0u);
  }
  EXPECT_GT(subleaf, 2u);
  EXPECT_LT(subleaf, 34u);
  EXPECT_GE(total, 1u << 20);
}

TEST(CpuidTest, LeavesOutsideTheSgxOnesAreStable) {
  for (const std::uint32_t number : {1u, 0xdu, 0x80000000u, 0x80000002u}) {
    const Cpuid first(number, 0), second(number, 0);
    EXPECT_EQ(first.eax, second.eax) << std::hex << number;
    EXPECT_EQ(first.edx, second.edx) << std::hex << number;
  }
  EXPECT_EQ(Cpuid(1, 0).edx & 1, 1u) << "x87";
}

TEST(CpuidTest, WorksInEveryThreadAndInForkedChildren) {
  std::thread([] { EXPECT_EQ(Cpuid(7, 0).ebx >> 2 & 1, 1u); }).join();
  EXPECT_EQ(in_child([] { return (Cpuid(7, 0).ebx >> 2 & 1) == 1 ? 0 : 1; }), 0);
}

TEST(CpuidTest, LeavesTheOtherRegistersAlone) {
  std::uint64_t rsi = 0x1234567890abcdef, r15 = 0xfedcba0987654321, high = 0;
  asm volatile(
      "mov %[rsi], %%rsi\n\tmov %[r15], %%r15\n\tmov $-1, %%rax\n\tmov $7, %%eax\n\txor %%ecx, "
      "%%ecx\n\tcpuid\n\t"
      "mov %%rsi, %[rsi]\n\tmov %%r15, %[r15]\n\tshr $32, %%rbx\n\tmov %%rbx, %[high]"
      : [rsi] "+m"(rsi), [r15] "+m"(r15), [high] "=m"(high)
      :
      : "rax", "rbx", "rcx", "rdx", "rsi", "r15", "cc");
  EXPECT_EQ(rsi, 0x1234567890abcdefu);
  EXPECT_EQ(r15, 0xfedcba0987654321u);
  EXPECT_EQ(high, 0u) << "CPUID clears the upper halves";
}

TEST(ProcTest, CpuinfoShowsTheFlagsHoweverItIsRead) {
  const std::string by_stream = file_contents("/proc/cpuinfo");
  EXPECT_NE(by_stream.find(" sgx "), std::string::npos);
  EXPECT_NE(by_stream.find(" sgx_lc"), std::string::npos);

  std::string by_read;
  const Fd fd(open("/proc/cpuinfo", O_RDONLY));
  char buffer[65536];
  for (ssize_t got; (got = read(fd.get(), buffer, sizeof buffer)) > 0;) {
    by_read.append(buffer, static_cast<std::size_t>(got));
  }
  EXPECT_NE(by_read.find(" sgx "), std::string::npos);

  int status = 0;
  const Fd proc(open("/proc", O_RDONLY | O_DIRECTORY));
  const Fd relative(openat(proc.get(), "cpuinfo", O_RDONLY));
  const Fd root(open("/", O_RDONLY | O_DIRECTORY));
  const Fd from_root(openat(root.get(), "proc/cpuinfo", O_RDONLY));
  for (const Fd* other : {&relative, &from_root}) {
    std::string text(1U << 16, '\0');
    const ssize_t n = read(other->get(), text.data(), text.size());
    ASSERT_GT(n, 0);
    EXPECT_NE(text.substr(0, static_cast<std::size_t>(n)).find(" sgx "), std::string::npos);
  }
  EXPECT_NE(output_of("cd /proc && cat cpuinfo", status).find(" sgx "), std::string::npos);
  EXPECT_NE(output_of("cat /proc/cpuinfo", status).find(" sgx "), std::string::npos);
  EXPECT_EQ(status, 0);
}

TEST(ProcTest, CpuinfoListsEveryProcessorOnce) {
  const std::string text = file_contents("/proc/cpuinfo");
  long processors = 0;
  for (std::size_t at = 0; (at = text.find("processor\t:", at)) != std::string::npos; ++at) ++processors;
  EXPECT_EQ(processors, sysconf(_SC_NPROCESSORS_ONLN));
}

TEST(DeviceTest, NodesAreCharacterDevicesThatCanBeOpened) {
  struct stat status {};
  ASSERT_EQ(stat("/dev/sgx_enclave", &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
  EXPECT_EQ(access("/dev/sgx_enclave", R_OK | W_OK), 0);
  const Fd fd = open_sgx_enclave();
  ASSERT_TRUE(fd);
  struct stat by_descriptor {};
  ASSERT_EQ(fstat(fd.get(), &by_descriptor), 0);
  EXPECT_TRUE(S_ISCHR(by_descriptor.st_mode));
  EXPECT_EQ(by_descriptor.st_rdev, status.st_rdev);
}

TEST(DeviceTest, OldNameOpensTheSameDevice) {
  const Fd fd(open("/dev/sgx/enclave", O_RDWR | O_CLOEXEC));
  if (!fd && errno == ENOENT && access("/sys/devices/virtual/misc/sgx_enclave", F_OK) == 0) {
    GTEST_SKIP() << "on hardware the old name is a link that udev may or may not make";
  }
  ASSERT_TRUE(fd) << std::strerror(errno);
  sgx_enclave_create arguments{};
  EXPECT_EQ(ioctl(fd.get(), SGX_IOC_ENCLAVE_CREATE, &arguments), -1);
  EXPECT_EQ(errno, EFAULT) << "the driver's own answer";
}

TEST(DeviceTest, OpenFlagsAreKept) {
  const Fd closing(open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC)),
      open_across(open("/dev/sgx_enclave", O_RDWR));
  EXPECT_EQ(fcntl(closing.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_EQ(fcntl(open_across.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(fcntl(open_across.get(), F_GETFL) & O_ACCMODE, O_RDWR);
  const Fd patient(open("/dev/sgx_enclave", O_RDWR | O_NONBLOCK));
  EXPECT_EQ(fcntl(patient.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  EXPECT_EQ(open("/dev/sgx_enclave", O_RDWR | O_CREAT | O_EXCL, 0600), -1);
  EXPECT_EQ(errno, EEXIST);
}

TEST(DeviceTest, ProvisioningCannotBeMapped) {
  const Fd provision(open("/dev/sgx_provision", O_RDONLY));
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, provision.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, ENODEV);
}

TEST(DeviceTest, OpenatAndOpenByCreatFlagsWork) {
  EXPECT_TRUE(Fd(openat(AT_FDCWD, "/dev/sgx_enclave", O_RDWR)));
  const Fd dev(open("/dev", O_RDONLY | O_DIRECTORY));
  EXPECT_TRUE(Fd(openat(dev.get(), "sgx_enclave", O_RDWR)));
  const Fd root(open("/", O_RDONLY | O_DIRECTORY));
  EXPECT_TRUE(Fd(openat(root.get(), "dev/sgx_enclave", O_RDWR)));
  EXPECT_FALSE(Fd(openat(root.get(), "sgx_enclave", O_RDWR)));
  EXPECT_TRUE(Fd(static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/dev/sgx_enclave", O_RDWR, 0))));
}

TEST(DeviceTest, SlashesAndDotsThatLeadNowhereElseDoNotMatter) {
  for (const char* path :
       {"//dev/sgx_enclave", "/dev//sgx_enclave", "/dev/./sgx_enclave", "/./dev/.//sgx_enclave"}) {
    EXPECT_TRUE(Fd(open(path, O_RDWR | O_CLOEXEC))) << path;
  }
  for (const char* path : {"/dev/sgx_enclave/", "/dev/sgx_enclave/."}) {
    EXPECT_FALSE(Fd(open(path, O_RDWR | O_CLOEXEC))) << path;
  }
}

TEST(DeviceTest, OtherNamesStayMissing) {
  EXPECT_FALSE(Fd(open("/dev/sgx_enclave2", O_RDWR)));
  EXPECT_EQ(errno, ENOENT);
}

std::vector<std::string> listed(DIR* directory) {
  std::vector<std::string> names;
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name.rfind("sgx_", 0) != 0) continue;
    struct stat status {};
    EXPECT_EQ(fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW), 0) << name;
    EXPECT_EQ(status.st_ino, entry->d_ino) << name;
    EXPECT_EQ(entry->d_type, DT_CHR) << name;
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

const std::vector<std::string> kNodeNames = {"sgx_enclave", "sgx_provision"};

TEST(DeviceTest, DirectoryListsThemOnceEachTimeThatItIsRead) {
  DIR* const directory = opendir("/dev");
  ASSERT_NE(directory, nullptr);
  EXPECT_EQ(listed(directory), kNodeNames);
  EXPECT_EQ(readdir(directory), nullptr) << "the end stays the end";
  rewinddir(directory);
  EXPECT_EQ(listed(directory), kNodeNames);
  closedir(directory);
  DIR* const again = fdopendir(open("/./dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(listed(again), kNodeNames);
  closedir(again);
}

TEST(DeviceTest, ScandirAndGlobFindThem) {
  dirent** list = nullptr;
  const int count = scandir(
      "/dev", &list,
      [](const dirent* entry) { return static_cast<int>(std::strncmp(entry->d_name, "sgx_", 4) == 0); },
      alphasort);
  ASSERT_EQ(count, 2);
  for (int i = 0; i < count; ++i) {
    EXPECT_EQ(list[i]->d_name, kNodeNames[static_cast<std::size_t>(i)]);
    free(list[i]);
  }
  free(static_cast<void*>(list));
  glob_t found{};
  ASSERT_EQ(glob("/d[e]v/sgx_*", 0, nullptr, &found), 0);
  ASSERT_EQ(found.gl_pathc, 2u);
  EXPECT_STREQ(found.gl_pathv[0], "/dev/sgx_enclave");
  EXPECT_STREQ(found.gl_pathv[1], "/dev/sgx_provision");
  globfree(&found);
}

TEST(DeviceTest, OtherDirectoriesDoNotListThem) {
  for (const char* path : {"/", "/dev/fd", "/proc/self"}) {
    DIR* const directory = opendir(path);
    ASSERT_NE(directory, nullptr) << path;
    EXPECT_EQ(listed(directory), std::vector<std::string>{}) << path;
    closedir(directory);
  }
}

TEST(DeviceTest, DescriptorIsTheDeviceByEveryCallAndNumber) {
  const Fd device(open("/dev/sgx_enclave", O_RDWR));
  ASSERT_GE(device.get(), 0);
  const Fd copy(fcntl(device.get(), F_DUPFD, 700));
  struct stat by_name {
  }, by_number{}, by_empty_name{};
  struct statx extended {};
  ASSERT_EQ(stat("/dev/sgx_enclave", &by_name), 0);
  ASSERT_EQ(fstat(copy.get(), &by_number), 0);
  ASSERT_EQ(fstatat(copy.get(), "", &by_empty_name, AT_EMPTY_PATH), 0);
  ASSERT_EQ(statx(copy.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended), 0);
  EXPECT_TRUE(S_ISCHR(by_number.st_mode));
  EXPECT_EQ(by_number.st_rdev, by_name.st_rdev);
  EXPECT_EQ(by_empty_name.st_rdev, by_name.st_rdev);
  EXPECT_EQ(extended.stx_mode, by_name.st_mode);
}

TEST(DeviceTest, CannotBeReadOrWrittenByAnyCall) {
  const Fd device(open("/dev/sgx_enclave", O_RDWR));
  char byte = 0;
  const iovec part{&byte, 1};
  const auto refused = [](ssize_t result) { return result == -1 && errno == EINVAL; };
  EXPECT_TRUE(refused(read(device.get(), &byte, 1)));
  EXPECT_TRUE(refused(pread(device.get(), &byte, 1, 0)));
  EXPECT_TRUE(refused(readv(device.get(), &part, 1)));
  EXPECT_TRUE(refused(preadv(device.get(), &part, 1, 0)));
  EXPECT_TRUE(refused(preadv2(device.get(), &part, 1, 0, 0)));
  EXPECT_TRUE(refused(write(device.get(), &byte, 1)));
  EXPECT_TRUE(refused(pwrite(device.get(), &byte, 1, 0)));
  EXPECT_TRUE(refused(writev(device.get(), &part, 1)));
  EXPECT_TRUE(refused(pwritev(device.get(), &part, 1, 0)));
  EXPECT_TRUE(refused(pwritev2(device.get(), &part, 1, 0, 0)));
}

TEST(DeviceTest, NoCallOnFilesReachesWhatAnEnclaveHas) {
  // The drivers have open, ioctl and mmap, and nothing that these calls could use.
  ProbeEnclave probe;
  probe.write(probe.scratch(), 0x5a);
  const int device = probe.fd();
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const Fd out(pipe_ends[0]), in(pipe_ends[1]);
  const auto refused = [](ssize_t result, int error) { return result == -1 && errno == error; };
  EXPECT_TRUE(refused(lseek(device, 0, SEEK_SET), ESPIPE));
  EXPECT_TRUE(refused(ftruncate(device, 0), EINVAL));
  EXPECT_TRUE(refused(fallocate(device, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20), ENODEV));
  EXPECT_TRUE(refused(fsync(device), EINVAL));
  EXPECT_TRUE(refused(fdatasync(device), EINVAL));
  EXPECT_TRUE(refused(sendfile(in.get(), device, nullptr, 8), EINVAL));
  EXPECT_TRUE(refused(splice(device, nullptr, in.get(), nullptr, 8, 0), EINVAL));
  EXPECT_TRUE(refused(copy_file_range(device, nullptr, in.get(), nullptr, 8, 0), EINVAL));
  EXPECT_EQ(probe.read(probe.scratch()), 0x5aU);
}

TEST(DeviceTest, TheyAreFilesOfTheirOwnAndNoLinks) {
  char buffer[16];
  EXPECT_EQ(readlink("/dev/sgx_enclave", buffer, sizeof buffer), -1);
  EXPECT_EQ(errno, EINVAL);
  char* const name = realpath("/dev/./sgx_enclave", nullptr);
  ASSERT_NE(name, nullptr) << std::strerror(errno);
  EXPECT_STREQ(name, "/dev/sgx_enclave");
  free(name);
  struct stat enclave {
  }, provision{}, null{}, by_descriptor{};
  ASSERT_EQ(lstat("/dev/sgx_enclave", &enclave), 0);
  ASSERT_EQ(stat("/dev/sgx_provision", &provision), 0);
  ASSERT_EQ(stat("/dev/null", &null), 0);
  EXPECT_NE(enclave.st_ino, null.st_ino);
  EXPECT_NE(enclave.st_ino, provision.st_ino);
  ASSERT_EQ(fstat(open_sgx_enclave().get(), &by_descriptor), 0);
  EXPECT_EQ(by_descriptor.st_ino, enclave.st_ino);
  EXPECT_EQ(by_descriptor.st_dev, enclave.st_dev);
  struct statx extended {};
  ASSERT_EQ(statx(AT_FDCWD, "/dev/sgx_enclave", 0, STATX_BASIC_STATS, &extended), 0);
  EXPECT_EQ(extended.stx_ino, enclave.st_ino);
}

// ---- The vDSO ----

TEST(VdsoLookupTest, AuxiliaryVectorPointsToAnElfImageWithTheFunction) {
  const auto* image = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  ASSERT_NE(image, nullptr);
  EXPECT_EQ(std::memcmp(image, ELFMAG, SELFMAG), 0);
  EXPECT_NE(find_vdso_function(), nullptr);
}

TEST(VdsoLookupTest, AuxiliaryVectorInProcAgrees) {
  const std::string raw = file_contents("/proc/self/auxv");
  std::uint64_t found = 0;
  for (std::size_t at = 0; at + sizeof(Elf64_auxv_t) <= raw.size(); at += sizeof(Elf64_auxv_t)) {
    Elf64_auxv_t entry;
    std::memcpy(&entry, raw.data() + at, sizeof entry);
    if (entry.a_type == AT_SYSINFO_EHDR) found = entry.a_un.a_val;
  }
  EXPECT_EQ(found, getauxval(AT_SYSINFO_EHDR));
}

TEST(VdsoLookupTest, AuxiliaryVectorOnTheStackAgrees) {
  char** after = environ;
  // The vector follows the environment as the kernel wrote it; a program that has changed its environment has
  // moved `environ` away.
  if (after == nullptr || getenv("PATH") == nullptr) GTEST_SKIP() << "no environment";
  const auto stack_end = reinterpret_cast<std::uint64_t>(getauxval(AT_RANDOM));
  if (address_of(after) > stack_end || stack_end - address_of(after) > (1 << 20)) {
    GTEST_SKIP() << "the environment was moved";
  }
  while (*after != nullptr) ++after;
  std::uint64_t found = 0;
  for (const auto* entry = reinterpret_cast<const Elf64_auxv_t*>(after + 1); entry->a_type != AT_NULL;
       ++entry) {
    if (entry->a_type == AT_SYSINFO_EHDR) found = entry->a_un.a_val;
  }
  EXPECT_EQ(found, getauxval(AT_SYSINFO_EHDR));
}

TEST(VdsoLookupTest, SectionHeadersLeadToTheFunction) {
  // Intel's runtime looks for the sections .dynsym and .dynstr by name.
  const auto* image = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
  ASSERT_NE(header->e_shoff, 0u);
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image + header->e_shoff);
  const char* names = image + sections[header->e_shstrndx].sh_offset;
  const Elf64_Shdr *symbols = nullptr, *strings = nullptr;
  for (int i = 0; i < header->e_shnum; ++i) {
    if (std::strcmp(names + sections[i].sh_name, ".dynsym") == 0) symbols = &sections[i];
    if (std::strcmp(names + sections[i].sh_name, ".dynstr") == 0) strings = &sections[i];
  }
  ASSERT_NE(symbols, nullptr);
  ASSERT_NE(strings, nullptr);
  const auto* table = reinterpret_cast<const Elf64_Sym*>(image + symbols->sh_offset);
  std::uint64_t found = 0;
  for (std::size_t i = 0; i < symbols->sh_size / sizeof(Elf64_Sym); ++i) {
    if (std::strcmp(image + strings->sh_offset + table[i].st_name, "__vdso_sgx_enter_enclave") == 0) {
      found = address_of(image) + table[i].st_value;
    }
  }
  EXPECT_EQ(found, reinterpret_cast<std::uint64_t>(find_vdso_function()));
}

TEST(VdsoLookupTest, DynamicLinkerFindsItInTheLoadedVdso) {
  void* vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(vdso, nullptr) << dlerror();
  EXPECT_EQ(address_of(dlsym(vdso, "__vdso_sgx_enter_enclave")),
            reinterpret_cast<std::uint64_t>(find_vdso_function()));
  EXPECT_EQ(address_of(dlvsym(vdso, "__vdso_sgx_enter_enclave", "LINUX_2.6")),
            reinterpret_cast<std::uint64_t>(find_vdso_function()));
  EXPECT_EQ(dlvsym(vdso, "__vdso_sgx_enter_enclave", "LINUX_99"), nullptr);
}

TEST(VdsoLookupTest, WeakReferenceThatIsResolvedEntersEnclaves) {
  if (__vdso_sgx_enter_enclave == nullptr) GTEST_SKIP() << "this dynamic linker does not look into the vDSO";
  const ProbeEnclave probe;
  ProbeArgs args{.in = {40, 2}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe.tcs();
  ASSERT_EQ(
      enclume_test_call_vdso(PROBE_OP_SUM, address_of(&args), 0, 2, 0, 0, &run, &__vdso_sgx_enter_enclave),
      0);
  EXPECT_EQ(run.function, 4u);
  EXPECT_EQ(args.out[0], 42u);
}

TEST(VdsoLookupTest, TheClocksOfTheVdsoStillRun) {
  void* vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(vdso, nullptr) << dlerror();
  const auto by_vdso = reinterpret_cast<int (*)(clockid_t, timespec*)>(dlsym(vdso, "__vdso_clock_gettime"));
  ASSERT_NE(by_vdso, nullptr);
  timespec before{}, between{}, after{};
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
  ASSERT_EQ(by_vdso(CLOCK_MONOTONIC, &between), 0);
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
  const auto nanoseconds = [](const timespec& t) { return t.tv_sec * 1'000'000'000 + t.tv_nsec; };
  EXPECT_LE(nanoseconds(before), nanoseconds(between));
  EXPECT_LE(nanoseconds(between), nanoseconds(after));
}

}  // namespace
}  // namespace enclume::test
