// SPDX-License-Identifier: Apache-2.0
//
// A leaf that enclave code executes again and again, by one and the same ENCLU, is what it was the first
// time, and so are the bytes of the ENCLU for whoever reads them.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr int kOften = 200;
constexpr std::uint64_t kZf = 1 << 6;
constexpr std::array<std::uint8_t, 3> kEnclu{0x0f, 0x01, 0xd7};
constexpr std::uint64_t kMismatch = 19;  // PAGE_ATTRIBUTES_MISMATCH

ProbeOptions options() {
  ProbeOptions options;
  options.threads = 2;
  options.heap_pages = 4;
  return options;
}

class OftenTrappedTest : public ::testing::Test {
 protected:
  OftenTrappedTest() {
    const Secinfo secinfo{.flags = kPtReg | kR | kW | kPending, .reserved = {}};
    probe_.copy(probe_.scratch(), address_of(&secinfo), sizeof secinfo);
    probe_.touch();
  }

  // EACCEPT of a page that is not pending: a code, flags, and nothing else.
  void execute(int times, unsigned thread = 0) const {
    for (int i = 0; i < times; ++i) {
      const auto result = probe_.enclu(Leaf::kEaccept, probe_.scratch(), probe_.heap(), 0, thread);
      ASSERT_EQ(result.rax, kMismatch) << i;
      ASSERT_EQ(result.rflags & kZf, kZf) << i;
    }
  }
  // Where the probe's ENCLUs are, from the base. (A machine without protection keys may show other bytes in
  // CPUIDs: docs/fidelity.md.)
  static std::vector<std::size_t> enclus() {
    const auto code = probe_code();
    std::vector<std::size_t> places;
    for (auto at = code.begin();
         (at = std::search(at, code.end(), kEnclu.begin(), kEnclu.end())) != code.end(); ++at) {
      places.push_back(static_cast<std::size_t>(at - code.begin()));
    }
    return places;
  }
  // The enclave copies its own code out.
  void expect_own_code(unsigned thread = 0) const {
    std::vector<std::uint8_t> seen(probe_code().size());
    probe_.copy(address_of(seen.data()), probe_.base(), seen.size(), thread);
    for (const std::size_t at : enclus()) {
      EXPECT_EQ(std::memcmp(seen.data() + at, kEnclu.data(), kEnclu.size()), 0) << at;
    }
  }
  // It reads each ENCLU alone, which takes fewer steps.
  void expect_own_enclus() const {
    for (const std::size_t at : enclus()) {
      const std::uint64_t word = probe_.read(probe_.base() + at);
      EXPECT_EQ(std::memcmp(&word, kEnclu.data(), kEnclu.size()), 0) << at;
    }
  }
  void protect(int prot) const {
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe_.base()), kPage, prot), 0);
  }

  ProbeEnclave probe_{options()};
};

TEST_F(OftenTrappedTest, ItsResultIsTheSame) {
  execute(kOften);
}

TEST_F(OftenTrappedTest, TheEnclaveReadsItsOwnBytes) {
  execute(kOften);
  expect_own_code();
  execute(kOften);
  expect_own_code();
}

TEST_F(OftenTrappedTest, TheEnclaveReadsThemByTurns) {
  execute(kOften);
  for (int i = 0; i < kOften; ++i) {
    execute(20);
    expect_own_enclus();
  }
}

TEST_F(OftenTrappedTest, AnotherThreadReadsThemMeanwhile) {
  execute(1);
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done.load()) expect_own_code(1);
  });
  execute(10 * kOften);
  done = true;
  reader.join();
  expect_own_code();
}

TEST_F(OftenTrappedTest, AForkedChildExecutesItToo) {
  execute(kOften);
  const pid_t child = fork();
  if (child == 0) {
    execute(kOften, 1);
    expect_own_code(1);
    _exit(HasFailure() ? 1 : 0);
  }
  execute(kOften);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(OftenTrappedTest, PermissionsThatGoAndComeBackChangeNothing) {
  for (int i = 0; i < 5; ++i) {
    execute(kOften);
    protect(PROT_NONE);
    protect(PROT_READ | PROT_EXEC);
  }
  expect_own_code();
}

// A fault of the leaf's own has the ENCLU's address, and can be tried again there.
TEST_F(OftenTrappedTest, ItsFaultIsAtTheInstruction) {
  ProbeArgs args{.in = {static_cast<std::uint64_t>(Leaf::kEaccept), probe_.scratch() + 1, probe_.heap()},
                 .out = {}};
  std::uint64_t first = 0;
  for (int i = 0; i < 50; ++i) {
    sgx_enclave_run run{};
    run.tcs = probe_.tcs();
    ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_ENCLU, address_of(&args), 0,
                                     static_cast<std::uint32_t>(Leaf::kEenter), 0, 0, &run, entry_function()),
              0);
    ASSERT_EQ(run.function, static_cast<std::uint32_t>(Leaf::kEresume));
    ASSERT_EQ(run.exception_vector, kVectorGp);
    const std::uint64_t rip = probe_.ssa_registers().rip;
    std::array<std::uint8_t, 3> bytes{};
    probe_.copy(address_of(bytes.data()), rip, bytes.size());
    EXPECT_EQ(bytes, kEnclu);
    first = i == 0 ? rip : first;
    ASSERT_EQ(rip, first);
    probe_.abandon();
  }
}

}  // namespace
}  // namespace enclume::test
