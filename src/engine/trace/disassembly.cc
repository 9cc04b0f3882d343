// SPDX-License-Identifier: Apache-2.0
#include "engine/trace/disassembly.h"

#if __has_include(<Zydis/Zydis.h>)
#include <Zydis/Zydis.h>

#include "arch/identity/crypto_guard.h"

// Undefined unless the library is there: the dynamic linker leaves null then.
#pragma weak ZydisGetVersion
#pragma weak ZydisDecoderInit
#pragma weak ZydisDecoderDecodeFull
#pragma weak ZydisFormatterInit
#pragma weak ZydisFormatterFormatInstruction

namespace enclume::engine {

bool has_disassembler() noexcept {
  // Before version 5 the structures don't change within a minor version.
  return ZydisGetVersion != nullptr && ZydisDecoderInit != nullptr && ZydisDecoderDecodeFull != nullptr &&
         ZydisFormatterInit != nullptr && ZydisFormatterFormatInstruction != nullptr &&
         ZYDIS_VERSION_MAJOR(ZydisGetVersion()) == ZYDIS_VERSION_MAJOR(ZYDIS_VERSION) &&
         ZYDIS_VERSION_MINOR(ZydisGetVersion()) == ZYDIS_VERSION_MINOR(ZYDIS_VERSION);
}

std::string_view disassemble(std::span<const std::byte> code, std::uint64_t rip,
                             std::span<char> buffer) noexcept {
  if (!has_disassembler()) {
    return {};
  }
  // It is built with stack protectors, so it wants a thread block at FS, as cryptography does.
  const arch::CryptoGuard guard;
  ZydisDecoder decoder;
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  ZydisFormatter formatter;
  if (!ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
      !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &instruction, operands)) ||
      !ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)) ||
      !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &instruction, operands,
                                                    instruction.operand_count_visible, buffer.data(),
                                                    buffer.size(), rip, nullptr))) {
    return {};
  }
  return {buffer.data(), __builtin_strlen(buffer.data())};
}

}  // namespace enclume::engine

#else

namespace enclume::engine {

bool has_disassembler() noexcept {
  return false;
}

std::string_view disassemble(std::span<const std::byte> /*code*/, std::uint64_t /*rip*/,
                             std::span<char> /*buffer*/) noexcept {
  return {};
}

}  // namespace enclume::engine

#endif
