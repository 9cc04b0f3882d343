// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <initializer_list>
#include <vector>

#include "engine/decode/decoder.h"

namespace enclume::engine::decode {
namespace {

AddressContext context() {
  AddressContext c;
  for (std::size_t i = 0; i < c.registers.size(); ++i) {
    c.registers[i] = 0x1'0000'0000ull * (i + 1) + i;
  }
  c.rip = 0x40'0000;
  c.fs_base = 0x7f00'0000'0000ull;
  c.gs_base = 0x7e00'0000'0000ull;
  return c;
}

std::optional<std::uint64_t> address_of(std::initializer_list<unsigned> bytes) {
  std::vector<std::byte> code;
  for (const unsigned byte : bytes) {
    code.push_back(static_cast<std::byte>(byte));
  }
  const auto decoded = decode(code);
  EXPECT_TRUE(decoded.has_value());
  return decoded ? effective_address(*decoded, context()) : std::nullopt;
}

TEST(EffectiveAddress, BaseAlone) {
  EXPECT_EQ(address_of({0x8b, 0x03}), context().registers[3]);
}

TEST(EffectiveAddress, BaseIndexScaleAndNegativeDisplacement) {
  // mov eax, [r13 + r12*8 - 1]
  EXPECT_EQ(address_of({0x43, 0x8b, 0x44, 0xe5, 0xff}),
            context().registers[13] + 8 * context().registers[12] - 1);
}

TEST(EffectiveAddress, RspIsNoIndex) {
  EXPECT_EQ(address_of({0x8b, 0x04, 0x24}), context().registers[4]);
}

TEST(EffectiveAddress, RipCountsFromTheEndOfTheInstruction) {
  // mov dword ptr [rip + 0x10], 5: ten bytes
  EXPECT_EQ(address_of({0xc7, 0x05, 0x10, 0, 0, 0, 5, 0, 0, 0}), 0x40'0000u + 10 + 0x10);
}

TEST(EffectiveAddress, AbsoluteThroughSib) {
  EXPECT_EQ(address_of({0x8b, 0x04, 0x25, 0x00, 0x10, 0, 0}), 0x1000u);
}

TEST(EffectiveAddress, SegmentBasesCountForFsAndGsOnly) {
  EXPECT_EQ(address_of({0x64, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0}), context().fs_base + 0x28);
  EXPECT_EQ(address_of({0x65, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0}), context().gs_base + 0x28);
  EXPECT_EQ(address_of({0x2e, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0}), 0x28u);
}

TEST(EffectiveAddress, AddressSizePrefixCutsBeforeTheSegmentIsAdded) {
  EXPECT_EQ(address_of({0x67, 0x8b, 0x03}), context().registers[3] & 0xffff'ffff);
  EXPECT_EQ(address_of({0x64, 0x67, 0x8b, 0x03}), context().fs_base + (context().registers[3] & 0xffff'ffff));
}

TEST(EffectiveAddress, MoffsIsTheAddressItself) {
  EXPECT_EQ(address_of({0x48, 0xa1, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77}), 0x7766554433221100ull);
  EXPECT_EQ(address_of({0x67, 0xa1, 0, 0, 0, 0xf0}), 0xf000'0000u);
}

TEST(EffectiveAddress, NoneWithoutOneMemoryOperand) {
  EXPECT_EQ(address_of({0x8b, 0xc3}), std::nullopt);                                // mov eax, ebx
  EXPECT_EQ(address_of({0xc4, 0xe2, 0x69, 0x90, 0x04, 0x08}), std::nullopt);        // vpgatherdd
  EXPECT_EQ(address_of({0x62, 0xf1, 0xfd, 0x48, 0x6f, 0x40, 0x01}), std::nullopt);  // vmovdqa64, disp8*64
}

}  // namespace
}  // namespace enclume::engine::decode
