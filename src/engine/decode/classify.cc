// SPDX-License-Identifier: Apache-2.0
#include "engine/decode/classify.h"

#include "engine/decode/opcode_tables.h"

namespace enclume::engine::decode {
namespace {

// A set of small numbers, most often values of ModRM.reg.
[[nodiscard]] constexpr bool contains(unsigned set, unsigned number) noexcept {
  return ((set >> number) & 1) != 0;
}

[[nodiscard]] bool no_mandatory_prefix(const Instruction& in) noexcept {
  return !in.operand_size_override && !in.rep && !in.repne;
}

[[nodiscard]] bool one_byte_form_exists(const Instruction& in) noexcept {
  const bool memory = in.has_memory_operand;
  const unsigned reg = in.modrm_reg();
  switch (in.opcode) {
    case 0x8c:  // MOV from Sreg
      return reg < 6;
    case 0x8e:  // MOV to Sreg, not CS
      return reg < 6 && reg != 1;
    case 0x8d:  // LEA
      return memory;
    case 0x8f:  // POP
      return reg == 0;
    case 0xc6:  // MOV, XABORT
    case 0xc7:  // MOV, XBEGIN
      return reg == 0 || in.modrm == 0xf8;
    case 0xd8:
    case 0xd9:
    case 0xda:
    case 0xdb:
    case 0xdc:
    case 0xdd:
    case 0xde:
    case 0xdf:
      return memory ? contains(kX87Memory[in.opcode & 7], reg)
                    : ((kX87Register[in.opcode & 7] >> (in.modrm & 63)) & 1) != 0;
    case 0xfe:
      return reg < 2;
    case 0xff:
      return reg < 7 && (memory || (reg != 3 && reg != 5));
    default:
      return true;
  }
}

// 0F 01, whose register forms are instructions of their own.
[[nodiscard]] bool group7_form_exists(const Instruction& in) noexcept {
  if (in.has_memory_operand) {
    return in.modrm_reg() != 5 || in.rep;  // RSTORSSP
  }
  switch (in.modrm) {
    case 0xc0:
    case 0xc1:
    case 0xc2:
    case 0xc3:
    case 0xc4:
    case 0xc5:  // ENCLV, VMX, PCONFIG
    case 0xc6:  // WRMSRNS, RDMSRLIST, WRMSRLIST
    case 0xc8:
    case 0xc9:
    case 0xca:
    case 0xcb:
    case 0xcf:  // MONITOR, MWAIT, CLAC, STAC, ENCLS
    case 0xd0:
    case 0xd1:
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:  // XGETBV ... ENCLU
      return true;
    case 0xcc:
    case 0xcd:
    case 0xce:
      return in.operand_size_override && !in.rep && !in.repne;  // TDCALL, SEAMRET, SEAMOPS
    case 0xe8:
      return !in.operand_size_override || in.rep || in.repne;  // SERIALIZE, SETSSBSY, XSUSLDTRK
    case 0xe9:
      return in.repne;  // XRESLDTRK
    case 0xea:
    case 0xec:
    case 0xed:
      return in.rep;  // SAVEPREVSSP, UIRET, TESTUI
    case 0xee:
    case 0xef:
      return true;  // RDPKRU, WRPKRU; with F3 CLUI, STUI
    case 0xeb:
      return false;
    default:
      return in.modrm >= 0xd8 && in.modrm != 0xe8;  // SVM, SMSW, LMSW, SWAPGS, RDTSCP, AMD's
  }
}

// 0F AE: fences, FXSAVE, XSAVE and the FS/GS base instructions.
[[nodiscard]] bool group15_form_exists(const Instruction& in) noexcept {
  const unsigned reg = in.modrm_reg();
  if (in.has_memory_operand) {
    if (in.rep) {
      return reg == 4 || reg == 6;  // PTWRITE, CLRSSBSY
    }
    if (in.repne) {
      return false;
    }
    return !in.operand_size_override || reg >= 6;  // 66: CLWB, CLFLUSHOPT
  }
  if (in.rep) {
    return reg <= 6;  // RDFSBASE ..., PTWRITE, INCSSP, UMONITOR
  }
  if (in.repne) {
    return reg == 6;  // UMWAIT
  }
  if (in.operand_size_override) {
    return reg == 6;  // TPAUSE
  }
  return reg >= 5;  // LFENCE, MFENCE, SFENCE
}

[[nodiscard]] bool group9_form_exists(const Instruction& in) noexcept {  // 0F C7
  const unsigned reg = in.modrm_reg();
  if (in.has_memory_operand) {
    if (reg == 6) {
      return !in.repne;  // VMPTRLD, VMCLEAR, VMXON
    }
    if (reg == 7) {
      return no_mandatory_prefix(in);  // VMPTRST
    }
    return reg == 1 ||
           (reg >= 3 && reg <= 5 && no_mandatory_prefix(in));  // CMPXCHG8B, XRSTORS, XSAVEC, XSAVES
  }
  if (reg == 6) {
    return !in.repne;  // RDRAND, SENDUIPI
  }
  return reg == 7 && !in.repne;  // RDSEED, RDPID
}

[[nodiscard]] bool map_0f_form_exists(const Instruction& in) noexcept {
  const bool memory = in.has_memory_operand;
  const unsigned reg = in.modrm_reg();
  switch (in.opcode) {
    case 0x00:
      return reg < 6;
    case 0x01:
      return group7_form_exists(in);
    case 0x12:
    case 0x16:  // register forms MOVHLPS, MOVLHPS, and with F2 and F3
      return memory || !in.operand_size_override || in.rep || in.repne;
    case 0x13:
    case 0x17:
    case 0x2b:
    case 0xb2:
    case 0xb4:
    case 0xb5:
    case 0xc3:
    case 0xe7:
    case 0xf0:
      return memory;
    case 0x50:
    case 0xc5:
    case 0xd7:
    case 0xf7:
      return !memory;
    case 0x71:
    case 0x72:
      return !memory && (reg == 2 || reg == 4 || reg == 6);
    case 0x73:
      return !memory && (reg == 2 || reg == 6 || (in.operand_size_override && (reg == 3 || reg == 7)));
    case 0x20:
    case 0x22:  // CR0, CR2, CR3, CR4, CR8
      return in.rex_r() ? reg == 0 : contains(0b11101, reg);
    case 0x21:
    case 0x23:
      return !in.rex_r();
    case 0x78:
      return no_mandatory_prefix(in) || (!memory && (in.repne || reg == 0));
    case 0x79:
      return no_mandatory_prefix(in) || !memory;
    case 0xa6:  // VIA PadLock
      return !memory && in.modrm_rm() == 0 && reg < 3;
    case 0xa7:
      return !memory && in.modrm_rm() == 0 && (reg == 0 || (in.rep && reg < 6));
    case 0xae:
      return group15_form_exists(in);
    case 0xba:
      return reg >= 4;
    case 0xc7:
      return group9_form_exists(in);
    case 0xd6:
      return !memory || !(in.rep || in.repne);
    default:
      return true;
  }
}

[[nodiscard]] bool map_0f38_form_exists(const Instruction& in) noexcept {
  const bool memory = in.has_memory_operand;
  switch (in.opcode) {
    case 0x2a:
    case 0x80:
    case 0x81:
    case 0x82:
    case 0xf5:
    case 0xf8:
    case 0xf9:
      return memory;
    case 0xd8:  // AESENCWIDE128KL and kin
      return memory && in.modrm_reg() < 4;
    case 0xdc:
    case 0xdd:
    case 0xde:
    case 0xdf:
      // With F3 the Key Locker forms; DC has LOADIWKEY for registers.
      return !in.rep || memory || in.opcode == 0xdc;
    case 0xf0:
    case 0xf1:
      return memory || in.repne;  // MOVBE has no register form, CRC32 has
    case 0xf6:
      return memory || in.operand_size_override || in.rep;  // WRSS only to memory
    case 0xfa:
    case 0xfb:
      return !memory;
    default:
      return true;
  }
}

// LOCK is legal only where memory is read and written.
[[nodiscard]] bool lock_allowed(const Instruction& in) noexcept {
  if (!in.has_memory_operand) {
    return false;
  }
  const unsigned reg = in.modrm_reg();
  if (in.map == OpcodeMap::OneByte) {
    switch (in.opcode) {
      case 0x80:
      case 0x81:
      case 0x83:
        return reg != 7;  // CMP
      case 0x86:
      case 0x87:
        return true;
      case 0xf6:
      case 0xf7:
        return reg == 2 || reg == 3;
      case 0xfe:
      case 0xff:
        return reg < 2;
      default:
        return in.opcode < 0x38 && (in.opcode & 7) < 2;  // ADD ... XOR to memory
    }
  }
  if (in.map != OpcodeMap::Map0F) {
    return false;
  }
  switch (in.opcode) {
    case 0xab:
    case 0xb0:
    case 0xb1:
    case 0xb3:
    case 0xbb:
    case 0xc0:
    case 0xc1:
      return true;
    case 0xba:
      return reg >= 5;
    case 0xc7:
      return reg == 1;
    default:
      return false;
  }
}

[[nodiscard]] InstructionClass classify_one_byte(const Instruction& in) noexcept {
  using enum InstructionClass;
  const unsigned reg = in.modrm_reg();
  switch (in.opcode) {
    case 0x6c:
    case 0x6d:
      return Ins;
    case 0x6e:
    case 0x6f:
      return Outs;
    case 0x8e:
      return MovToSegment;
    case 0xc2:
    case 0xc3:
      return RetNear;
    case 0xc7:
      return in.modrm == 0xf8 ? Xbegin : Other;
    case 0xca:
    case 0xcb:
      return FarRet;
    case 0xcc:
      return Int3;
    case 0xcd:
      return IntN;
    case 0xcf:
      return Iret;
    case 0xe0:
    case 0xe1:
    case 0xe2:
    case 0xe3:
      return Jcc;
    case 0xe4:
    case 0xe5:
    case 0xec:
    case 0xed:
      return In;
    case 0xe6:
    case 0xe7:
    case 0xee:
    case 0xef:
      return Out;
    case 0xe8:
      return CallRelative;
    case 0xe9:
    case 0xeb:
      return JmpRelative;
    case 0xf1:
      return Int1;
    case 0xf4:
      return Hlt;
    case 0xff:
      switch (reg) {
        case 2:
          return CallIndirect;
        case 3:
          return FarCall;
        case 4:
          return JmpIndirect;
        case 5:
          return FarJmp;
        default:
          return Other;
      }
    default:
      return (in.opcode & 0xf0) == 0x70 ? Jcc : Other;
  }
}

[[nodiscard]] InstructionClass classify_group7(const Instruction& in) noexcept {
  using enum InstructionClass;
  if (in.has_memory_operand) {
    switch (in.modrm_reg()) {
      case 0:
        return Sgdt;
      case 1:
        return Sidt;
      case 4:
        return Smsw;
      default:
        return Other;
    }
  }
  if (in.modrm_reg() == 4) {
    return Smsw;
  }
  // ENCLU and its neighbours exist without mandatory prefix only.
  const bool plain = no_mandatory_prefix(in);
  switch (in.modrm) {
    case 0xc1:
      return Vmcall;
    case 0xcf:
      return plain ? Encls : Other;
    case 0xd0:
      return plain ? Xgetbv : Other;
    case 0xd1:
      return plain ? Xsetbv : Other;
    case 0xd4:
      return plain ? Vmfunc : Other;
    case 0xd9:
      return Vmmcall;
    case 0xd7:
      return plain ? Enclu : Other;
    case 0xee:
      return plain ? Rdpkru : Other;
    case 0xef:
      return plain ? Wrpkru : Other;
    case 0xf9:
      return Rdtscp;
    default:
      return Other;
  }
}

[[nodiscard]] InstructionClass classify_map_0f(const Instruction& in) noexcept {
  using enum InstructionClass;
  const unsigned reg = in.modrm_reg();
  switch (in.opcode) {
    case 0x00:
      return reg == 0 ? Sldt : reg == 1 ? Str : Other;
    case 0x01:
      return classify_group7(in);
    case 0x05:
      return Syscall;
    case 0x0b:
    case 0xb9:
    case 0xff:
      return Ud;
    case 0x31:
      return Rdtsc;
    case 0x33:
      return Rdpmc;
    case 0x34:
      return Sysenter;
    case 0x37:
      return Getsec;
    case 0xa1:
    case 0xa9:  // POP FS, POP GS
      return PopSegment;
    case 0xa2:
      return Cpuid;
    case 0xae:
      if (in.has_memory_operand) {
        // FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, XSAVE, XRSTOR, XSAVEOPT, CLFLUSH
        const bool plain = no_mandatory_prefix(in);
        return !plain ? Other : reg == 4 || reg == 6 ? Xsave : reg == 5 ? Xrstor : Other;
      }
      return in.rep && reg < 4 ? ReadWriteFsGsBase : Other;
    case 0xb2:
    case 0xb4:
    case 0xb5:
      return LoadFarPointer;
    case 0xc7:
      if (in.has_memory_operand) {
        return reg == 3 ? Xrstor : reg == 4 || reg == 5 ? Xsave : Other;
      }
      return Other;
    default:
      return (in.opcode & 0xf0) == 0x80 ? Jcc : Other;
  }
}

}  // namespace

bool legacy_form_exists(const Instruction& in) noexcept {
  bool exists = true;
  switch (in.map) {
    case OpcodeMap::OneByte:
      exists = one_byte_form_exists(in);
      break;
    case OpcodeMap::Map0F:
      exists = map_0f_form_exists(in);
      break;
    case OpcodeMap::Map0F38:
      exists = map_0f38_form_exists(in);
      break;
    case OpcodeMap::Map0F3A:
      // SHA1RNDS4 and the rest take both forms; HRESET has one encoding.
      exists = in.opcode != 0xf0 || in.modrm == 0xc0;
      break;
    default:
      break;
  }
  return exists && (!in.lock || lock_allowed(in));
}

InstructionClass classify(const Instruction& in) noexcept {
  if (in.encoding != Encoding::Legacy) {
    return InstructionClass::Other;
  }
  switch (in.map) {
    case OpcodeMap::OneByte:
      return classify_one_byte(in);
    case OpcodeMap::Map0F:
      return classify_map_0f(in);
    default:
      return InstructionClass::Other;
  }
}

}  // namespace enclume::engine::decode
