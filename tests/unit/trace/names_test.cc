// SPDX-License-Identifier: Apache-2.0
#include "trace/names.h"

#include <asm/sgx.h>
#include <gtest/gtest.h>

#include <string>

namespace enclume::trace {
namespace {

TEST(IoctlName, FollowsTheKernelsHeader) {
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_CREATE), "SGX_IOC_ENCLAVE_CREATE");
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_ADD_PAGES), "SGX_IOC_ENCLAVE_ADD_PAGES");
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_INIT), "SGX_IOC_ENCLAVE_INIT");
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_PROVISION), "SGX_IOC_ENCLAVE_PROVISION");
  EXPECT_EQ(ioctl_name(SGX_IOC_VEPC_REMOVE_ALL), "SGX_IOC_VEPC_REMOVE_ALL");
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS), "SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS");
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_MODIFY_TYPES), "SGX_IOC_ENCLAVE_MODIFY_TYPES");
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_REMOVE_PAGES), "SGX_IOC_ENCLAVE_REMOVE_PAGES");
  EXPECT_EQ(ioctl_name(SGX_IOC_ENCLAVE_CREATE + 1), "");
}

TEST(SignalName, FollowsTheCLibrary) {
  for (int signo = 1; signo < 32; ++signo) {
    const char* abbreviation = sigabbrev_np(signo);
    ASSERT_NE(abbreviation, nullptr) << signo;
    if (signo == SIGKILL || signo == SIGSTOP) {
      EXPECT_EQ(signal_name(signo), "") << "no handler and no AEX can have seen it";
      continue;
    }
    // The kernel knows SIGIO and SIGPOLL as one number.
    const std::string expected = signo == SIGIO ? "SIGIO" : std::string("SIG") + abbreviation;
    EXPECT_EQ(signal_name(signo), expected);
  }
  EXPECT_EQ(signal_name(0), "");
  EXPECT_EQ(signal_name(40), "");
}

TEST(ErrnoName, FollowsTheCLibraryWhereThereIsOne) {
  int named = 0;
  for (int error = 1; error < 134; ++error) {
    if (const std::string_view name = errno_name(error); !name.empty()) {
      EXPECT_EQ(name, strerrorname_np(error));
      ++named;
    }
  }
  EXPECT_EQ(named, 26);
  EXPECT_EQ(errno_name(512), "ERESTARTSYS");
  EXPECT_EQ(errno_name(0), "");
}

TEST(SignalCodeName, DependsOnTheSignal) {
  EXPECT_EQ(signal_code_name(SIGSEGV, 1), "SEGV_MAPERR");
  EXPECT_EQ(signal_code_name(SIGBUS, 1), "BUS_ADRALN");
  EXPECT_EQ(signal_code_name(SIGILL, 2), "ILL_ILLOPN");
  EXPECT_EQ(signal_code_name(SIGTRAP, 2), "TRAP_TRACE");
  EXPECT_EQ(signal_code_name(SIGFPE, 1), "FPE_INTDIV");
  EXPECT_EQ(signal_code_name(SIGUSR1, 1), "");
}

TEST(ErrorCode, BelongsToEightVectors) {
  std::string with;
  for (std::uint64_t vector = 0; vector < 64; ++vector) {
    if (has_error_code(vector)) {
      with += std::string(vector_name(vector)) + " ";
    }
  }
  EXPECT_EQ(with, "#DF #TS #NP #SS #GP #PF #AC #CP ");
  EXPECT_FALSE(has_error_code(255));
}

std::string secinfo(std::uint64_t flags) {
  char storage[128];
  LineBuffer line(storage);
  put_secinfo(line, flags);
  return std::string(line.view());
}

TEST(Secinfo, ShowsPermissionsTypeAndState) {
  EXPECT_EQ(secinfo(0x203), "RW- REG");
  EXPECT_EQ(secinfo(0x100), "--- TCS");
  EXPECT_EQ(secinfo(0x20b), "RW- REG PENDING");
  EXPECT_EQ(secinfo(0x410), "--- TRIM MODIFIED");
  EXPECT_EQ(secinfo(0x207 | 0x28), "RWX REG PENDING|PR");
  EXPECT_EQ(secinfo(0x4200), "--- type 0x42");
  EXPECT_EQ(secinfo(0x10201), "R-- REG 0x10000");
}

TEST(Flags, KeepWhatHasNoName) {
  constexpr Named kNames[] = {{3, "BOTH"}, {1, "ONE"}, {2, "TWO"}};
  const auto text = [&](std::uint64_t value) {
    char storage[64];
    LineBuffer line(storage);
    put_flags(line, value, kNames, "NONE");
    return std::string(line.view());
  };
  EXPECT_EQ(text(0), "NONE");
  EXPECT_EQ(text(1), "ONE");
  EXPECT_EQ(text(3), "BOTH");
  EXPECT_EQ(text(0x12), "TWO|0x10");
  EXPECT_EQ(text(0x10), "0x10");
}

}  // namespace
}  // namespace enclume::trace
