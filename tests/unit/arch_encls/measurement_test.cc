// SPDX-License-Identifier: Apache-2.0
// MRENCLAVE of random enclaves, three ways: by the leaves, by OpenSSL, by tests/oracle/mrenclave.py.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

#include "arch/identity/measurement.h"
#include "support/enclave_builder.h"
#include "unit/arch_encls/oracle.h"

namespace enclume::arch {
namespace {

using test::EnclaveBuilder;
using test::FakeMachine;
using test::hex;

std::string oracle(const std::string& description) {
  const auto answer = test::ask_oracle("mrenclave.py", description);
  return answer.size() == 1 ? answer[0] : "no answer";
}

TEST(Measurement, OfAnEmptyEnclaveIsTheHashOfOneBlock) {
  FakeMachine machine;
  EnclaveBuilder enclave(machine, 0);
  ASSERT_EQ(enclave.create(), leaf_success());
  EXPECT_EQ(enclave.secs().internal.hash_blocks, 1U);
  EXPECT_EQ(measured_so_far(enclave.secs()), enclave.reference().mrenclave());
}

TEST(Measurement, KnownValueOfAnEmptyEnclave) {
  // { printf 'ECREATE\0\1\0\0\0\0\0\1\0\0\0\0\0'; head -c 44 /dev/zero; } | sha256sum
  constexpr const char* kSha256sum = "03c79954895fe98c9bd1b86ebe8b7b1748b65bfc30085dd387cb4351e7de51e2";
  Secs secs{};
  secs.ssa_frame_size = 1;
  secs.size = 0x10000;
  measure_ecreate(secs);
  EXPECT_EQ(hex(measured_so_far(secs)), kSha256sum);
  EXPECT_EQ(oracle("create 1 65536\n"), kSha256sum);
}

TEST(Measurement, OfRandomEnclavesAgreesWithOpensslAndPython) {
  std::mt19937_64 random(20240229);
  for (int round = 0; round < 12; ++round) {
    FakeMachine machine;
    EnclaveBuilder enclave(machine, 0);
    Secs secs = test::default_secs();
    secs.size = kPageSize << (1 + random() % 10);
    secs.ssa_frame_size = 1 + static_cast<std::uint32_t>(random() % 5);
    ASSERT_EQ(enclave.create(secs), leaf_success());
    std::string description =
        "create " + std::to_string(secs.ssa_frame_size) + " " + std::to_string(secs.size) + "\n";

    const std::uint64_t pages = std::min<std::uint64_t>(secs.size / kPageSize, 1 + random() % 8);
    for (std::uint64_t i = 0; i < pages; ++i) {
      std::array<std::byte, kPageSize> contents{};
      const bool tcs = random() % 4 == 0;
      for (std::size_t at = 0; at < (tcs ? 72 : contents.size()); ++at) {
        contents[at] = static_cast<std::byte>(random());
      }
      std::uint64_t rwx = random() % 8;
      if ((rwx & 3) == 2) {
        rwx |= 1;
      }
      const std::uint64_t flags = secinfo_flags_of(tcs ? PageType::Tcs : PageType::Reg, rwx);
      const std::uint64_t offset = i * kPageSize;
      const bool measured = random() % 3 != 0;
      // What a TCS is measured as: DBGOPTIN, CSSA, AEP and STATE forced to 0.
      std::array<std::byte, kPageSize> as_measured = contents;
      if (tcs) {
        std::memset(as_measured.data(), 0, 8);
        as_measured[8] &= std::byte{0xfe};
        std::memset(as_measured.data() + 24, 0, 4);
        std::memset(as_measured.data() + 40, 0, 8);
      }
      ASSERT_EQ(enclave.add(1 + i, offset, flags, contents, false), leaf_success());
      description +=
          "add " + std::to_string(offset) + " " + std::to_string(tcs ? flags & ~7ULL : flags) + "\n";
      for (std::uint64_t at = 0; measured && at < kPageSize; at += 256) {
        ASSERT_EQ(
            eextend(machine.machine(), machine, enclave.secs_address(), machine.epc_address(1 + i) + at),
            leaf_success());
        description += "extend " + std::to_string(offset + at) + " " +
                       hex(std::span(as_measured).subspan(at, 256)) + "\n";
      }
    }
    EXPECT_EQ(hex(measured_so_far(enclave.secs())), oracle(description));
  }
}

TEST(Measurement, IsTheSameWhetherOrNotSomebodyLooksInBetween) {
  FakeMachine machine;
  EnclaveBuilder enclave(machine, 0);
  ASSERT_EQ(enclave.create(), leaf_success());
  for (std::size_t i = 1; i < 5; ++i) {
    EXPECT_EQ(measured_so_far(enclave.secs()), enclave.reference().mrenclave());
    ASSERT_EQ(enclave.add_reg(i, i * kPageSize, secinfo_flags::kR), leaf_success());
  }
  EXPECT_EQ(measured_so_far(enclave.secs()), enclave.reference().mrenclave());
}

}  // namespace
}  // namespace enclume::arch
