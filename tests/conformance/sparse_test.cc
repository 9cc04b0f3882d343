// SPDX-License-Identifier: Apache-2.0
//
// Enclaves with far more addresses than pages, and permissions as fine as a page.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <fstream>
#include <string>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kNewRw = kPtReg | kR | kW | kPending;

class SparseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Fd fd = open_sgx_enclave();
    sgx_enclave_remove_pages nothing{};
    if (remove_pages(fd.get(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  }

  static ProbeEnclave enclave_of(std::uint64_t size) {
    ProbeOptions options;
    options.minimum_size = size;
    LoadOptions load;
    load.map_holes = true;
    return ProbeEnclave(options, load);
  }

  static std::uint64_t accept(const ProbeEnclave& probe, std::uint64_t address) {
    return probe.enclu_secinfo(Leaf::kEaccept, kNewRw, address).rax;
  }

  static std::size_t mappings_of_this_process() {
    std::ifstream maps("/proc/self/maps");
    std::size_t count = 0;
    for (std::string line; std::getline(maps, line);) ++count;
    return count;
  }
};

TEST_F(SparseTest, EnclaveOf256GigabytesHasAPageWhereverItIsAccepted) {
  const ProbeEnclave probe = enclave_of(1ULL << 38);
  for (std::uint64_t offset = 1ULL << 20; offset < 1ULL << 38; offset = offset * 2 + kPage) {
    ASSERT_EQ(accept(probe, probe.base() + offset), 0u) << std::hex << offset;
    probe.write(probe.base() + offset + 8, offset);
  }
  for (std::uint64_t offset = 1ULL << 20; offset < 1ULL << 38; offset = offset * 2 + kPage) {
    EXPECT_EQ(probe.read(probe.base() + offset + 8), offset);
  }
  ASSERT_EQ(accept(probe, probe.base() + (1ULL << 38) - kPage), 0u) << "the last page";
}

// Every other page is there: as many places where the permissions change as there can be. A process has
// 65,530 mappings to itself.
TEST_F(SparseTest, PermissionsThatAlternatePageByPageLeaveMappingsToTheProgram) {
  constexpr std::uint64_t kPagesInUse = 34'000;
  const ProbeEnclave probe = enclave_of(1ULL << 30);
  const std::uint64_t first = probe.base() + (1ULL << 29);
  const Secinfo secinfo{.flags = kNewRw, .reserved = {}};
  probe.copy(probe.scratch(), address_of(&secinfo), sizeof secinfo);
  const std::size_t before = mappings_of_this_process();
  std::size_t most = 0;
  for (std::uint64_t page = 0; page < kPagesInUse; ++page) {
    ASSERT_EQ(probe.enclu(Leaf::kEaccept, probe.scratch(), first + 2 * page * kPage).rax, 0u) << page;
    probe.write(first + 2 * page * kPage, page);
    if (page % 1000 == 999) most = std::max(most, mappings_of_this_process());
  }
  EXPECT_LE(most, before + 32'000);
  for (std::uint64_t page = 0; page < kPagesInUse; page += 17) {
    ASSERT_EQ(probe.read(first + 2 * page * kPage), page);
  }
  const CallResult between = probe.call(PROBE_OP_READ, {first + kPage});
  ASSERT_TRUE(between.faulted());
  EXPECT_EQ(between.run.exception_error_code, 0x8005) << "a page that was not accepted";
}

}  // namespace
}  // namespace enclume::test
