// SPDX-License-Identifier: Apache-2.0
// The ioctls of design `per-mm`: who may register, and undo it.
#include <asm/sgx.h>
#include <gtest/gtest.h>

#include <thread>

#include "enclume/uapi/sgx_enclu_handler.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kHandler = 0x41'0000;
constexpr std::uint64_t kOther = 0x42'0000;
constexpr std::uint64_t kLastAddress = (1ULL << 47) - 4096 - 1;

class EncluHandlerIoctlTest : public ::testing::Test {
 protected:
  EncluHandlerIoctlTest() { w.mm.design = kernel::ExceptionDesign::PerMm; }

  SysResult<long> call(unsigned long command, std::uint64_t handler, std::uint64_t flags = 0) {
    sgx_enclu_handler argument{handler, flags};
    return sgx_ioctl(w.kernel, e, static_cast<unsigned>(command), LinearAddress::of(&argument));
  }
  SysResult<long> set(std::uint64_t handler, std::uint64_t flags = 0) {
    return call(SGX_IOC_ENCLU_HANDLER_REGISTER, handler, flags);
  }
  SysResult<long> clear(std::uint64_t handler, std::uint64_t flags = 0) {
    return call(SGX_IOC_ENCLU_HANDLER_UNREGISTER, handler, flags);
  }
  std::optional<LinearAddress> registered() const { return w.mm.fixup_state().handler; }

  KernelWorld w;
  Enclave& e = w.open_device();
};

TEST_F(EncluHandlerIoctlTest, RegistersAndForgets) {
  EXPECT_EQ(registered(), std::nullopt);
  EXPECT_EQ(set(kHandler), 0);
  EXPECT_EQ(registered(), LinearAddress(kHandler));
  EXPECT_EQ(clear(kHandler), 0);
  EXPECT_EQ(registered(), std::nullopt);
  EXPECT_EQ(set(kOther), 0) << "and then somebody else may";
}

TEST_F(EncluHandlerIoctlTest, ASecondOneIsBusyEvenIfItIsTheSame) {
  ASSERT_EQ(set(kHandler), 0);
  EXPECT_EQ(set(kOther), fail(Errno::Busy));
  EXPECT_EQ(set(kHandler), fail(Errno::Busy));
  EXPECT_EQ(set(kHandler, SGX_ENCLU_HANDLER_WRITE_ONCE), fail(Errno::Busy))
      << "nor does it become one for good";
  EXPECT_EQ(clear(kHandler), 0);
}

TEST_F(EncluHandlerIoctlTest, OnlyWhoNamesItCanUnregisterIt) {
  EXPECT_EQ(clear(kHandler), fail(Errno::NoEntry));
  ASSERT_EQ(set(kHandler), 0);
  EXPECT_EQ(clear(kOther), fail(Errno::NoEntry));
  EXPECT_EQ(registered(), LinearAddress(kHandler));
}

TEST_F(EncluHandlerIoctlTest, WriteOnceIsForGood) {
  ASSERT_EQ(set(kHandler, SGX_ENCLU_HANDLER_WRITE_ONCE), 0);
  EXPECT_EQ(registered(), LinearAddress(kHandler));
  EXPECT_EQ(clear(kHandler), fail(Errno::Perm));
  EXPECT_EQ(clear(kOther), fail(Errno::NoEntry));
  EXPECT_EQ(set(kOther), fail(Errno::Busy));
  EXPECT_EQ(registered(), LinearAddress(kHandler));
}

TEST_F(EncluHandlerIoctlTest, BadArguments) {
  constexpr std::uint64_t kBit = 1;
  for (const std::uint64_t handler : {0 * kBit, kLastAddress + 1, kBit << 47, kBit << 63, ~(0 * kBit)}) {
    EXPECT_EQ(set(handler), fail(Errno::Invalid)) << std::hex << handler;
    EXPECT_EQ(clear(handler), fail(Errno::Invalid)) << std::hex << handler;
  }
  for (unsigned bit = 1; bit < 64; ++bit) {
    EXPECT_EQ(set(kHandler, 1ULL << bit), fail(Errno::Invalid)) << bit;
  }
  for (unsigned bit = 0; bit < 64; ++bit) {
    EXPECT_EQ(clear(kHandler, 1ULL << bit), fail(Errno::Invalid)) << bit;
  }
  EXPECT_EQ(sgx_ioctl(w.kernel, e, SGX_IOC_ENCLU_HANDLER_REGISTER, LinearAddress(0x1000)),
            fail(Errno::Fault));
  EXPECT_EQ(sgx_ioctl(w.kernel, e, SGX_IOC_ENCLU_HANDLER_UNREGISTER, LinearAddress(0x1000)),
            fail(Errno::Fault));
  EXPECT_EQ(registered(), std::nullopt);
  EXPECT_EQ(set(kLastAddress), 0);
}

TEST_F(EncluHandlerIoctlTest, NeitherTheEnclaveNorTheDescriptorPlaysAPart) {
  // Before CREATE, by another enclave's descriptor, and while another thread is in an ioctl on this one.
  Enclave& other = w.load(test_image());
  sgx_enclu_handler argument{kHandler, 0};
  EXPECT_EQ(sgx_ioctl(w.kernel, other, SGX_IOC_ENCLU_HANDLER_REGISTER, LinearAddress::of(&argument)), 0);
  EXPECT_EQ(set(kOther), fail(Errno::Busy));
  const std::int32_t another_thread = 4711;
  other.shared().ioctl_owner.store(another_thread);
  sgx_enclave_init unused{};
  EXPECT_EQ(sgx_ioctl(w.kernel, other, SGX_IOC_ENCLAVE_INIT, LinearAddress::of(&unused)), fail(Errno::Busy));
  EXPECT_EQ(sgx_ioctl(w.kernel, other, SGX_IOC_ENCLU_HANDLER_UNREGISTER, LinearAddress::of(&argument)), 0);
  other.shared().ioctl_owner.store(0);
}

TEST_F(EncluHandlerIoctlTest, OtherDesignsDoNotKnowThem) {
  for (const auto design : {kernel::ExceptionDesign::Vdso, kernel::ExceptionDesign::VdsoRegisters,
                            kernel::ExceptionDesign::Signals}) {
    w.mm.design = design;
    EXPECT_EQ(set(kHandler), fail(Errno::NotTty));
    EXPECT_EQ(clear(kHandler), fail(Errno::NotTty));
    EXPECT_EQ(registered(), std::nullopt);
  }
}

TEST(EncluHandlerTest, OfManyThreadsThatRegisterOneSucceeds) {
  for (int round = 0; round < 200; ++round) {
    kernel::EncluHandler handler;
    std::atomic<int> successes{0};
    std::vector<std::thread> threads;
    for (std::uint64_t i = 1; i <= 4; ++i) {
      threads.emplace_back([&, i] {
        const LinearAddress mine(i << 12);
        if (handler.set(mine, false)) {
          successes.fetch_add(1);
          EXPECT_EQ(handler.get(), mine);
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(successes.load(), 1);
  }
}

}  // namespace
}  // namespace enclume::test
