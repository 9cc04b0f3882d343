// SPDX-License-Identifier: Apache-2.0
//
// A machine with SGX1 only: no dynamic memory, and everything says so.
#include <cpuid.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>

#include "conformance/support.h"

namespace enclume::test {
namespace {

class Sgx1Test : public ::testing::Test {
 protected:
  void SetUp() override {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    __cpuid_count(0x12, 0, eax, ebx, ecx, edx);
    ASSERT_EQ(eax & 3, 1u) << "these tests are for a machine that shows SGX1 and not SGX2";
  }
  static ProbeOptions with_hole() {
    ProbeOptions options;
    options.minimum_size = 0x40000;
    return options;
  }
  static LoadOptions mapped() {
    LoadOptions load;
    load.map_holes = true;
    return load;
  }
};

TEST_F(Sgx1Test, EnclavesWork) {
  const ProbeEnclave probe;
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {1, 2}).args.out[0], 3u);
}

TEST_F(Sgx1Test, Sgx2IoctlsAreEnodevInAnyState) {
  const Fd fresh = open_sgx_enclave();
  const ProbeEnclave probe;
  for (const int fd : {fresh.get(), probe.fd()}) {
    sgx_enclave_restrict_permissions permissions{};
    sgx_enclave_modify_types types{};
    sgx_enclave_remove_pages pages{};
    EXPECT_EQ(restrict_permissions(fd, permissions), ENODEV);
    EXPECT_EQ(modify_types(fd, types), ENODEV);
    EXPECT_EQ(remove_pages(fd, pages), ENODEV);
  }
}

TEST_F(Sgx1Test, TouchOfAHoleIsAPageFaultWithoutTheSgxBit) {
  // Linux raises SIGBUS for it, which the vDSO reports as vector 14.
  const ProbeEnclave probe(with_hole(), mapped());
  const CallResult result = probe.call(PROBE_OP_READ, {probe.base() + 0x30000});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_error_code & kPfSgx, 0);
  EXPECT_EQ(result.run.exception_addr, probe.base() + 0x30000);
}

TEST_F(Sgx1Test, EacceptIsAnUnknownLeaf) {
  const ProbeEnclave probe;
  const CallResult result = probe.call(
      PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEaccept), probe.scratch(), probe.scratch()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorGp);
}

TEST_F(Sgx1Test, RdtscIsAnInvalidOpcodeInTheEnclave) {
  const ProbeEnclave probe;
  const CallResult result = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_RDTSC});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorUd);
}

}  // namespace
}  // namespace enclume::test
