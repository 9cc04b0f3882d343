// SPDX-License-Identifier: Apache-2.0
// The enclave's small decoder against Zydis, on random bytes that lean towards the rarer encodings.
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "runtime/enclave/instruction_length.h"

namespace {

using enclume::enclave::instruction_length;
using Code = std::array<std::uint8_t, 15>;

TEST(InstructionLength, IsThatOfZydis) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  std::mt19937 random(1);
  int compared = 0;
  for (int i = 0; i < 300'000; ++i) {
    Code code;
    for (auto& byte : code) byte = static_cast<std::uint8_t>(random());
    static constexpr std::array<std::uint8_t, 6> kStarts{0x0f, 0xc4, 0xc5, 0x62, 0x66, 0x48};
    if (i % 7 < 6) code[0] = kStarts[static_cast<std::size_t>(i % 7)];
    ZydisDecodedInstruction instruction;
    if (!ZYAN_SUCCESS(
            ZydisDecoderDecodeInstruction(&decoder, nullptr, code.data(), code.size(), &instruction))) {
      continue;
    }
    // Knights Corner's, which no processor with SGX has.
    if (instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
        instruction.mnemonic == ZYDIS_MNEMONIC_JKZD || instruction.mnemonic == ZYDIS_MNEMONIC_JKNZD) {
      continue;
    }
    ++compared;
    ASSERT_EQ(instruction_length(code), instruction.length) << ZydisMnemonicGetString(instruction.mnemonic);
  }
  EXPECT_GT(compared, 50'000);
}

TEST(InstructionLength, IsNoneWhenTheInstructionDoesNotEnd) {
  const Code code{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8};  // movabs
  EXPECT_EQ(instruction_length(code), 10U);
  for (std::size_t size = 0; size < 10; ++size)
    EXPECT_EQ(instruction_length(std::span(code).first(size)), 0U);
}

TEST(InstructionLength, IsNoneOfWhatIsNoInstructionIn64Bits) {
  EXPECT_EQ(instruction_length(Code{0x06}), 0U);
  EXPECT_EQ(instruction_length(Code{0xea}), 0U);
}

}  // namespace
