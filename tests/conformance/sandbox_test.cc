// SPDX-License-Identifier: Apache-2.0
//
// Programs that limit themselves: what they may no longer do they must not need for an enclave.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

TEST(SandboxTest, EnclaveWorksWhereMemoryMayNotBecomeExecutable) {
  const int status = in_child(
      [] {
        if (!deny_write_exec()) return 0;
        const ProbeEnclave probe;
        return works(probe) && faults(probe) && works(probe) ? 0 : 1;
      },
      20);
  EXPECT_EQ(status, 0);
}

// Entering an enclave, leaving it and taking an exception are no system calls.
TEST(SandboxTest, EnclaveWorksUnderStrictSeccomp) {
  const int status = in_child([] {
    const ProbeEnclave probe;
    if (!works(probe) || !faults(probe)) return 1;  // no page is touched for the first time below
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return 2;
    bool good = true;
    for (int i = 0; i < 100; ++i) good = good && works(probe) && faults(probe);
    return static_cast<int>(syscall(SYS_exit, good ? 0 : 3));  // exit_group is not allowed
  });
  EXPECT_EQ(status, 0);
}

TEST(SandboxTest, EnclaveWorksUnderAFilterThatAllowsLittle) {
  const int status = in_child([] {
    const ProbeEnclave probe;
    if (!works(probe) || !faults(probe)) return 1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 2;
    std::vector<sock_filter> filter = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const unsigned allowed :
         std::initializer_list<unsigned>{__NR_read, __NR_write, __NR_exit_group, __NR_rt_sigreturn}) {
      filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed, 0, 1));
      filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 3;
    bool good = true;
    for (int i = 0; i < 100; ++i) good = good && works(probe) && faults(probe);
    _exit(good ? 0 : 4);  // to unmap is not allowed
  });
  EXPECT_EQ(status, 0);
}

// Of a machine under Enclume, processes share memory that goes with the last of them, however that one ends.
TEST(SandboxTest, NothingIsLeftBehindWhereAFilterLetsNoSharedMemoryBeRemoved) {
  const int status = in_child([] {
    std::vector<sock_filter> filter = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_shmctl, 0, 1),
                                       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                                       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      return 1;
    }
    const ProbeEnclave probe;
    if (!works(probe)) return 2;
    std::ifstream segments("/proc/sysvipc/shm");  // key shmid perms size cpid ...
    std::string line;
    std::getline(segments, line);
    while (std::getline(segments, line)) {
      std::istringstream fields(line);
      std::string key, number, permissions, size;
      long creator = 0;
      fields >> key >> number >> permissions >> size >> creator;
      if (creator == getpid()) return 3;
    }
    return 0;
  });
  EXPECT_EQ(status, 0);
}

TEST(SandboxTest, ASoftLimitOnFileSizesIsNoLimitOnEnclaves) {
  const int status = in_child([] {
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    if (limit.rlim_max != RLIM_INFINITY) return 0;
    limit.rlim_cur = 1000;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    const ProbeEnclave probe;
    rlimit after{};
    getrlimit(RLIMIT_FSIZE, &after);
    return works(probe) && faults(probe) && after.rlim_cur == 1000 ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

TEST(SandboxTest, AHardLimitOnFileSizesIsAnErrorAndNoSignal) {
  const int status = in_child([] {
    const rlimit limit{1000, 1000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    return open("/dev/sgx_enclave", O_RDWR) == -1 && errno == EFBIG ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

TEST(SandboxTest, EnclaveIsMadeWhereAllMemoryIsLocked) {
  const int status = in_child([] {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return 77;
    const ProbeEnclave probe;
    return works(probe) && faults(probe) && works(probe) ? 0 : 1;
  });
  if (status == 77 << 8) GTEST_SKIP() << "RLIMIT_MEMLOCK is too small";
  EXPECT_EQ(status, 0);
}

// vm.memfd_noexec of the process's namespace: files in memory may not be made without MFD_NOEXEC_SEAL.
TEST(SandboxTest, EnclaveIsMadeWhereMemoryFilesAreNotExecutable) {
  const int status = in_child([] {
    if (unshare(CLONE_NEWPID) != 0) return 77;
    const int inner = in_child([] {
      std::ofstream setting("/proc/sys/vm/memfd_noexec");
      if (!(setting << 2 << std::flush)) return 77;
      const ProbeEnclave probe;
      return works(probe) && faults(probe) && works(probe) ? 0 : 1;
    });
    return WIFEXITED(inner) ? WEXITSTATUS(inner) : 2;
  });
  if (status == 77 << 8) GTEST_SKIP() << "needs a namespace of its own, and Linux 6.3";
  EXPECT_EQ(status, 0);
}

TEST(SandboxTest, FewDescriptorsAreEnough) {
  const int status = in_child([] {
    const rlimit limit{16, 16};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    const ProbeEnclave probe;
    return works(probe) && faults(probe) ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

TEST(SandboxTest, ClosingEveryDescriptorLeavesMappedEnclavesAlone) {
  const int status = in_child([] {
    const ProbeEnclave probe;
    if (syscall(SYS_close_range, 3, ~0U, 0) != 0) return 1;
    if (!works(probe) || !faults(probe)) return 2;
    const ProbeEnclave another;
    return works(another) && faults(another) ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
}

TEST(SandboxTest, AMachineSecretOutOfSightIsReplacedWithAWarning) {
  const char* given = getenv("ENCLUME_SETTINGS");
  if (given == nullptr) GTEST_SKIP() << "a real processor keeps its secret";
  std::string settings = given;
  const auto at = settings.find("secret");
  ASSERT_NE(at, std::string::npos);
  settings.replace(at, settings.find(';', at) - at, "secret_file=/nowhere/secret");
  const std::string command = "ENCLUME_SETTINGS='" + settings + "' " +
                              std::filesystem::read_symlink("/proc/self/exe").string() +
                              " --gtest_filter=SandboxTest.ClosingEvery* 2>&1";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), [](FILE*) { return 0; });
  std::string text;
  char buffer[4096];
  while (const std::size_t got = fread(buffer, 1, sizeof buffer, pipe.get())) text.append(buffer, got);
  EXPECT_EQ(pclose(pipe.get()), 0) << text;
  const auto warning = text.find("secret can't be read");
  EXPECT_NE(warning, std::string::npos) << text;
  EXPECT_EQ(text.find("secret can't be read", warning + 1), std::string::npos) << "said once: " << text;
}

}  // namespace
}  // namespace enclume::test
