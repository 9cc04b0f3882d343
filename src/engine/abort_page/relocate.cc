// SPDX-License-Identifier: Apache-2.0
#include "engine/abort_page/relocate.h"

namespace enclume::engine {

namespace {

using decode::Encoding;
using decode::Instruction;
using decode::InstructionClass;
using decode::OpcodeMap;

constexpr std::uint8_t kRbx = 3;
constexpr std::uint8_t kRsp = 4;
constexpr std::uint8_t kRbp = 5;
constexpr std::uint8_t kRsi = 6;
constexpr std::uint8_t kRdi = 7;

/// What ModRM.reg names.
enum class RegField : std::uint8_t {
  General,  // a general register
  Other,    // a vector, mask, x87, or segment register, or a part of the opcode
  Unknown,  // not looked up: to be feared if it might be RSP
};

RegField legacy_reg_field(const Instruction& in) {
  const std::uint8_t op = in.opcode;
  switch (in.map) {
    case OpcodeMap::OneByte:
      if (op < 0x40 || op == 0x63 || op == 0x69 || op == 0x6b || (op >= 0x84 && op <= 0x8b)) {
        return RegField::General;
      }
      if ((op >= 0x80 && op <= 0x83) || op == 0x8c || (op >= 0xc0 && op <= 0xc1) ||
          (op >= 0xc6 && op <= 0xc7) || (op >= 0xd0 && op <= 0xd3) || (op >= 0xd8 && op <= 0xdf) ||
          op == 0xf6 || op == 0xf7 || op >= 0xfe) {
        return RegField::Other;
      }
      return RegField::Unknown;
    case OpcodeMap::Map0F:
      if ((op >= 0x40 && op <= 0x4f) || op == 0x2c || op == 0x2d || op == 0xa4 || op == 0xa5 || op == 0xac ||
          op == 0xad || op == 0xaf || op == 0xb0 || op == 0xb1 || op == 0xb6 || op == 0xb7 || op == 0xb8 ||
          (op >= 0xbc && op <= 0xc1) || op == 0xc3) {
        // 2C and 2D without F2 and F3 name an MMX register; it does no harm to fear for RSP there too.
        return (op == 0x2c || op == 0x2d) && !in.rep && !in.repne ? RegField::Other : RegField::General;
      }
      if ((op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2b) || op == 0x2e || op == 0x2f ||
          (op >= 0x51 && op <= 0x7f) || (op >= 0x90 && op <= 0x9f) || op == 0xae || op == 0xba ||
          op == 0xc2 || (op >= 0xc4 && op <= 0xc7) || op >= 0xd0) {
        return RegField::Other;
      }
      return RegField::Unknown;
    case OpcodeMap::Map0F38:
      if (op == 0xf0 || op == 0xf1 || op == 0xf6) {
        return RegField::General;
      }
      return op < 0xf0 ? RegField::Other : RegField::Unknown;
    case OpcodeMap::Map0F3A:
      return op < 0xf0 ? RegField::Other : RegField::Unknown;
    default:
      return RegField::Unknown;
  }
}

RegField vector_reg_field(const Instruction& in) {
  const std::uint8_t op = in.opcode;
  switch (in.map) {
    case OpcodeMap::Map0F:
      // Conversions to general registers.
      return op == 0x2c || op == 0x2d || op == 0x78 || op == 0x79 ? RegField::Unknown : RegField::Other;
    case OpcodeMap::Map0F38:
    case OpcodeMap::Map0F3A:
      return op >= 0xe0 ? RegField::Unknown : RegField::Other;  // BMI and its successors
    default:
      return RegField::Unknown;
  }
}

RegField reg_field(const Instruction& in) {
  return in.encoding == Encoding::Legacy ? legacy_reg_field(in) : vector_reg_field(in);
}

/// The register in VEX.vvvv (or XOP's); RSP's number there may name RSP only in the maps of BMI.
std::uint8_t vvvv(std::span<const std::byte> code, const Instruction& in) {
  const auto last = std::to_integer<std::uint8_t>(code[in.opcode_offset - 1U]);
  return static_cast<std::uint8_t>((~last >> 3) & 15);
}

/// Whether the operand that ModRM names is all the memory that it touches, and no control flow is involved.
bool is_plain(const Instruction& in) {
  if (!in.has_memory_operand || in.cls != InstructionClass::Other) {
    return false;
  }
  const std::uint8_t op = in.opcode;
  if (in.encoding == Encoding::Legacy) {
    switch (in.map) {
      case OpcodeMap::OneByte:
        // LEA, POP m, PUSH m; FNSAVE and FRSTOR, for their size.
        return op != 0x8d && op != 0x8f && !(op == 0xff && in.modrm_reg() == 6) &&
               !(op == 0xdd && (in.modrm_reg() == 4 || in.modrm_reg() == 6));
      case OpcodeMap::Map0F:
        // FXSAVE and FXRSTOR, for their size; bit operations with a register, whose operand may lie
        // elsewhere.
        return !(op == 0xae && in.modrm_reg() < 2) && op != 0xa3 && op != 0xab && op != 0xb3 && op != 0xbb;
      case OpcodeMap::Map0F38:
        return op != 0xf8 && op != 0xf9;  // MOVDIR64B, ENQCMD: a second address
      default:
        return true;
    }
  }
  if (in.map == OpcodeMap::Map0F38) {
    const bool amx_tile = in.encoding == Encoding::Vex && op == 0x4b;
    const bool vector_of_addresses =
        (op >= 0x90 && op <= 0x93) || (op >= 0xa0 && op <= 0xa3) || op == 0xc6 || op == 0xc7;
    return !amx_tile && !vector_of_addresses;
  }
  return true;
}

bool is_legacy_prefix(std::uint8_t byte) {
  switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
      return true;
    default:
      return false;
  }
}

bool is_rex(std::uint8_t byte) {
  return (byte & 0xf0) == 0x40;
}

/// Segments and the address size are about an address that is not used any more.
bool concerns_address_only(std::uint8_t byte) {
  return byte != 0x66 && byte != 0xf0 && byte != 0xf2 && byte != 0xf3;
}

class Writer {
 public:
  explicit Writer(RelocatedInstruction& out) : out_(out) {}
  void put(unsigned byte) {
    if (out_.size < out_.bytes.size()) {
      out_.bytes[out_.size++] = static_cast<std::byte>(byte);
    }
  }

 private:
  RelocatedInstruction& out_;
};

}  // namespace

std::optional<RelocatedInstruction> relocate(std::span<const std::byte> code,
                                             const Instruction& in) noexcept {
  if (!is_plain(in) || code.size() < in.length) {
    return std::nullopt;
  }
  const bool moffs = !in.has_modrm;  // A0..A3
  std::uint8_t reg = moffs ? 0 : static_cast<std::uint8_t>(in.modrm_reg() | (in.rex_r() ? 8 : 0));

  RelocatedInstruction out;
  // Without REX a byte register 4 is AH, not SPL.
  const bool high_byte = in.encoding == Encoding::Legacy && in.rex == 0 && reg == kRsp &&
                         ((in.map == OpcodeMap::OneByte && (in.opcode & 1) == 0) ||
                          (in.map == OpcodeMap::Map0F && (in.opcode == 0xb0 || in.opcode == 0xc0)));
  if (!moffs && reg == kRsp && !high_byte) {
    switch (reg_field(in)) {
      case RegField::General:
        reg = kRbp;
        out.rbp_stands_for_rsp = true;
        break;
      case RegField::Other:
        break;
      case RegField::Unknown:
        return std::nullopt;
    }
  }
  // RSI, RDI and RBX are never implied by an instruction that passed is_plain(), but for RBX by CMPXCHG8B and
  // CMPXCHG16B, which have no VEX form.
  std::uint8_t second = 0;
  if (in.encoding == Encoding::Vex || in.encoding == Encoding::Xop) {
    second = vvvv(code, in);
    if (second == kRsp && in.map == OpcodeMap::Map0F38 && in.opcode >= 0xe0) {
      return std::nullopt;
    }
  }
  out.base = reg != kRsi && second != kRsi ? kRsi : reg != kRdi && second != kRdi ? kRdi : kRbx;

  Writer to(out);
  std::size_t at = 0;
  const auto byte_at = [&](std::size_t i) { return std::to_integer<std::uint8_t>(code[i]); };
  if (in.encoding == Encoding::Legacy) {
    // Prefixes in any order; a REX counts only as the last of them.
    for (; is_legacy_prefix(byte_at(at)) || is_rex(byte_at(at)); ++at) {
      const std::uint8_t byte = byte_at(at);
      if (is_rex(byte)) {
        if (in.rex != 0 && !is_legacy_prefix(byte_at(at + 1U)) && !is_rex(byte_at(at + 1U))) {
          to.put(byte & 0xfcU);  // the base has no extension, and there is no index
        }
      } else if (!concerns_address_only(byte)) {
        to.put(byte);
      }
    }
  } else {
    while (is_legacy_prefix(byte_at(at))) {
      ++at;  // of these only segments and the address size can stand before VEX, EVEX and XOP
    }
    const std::uint8_t first = byte_at(at++);
    to.put(first);
    // X and B are inverted; the two-byte VEX has neither.
    const unsigned unused = first == 0xc5 ? 0U : 0x60U;
    to.put(byte_at(at++) | unused);
  }
  if (moffs) {
    to.put(in.opcode < 0xa2 ? in.opcode - 0xa0U + 0x8aU : in.opcode - 0xa2U + 0x88U);
  } else {
    for (; at < in.modrm_offset; ++at) {
      to.put(byte_at(at));
    }
  }
  to.put(((reg & 7U) << 3) | out.base);
  // Whatever is left is immediate; a 3DNow! opcode stands there too.
  if (!moffs) {
    const std::size_t memory_bytes = 1U + (in.has_sib ? 1U : 0U) + in.displacement_size;
    for (at = in.modrm_offset + memory_bytes; at < in.length; ++at) {
      to.put(byte_at(at));
    }
  }
  return out;
}

}  // namespace enclume::engine
