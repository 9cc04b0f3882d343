// SPDX-License-Identifier: Apache-2.0
#include "engine/trace/disassembly.h"

#if __has_include(<Zydis/Zydis.h>)
#include <Zydis/Zydis.h>

#include <type_traits>

#include "arch/identity/crypto_guard.h"

namespace enclume::engine {

namespace {

struct Functions {
  decltype(&ZydisGetVersion) version = nullptr;
  decltype(&ZydisDecoderInit) init_decoder = nullptr;
  decltype(&ZydisDecoderDecodeFull) decode = nullptr;
  decltype(&ZydisFormatterInit) init_formatter = nullptr;
  decltype(&ZydisFormatterFormatInstruction) format = nullptr;
};

constinit Functions zydis;
constinit bool found = false;

}  // namespace

void find_disassembler(void* (*find)(const char* name)) noexcept {
  const auto look = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(find(name));
    return function != nullptr;
  };
  // Before version 5 the structures don't change within a minor version.
  found = look(zydis.version, "ZydisGetVersion") && look(zydis.init_decoder, "ZydisDecoderInit") &&
          look(zydis.decode, "ZydisDecoderDecodeFull") && look(zydis.init_formatter, "ZydisFormatterInit") &&
          look(zydis.format, "ZydisFormatterFormatInstruction") &&
          ZYDIS_VERSION_MAJOR(zydis.version()) == ZYDIS_VERSION_MAJOR(ZYDIS_VERSION) &&
          ZYDIS_VERSION_MINOR(zydis.version()) == ZYDIS_VERSION_MINOR(ZYDIS_VERSION);
}

std::string_view disassemble(std::span<const std::byte> code, std::uint64_t rip,
                             std::span<char> buffer) noexcept {
  if (!found) {
    return {};
  }
  // It is built with stack protectors, so it wants a thread block at FS, as cryptography does.
  const arch::CryptoGuard guard;
  ZydisDecoder decoder;
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  ZydisFormatter formatter;
  if (!ZYAN_SUCCESS(zydis.init_decoder(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
      !ZYAN_SUCCESS(zydis.decode(&decoder, code.data(), code.size(), &instruction, operands)) ||
      !ZYAN_SUCCESS(zydis.init_formatter(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)) ||
      !ZYAN_SUCCESS(zydis.format(&formatter, &instruction, operands, instruction.operand_count_visible,
                                 buffer.data(), buffer.size(), rip, nullptr))) {
    return {};
  }
  return {buffer.data(), __builtin_strlen(buffer.data())};
}

}  // namespace enclume::engine

#else

namespace enclume::engine {

void find_disassembler(void* (* /*find*/)(const char* name)) noexcept {}

std::string_view disassemble(std::span<const std::byte> /*code*/, std::uint64_t /*rip*/,
                             std::span<char> /*buffer*/) noexcept {
  return {};
}

}  // namespace enclume::engine

#endif
