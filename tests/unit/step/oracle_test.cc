// SPDX-License-Identifier: Apache-2.0
// What strict mode knows of an instruction, against Zydis: which part of XCR0 it needs, and where it goes in
// memory.
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/decode/decoder.h"
#include "engine/step/features.h"
#include "engine/step/illegal.h"
#include "engine/step/memory_access.h"

namespace enclume::engine {
namespace {

constexpr std::uint64_t kAvx = 4;
constexpr std::uint64_t kAvx512 = 0xe0;
constexpr std::uint64_t kAmx = 3ULL << 17;

struct Decoded {
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

bool zydis(const std::byte* code, Decoded& out) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  return ZYAN_SUCCESS(
      ZydisDecoderDecodeFull(&decoder, code, decode::kMaxInstructionLength, &out.instruction, out.operands));
}

/// Random bytes, and those that begin with VEX, EVEX and common opcodes more often than chance has it.
class Codes {
 public:
  std::array<std::byte, 16> next() {
    std::array<std::byte, 16> code;
    std::ranges::generate(code, [&] { return static_cast<std::byte>(random_()); });
    constexpr std::array<std::uint8_t, 8> kFirst = {0xc4, 0xc5, 0x62, 0x0f, 0x48, 0x66, 0xf3, 0xf2};
    if (const auto choice = random_() % 12; choice < kFirst.size()) {
      code[0] = static_cast<std::byte>(kFirst[choice]);
    }
    // Chance alone seldom meets a map, and a second source that has to be unused.
    const auto set = [&](std::size_t at, unsigned mask, unsigned value) {
      code[at] = static_cast<std::byte>((std::to_integer<unsigned>(code[at]) & ~mask) | value);
    };
    const unsigned no_second_source = random_() % 2 == 0 ? 0x78 : 0;
    if (code[0] == std::byte{0xc4}) {
      set(1, 0x1f, static_cast<unsigned>(1 + random_() % 3));
      set(2, 0, no_second_source);
    } else if (code[0] == std::byte{0xc5}) {
      set(1, 0, no_second_source);
    } else if (code[0] == std::byte{0x62}) {
      constexpr std::array<std::uint8_t, 5> kMaps = {1, 2, 3, 5, 6};
      set(1, 0x0f, kMaps[random_() % kMaps.size()]);
      set(2, 4, 4 | no_second_source);
      set(3, random_() % 2 == 0 ? 0x97 : 0,
          random_() % 2 == 0 ? 8 : 0);  // neither mask, zeroing nor broadcast
    }
    return code;
  }

 private:
  std::mt19937 random_{42};
};

std::string text(std::span<const std::byte> code, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%02x ", std::to_integer<unsigned>(code[i]));
    out += hex;
  }
  return out;
}

/// Knights Corner's and VIA's.
bool is_of_no_sgx_processor(const ZydisDecodedInstruction& in) {
  const std::string_view set = ZydisISASetGetString(in.meta.isa_set);
  return in.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || set.starts_with("KNC") ||
         set.starts_with("PADLOCK");
}

std::uint64_t features_by_zydis(const Decoded& d) {
  if (d.instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
      d.instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW) {
    return 0;
  }
  std::uint64_t needed = d.instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ? kAvx | kAvx512 : 0;
  if (d.instruction.meta.category == ZYDIS_CATEGORY_AMX_TILE) {
    return kAmx;
  }
  for (unsigned i = 0; i < d.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = d.operands[i];
    const auto look = [&](ZydisRegister reg) {
      switch (ZydisRegisterGetClass(reg)) {
        case ZYDIS_REGCLASS_XMM:
        case ZYDIS_REGCLASS_YMM:
          needed |= kAvx;
          break;
        case ZYDIS_REGCLASS_ZMM:
        case ZYDIS_REGCLASS_MASK:
          needed |= kAvx | kAvx512;
          break;
        case ZYDIS_REGCLASS_TMM:
          needed = kAmx;
          break;
        default:
          break;
      }
    };
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
      look(operand.reg.value);
    } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      look(operand.mem.index);
    }
  }
  if (needed == 0 &&
      (d.instruction.meta.isa_set == ZYDIS_ISA_SET_AVX || d.instruction.meta.isa_set == ZYDIS_ISA_SET_AVX2)) {
    needed = kAvx;  // VZEROUPPER, VLDMXCSR
  }
  return needed;
}

TEST(NeededFeatures, AgreesWithZydis) {
  Codes codes;
  int compared = 0, needing = 0;
  for (int i = 0; i < 3'000'000; ++i) {
    const auto code = codes.next();
    Decoded d;
    const auto in = decode::decode(code);
    if (!in || !zydis(code.data(), d) || in->length != d.instruction.length ||
        is_of_no_sgx_processor(d.instruction)) {
      continue;
    }
    ++compared;
    const std::uint64_t expected = features_by_zydis(d);
    needing += expected != 0 ? 1 : 0;
    ASSERT_EQ(needed_features(*in), expected)
        << text(code, in->length) << ZydisMnemonicGetString(d.instruction.mnemonic);
  }
  EXPECT_GT(compared, 100'000);
  EXPECT_GT(needing, 10'000);
}

/// What an instruction does to memory, by Zydis, with the addresses computed from `cpu`.
std::set<std::pair<std::uint64_t, bool>> accesses_by_zydis(const Decoded& d, const arch::CpuState& cpu) {
  std::set<std::pair<std::uint64_t, bool>> out;
  ZydisRegisterContext registers{};
  constexpr ZydisRegister kOrder[16] = {
      ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_RCX, ZYDIS_REGISTER_RDX, ZYDIS_REGISTER_RBX,
      ZYDIS_REGISTER_RSP, ZYDIS_REGISTER_RBP, ZYDIS_REGISTER_RSI, ZYDIS_REGISTER_RDI,
      ZYDIS_REGISTER_R8,  ZYDIS_REGISTER_R9,  ZYDIS_REGISTER_R10, ZYDIS_REGISTER_R11,
      ZYDIS_REGISTER_R12, ZYDIS_REGISTER_R13, ZYDIS_REGISTER_R14, ZYDIS_REGISTER_R15};
  for (unsigned i = 0; i < 16; ++i) {
    registers.values[kOrder[i]] = cpu.gpr[i];
    registers.values[static_cast<unsigned>(ZYDIS_REGISTER_EAX) + i] = cpu.gpr[i] & 0xffff'ffff;
  }
  for (unsigned i = 0; i < d.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = d.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) {
      continue;
    }
    std::uint64_t address;
    if (!ZYAN_SUCCESS(ZydisCalcAbsoluteAddressEx(&d.instruction, &operand, cpu.rip, &registers, &address))) {
      continue;
    }
    const bool stack =
        operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && operand.mem.base == ZYDIS_REGISTER_RSP;
    const bool write = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    if (stack && write) {
      address -= operand.size / 8;
    }
    if (operand.mem.segment == ZYDIS_REGISTER_FS) {
      address += cpu.fs_base;
    } else if (operand.mem.segment == ZYDIS_REGISTER_GS) {
      address += cpu.gs_base;
    }
    out.insert({address, write});
  }
  return out;
}

/// What memory_accesses() says it leaves out, what is refused in an enclave before, and what nobody writes.
bool is_left_out(const decode::Instruction& in, std::span<const std::byte> code) {
  const bool bit_string = in.map == decode::OpcodeMap::Map0F && in.encoding == decode::Encoding::Legacy &&
                          (in.opcode == 0xa3 || in.opcode == 0xab || in.opcode == 0xb3 || in.opcode == 0xbb);
  const bool prefetch = in.map == decode::OpcodeMap::Map0F && in.encoding == decode::Encoding::Legacy &&
                        (in.opcode == 0x0d || (in.opcode >= 0x18 && in.opcode <= 0x1f));
  const bool virtual_machine = in.map == decode::OpcodeMap::Map0F &&
                               in.encoding == decode::Encoding::Legacy &&
                               (in.opcode == 0x78 || in.opcode == 0x79);
  const bool compressed = in.encoding == decode::Encoding::Evex && in.displacement_size == 1;
  const auto segments = std::ranges::count_if(code.first(in.opcode_offset), [](std::byte b) {
    const auto byte = std::to_integer<unsigned>(b);
    return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 || byte == 0x65;
  });
  const bool masked =
      in.masked || (in.encoding == decode::Encoding::Vex && in.map == decode::OpcodeMap::Map0F38 &&
                    ((in.opcode >= 0x2c && in.opcode <= 0x2f) || in.opcode == 0x8c || in.opcode == 0x8e));
  const bool mask_move = in.map == decode::OpcodeMap::Map0F && in.opcode == 0xf7;
  // Zydis computes the address with RSP as it is before: see
  // PopComputesItsAddressWithTheStackPointerBehindIt.
  const bool pop_to_stack = in.map == decode::OpcodeMap::OneByte && in.opcode == 0x8f && in.memory.base == 4;
  return bit_string || prefetch || virtual_machine || compressed || masked || mask_move || pop_to_stack ||
         in.address_size_override || segments > 1 || kIllegalInEnclave.contains(in.cls);
}

/// Compares instructions and counts what differs, with an example of each mnemonic.
class AccessOracle {
 public:
  AccessOracle() {
    for (std::size_t i = 0; i < cpu_.gpr.size(); ++i) {
      cpu_.gpr[i] = 0x7f00'0000'0000 + 0x10'0000'0000 * i + 0x1000 * i;
    }
    cpu_.rip = 0x5555'0000'0000;
    cpu_.fs_base = 0x1000'0000'0000;
    cpu_.gs_base = 0x2000'0000'0000;
  }

  /// The instruction's length, or nothing if there is none or the two decoders differ.
  std::optional<std::size_t> compare(std::span<const std::byte> code) {
    Decoded d;
    const auto in = decode::decode(code.first(decode::kMaxInstructionLength));
    if (!in || !zydis(code.data(), d) || in->length != d.instruction.length) {
      return std::nullopt;
    }
    if (is_left_out(*in, code.first(in->length)) || is_of_no_sgx_processor(d.instruction) ||
        (d.instruction.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) != 0) {
      return in->length;
    }
    const MemoryAccesses found = memory_accesses(*in, cpu_);
    std::set<std::pair<std::uint64_t, bool>> ours;
    for (std::size_t i = 0; i < found.count; ++i) {
      ours.insert({found.list[i].address.value(), found.list[i].write});
    }
    ++compared;
    if (ours != accesses_by_zydis(d, cpu_)) {
      ++differing;
      const std::string mnemonic = ZydisMnemonicGetString(d.instruction.mnemonic);
      if (seen_.insert(mnemonic).second) {
        examples += text(code, in->length) + mnemonic + "\n";
      }
    }
    return in->length;
  }

  int compared = 0, differing = 0;
  std::string examples;

 private:
  arch::CpuState cpu_;
  std::set<std::string> seen_;
};

TEST(MemoryAccesses, AgreeWithZydisOverALibrary) {
  std::ifstream file("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", std::ios::binary);
  if (!file) {
    file.open("/usr/lib/x86_64-linux-gnu/libc.so.6", std::ios::binary);
  }
  ASSERT_TRUE(file);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const std::span code(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
  AccessOracle oracle;
  for (std::size_t at = bytes.size() / 4; at + 16 < bytes.size() && oracle.compared < 400'000;) {
    at += oracle.compare(code.subspan(at)).value_or(1);
  }
  EXPECT_GT(oracle.compared, 100'000);
  EXPECT_EQ(oracle.differing, 0) << oracle.examples;
}

TEST(MemoryAccesses, AgreeWithZydisOverAllOpcodes) {
  Codes codes;
  AccessOracle oracle;
  for (int i = 0; i < 3'000'000; ++i) {
    oracle.compare(codes.next());
  }
  EXPECT_GT(oracle.compared, 100'000);
  EXPECT_EQ(oracle.differing, 0) << oracle.examples;
}

/// The accesses of this code with RSP = 0x1000, RSI = 0x2000, RDI = 0x3000 and RCX = 1 << 32.
std::vector<std::pair<std::uint64_t, bool>> accesses_of(std::initializer_list<unsigned> code) {
  std::vector<std::byte> bytes;
  for (const unsigned b : code) {
    bytes.push_back(static_cast<std::byte>(b));
  }
  arch::CpuState cpu;
  cpu[arch::Reg::Rsp] = 0x1000;
  cpu[arch::Reg::Rsi] = 0x2000;
  cpu[arch::Reg::Rdi] = 0x3000;
  cpu[arch::Reg::Rcx] = 1ULL << 32;
  cpu.fs_base = 0x10'0000;
  const auto in = decode::decode(bytes);
  EXPECT_TRUE(in);
  const MemoryAccesses found = memory_accesses(in.value_or(decode::Instruction{}), cpu);
  std::vector<std::pair<std::uint64_t, bool>> out;
  for (std::size_t i = 0; i < found.count; ++i) {
    out.emplace_back(found.list[i].address.value(), found.list[i].write);
  }
  return out;
}
using List = std::vector<std::pair<std::uint64_t, bool>>;

TEST(MemoryAccesses, PopComputesItsAddressWithTheStackPointerBehindIt) {
  EXPECT_EQ(accesses_of({0x8f, 0x44, 0x24, 0x10}), (List{{0x1018, true}, {0x1000, false}}));  // pop 16(%rsp)
  EXPECT_EQ(accesses_of({0x66, 0x8f, 0x44, 0x24, 0x10}), (List{{0x1012, true}, {0x1000, false}}));  // popw
  EXPECT_EQ(accesses_of({0xff, 0x74, 0x24, 0x10}), (List{{0x1010, false}, {0xff8, true}}));         // push
}

TEST(MemoryAccesses, RepeatedStringsCountInTheRegisterOfTheirAddressSize) {
  EXPECT_EQ(accesses_of({0xf3, 0xa4}), (List{{0x2000, false}, {0x3000, true}}));  // rep movsb
  EXPECT_EQ(accesses_of({0x67, 0xf3, 0xa4}), List{});                             // ECX is 0
  EXPECT_EQ(accesses_of({0x67, 0xa4}), (List{{0x2000, false}, {0x3000, true}}));
}

TEST(MemoryAccesses, SegmentOverridesAreOfTheSource) {
  EXPECT_EQ(accesses_of({0x64, 0xa4}),
            (List{{0x10'2000, false}, {0x3000, true}}));                   // movsb %fs:(%rsi),(%rdi)
  EXPECT_EQ(accesses_of({0x64, 0x8b, 0x06}), (List{{0x10'2000, false}}));  // mov %fs:(%rsi),%eax
  EXPECT_EQ(accesses_of({0x64, 0x8d, 0x06}), List{});                      // lea
}

TEST(MemoryAccesses, ElementsThatAMaskMayLeaveOutAreNotCounted) {
  EXPECT_EQ(accesses_of({0xc4, 0xe2, 0x79, 0x2c, 0x06}), List{});        // vmaskmovps (%rsi)
  EXPECT_EQ(accesses_of({0x62, 0xf1, 0x7c, 0x49, 0x10, 0x06}), List{});  // vmovups (%rsi),%zmm0{%k1}
  EXPECT_EQ(accesses_of({0x62, 0xf1, 0x7c, 0x48, 0x10, 0x06}), (List{{0x2000, false}}));
}

}  // namespace
}  // namespace enclume::engine
