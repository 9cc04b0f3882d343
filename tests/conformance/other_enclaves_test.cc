// SPDX-License-Identifier: Apache-2.0
//
// Several enclaves in one process, each of which meets the abort page where another's pages are.
// Source: Intel SDM volume 3D (June 2016) 38.5.3, "Access-control requirements": an access to an EPC page
// from outside its enclave's ELRANGE has abort page semantics, in enclave mode too.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kOnes = ~std::uint64_t{0};

class OtherEnclavesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const int key = pkey_alloc(0, 0);
    if (key < 0 && access("/sys/devices/virtual/misc/sgx_enclave", F_OK) != 0) {
      GTEST_SKIP() << "a machine without SGX and without protection keys cannot close an enclave to another";
    }
    if (key >= 0) pkey_free(key);
    mine_.write(mine_.scratch(), 0x1234);
    other_.write(other_.scratch(), 0x5678);
  }

  ProbeEnclave mine_;
  ProbeEnclave other_;
};

TEST_F(OtherEnclavesTest, ReadsAreAllOnesBothWays) {
  EXPECT_EQ(mine_.read(other_.scratch()), kOnes);
  EXPECT_EQ(other_.read(mine_.scratch()), kOnes);
  EXPECT_EQ(mine_.read(mine_.scratch()), 0x1234u);
  EXPECT_EQ(other_.read(other_.scratch()), 0x5678u);
}

TEST_F(OtherEnclavesTest, WritesVanish) {
  mine_.write(other_.scratch(), 1);
  EXPECT_EQ(other_.read(other_.scratch()), 0x5678u);
}

TEST_F(OtherEnclavesTest, PagesThatTheirEnclaveHasNeverTouchedReadAllOnesToo) {
  ProbeOptions options;
  options.heap_pages = 2;
  const ProbeEnclave untouched(options);
  EXPECT_EQ(mine_.read(untouched.base() + heap_offset(options)), kOnes);
}

TEST_F(OtherEnclavesTest, CodePagesReadAllOnes) {
  EXPECT_EQ(mine_.read(other_.base() + probe_labels().entry), kOnes);
}

TEST_F(OtherEnclavesTest, CopyFromThemBringsOnesIntoTheOwnPagesAndIntoOrdinaryMemory) {
  std::array<std::uint64_t, 4> buffer{};
  ASSERT_TRUE(
      mine_.call(PROBE_OP_COPY, {address_of(buffer.data()), other_.scratch(), sizeof(buffer)}).exited());
  for (const std::uint64_t word : buffer) EXPECT_EQ(word, kOnes);
  ASSERT_TRUE(mine_.call(PROBE_OP_COPY, {mine_.scratch(), other_.scratch(), 8}).exited());
  EXPECT_EQ(mine_.read(mine_.scratch()), kOnes);
}

TEST_F(OtherEnclavesTest, CopyToAPageOfItsOwnThatNothingHasTouched) {
  ProbeOptions options;
  options.heap_pages = 4;
  const ProbeEnclave fresh(options);
  const std::uint64_t page = fresh.base() + heap_offset(options);
  const std::uint64_t crossing = page + kPage - 16;
  ASSERT_TRUE(fresh.call(PROBE_OP_COPY, {crossing, other_.scratch(), 32}).exited());
  for (int i = 0; i < 4; ++i) EXPECT_EQ(fresh.read(crossing + 8 * static_cast<std::uint64_t>(i)), kOnes) << i;
}

TEST_F(OtherEnclavesTest, CopyToThemVanishes) {
  ASSERT_TRUE(mine_.call(PROBE_OP_COPY, {other_.scratch(), mine_.scratch(), 8}).exited());
  EXPECT_EQ(other_.read(other_.scratch()), 0x5678u);
}

TEST_F(OtherEnclavesTest, CopyToOrdinaryMemoryThatIsNotThereIsAPageFaultOfTheEnclave) {
  void* const nothing = mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const CallResult result = mine_.call(PROBE_OP_COPY, {address_of(nothing), other_.scratch(), 8});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_addr, address_of(nothing));
  mine_.abandon();
  EXPECT_EQ(mine_.read(mine_.scratch()), 0x1234u);
}

TEST_F(OtherEnclavesTest, PartOfThemThatIsNotThereIsAPageFault) {
  ProbeOptions options;
  options.minimum_size = 1 << 20;
  const ProbeEnclave sparse(options);
  const std::uint64_t hole = sparse.base() + (1 << 20) - kPage;
  const CallResult result = mine_.call(PROBE_OP_READ, {hole});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_addr, hole);
}

TEST_F(OtherEnclavesTest, HoldsForEachOfFourAndForThoseThatReplaceThem) {
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<ProbeEnclave>> more;
    for (std::uint64_t i = 0; i < 2; ++i) {
      more.push_back(std::make_unique<ProbeEnclave>());
      more.back()->write(more.back()->scratch(), i + 1);
    }
    const std::array<const ProbeEnclave*, 4> all = {&mine_, &other_, more[0].get(), more[1].get()};
    for (const ProbeEnclave* from : all) {
      for (const ProbeEnclave* to : all) {
        EXPECT_EQ(from->read(to->scratch()) == kOnes, from != to) << round;
      }
    }
  }
}

TEST_F(OtherEnclavesTest, MoreThanThereAreKeysForStillRunAndAreClosedToTheHost) {
  std::vector<std::unique_ptr<ProbeEnclave>> many;
  for (std::uint64_t i = 0; i < 20; ++i) {
    many.push_back(std::make_unique<ProbeEnclave>());
    many.back()->write(many.back()->scratch(), i);
  }
  for (std::uint64_t i = 0; i < many.size(); ++i) {
    EXPECT_EQ(many[i]->read(many[i]->scratch()), i);
    EXPECT_EQ(*reinterpret_cast<volatile std::uint64_t*>(many[i]->scratch()), kOnes);
  }
}

TEST_F(OtherEnclavesTest, ThreadsInTwoOfThemDoNotOpenOneToTheOther) {
  constexpr int kRounds = 2000;
  const auto look = [](const ProbeEnclave& from, std::uint64_t own, const ProbeEnclave& to) {
    for (int i = 0; i < kRounds; ++i) {
      if (from.read(to.scratch()) != kOnes || from.read(from.scratch()) != own) return false;
    }
    return true;
  };
  bool first = false;
  std::thread thread([&] { first = look(mine_, 0x1234, other_); });
  const bool second = look(other_, 0x5678, mine_);
  thread.join();
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
}

TEST_F(OtherEnclavesTest, ChildSeesTheSame) {
  const pid_t child = fork();
  if (child == 0) {
    const ProbeEnclave third;
    const bool closed = mine_.read(other_.scratch()) == kOnes && third.read(mine_.scratch()) == kOnes &&
                        mine_.read(third.scratch()) == kOnes;
    _exit(closed && mine_.read(mine_.scratch()) == 0x1234 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(OtherEnclavesTest, ProgramKeepsTheKeysThatItHas) {
  std::vector<int> keys;
  for (int key; (key = pkey_alloc(0, 0)) >= 0;) keys.push_back(key);
  const ProbeEnclave third;
  const ProbeEnclave fourth;
  EXPECT_EQ(third.read(third.scratch()), 0u);
  EXPECT_EQ(fourth.read(fourth.scratch()), 0u);
  for (const int key : keys) EXPECT_EQ(pkey_free(key), 0) << key;
}

}  // namespace
}  // namespace enclume::test
