// SPDX-License-Identifier: Apache-2.0
#include "engine/step/memory_access.h"

#include "engine/decode/decoder.h"

namespace enclume::engine {

namespace {

using arch::Reg;
using decode::Encoding;
using decode::Instruction;
using decode::InstructionClass;
using decode::OpcodeMap;

bool legacy_one_byte(const Instruction& in) noexcept {
  return in.encoding == Encoding::Legacy && in.map == OpcodeMap::OneByte;
}

// LEA, multi-byte NOPs, prefetches and INVLPG's kin name an address and leave it alone.
bool only_names_address(const Instruction& in) noexcept {
  if (legacy_one_byte(in)) {
    return in.opcode == 0x8d;
  }
  return in.encoding == Encoding::Legacy && in.map == OpcodeMap::Map0F &&
         (in.opcode == 0x0d || (in.opcode >= 0x18 && in.opcode <= 0x1f));
}

// Elements that a mask leaves out are not accessed, the first perhaps among them: AVX's VMASKMOV and
// VPMASKMOV, AVX-512 under an opmask.
bool may_leave_elements_out(const Instruction& in) noexcept {
  if (in.encoding == Encoding::Evex) {
    return in.masked;
  }
  return in.encoding == Encoding::Vex && in.map == OpcodeMap::Map0F38 &&
         ((in.opcode >= 0x2c && in.opcode <= 0x2f) || in.opcode == 0x8c || in.opcode == 0x8e);
}

// A bit's number in a register counts from the operand, however far.
bool is_bit_string(const Instruction& in) noexcept {
  return in.encoding == Encoding::Legacy && in.map == OpcodeMap::Map0F &&
         (in.opcode == 0xa3 || in.opcode == 0xab || in.opcode == 0xb3 || in.opcode == 0xbb);
}

bool one_byte_writes(const Instruction& in) noexcept {
  const unsigned reg = in.modrm_reg();
  switch (in.opcode) {
    case 0x80:
    case 0x81:
    case 0x83:
      return reg != 7;  // CMP
    case 0x86:
    case 0x87:
    case 0x88:
    case 0x89:
    case 0x8c:
    case 0x8f:
    case 0xa2:
    case 0xa3:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xc7:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
      return true;
    case 0xd9:
      return reg >= 2 && reg != 4 && reg != 5;  // FST, FSTP, FNSTENV, FNSTCW
    case 0xdb:
    case 0xdd:
    case 0xdf:
      return (reg >= 1 && reg <= 3) || reg >= 6;
    case 0xf6:
    case 0xf7:
      return reg == 2 || reg == 3;  // NOT, NEG
    case 0xfe:
      return true;
    case 0xff:
      return reg < 2;
    default:
      return in.opcode < 0x38 && (in.opcode & 7) < 2;  // ADD ... XOR to memory
  }
}

// Moves to memory have these opcodes in the SSE, AVX and AVX-512 forms of map 0F alike.
bool map_0f_writes(const Instruction& in) noexcept {
  switch (in.opcode) {
    case 0x11:
    case 0x13:
    case 0x17:
    case 0x29:
    case 0x2b:
    case 0x7f:
    case 0xd6:
    case 0xe7:
      return true;
    case 0x7e:
      return !in.rep;  // MOVQ xmm, m64 with F3
    default:
      break;
  }
  if (in.encoding != Encoding::Legacy) {
    return in.opcode == 0x91 || (in.opcode == 0xae && in.modrm_reg() == 3);  // KMOV m, k; VSTMXCSR
  }
  switch (in.opcode) {
    case 0xa4:
    case 0xa5:
    case 0xab:
    case 0xac:
    case 0xad:
    case 0xb0:
    case 0xb1:
    case 0xb3:
    case 0xbb:
    case 0xc0:
    case 0xc1:
    case 0xc3:
      return true;
    case 0xae:
      // FXSAVE, STMXCSR, XSAVE (PTWRITE with F3), XSAVEOPT and CLWB
      return in.modrm_reg() == 0 || in.modrm_reg() == 3 || (in.modrm_reg() == 4 && !in.rep) ||
             in.modrm_reg() == 6;
    case 0xba:
      return in.modrm_reg() >= 5;
    case 0xc7:
      return in.modrm_reg() != 3;  // XRSTORS
    default:
      return in.opcode >= 0x90 && in.opcode <= 0x9f;  // SETcc
  }
}

bool map_0f38_writes(const Instruction& in) noexcept {
  switch (in.encoding) {
    case Encoding::Legacy:
      // MOVBE (F1 with F2 is CRC32), WRSS (F6 with another prefix is ADCX, ADOX), MOVDIRI, AADD and its kin
      return (in.opcode == 0xf1 && !in.repne) ||
             (in.opcode == 0xf6 && !in.operand_size_override && !in.rep) || in.opcode == 0xf9 ||
             in.opcode == 0xfc;
    case Encoding::Vex:
      // VMASKMOV, VPMASKMOV; STTILECFG, TILESTORED; CMPccXADD
      return in.opcode == 0x2e || in.opcode == 0x2f || in.opcode == 0x8e ||
             (in.opcode == 0x49 && in.operand_size_override) || (in.opcode == 0x4b && in.rep) ||
             (in.opcode >= 0xe0 && in.opcode <= 0xef);
    case Encoding::Evex:
      // VPCOMPRESS, VCOMPRESS; with F3 VPMOV with and without saturation
      return in.opcode == 0x63 || in.opcode == 0x8a || in.opcode == 0x8b ||
             (in.rep && in.opcode >= 0x10 && in.opcode < 0x40 && (in.opcode & 0xf) <= 5);
    default:
      return false;
  }
}

bool writes_operand(const Instruction& in) noexcept {
  switch (in.map) {
    case OpcodeMap::OneByte:
      return one_byte_writes(in);
    case OpcodeMap::Map0F:
      return map_0f_writes(in);
    case OpcodeMap::Map0F38:
      return map_0f38_writes(in);
    case OpcodeMap::Map0F3A:
      // PEXTR, EXTRACTPS, VEXTRACT
      return (in.opcode >= 0x14 && in.opcode <= 0x17) || in.opcode == 0x19 || in.opcode == 0x1b ||
             in.opcode == 0x1d || in.opcode == 0x39 || in.opcode == 0x3b;
    case OpcodeMap::Map5:
      return in.opcode == 0x11 || in.opcode == 0x7e;  // VMOVSH, VMOVW
    default:
      return false;
  }
}

unsigned stack_width(const Instruction& in) noexcept {
  return in.operand_size_override && !in.rex_w() ? 2 : 8;
}

void add_implied(const Instruction& in, const arch::CpuState& cpu, MemoryAccesses& out) noexcept {
  const std::uint64_t rsp = cpu[Reg::Rsp];
  const auto push = [&] { out.add(rsp - stack_width(in), true); };
  const auto pop = [&] { out.add(rsp, false); };
  switch (in.cls) {
    case InstructionClass::CallRelative:
    case InstructionClass::CallIndirect:
      return out.add(rsp - 8, true);  // near branches don't look at 66 (SDM vol. 2, CALL, 64-bit mode)
    case InstructionClass::RetNear:
      return pop();
    default:
      break;
  }
  if (in.encoding != Encoding::Legacy) {
    return;
  }
  if (in.map == OpcodeMap::Map0F) {
    if (in.opcode == 0xa0 || in.opcode == 0xa8) {  // PUSH FS, GS
      push();
    }
    return;
  }
  if (in.map != OpcodeMap::OneByte) {
    return;
  }
  const bool pushes = (in.opcode >= 0x50 && in.opcode <= 0x57) || in.opcode == 0x68 || in.opcode == 0x6a ||
                      in.opcode == 0x9c || in.opcode == 0xc8 || (in.opcode == 0xff && in.modrm_reg() == 6);
  const bool pops = (in.opcode >= 0x58 && in.opcode <= 0x5f) || in.opcode == 0x8f || in.opcode == 0x9d;
  if (pushes) {
    push();
  } else if (pops) {
    pop();
  } else if (in.opcode == 0xc9) {  // LEAVE
    out.add(cpu[Reg::Rbp], false);
  } else if (in.opcode == 0xd7) {  // XLAT
    const std::uint64_t segment = in.segment == decode::Segment::Fs   ? cpu.fs_base
                                  : in.segment == decode::Segment::Gs ? cpu.gs_base
                                                                      : 0;
    out.add(segment + cpu[Reg::Rbx] + (cpu[Reg::Rax] & 0xff), false);
  }
}

void add_strings(const Instruction& in, const arch::CpuState& cpu, std::uint64_t source_base,
                 MemoryAccesses& out) noexcept {
  const std::uint64_t mask = in.address_size_override ? 0xffff'ffff : ~0ULL;
  if ((in.rep || in.repne) && (cpu[Reg::Rcx] & mask) == 0) {
    return;
  }
  const std::uint64_t source = (cpu[Reg::Rsi] & mask) + source_base;
  const std::uint64_t destination = cpu[Reg::Rdi] & mask;
  switch (in.opcode & 0xfe) {
    case 0xa4:  // MOVS
      out.add(source, false);
      out.add(destination, true);
      break;
    case 0xa6:  // CMPS
      out.add(source, false);
      out.add(destination, false);
      break;
    case 0xaa:  // STOS
      out.add(destination, true);
      break;
    case 0xac:  // LODS
      out.add(source, false);
      break;
    case 0xae:  // SCAS
      out.add(destination, false);
      break;
    default:
      break;
  }
}

}  // namespace

MemoryAccesses memory_accesses(const Instruction& in, const arch::CpuState& cpu) noexcept {
  MemoryAccesses out;
  decode::AddressContext context;
  context.registers = cpu.gpr;
  context.rip = cpu.rip;
  context.fs_base = cpu.fs_base;
  context.gs_base = cpu.gs_base;
  if (in.has_memory_operand && !only_names_address(in) && !may_leave_elements_out(in) && !is_bit_string(in)) {
    if (legacy_one_byte(in) && in.opcode == 0x8f) {  // POP: the address is computed with RSP behind it
      context.registers[static_cast<std::size_t>(Reg::Rsp)] += stack_width(in);
    }
    if (const auto address = decode::effective_address(in, context)) {
      out.add(*address, writes_operand(in));
    }
  }
  if (legacy_one_byte(in) &&
      ((in.opcode >= 0xa4 && in.opcode <= 0xa7) || (in.opcode >= 0xaa && in.opcode <= 0xaf))) {
    const std::uint64_t base = in.segment == decode::Segment::Fs   ? cpu.fs_base
                               : in.segment == decode::Segment::Gs ? cpu.gs_base
                                                                   : 0;
    add_strings(in, cpu, base, out);
  }
  add_implied(in, cpu, out);
  return out;
}

}  // namespace enclume::engine
