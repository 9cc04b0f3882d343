// SPDX-License-Identifier: Apache-2.0
// Relocated instructions as Zydis reads them: the same operation on the same registers, with another address.
#include "engine/abort_page/relocate.h"

#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/decode/decoder.h"

namespace enclume::engine {
namespace {

std::vector<std::byte> bytes(std::initializer_list<unsigned> list) {
  std::vector<std::byte> out;
  for (const unsigned b : list) {
    out.push_back(static_cast<std::byte>(b));
  }
  out.resize(decode::kMaxInstructionLength);
  return out;
}

/// The relocated instruction in Intel syntax; "-" if there is none.
std::string relocated(std::initializer_list<unsigned> list) {
  const auto code = bytes(list);
  const auto decoded = decode::decode(code);
  if (!decoded || decoded->length != list.size()) {
    return "not decoded";
  }
  const auto result = relocate(code, *decoded);
  if (!result) {
    return "-";
  }
  ZydisDisassembledInstruction text;
  if (!ZYAN_SUCCESS(
          ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0, result->bytes.data(), result->size, &text)) ||
      text.info.length != result->size) {
    return "undefined";
  }
  return std::string(text.text) + (result->rbp_stands_for_rsp ? " (rsp)" : "");
}

TEST(RelocateTest, AddressBecomesOneRegister) {
  EXPECT_EQ(relocated({0x8b, 0x44, 0xcb, 0x10}), "mov eax, [rsi]");
  EXPECT_EQ(relocated({0x8b, 0x05, 1, 0, 0, 0}), "mov eax, [rsi]");
  EXPECT_EQ(relocated({0x64, 0x67, 0x48, 0x8b, 0x00}), "mov rax, [rsi]");
  EXPECT_EQ(relocated({0x4f, 0x8b, 0x44, 0xe5, 0x08}), "mov r8, [rsi]");
}

TEST(RelocateTest, RegisterOperandStaysAndTheBaseGivesWay) {
  EXPECT_EQ(relocated({0x48, 0x8b, 0x30}), "mov rsi, [rdi]");
  EXPECT_EQ(relocated({0x88, 0x20}), "mov [rsi], ah");
  EXPECT_EQ(relocated({0x88, 0x30}), "mov [rdi], dh");
  EXPECT_EQ(relocated({0xc4, 0xe2, 0x48, 0xf2, 0x38}), "andn edi, esi, [rbx]");
}

TEST(RelocateTest, StackPointerIsReplacedInRegisterOperandsOnly) {
  EXPECT_EQ(relocated({0x48, 0x8b, 0x20}), "mov rbp, [rsi] (rsp)");
  EXPECT_EQ(relocated({0x48, 0x01, 0x20}), "add [rsi], rbp (rsp)");
  EXPECT_EQ(relocated({0x40, 0x88, 0x20}), "mov [rsi], bpl (rsp)");
  EXPECT_EQ(relocated({0x83, 0x20, 0x05}), "and dword ptr [rsi], 0x05");
  EXPECT_EQ(relocated({0x0f, 0x10, 0x20}), "movups xmm4, [rsi]");
  EXPECT_EQ(relocated({0x0f, 0x02, 0x20}), "-");  // LAR ESP, m
}

TEST(RelocateTest, PrefixesAndImmediatesStay) {
  EXPECT_EQ(relocated({0xf0, 0x0f, 0xb1, 0x0f}), "lock cmpxchg [rsi], ecx");
  EXPECT_EQ(relocated({0x66, 0xc7, 0x47, 0x04, 0x34, 0x12}), "mov word ptr [rsi], 0x1234");
  EXPECT_EQ(relocated({0xf3, 0x0f, 0x6f, 0x07}), "movdqu xmm0, [rsi]");
}

TEST(RelocateTest, AbsoluteAddressesBecomeModrm) {
  EXPECT_EQ(relocated({0xa0, 1, 2, 3, 4, 5, 6, 7, 8}), "mov al, [rsi]");
  EXPECT_EQ(relocated({0x48, 0xa3, 1, 2, 3, 4, 5, 6, 7, 8}), "mov [rsi], rax");
}

TEST(RelocateTest, VectorEncodings) {
  EXPECT_EQ(relocated({0xc5, 0xfe, 0x6f, 0x47, 0x20}), "vmovdqu ymm0, [rsi]");
  EXPECT_EQ(relocated({0xc4, 0xc1, 0x7e, 0x6f, 0x04, 0x24}), "vmovdqu ymm0, [rsi]");
  EXPECT_EQ(relocated({0x62, 0xd1, 0xfe, 0x48, 0x6f, 0x40, 0x01}), "vmovdqu64 zmm0, zmmword ptr [rsi]");
  EXPECT_EQ(relocated({0xc5, 0xdd, 0x74, 0x0f}), "vpcmpeqb ymm1, ymm4, [rsi]");
}

TEST(RelocateTest, RefusesWhatTouchesMoreThanItsOperand) {
  EXPECT_EQ(relocated({0xff, 0x30}), "-");                          // PUSH m
  EXPECT_EQ(relocated({0x8f, 0x00}), "-");                          // POP m
  EXPECT_EQ(relocated({0xff, 0x10}), "-");                          // CALL m
  EXPECT_EQ(relocated({0x0f, 0xab, 0x08}), "-");                    // BTS m, r
  EXPECT_EQ(relocated({0x66, 0x0f, 0x38, 0xf8, 0x06}), "-");        // MOVDIR64B
  EXPECT_EQ(relocated({0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x0f}), "-");  // VPGATHERDD
  EXPECT_EQ(relocated({0x48, 0x89, 0xc8}), "-");                    // no memory operand
}

}  // namespace
}  // namespace enclume::engine
