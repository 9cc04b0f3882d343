// SPDX-License-Identifier: Apache-2.0
#include "engine/decode/decoder.h"

#include <gtest/gtest.h>

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace enclume::engine::decode {
namespace {

// "0f a2" to bytes.
std::vector<std::byte> bytes_of(std::string_view hex) {
  std::vector<std::byte> bytes;
  std::string digits;
  for (const char c : hex) {
    if (c != ' ') {
      digits += c;
    }
  }
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

struct ClassCase {
  std::string_view name;  // with underscores: part of the test's name
  std::string_view hex;
  InstructionClass cls;
};

class DecodeClass : public testing::TestWithParam<ClassCase> {};

TEST_P(DecodeClass, IsWhatTheBytesSay) {
  const auto bytes = bytes_of(GetParam().hex);
  const auto decoded = decode(bytes);
  ASSERT_TRUE(decoded.has_value()) << GetParam().hex;
  EXPECT_EQ(decoded->length, bytes.size()) << GetParam().hex;
  EXPECT_EQ(decoded->cls, GetParam().cls) << GetParam().hex;
}

TEST_P(DecodeClass, IsTruncatedWithoutItsLastByte) {
  auto bytes = bytes_of(GetParam().hex);
  bytes.pop_back();
  const auto decoded = decode(bytes);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error(), DecodeError::Truncated);
}

using enum InstructionClass;
constexpr ClassCase kClassCases[] = {
    {"nop", "90", Other},
    {"jcc_short", "74 10", Jcc},
    {"jcc_near", "0f 84 00 01 00 00", Jcc},
    {"loop", "e2 fe", Jcc},
    {"jmp_short", "eb fe", JmpRelative},
    {"jmp_near", "e9 00 00 00 00", JmpRelative},
    {"call", "e8 00 00 00 00", CallRelative},
    {"call_of_tls_get_addr", "66 66 48 e8 00 00 00 00", CallRelative},
    {"jmp_indirect", "ff 25 00 00 00 00", JmpIndirect},
    {"jmp_register", "41 ff e3", JmpIndirect},
    {"notrack_jmp", "3e ff e0", JmpIndirect},
    {"call_indirect", "ff 55 10", CallIndirect},
    {"ret", "c3", RetNear},
    {"rep_ret", "f3 c3", RetNear},
    {"ret_imm", "c2 08 00", RetNear},
    {"xbegin", "c7 f8 00 00 00 00", Xbegin},
    {"xabort", "c6 f8 01", Other},
    {"ud2", "0f 0b", Ud},
    {"ud1", "0f b9 40 10", Ud},
    {"ud0", "0f ff c0", Ud},
    {"cpuid", "0f a2", Cpuid},
    {"cpuid_with_prefixes", "66 f3 48 0f a2", Cpuid},
    {"getsec", "0f 37", Getsec},
    {"rdpmc", "0f 33", Rdpmc},
    {"sgdt", "0f 01 04 24", Sgdt},
    {"sidt", "0f 01 4c 24 10", Sidt},
    {"sldt", "0f 00 c0", Sldt},
    {"sldt_memory", "0f 00 00", Sldt},
    {"str", "66 0f 00 c8", Str},
    {"verr", "0f 00 e0", Other},
    {"smsw", "0f 01 e0", Smsw},
    {"smsw_memory", "0f 01 20", Smsw},
    {"lmsw", "0f 01 f0", Other},
    {"vmcall", "0f 01 c1", Vmcall},
    {"vmmcall", "0f 01 d9", Vmmcall},
    {"vmfunc", "0f 01 d4", Vmfunc},
    {"in_imm", "e4 70", In},
    {"in_dx", "66 ed", In},
    {"out_imm", "e6 80", Out},
    {"out_dx", "ee", Out},
    {"insb", "6c", Ins},
    {"rep_insd", "f3 6d", Ins},
    {"outsb", "6e", Outs},
    {"rep_outsd", "f3 6f", Outs},
    {"far_call", "ff 1d 00 00 00 00", FarCall},
    {"far_jmp_64", "48 ff 28", FarJmp},
    {"retf", "cb", FarRet},
    {"retf_64", "48 cb", FarRet},
    {"retf_imm", "ca 08 00", FarRet},
    {"iretq", "48 cf", Iret},
    {"int80", "cd 80", IntN},
    {"int1", "f1", Int1},
    {"int3", "cc", Int3},
    {"int3_long", "cd 03", IntN},
    {"mov_ds_eax", "8e d8", MovToSegment},
    {"mov_gs_memory", "8e 2c 24", MovToSegment},
    {"mov_from_segment", "8c d8", Other},
    {"pop_fs", "0f a1", PopSegment},
    {"pop_gs", "0f a9", PopSegment},
    {"push_fs", "0f a0", Other},
    {"lss", "0f b2 00", LoadFarPointer},
    {"lfs", "48 0f b4 00", LoadFarPointer},
    {"lgs", "0f b5 00", LoadFarPointer},
    {"syscall", "0f 05", Syscall},
    {"sysenter", "0f 34", Sysenter},
    {"rdtsc", "0f 31", Rdtsc},
    {"rdtscp", "0f 01 f9", Rdtscp},
    {"enclu", "0f 01 d7", Enclu},
    {"encls", "0f 01 cf", Encls},
    {"hlt", "f4", Hlt},
    {"xsave", "0f ae 20", Xsave},
    {"xsave64", "48 0f ae 24 24", Xsave},
    {"xsaveopt", "0f ae 30", Xsave},
    {"clwb", "66 0f ae 30", Other},
    {"xsavec", "0f c7 20", Xsave},
    {"xsaves", "48 0f c7 28", Xsave},
    {"xrstor", "0f ae 28", Xrstor},
    {"xrstors", "0f c7 18", Xrstor},
    {"lfence", "0f ae e8", Other},
    {"fxsave", "0f ae 00", Other},
    {"xgetbv", "0f 01 d0", Xgetbv},
    {"xsetbv", "0f 01 d1", Xsetbv},
    {"rdpkru", "0f 01 ee", Rdpkru},
    {"wrpkru", "0f 01 ef", Wrpkru},
    {"rdfsbase", "f3 48 0f ae c0", ReadWriteFsGsBase},
    {"wrgsbase", "f3 48 0f ae d8", ReadWriteFsGsBase},
    {"rdrand", "48 0f c7 f0", Other},
    // Bytes of other instructions inside.
    {"mov_imm_with_cpuid", "b8 0f a2 0f a2", Other},
    {"movabs_with_enclu", "48 b8 00 0f 01 d7 00 00 00 00", Other},
    {"vex_opcode_a2", "c4 e1 7c 54 c1", Other},
    {"vzeroupper", "c5 f8 77", Other},
    {"vpshufd", "c5 f9 70 c0 0f", Other},
    {"vpternlogd", "62 f3 75 48 25 c2 ff", Other},
    {"vpblendd", "c4 e3 71 02 c2 0f", Other},
    {"xop_vprotd", "8f e8 78 c2 c1 05", Other},
    {"xop_bextr", "8f ea 78 10 c0 00 00 00 00", Other},
    {"pop_memory", "8f 00", Other},
    {"enter", "c8 10 00 01", Other},
    {"moffs", "48 a1 00 11 22 33 44 55 66 77", Other},
    {"moffs_32", "67 a1 00 11 22 33", Other},
    {"test_imm", "f7 c0 01 00 00 00", Other},
    {"test_imm16", "66 f7 c0 01 00", Other},
    {"not", "f7 d0", Other},
    {"mov_cr_ignores_mod", "0f 20 04", Other},
    {"extrq", "66 0f 78 c0 01 02", Other},
    {"insertq", "f2 0f 78 c1 01 02", Other},
    {"pfadd", "0f 0f c1 9e", Other},
    {"longest", "64 67 f0 4c 81 84 88 11 22 33 44 55 66 77 08", Other},
};

INSTANTIATE_TEST_SUITE_P(Bytes, DecodeClass, testing::ValuesIn(kClassCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(DecodeRefuses, WhatNoProcessorRuns) {
  for (const std::string_view hex : {
           "06",
           "0e",
           "1e",
           "27",
           "2f",
           "37",
           "3f",
           "60",
           "61",
           "82 c0 00",  // gone in 64-bit mode
           "9a 00 00 00 00 00 00",
           "ce",
           "d4 0a",
           "d5 0a",
           "d6",
           "ea 00 00 00 00 00 00",
           "8e c8",  // MOV to CS
           "8e f0",  // no such segment register
           "8d c0",  // LEA of a register
           "fe d0",
           "ff f8",  // unused in the groups
           "ff d8",
           "ff e8",  // far branch through a register
           "0f 04",
           "0f 0a",
           "0f 24 c0",
           "0f a6 00",
           "0f 20 c8",
           "0f 20 e8",     // CR1, CR5
           "44 0f 21 c0",  // DR8
           "0f c7 00",     // group 9 /0
           "0f b2 c0",     // LSS of a register
           "f0 0f a2",     // LOCK CPUID
           "f0 90",
           "f0 01 c0",  // LOCK without memory
           "f0 8b 00",
           "f0 39 00",  // LOCK of a load, of CMP
           "f3 c5 f8 77",
           "66 c5 f8 77",
           "f0 c5 f8 77",
           "48 c5 f8 77",  // prefixes before VEX
           "c4 e0 78 77",
           "c4 e4 78 77",           // VEX maps 0 and 4
           "62 f4 75 48 25 c2 ff",  // EVEX map 4
           "62 f3 71 48 25 c2 ff",  // EVEX with its fixed bit clear
           "d5 00 90",              // REX2 of APX
           "d9 d1",
           "dd 28",
           "da e0",
           "df f8",  // x87
       }) {
    const auto decoded = decode(bytes_of(hex));
    ASSERT_FALSE(decoded.has_value()) << hex << " has length " << int{decoded->length};
    EXPECT_EQ(decoded.error(), DecodeError::Undefined) << hex;
  }
}

TEST(DecodeLength, FifteenBytesAreTheMost) {
  EXPECT_EQ(decode(bytes_of("66 66 66 66 66 66 66 66 66 66 66 66 66 66 90"))->length, 15);
  const auto sixteen = decode(bytes_of("66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90"));
  ASSERT_FALSE(sixteen.has_value());
  EXPECT_EQ(sixteen.error(), DecodeError::TooLong);
}

TEST(DecodeLength, EmptyInputIsTruncated) {
  const auto decoded = decode({});
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error(), DecodeError::Truncated);
}

TEST(DecodeLength, NeverReadsPastTheInput) {
  // Every opcode, cut at every length: the sanitizers watch, and a cut instruction must not decode longer.
  for (unsigned first = 0; first < 256; ++first) {
    for (unsigned second = 0; second < 256; ++second) {
      for (std::size_t size = 1; size <= 4; ++size) {
        std::vector<std::byte> exact(size, std::byte{0x84});
        exact[0] = static_cast<std::byte>(first);
        if (size > 1) {
          exact[1] = static_cast<std::byte>(second);
        }
        const auto decoded = decode(exact);
        if (decoded.has_value()) {
          ASSERT_LE(decoded->length, size);
        }
      }
    }
  }
}

TEST(DecodeBranch, OperandSizePrefixIsAMatterOfVendor) {
  const auto call = bytes_of("66 e8 34 12 00 00");
  EXPECT_EQ(decode(call, BranchRule::Intel)->length, 6);
  EXPECT_EQ(decode(call, BranchRule::Amd)->length, 4);
  const auto wide = bytes_of("66 48 e8 34 12 00 00");
  EXPECT_EQ(decode(wide, BranchRule::Intel)->length, 7);
  EXPECT_EQ(decode(wide, BranchRule::Amd)->length, 7);
}

TEST(DecodePrefix, RexCountsOnlyRightBeforeTheOpcode) {
  EXPECT_EQ(decode(bytes_of("48 b8 01 02 03 04 05 06 07 08"))->length, 10);
  const auto stale = decode(bytes_of("48 66 b8 01 02"));
  EXPECT_EQ(stale->length, 5);
  EXPECT_EQ(stale->rex, 0);
}

TEST(DecodePrefix, TheLastOfF2AndF3Wins) {
  const auto decoded = decode(bytes_of("f2 f3 0f b8 c0"));  // POPCNT, which exists with F3 alone
  ASSERT_TRUE(decoded.has_value());
  EXPECT_TRUE(decoded->rep);
  EXPECT_FALSE(decoded->repne);
  EXPECT_FALSE(decode(bytes_of("f3 f2 0f b8 c0")).has_value());
}

TEST(DecodeFields, PlacesOfAllParts) {
  // mov qword ptr fs:[rax + r9*4 + 0x11223344], 0x55667788
  const auto d = decode(bytes_of("64 4a c7 84 88 44 33 22 11 88 77 66 55"));
  ASSERT_TRUE(d.has_value());
  EXPECT_EQ(d->segment, Segment::Fs);
  EXPECT_TRUE(d->rex_w());
  EXPECT_EQ(d->opcode, 0xc7);
  EXPECT_EQ(d->opcode_offset, 2);
  EXPECT_EQ(d->modrm_offset, 3);
  EXPECT_EQ(d->displacement_offset, 5);
  EXPECT_EQ(d->displacement_size, 4);
  EXPECT_EQ(d->immediate_offset, 9);
  EXPECT_EQ(d->immediate_size, 4);
  EXPECT_EQ(d->immediate, 0x55667788);
  EXPECT_TRUE(d->has_memory_operand);
  EXPECT_EQ(d->memory.base, 0);
  EXPECT_EQ(d->memory.index, 9);
  EXPECT_EQ(d->memory.scale, 4);
  EXPECT_EQ(d->memory.displacement, 0x11223344);
}

}  // namespace
}  // namespace enclume::engine::decode
