// SPDX-License-Identifier: Apache-2.0
// Our decoder against Zydis, which shares no code with it.
#include <Zydis/Zydis.h>
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/decode/decoder.h"

namespace enclume::engine::decode {
namespace {

using Bytes = std::span<const std::uint8_t>;

class Oracle {
 public:
  explicit Oracle(BranchRule branches = BranchRule::Intel) : branches_(branches) {
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    // MPX left the processors, and its opcodes were NOPs before and after.
    ZydisDecoderEnableMode(&decoder_, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&decoder_, ZYDIS_DECODER_MODE_AMD_BRANCHES,
                           branches == BranchRule::Amd ? ZYAN_TRUE : ZYAN_FALSE);
  }

  struct Verdict {
    ZydisDecodedInstruction instruction{};
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};
  };

  [[nodiscard]] std::optional<Verdict> decode_theirs(Bytes bytes) const {
    Verdict verdict;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, bytes.data(), bytes.size(), &verdict.instruction,
                                             verdict.operands.data()))) {
      return std::nullopt;
    }
    return verdict;
  }

  // An empty string if both agree, else what they disagree on.
  [[nodiscard]] std::string compare(Bytes bytes) const;

 private:
  BranchRule branches_;
  ZydisDecoder decoder_{};
};

// Xeon Phi's first generation used VEX and EVEX its own way. No machine of ours runs it.
bool is_knights_corner(const ZydisDecodedInstruction& in) {
  return in.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
         (in.meta.isa_set >= ZYDIS_ISA_SET_KNCE && in.meta.isa_set <= ZYDIS_ISA_SET_KNC_PF_HINT);
}

// Where we accept more on purpose (decoder.h): opcodes of the vector encodings and of 3DNow!, and prefixes
// of the 0F 01 group that are reserved rather than refused.
bool may_accept_more(const Instruction& in) {
  return in.encoding != Encoding::Legacy || in.map == OpcodeMap::Map3DNow ||
         (in.map == OpcodeMap::Map0F && in.opcode == 0x01 && !in.has_memory_operand);
}

std::uint8_t register_number(ZydisRegister reg) {
  if (reg == ZYDIS_REGISTER_NONE || reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) {
    return kNoRegister;
  }
  return static_cast<std::uint8_t>(ZydisRegisterGetId(reg));
}

// The classes that have one mnemonic of their own.
const std::map<ZydisMnemonic, InstructionClass>& class_of_mnemonic() {
  using enum InstructionClass;
  static const std::map<ZydisMnemonic, InstructionClass> table = {
      {ZYDIS_MNEMONIC_CPUID, Cpuid},
      {ZYDIS_MNEMONIC_GETSEC, Getsec},
      {ZYDIS_MNEMONIC_RDPMC, Rdpmc},
      {ZYDIS_MNEMONIC_SGDT, Sgdt},
      {ZYDIS_MNEMONIC_SIDT, Sidt},
      {ZYDIS_MNEMONIC_SLDT, Sldt},
      {ZYDIS_MNEMONIC_STR, Str},
      {ZYDIS_MNEMONIC_SMSW, Smsw},
      {ZYDIS_MNEMONIC_VMCALL, Vmcall},
      {ZYDIS_MNEMONIC_VMMCALL, Vmmcall},
      {ZYDIS_MNEMONIC_VMFUNC, Vmfunc},
      {ZYDIS_MNEMONIC_IN, In},
      {ZYDIS_MNEMONIC_OUT, Out},
      {ZYDIS_MNEMONIC_INSB, Ins},
      {ZYDIS_MNEMONIC_INSW, Ins},
      {ZYDIS_MNEMONIC_INSD, Ins},
      {ZYDIS_MNEMONIC_OUTSB, Outs},
      {ZYDIS_MNEMONIC_OUTSW, Outs},
      {ZYDIS_MNEMONIC_OUTSD, Outs},
      {ZYDIS_MNEMONIC_INT, IntN},
      {ZYDIS_MNEMONIC_INT1, Int1},
      {ZYDIS_MNEMONIC_INT3, Int3},
      {ZYDIS_MNEMONIC_IRET, Iret},
      {ZYDIS_MNEMONIC_IRETD, Iret},
      {ZYDIS_MNEMONIC_IRETQ, Iret},
      {ZYDIS_MNEMONIC_LSS, LoadFarPointer},
      {ZYDIS_MNEMONIC_LFS, LoadFarPointer},
      {ZYDIS_MNEMONIC_LGS, LoadFarPointer},
      {ZYDIS_MNEMONIC_SYSCALL, Syscall},
      {ZYDIS_MNEMONIC_SYSENTER, Sysenter},
      {ZYDIS_MNEMONIC_RDTSC, Rdtsc},
      {ZYDIS_MNEMONIC_RDTSCP, Rdtscp},
      {ZYDIS_MNEMONIC_ENCLU, Enclu},
      {ZYDIS_MNEMONIC_ENCLS, Encls},
      {ZYDIS_MNEMONIC_HLT, Hlt},
      {ZYDIS_MNEMONIC_XSAVE, Xsave},
      {ZYDIS_MNEMONIC_XSAVE64, Xsave},
      {ZYDIS_MNEMONIC_XSAVEC, Xsave},
      {ZYDIS_MNEMONIC_XSAVEC64, Xsave},
      {ZYDIS_MNEMONIC_XSAVEOPT, Xsave},
      {ZYDIS_MNEMONIC_XSAVEOPT64, Xsave},
      {ZYDIS_MNEMONIC_XSAVES, Xsave},
      {ZYDIS_MNEMONIC_XSAVES64, Xsave},
      {ZYDIS_MNEMONIC_XRSTOR, Xrstor},
      {ZYDIS_MNEMONIC_XRSTOR64, Xrstor},
      {ZYDIS_MNEMONIC_XRSTORS, Xrstor},
      {ZYDIS_MNEMONIC_XRSTORS64, Xrstor},
      {ZYDIS_MNEMONIC_XGETBV, Xgetbv},
      {ZYDIS_MNEMONIC_XSETBV, Xsetbv},
      {ZYDIS_MNEMONIC_RDPKRU, Rdpkru},
      {ZYDIS_MNEMONIC_WRPKRU, Wrpkru},
      {ZYDIS_MNEMONIC_RDFSBASE, ReadWriteFsGsBase},
      {ZYDIS_MNEMONIC_RDGSBASE, ReadWriteFsGsBase},
      {ZYDIS_MNEMONIC_WRFSBASE, ReadWriteFsGsBase},
      {ZYDIS_MNEMONIC_WRGSBASE, ReadWriteFsGsBase},
      {ZYDIS_MNEMONIC_UD0, Ud},
      {ZYDIS_MNEMONIC_UD1, Ud},
      {ZYDIS_MNEMONIC_UD2, Ud},
      {ZYDIS_MNEMONIC_XBEGIN, Xbegin},
  };
  return table;
}

InstructionClass class_of(const Oracle::Verdict& verdict) {
  using enum InstructionClass;
  const ZydisDecodedInstruction& in = verdict.instruction;
  const auto known = class_of_mnemonic().find(in.mnemonic);
  if (known != class_of_mnemonic().end()) {
    return known->second;
  }
  const ZydisDecodedOperand& first = verdict.operands[0];
  const bool far = in.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
  const bool relative = first.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
  switch (in.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
      return in.mnemonic == ZYDIS_MNEMONIC_XEND ? Other : Jcc;
    case ZYDIS_CATEGORY_UNCOND_BR:
      if (in.mnemonic == ZYDIS_MNEMONIC_XABORT) {
        return Other;
      }
      return far ? FarJmp : relative ? JmpRelative : JmpIndirect;
    case ZYDIS_CATEGORY_CALL:
      return far ? FarCall : relative ? CallRelative : CallIndirect;
    case ZYDIS_CATEGORY_RET:
      return far ? FarRet : RetNear;
    default:
      break;
  }
  if (first.type == ZYDIS_OPERAND_TYPE_REGISTER && (first.actions & ZYDIS_OPERAND_ACTION_WRITE) != 0 &&
      ZydisRegisterGetClass(first.reg.value) == ZYDIS_REGCLASS_SEGMENT) {
    if (in.mnemonic == ZYDIS_MNEMONIC_MOV) {
      return MovToSegment;
    }
    if (in.mnemonic == ZYDIS_MNEMONIC_POP) {
      return PopSegment;
    }
  }
  return Other;
}

// With prefix 67, Zydis 4.0 reads "no base, disp32" in the SIB byte as R13D when REX.B is set; the processor
// does not look at REX.B there (SDM vol. 2, table 2-5).
bool oracle_misreads_base(const Instruction& in) {
  return in.address_size_override && in.has_sib && in.modrm_mod() == 0 && (in.sib & 7) == 5 && in.rex_b();
}

std::string difference(const Instruction& ours, const Oracle::Verdict& theirs) {
  const ZydisDecodedInstruction& in = theirs.instruction;
  const auto& raw = in.raw;
  if (ours.length != in.length) {
    return "length " + std::to_string(ours.length) + ", not " + std::to_string(in.length);
  }
  if (ours.opcode != in.opcode) {
    return "opcode";
  }
  if (ours.has_modrm != ((in.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0) ||
      (ours.has_modrm && ours.modrm_offset != raw.modrm.offset)) {
    return "ModRM";
  }
  if (ours.has_sib != ((in.attributes & ZYDIS_ATTRIB_HAS_SIB) != 0)) {
    return "SIB";
  }
  if (ours.displacement_size * 8 != raw.disp.size ||
      (raw.disp.size != 0 && ours.displacement_offset != raw.disp.offset)) {
    return "displacement";
  }
  if (ours.immediate_size * 8 != raw.imm[0].size + raw.imm[1].size ||
      (raw.imm[0].size != 0 && ours.immediate_offset != raw.imm[0].offset)) {
    return "immediate";
  }
  if (is_relative_branch(ours.cls) && ours.immediate != raw.imm[0].value.s) {
    return "branch distance";
  }
  if (ours.cls != class_of(theirs)) {
    return "class " + std::to_string(static_cast<int>(ours.cls));
  }
  for (const ZydisDecodedOperand& operand : std::span(theirs.operands).first(in.operand_count)) {
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY ||
        operand.visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT || operand.mem.type == ZYDIS_MEMOP_TYPE_MIB ||
        oracle_misreads_base(ours)) {
      continue;
    }
    const MemoryOperand& mem = ours.memory;
    if (!ours.has_memory_operand) {
      return "memory operand missing";
    }
    if (mem.base != register_number(operand.mem.base)) {
      return "base register";
    }
    // An EVEX index has a fifth bit, which only a vector of addresses uses.
    if ((operand.mem.type != ZYDIS_MEMOP_TYPE_VSIB && mem.index != register_number(operand.mem.index)) ||
        (operand.mem.index != ZYDIS_REGISTER_NONE && mem.scale != operand.mem.scale)) {
      return "index register";
    }
    if (mem.rip_relative !=
        (operand.mem.base == ZYDIS_REGISTER_RIP || operand.mem.base == ZYDIS_REGISTER_EIP)) {
      return "RIP-relative";
    }
    if (ours.displacement_size != 0 && ours.displacement_size != 1 &&
        mem.displacement != operand.mem.disp.value) {
      return "displacement's value";
    }
    if (ours.displacement_size == 1 && ours.encoding != Encoding::Evex &&
        mem.displacement != operand.mem.disp.value) {
      return "displacement's value";
    }
  }
  return {};
}

std::string Oracle::compare(Bytes bytes) const {
  const auto theirs = decode_theirs(bytes);
  const auto ours = decode(std::as_bytes(bytes), branches_);
  if (theirs && is_knights_corner(theirs->instruction)) {
    return {};
  }
  if (theirs && !ours) {
    return std::string("refused ") + ZydisMnemonicGetString(theirs->instruction.mnemonic);
  }
  if (!theirs && ours) {
    return may_accept_more(*ours) ? std::string() : "accepted what is undefined";
  }
  if (!theirs) {
    return {};
  }
  const std::string what = difference(*ours, *theirs);
  return what.empty() ? what : what + " of " + ZydisMnemonicGetString(theirs->instruction.mnemonic);
}

std::string hex(Bytes bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes.first(std::min<std::size_t>(bytes.size(), 15))) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
    text += ' ';
  }
  return text;
}

// Random bytes seldom form long prefixes or rare maps: begin some with those.
std::array<std::uint8_t, 15> random_bytes(std::mt19937_64& random) {
  static constexpr std::array<std::uint8_t, 16> kStarts = {0x66, 0xf2, 0xf3, 0x48, 0x41, 0x67, 0xf0, 0x64,
                                                           0x0f, 0x0f, 0x0f, 0x62, 0xc4, 0xc5, 0x8f, 0x4f};
  std::array<std::uint8_t, 15> bytes;
  for (std::uint8_t& byte : bytes) {
    byte = static_cast<std::uint8_t>(random());
  }
  const std::size_t starts = random() % 5;
  for (std::size_t i = 0; i < starts; ++i) {
    bytes[i] = kStarts[random() % kStarts.size()];
  }
  if (starts > 0 && bytes[starts - 1] == 0x0f) {
    static constexpr std::array<std::uint8_t, 4> kSecond = {0x38, 0x3a, 0x01, 0xc7};
    bytes[starts] = kSecond[random() % kSecond.size()];
  }
  return bytes;
}

class RandomBytes : public testing::TestWithParam<BranchRule> {};

TEST_P(RandomBytes, DecodeAsInZydis) {
  constexpr int kRounds = 3'000'000;
  constexpr std::uint64_t kSeed = 20260101;
  const Oracle oracle(GetParam());
  std::mt19937_64 random(kSeed);
  int shown = 0;
  for (int i = 0; i < kRounds && shown < 20; ++i) {
    const auto bytes = random_bytes(random);
    const std::string what = oracle.compare(bytes);
    if (!what.empty()) {
      ADD_FAILURE() << hex(bytes) << ": " << what;
      ++shown;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Branches, RandomBytes, testing::Values(BranchRule::Intel, BranchRule::Amd),
                         [](const auto& test) {
                           return std::string(test.param == BranchRule::Intel ? "Intel" : "Amd");
                         });

// Each opcode of the four legacy maps with each mandatory prefix and each ModRM.
TEST(EveryLegacyOpcode, DecodesAsInZydis) {
  const Oracle oracle;
  static constexpr std::array<std::array<std::uint8_t, 2>, 4> kMaps = {
      {{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}}};
  static constexpr std::array<std::uint8_t, 6> kPrefixes = {0, 0x66, 0xf3, 0xf2, 0xf0, 0x48};
  int shown = 0;
  for (std::size_t map = 0; map < kMaps.size(); ++map) {
    for (const std::uint8_t prefix : kPrefixes) {
      for (unsigned opcode = 0; opcode < 256; ++opcode) {
        for (unsigned modrm = 0; modrm < 256; ++modrm) {
          std::vector<std::uint8_t> bytes;
          if (prefix != 0) {
            bytes.push_back(prefix);
          }
          if (map > 0) {
            bytes.push_back(kMaps[map][0]);
          }
          if (map > 1) {
            bytes.push_back(kMaps[map][1]);
          }
          bytes.push_back(static_cast<std::uint8_t>(opcode));
          bytes.push_back(static_cast<std::uint8_t>(modrm));
          bytes.resize(15, 0x25);
          const std::string what = oracle.compare(bytes);
          if (!what.empty() && ++shown <= 20) {
            ADD_FAILURE() << hex(bytes) << ": " << what;
          }
        }
      }
    }
  }
}

// A file's executable segments, mapped.
class ExecutableFile {
 public:
  explicit ExecutableFile(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (fd < 0 || fstat(fd, &status) != 0) {
      return;
    }
    size_ = static_cast<std::size_t>(status.st_size);
    void* mapping = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    data_ = mapping == MAP_FAILED ? nullptr : static_cast<const std::uint8_t*>(mapping);
  }
  ~ExecutableFile() {
    if (data_ != nullptr) {
      munmap(const_cast<std::uint8_t*>(data_), size_);
    }
  }
  ExecutableFile(const ExecutableFile&) = delete;
  ExecutableFile& operator=(const ExecutableFile&) = delete;

  [[nodiscard]] std::vector<Bytes> segments() const {
    std::vector<Bytes> found;
    if (data_ == nullptr) {
      return found;
    }
    Elf64_Ehdr header;
    std::memcpy(&header, data_, sizeof header);
    for (unsigned i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      std::memcpy(&segment, data_ + header.e_phoff + i * sizeof segment, sizeof segment);
      if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0) {
        found.emplace_back(data_ + segment.p_offset, segment.p_filesz);
      }
    }
    return found;
  }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

std::string path_of_loaded(const char* name_part) {
  std::string found;
  FILE* maps = fopen("/proc/self/maps", "re");
  std::array<char, 4096> line{};
  while (maps != nullptr && fgets(line.data(), line.size(), maps) != nullptr) {
    const std::string text(line.data());
    const auto slash = text.find('/');
    if (slash != std::string::npos && text.find(name_part) != std::string::npos) {
      found = text.substr(slash, text.size() - slash - 1);
      break;
    }
  }
  if (maps != nullptr) {
    fclose(maps);
  }
  return found;
}

// Every byte of the text is tried as a start, so that what is between functions counts too.
void compare_every_offset(const std::string& path, std::size_t limit) {
  const ExecutableFile file(path);
  const auto segments = file.segments();
  if (segments.empty()) {
    GTEST_SKIP() << path << " is not here";
  }
  const Oracle oracle;
  int shown = 0;
  for (const Bytes text : segments) {
    for (std::size_t at = 0; at < std::min(text.size(), limit) && shown < 20; ++at) {
      const Bytes bytes = text.subspan(at, std::min<std::size_t>(15, text.size() - at));
      const std::string what = oracle.compare(bytes);
      if (!what.empty()) {
        ADD_FAILURE() << path << " + " << at << ": " << hex(bytes) << ": " << what;
        ++shown;
      }
    }
  }
}

// Every instruction in order, as a disassembler goes: much text in little time.
void compare_linear_sweep(const std::string& path) {
  const ExecutableFile file(path);
  const auto segments = file.segments();
  if (segments.empty()) {
    GTEST_SKIP() << path << " is not here";
  }
  const Oracle oracle;
  int shown = 0;
  std::size_t instructions = 0;
  for (const Bytes text : segments) {
    for (std::size_t at = 0; at < text.size() && shown < 20;) {
      const Bytes bytes = text.subspan(at, std::min<std::size_t>(15, text.size() - at));
      const std::string what = oracle.compare(bytes);
      if (!what.empty()) {
        ADD_FAILURE() << path << " + " << at << ": " << hex(bytes) << ": " << what;
        ++shown;
      }
      const auto decoded = decode(std::as_bytes(bytes));
      at += decoded ? decoded->length : std::size_t{1};
      ++instructions;
    }
  }
  EXPECT_GT(instructions, 1000u);
}

TEST(LibraryText, LibcAtEveryOffset) {
  compare_every_offset(path_of_loaded("libc.so"), 600'000);
}
TEST(LibraryText, Libc) {
  compare_linear_sweep(path_of_loaded("libc.so"));
}
TEST(LibraryText, Libm) {
  compare_linear_sweep(path_of_loaded("libm.so"));
}
TEST(LibraryText, Libstdcxx) {
  compare_linear_sweep(path_of_loaded("libstdc++.so"));
}
TEST(LibraryText, Libcrypto) {
  compare_linear_sweep("/usr/lib/x86_64-linux-gnu/libcrypto.so.3");
}
TEST(LibraryText, Python) {
  compare_linear_sweep("/usr/bin/python3");
}

}  // namespace
}  // namespace enclume::engine::decode
