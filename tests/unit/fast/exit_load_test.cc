// SPDX-License-Identifier: Apache-2.0
//
// When the instruction before an enclave's EEXIT may be replaced by a jump.
#include "engine/fast/exit_load.h"

#include <gtest/gtest.h>

#include <array>
#include <expected>
#include <initializer_list>

namespace enclume::engine {
namespace {

constexpr std::size_t kEnclu = 0x200;

class FindExitLoad : public ::testing::Test {
 protected:
  FindExitLoad() {
    page_.fill(std::byte{0x90});
    put(kEnclu, {0x0f, 0x01, 0xd7});
  }
  void put(std::size_t at, std::initializer_list<unsigned> bytes) {
    for (const unsigned byte : bytes) page_.at(at++) = static_cast<std::byte>(byte);
  }
  std::expected<std::size_t, Slow> find() const {
    return find_exit_load(page_, kEnclu, decode::BranchRule::Intel);
  }
  void expect_none(Slow why) const {
    ASSERT_FALSE(find());
    EXPECT_EQ(find().error(), why);
  }

  std::array<std::byte, kPageSize> page_{};
};

TEST_F(FindExitLoad, MovToEax) {
  put(kEnclu - 5, {0xb8, 4, 0, 0, 0});
  EXPECT_EQ(find().value_or(0), kEnclu - 5);
}

TEST_F(FindExitLoad, MovToRax) {
  put(kEnclu - 7, {0x48, 0xc7, 0xc0, 4, 0, 0, 0});
  EXPECT_EQ(find().value_or(0), kEnclu - 7);
}

TEST_F(FindExitLoad, NothingElse) {
  expect_none(Slow::NoLoad);
  put(kEnclu - 5, {0xb8, 5, 0, 0, 0});
  expect_none(Slow::NoLoad);
  put(kEnclu - 5, {0xb9, 4, 0, 0, 0});
  expect_none(Slow::NoLoad);
}

TEST_F(FindExitLoad, TheSameBytesWithAPrefixLoadAnotherRegister) {
  put(kEnclu - 6, {0x41, 0xb8, 4, 0, 0, 0});  // mov $4, %r8d
  expect_none(Slow::Undecided);
}

TEST_F(FindExitLoad, TheSameBytesAsTheEndOfALongerInstruction) {
  put(kEnclu - 6, {0x8b, 0xb8, 4, 0, 0, 0});  // mov 4(%rax), %edi
  expect_none(Slow::Undecided);
}

TEST_F(FindExitLoad, TooLittleCodeBeforeIt) {
  std::array<std::byte, kPageSize> page = page_;
  page[5] = std::byte{0x0f}, page[6] = std::byte{0x01}, page[7] = std::byte{0xd7};
  page[0] = std::byte{0xb8}, page[1] = std::byte{4};
  page[2] = page[3] = page[4] = std::byte{0};
  EXPECT_EQ(find_exit_load(page, 5, decode::BranchRule::Intel).error(), Slow::Undecided);
}

TEST_F(FindExitLoad, BranchBehindItsFirstByte) {
  put(kEnclu - 5, {0xb8, 4, 0, 0, 0});
  put(kEnclu - 0x40, {0xeb, 0x40 - 2 - 4});  // jmp to kEnclu - 4
  expect_none(Slow::BranchedInto);
}

TEST_F(FindExitLoad, LongBranchBehindItsFirstByte) {
  put(kEnclu - 5, {0xb8, 4, 0, 0, 0});
  put(kEnclu + 0x100, {0x0f, 0x85, 0xf7, 0xfe, 0xff, 0xff});  // jne to kEnclu - 3
  expect_none(Slow::BranchedInto);
}

TEST_F(FindExitLoad, BranchToItOrToTheEnclu) {
  put(kEnclu - 5, {0xb8, 4, 0, 0, 0});
  put(kEnclu - 0x40, {0xeb, 0x40 - 2 - 5});
  put(kEnclu - 0x50, {0xeb, 0x50 - 2});
  EXPECT_EQ(find().value_or(0), kEnclu - 5);
}

}  // namespace
}  // namespace enclume::engine
