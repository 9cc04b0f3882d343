// SPDX-License-Identifier: Apache-2.0
// What ptrace and /proc/pid/mem see of an enclave.
#include "kernel/device/debug_access.h"

#include <gtest/gtest.h>

#include "kernel_world.h"

namespace enclume::test {
namespace {

using kernel::debug_read;
using kernel::debug_write;

EnclaveImage debug_image() {
  ImageOptions options;
  options.attributes |= kAttributeDebug;
  return test_image(0x100000, 2, options);
}

LinearAddress at(std::uint64_t offset) {
  return LinearAddress(kTestBase + offset);
}

TEST(DebugAccessTest, ReadsAndWritesAnyBytes) {
  KernelWorld w;
  Enclave& e = w.load(debug_image());
  std::array<std::byte, 100> bytes;
  bytes.fill(std::byte{0x5a});
  EXPECT_EQ(debug_write(w.kernel, at(part::kData + 3), bytes.data(), bytes.size()), bytes.size());
  EnclaveThread thread(w, e);
  EXPECT_EQ(thread.read(part::kData + 2), 1);
  EXPECT_EQ(thread.read(part::kData + 3), 0x5a);
  EXPECT_EQ(thread.read(part::kData + 102), 0x5a);
  EXPECT_EQ(thread.read(part::kData + 103), 1);
  thread.leave();
  bytes = {};
  EXPECT_EQ(debug_read(w.kernel, at(part::kData + 3), bytes.data(), bytes.size()), bytes.size());
  EXPECT_EQ(bytes[99], std::byte{0x5a});
}

TEST(DebugAccessTest, LoadsEvictedPagesAndCrossesThem) {
  KernelWorld w;
  w.load(debug_image());
  while (reclaim_batch(w.kernel) > 0) {
  }
  std::array<std::byte, 16> bytes{};
  EXPECT_EQ(debug_read(w.kernel, at(part::kData + kPage - 8), bytes.data(), bytes.size()), bytes.size());
  EXPECT_EQ(bytes[7], std::byte{1});
  EXPECT_EQ(bytes[8], std::byte{2});
  w.expect_consistent();
}

TEST(DebugAccessTest, OnlyTheFlagsOfATcsCanBeWritten) {
  KernelWorld w;
  Enclave& e = w.load(debug_image());
  const std::uint64_t opt_in = 1;
  const auto* bytes = reinterpret_cast<const std::byte*>(&opt_in);
  EXPECT_EQ(debug_write(w.kernel, at(part::kTcs + 8), bytes, 8), 8);
  EXPECT_EQ(e.epc_page(0).data[8], std::byte{1});
  EXPECT_EQ(debug_write(w.kernel, at(part::kTcs + 16), bytes, 8), fail(Errno::Io));
}

// sgx_vma_access(): `return ret < 0 ? ret : i`.
TEST(DebugAccessTest, OneRefusedWordFailsTheWhole) {
  KernelWorld w;
  Enclave& e = w.load(debug_image());
  std::array<std::byte, 128> bytes{};
  EXPECT_EQ(debug_read(w.kernel, at(part::kTcs), bytes.data(), 72), 72);
  EXPECT_EQ(debug_read(w.kernel, at(part::kTcs), bytes.data(), 80), fail(Errno::Io));
  bytes[0] = std::byte{1};
  EXPECT_EQ(debug_write(w.kernel, at(part::kTcs + 8), bytes.data(), 16), fail(Errno::Io));
  EXPECT_EQ(e.epc_page(0).data[8], std::byte{1});  // the word before is written all the same
}

TEST(DebugAccessTest, Refusals) {
  KernelWorld w;
  w.load(debug_image());
  std::array<std::byte, 8> bytes{};
  EXPECT_EQ(debug_read(w.kernel, LinearAddress(0x1000), bytes.data(), 8), fail(Errno::Fault));
  EXPECT_EQ(debug_read(w.kernel, at(0x80000), bytes.data(), 8),
            fail(Errno::Fault));  // no page: not augmented
  EXPECT_EQ(debug_read(w.kernel, at(part::kData + 2 * kPage - 4), bytes.data(), 8), fail(Errno::Fault));

  KernelWorld production;
  production.load(test_image());
  EXPECT_EQ(debug_read(production.kernel, at(part::kData), bytes.data(), 8), fail(Errno::Fault));
}

}  // namespace
}  // namespace enclume::test
