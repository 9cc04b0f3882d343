// SPDX-License-Identifier: Apache-2.0
// One decoded x86-64 instruction: what the engine has to know of it, and no more.
#pragma once

#include <cstdint>

namespace enclume::engine::decode {

/// The longest instruction that a processor accepts (Intel SDM vol. 2, 2.3.11).
inline constexpr std::uint8_t kMaxInstructionLength = 15;

enum class Encoding : std::uint8_t {
  Legacy,
  Vex,
  Evex,
  Xop,
};

/// Which opcode table `Instruction::opcode` indexes. Legacy, VEX and EVEX share the first four.
enum class OpcodeMap : std::uint8_t {
  OneByte,
  Map0F,
  Map0F38,
  Map0F3A,
  Map3DNow,  // 0F 0F: the opcode is the byte behind the operands
  Map5,      // EVEX only (AVX512-FP16)
  Map6,      // EVEX only (AVX512-FP16)
  Xop8,
  Xop9,
  XopA,
};

/// What an instruction is to an SGX machine or to somebody who follows control flow. Everything else is
/// Other. A class says what the bytes mean, not whether they may run: that is the caller's table.
enum class InstructionClass : std::uint8_t {
  Other,
  // Control flow inside the segment.
  Jcc,           // also LOOPcc and JrCXZ
  JmpRelative,   // EB, E9
  CallRelative,  // E8
  JmpIndirect,   // FF /4
  CallIndirect,  // FF /2
  RetNear,
  Xbegin,
  Ud,  // UD0, UD1, UD2: #UD by definition
  // Legal outside an enclave, #UD inside (SDM vol. 3, "Illegal Instructions").
  Cpuid,
  Getsec,
  Rdpmc,
  Sgdt,
  Sidt,
  Sldt,
  Str,
  Smsw,
  Vmcall,
  Vmmcall,
  Vmfunc,
  In,
  Out,
  Ins,
  Outs,
  FarCall,
  FarJmp,
  FarRet,
  Iret,
  IntN,
  Int1,
  Int3,
  Into,  // never decoded: CE is no instruction in 64-bit mode. Named for the tables that list it
  MovToSegment,
  PopSegment,
  LoadFarPointer,  // LSS, LFS, LGS
  Syscall,
  Sysenter,
  // Legality depends on the machine or on the enclave.
  Rdtsc,
  Rdtscp,
  // What the engine itself looks at.
  Enclu,
  Encls,
  Hlt,
  Xsave,   // XSAVE, XSAVEC, XSAVEOPT, XSAVES, and 64-bit forms; FXSAVE is Other
  Xrstor,  // XRSTOR, XRSTORS
  Xgetbv,
  Xsetbv,
  Rdpkru,
  Wrpkru,
  ReadWriteFsGsBase,
};

enum class Segment : std::uint8_t {
  None,  // no prefix: DS, or SS for a base of RSP or RBP; flat in 64-bit mode either way
  Es,
  Cs,
  Ss,
  Ds,
  Fs,
  Gs,
};

/// No such register in `MemoryOperand::base` or `::index`.
inline constexpr std::uint8_t kNoRegister = 0xff;

/// The operand that ModRM names, or the address in a MOV of the A0..A3 group. Registers are numbered as the
/// hardware does: 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP, 5 RBP, 6 RSI, 7 RDI, 8..15 R8..R15.
struct MemoryOperand {
  std::uint8_t base = kNoRegister;
  std::uint8_t index = kNoRegister;  // with VSIB: a vector register, see `has_vector_index`
  std::uint8_t scale = 1;            // 1, 2, 4, 8
  bool rip_relative = false;         // displacement counts from the end of the instruction
  std::int64_t displacement = 0;     // sign-extended; for EVEX disp8 not yet multiplied (see decoder.h)
};

struct Instruction {
  std::uint8_t length = 0;  // bytes, 1..15
  Encoding encoding = Encoding::Legacy;
  OpcodeMap map = OpcodeMap::OneByte;
  std::uint8_t opcode = 0;
  std::uint8_t opcode_offset = 0;  // from the first byte, prefixes included
  InstructionClass cls = InstructionClass::Other;

  // Prefixes as found. `rex` is 0 without one; for VEX, EVEX and XOP it is the equivalent REX (0x4X).
  bool lock = false;
  bool rep = false;    // F3 is the last of F2 and F3
  bool repne = false;  // F2 is the last of F2 and F3
  bool operand_size_override = false;
  bool address_size_override = false;
  std::uint8_t rex = 0;
  Segment segment = Segment::None;

  bool has_modrm = false;
  std::uint8_t modrm = 0;
  std::uint8_t modrm_offset = 0;
  bool has_sib = false;
  std::uint8_t sib = 0;
  std::uint8_t displacement_size = 0;  // bytes: 0, 1, 4; 4 or 8 in the A0..A3 group
  std::uint8_t displacement_offset = 0;
  std::uint8_t immediate_size = 0;  // bytes, all immediates together: ENTER has 3, EXTRQ 2
  std::uint8_t immediate_offset = 0;
  std::int64_t immediate = 0;  // sign-extended, little-endian; branch distances stand here too

  bool masked = false;  // EVEX with an opmask other than k0

  bool has_memory_operand = false;
  MemoryOperand memory;

  [[nodiscard]] constexpr std::uint8_t modrm_mod() const noexcept {
    return static_cast<std::uint8_t>(modrm >> 6);
  }
  [[nodiscard]] constexpr std::uint8_t modrm_reg() const noexcept {
    return static_cast<std::uint8_t>((modrm >> 3) & 7);
  }
  [[nodiscard]] constexpr std::uint8_t modrm_rm() const noexcept {
    return static_cast<std::uint8_t>(modrm & 7);
  }
  [[nodiscard]] constexpr bool rex_w() const noexcept { return (rex & 8) != 0; }
  [[nodiscard]] constexpr bool rex_r() const noexcept { return (rex & 4) != 0; }
  [[nodiscard]] constexpr bool rex_x() const noexcept { return (rex & 2) != 0; }
  [[nodiscard]] constexpr bool rex_b() const noexcept { return (rex & 1) != 0; }
};

/// A jump, call or XBEGIN whose target is `end of instruction + immediate`.
[[nodiscard]] constexpr bool is_relative_branch(InstructionClass cls) noexcept {
  return cls == InstructionClass::Jcc || cls == InstructionClass::JmpRelative ||
         cls == InstructionClass::CallRelative || cls == InstructionClass::Xbegin;
}

/// False if the instruction behind this one in memory can't be the next one executed, short of a return to
/// it.
[[nodiscard]] constexpr bool falls_through(InstructionClass cls) noexcept {
  switch (cls) {
    case InstructionClass::JmpRelative:
    case InstructionClass::JmpIndirect:
    case InstructionClass::RetNear:
    case InstructionClass::FarJmp:
    case InstructionClass::FarRet:
    case InstructionClass::Iret:
    case InstructionClass::Ud:
      return false;
    default:
      return true;
  }
}

}  // namespace enclume::engine::decode
