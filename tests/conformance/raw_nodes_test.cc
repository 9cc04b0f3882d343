// SPDX-License-Identifier: Apache-2.0
//
// The device nodes as system calls without libc see them.
#include <asm/unistd.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <cstring>

#include "conformance/raw_actions.h"
#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

// -- The device nodes

TEST(RawNodeTest, IsNoLink) {
  char text[64];
  EXPECT_EQ(raw(__NR_readlink, "/dev/sgx_enclave", text, sizeof text), -EINVAL);
  EXPECT_EQ(raw(__NR_readlinkat, AT_FDCWD, "/dev/sgx_provision", text, sizeof text), -EINVAL);
}

TEST(RawNodeTest, IsListedOnce) {
  const int directory = static_cast<int>(raw(__NR_open, "/dev", O_RDONLY | O_DIRECTORY, 0));
  ASSERT_GE(directory, 0);
  for (int time = 0; time < 2; ++time) {
    int found = 0;
    bool null_too = false;
    alignas(8) char buffer[512];
    for (long size; (size = raw(__NR_getdents64, directory, buffer, sizeof buffer)) > 0;) {
      for (long at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
        found += std::strcmp(entry->d_name, "sgx_enclave") == 0 ||
                 std::strcmp(entry->d_name, "sgx_provision") == 0;
        null_too = null_too || std::strcmp(entry->d_name, "null") == 0;
        at += entry->d_reclen;
      }
    }
    EXPECT_EQ(found, 2);
    EXPECT_TRUE(null_too);
    raw(__NR_lseek, directory, 0, SEEK_SET);
  }
  raw(__NR_close, directory);
}

TEST(RawNodeTest, DescriptorLooksTheSameByEveryCallAndNumber) {
  const int device = static_cast<int>(raw(__NR_open, "/dev/sgx_enclave", O_RDWR, 0));
  ASSERT_GE(device, 0);
  const int copy = ::dup2(device, 900);
  struct stat by_name {
  }, by_number{}, by_empty_name{};
  struct statx extended {};
  EXPECT_EQ(raw(__NR_stat, "/dev/sgx_enclave", &by_name), 0);
  EXPECT_EQ(raw(__NR_fstat, copy, &by_number), 0);
  EXPECT_EQ(raw(__NR_newfstatat, copy, "", &by_empty_name, AT_EMPTY_PATH), 0);
  EXPECT_EQ(raw(__NR_statx, copy, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended), 0);
  EXPECT_TRUE(S_ISCHR(by_number.st_mode));
  EXPECT_EQ(by_number.st_rdev, by_name.st_rdev);
  EXPECT_EQ(by_empty_name.st_rdev, by_name.st_rdev);
  EXPECT_EQ(extended.stx_mode, by_name.st_mode);
  ::close(copy);
  raw(__NR_close, device);
}

// Linux do_vfs_ioctl(): what only regular files have is the driver's to answer, and it knows none of it.
TEST(RawNodeTest, HasNoIoctlsOfARegularFile) {
  const int device = static_cast<int>(raw(__NR_open, "/dev/sgx_enclave", O_RDWR, 0));
  ASSERT_GE(device, 0);
  long value = 0;
  for (const unsigned long command :
       {static_cast<unsigned long>(FIONREAD), static_cast<unsigned long>(FIOQSIZE),
        static_cast<unsigned long>(FS_IOC_GETFLAGS)}) {
    EXPECT_EQ(raw(__NR_ioctl, device, command, &value), -ENOTTY) << command;
    EXPECT_EQ(::ioctl(device, command, &value), -1) << command;
    EXPECT_EQ(errno, ENOTTY);
  }
  EXPECT_EQ(raw(__NR_ioctl, device, FIOCLEX), 0);
  EXPECT_EQ(::fcntl(device, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(raw(__NR_ioctl, device, FIGETBSZ, &value), 0);
  raw(__NR_close, device);
}

}  // namespace
}  // namespace enclume::test
