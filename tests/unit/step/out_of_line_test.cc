// SPDX-License-Identifier: Apache-2.0
#include "engine/step/out_of_line.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "engine/decode/decoder.h"

namespace enclume::engine {
namespace {

std::vector<std::byte> bytes(std::initializer_list<unsigned> list) {
  std::vector<std::byte> out;
  for (const unsigned b : list) {
    out.push_back(static_cast<std::byte>(b));
  }
  return out;
}

std::optional<OutOfLine> place(const std::vector<std::byte>& code, std::uint64_t rip,
                               std::uint32_t slot = 0) {
  const auto instruction = decode::decode(code);
  EXPECT_TRUE(instruction.has_value());
  return place_out_of_line(code, *instruction, rip, slot);
}

decode::Instruction at(std::uint64_t address) {
  return *decode::decode({reinterpret_cast<const std::byte*>(address), decode::kMaxInstructionLength});
}

TEST(OutOfLine, CopyIsTheInstruction) {
  const auto code = bytes({0x48, 0x89, 0x44, 0x24, 0x08});
  const auto copy = place(code, 0x1000);
  ASSERT_TRUE(copy);
  EXPECT_FALSE(copy->absolute);
  EXPECT_EQ(std::memcmp(reinterpret_cast<const void*>(copy->address), code.data(), code.size()), 0);
}

TEST(OutOfLine, OperandRelativeToRipStaysWhereItIs) {
  static int anchor;
  const auto rip = reinterpret_cast<std::uint64_t>(&anchor);
  const auto code = bytes({0x48, 0x8d, 0x05, 0x10, 0x20, 0x00, 0x00});  // lea 0x2010(%rip), %rax
  const auto copy = place(code, rip);
  ASSERT_TRUE(copy);
  decode::AddressContext there{.rip = copy->address};
  EXPECT_EQ(decode::effective_address(at(copy->address), there), rip + 7 + 0x2010);
  // And it runs: the copy, then a return behind it.
  std::memcpy(reinterpret_cast<void*>(copy->address + code.size()), "\xc3", 1);
  const auto run = reinterpret_cast<std::uint64_t (*)()>(copy->address);
  EXPECT_EQ(run(), rip + 7 + 0x2010);
}

TEST(OutOfLine, EachThreadHasAPlaceOfItsOwn) {
  const auto one = place(bytes({0x90}), 0x1000, 1);
  const auto two = place(bytes({0xf3, 0x90}), 0x1000, 2);
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->address, two->address);
  EXPECT_EQ(at(one->address).length, 1);
}

TEST(OutOfLine, WhatSaysWhereToGoIsAbsolute) {
  EXPECT_TRUE(place(bytes({0xc3}), 0x1000)->absolute);
  EXPECT_TRUE(place(bytes({0xff, 0xe0}), 0x1000)->absolute);
  EXPECT_TRUE(place(bytes({0xff, 0x10}), 0x1000)->absolute);
  EXPECT_FALSE(place(bytes({0xe8, 0, 0, 0, 0}), 0x1000)->absolute);
  EXPECT_FALSE(place(bytes({0x74, 0x10}), 0x1000)->absolute);
}

TEST(OutOfLine, RefusesWhatKnowsWhereItIs) {
  EXPECT_FALSE(place(bytes({0xc7, 0xf8, 0, 0, 0, 0}), 0x1000))
      << "XBEGIN leaves an address in RIP only when it aborts";
  EXPECT_FALSE(place(bytes({0x66, 0xe8, 0, 0, 0, 0}), 0x1000));
}

TEST(OutOfLine, AnEnclaveAnywhereFindsAPlaceNearBy) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // A sanitizer keeps most of the address space for itself: what is left is near the code.
  static int variable = 0;
  const auto here = reinterpret_cast<std::uint64_t>(&variable);
  const std::array<std::uint64_t, 2> places = {here, here + 0x1000'0000};
#else
  const std::array<std::uint64_t, 3> places = {0x1'0000'1234, 0x1000'0000'1234, 0x6fff'0000'0000};
#endif
  for (const std::uint64_t rip : places) {
    const auto copy = place(bytes({0x8b, 0x05, 0, 0, 0, 0}), rip);
    ASSERT_TRUE(copy) << std::hex << rip;
    decode::AddressContext there{.rip = copy->address};
    EXPECT_EQ(decode::effective_address(at(copy->address), there), rip + 6);
  }
}

}  // namespace
}  // namespace enclume::engine
