// SPDX-License-Identifier: Apache-2.0
// What the parts of ioctl_errno_test share: an enclave of 64 KiB that is not created yet.
#pragma once

#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "conformance/support.h"

namespace enclume::test {

inline constexpr std::uint64_t kSize = 0x10000;

// An address that no process has mapped.
inline void* bad_pointer() {
  return reinterpret_cast<void*>(0x10);
}

inline int ioctl_errno(int fd, unsigned long request, void* argument) {
  return ioctl(fd, request, argument) >= 0 ? 0 : errno;
}

inline EnclaveImage image_of_size(std::uint64_t size, const ImageOptions& options = {}) {
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

}  // namespace enclume::test
