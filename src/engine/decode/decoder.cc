// SPDX-License-Identifier: Apache-2.0
#include "engine/decode/decoder.h"

#include "engine/decode/classify.h"
#include "engine/decode/opcode_tables.h"

namespace enclume::engine::decode {
namespace {

// Reads forward; every read past the end or past 15 bytes is remembered and yields 0, so that the steps below
// need no checks between them.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  [[nodiscard]] std::uint8_t offset() const noexcept { return offset_; }
  [[nodiscard]] bool too_long() const noexcept { return too_long_; }
  [[nodiscard]] bool truncated() const noexcept { return truncated_; }
  [[nodiscard]] bool failed() const noexcept { return too_long_ || truncated_; }

  [[nodiscard]] std::uint8_t peek() noexcept {
    if (offset_ >= kMaxInstructionLength) {
      too_long_ = true;
      return 0;
    }
    if (offset_ >= bytes_.size()) {
      truncated_ = true;
      return 0;
    }
    return std::to_integer<std::uint8_t>(bytes_[offset_]);
  }

  std::uint8_t take() noexcept {
    const std::uint8_t value = peek();
    if (!failed()) {
      ++offset_;
    }
    return value;
  }

  // Little-endian, sign-extended from its highest byte.
  std::int64_t take_signed(unsigned size) noexcept {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i) {
      value |= std::uint64_t{take()} << (8 * i);
    }
    if (size == 0 || size == 8) {
      return static_cast<std::int64_t>(value);
    }
    const unsigned unused = 64 - 8 * size;
    return static_cast<std::int64_t>(value << unused) >> unused;
  }

 private:
  std::span<const std::byte> bytes_;
  std::uint8_t offset_ = 0;
  bool too_long_ = false;
  bool truncated_ = false;
};

// Takes prefixes up to the opcode. A REX counts only if it is the last of them.
void take_prefixes(Cursor& cursor, Instruction& out) noexcept {
  for (;;) {
    const std::uint8_t byte = cursor.peek();
    if (cursor.failed()) {
      return;
    }
    std::uint8_t rex = 0;
    switch (byte) {
      case 0x26:
        out.segment = Segment::Es;
        break;
      case 0x2e:
        out.segment = Segment::Cs;
        break;
      case 0x36:
        out.segment = Segment::Ss;
        break;
      case 0x3e:
        out.segment = Segment::Ds;
        break;
      case 0x64:
        out.segment = Segment::Fs;
        break;
      case 0x65:
        out.segment = Segment::Gs;
        break;
      case 0x66:
        out.operand_size_override = true;
        break;
      case 0x67:
        out.address_size_override = true;
        break;
      case 0xf0:
        out.lock = true;
        break;
      case 0xf2:
        out.repne = true;
        out.rep = false;
        break;
      case 0xf3:
        out.rep = true;
        out.repne = false;
        break;
      default:
        if ((byte & 0xf0) != 0x40) {
          return;
        }
        rex = byte;
    }
    out.rex = rex;
    cursor.take();
  }
}

[[nodiscard]] bool has_prefix_forbidden_with_vex(const Instruction& in) noexcept {
  return in.lock || in.rep || in.repne || in.operand_size_override || in.rex != 0;
}

// VEX, EVEX and XOP keep R, X and B inverted in the same three bits.
[[nodiscard]] std::uint8_t rex_from_inverted(std::uint8_t byte, bool w) noexcept {
  return static_cast<std::uint8_t>(0x40 | ((~byte >> 5) & 7) | (w ? 8 : 0));
}

void set_vector_prefix(std::uint8_t pp, Instruction& out) noexcept {
  out.operand_size_override = pp == 1;
  out.rep = pp == 2;
  out.repne = pp == 3;
}

// Takes a VEX prefix of two or three bytes and the opcode. False if there is no such encoding.
[[nodiscard]] bool take_vex(Cursor& cursor, std::uint8_t first, Instruction& out) noexcept {
  if (has_prefix_forbidden_with_vex(out)) {
    return false;
  }
  out.encoding = Encoding::Vex;
  const std::uint8_t second = cursor.take();
  std::uint8_t last = second;
  std::uint8_t map = 1;
  if (first == 0xc5) {
    out.rex = static_cast<std::uint8_t>(0x40 | ((~second >> 5) & 4));
  } else {
    last = cursor.take();
    map = second & 0x1f;
    out.rex = rex_from_inverted(second, (last & 0x80) != 0);
  }
  set_vector_prefix(last & 3, out);
  out.opcode_offset = cursor.offset();
  out.opcode = cursor.take();
  switch (map) {
    case 1:
      out.map = OpcodeMap::Map0F;
      return true;
    case 2:
      out.map = OpcodeMap::Map0F38;
      return true;
    case 3:
      out.map = OpcodeMap::Map0F3A;
      return true;
    default:
      return cursor.failed();
  }
}

[[nodiscard]] bool take_xop(Cursor& cursor, Instruction& out) noexcept {
  if (has_prefix_forbidden_with_vex(out)) {
    return false;
  }
  out.encoding = Encoding::Xop;
  const std::uint8_t second = cursor.take();
  const std::uint8_t third = cursor.take();
  out.rex = rex_from_inverted(second, (third & 0x80) != 0);
  out.opcode_offset = cursor.offset();
  out.opcode = cursor.take();
  if ((third & 3) != 0) {
    return cursor.failed();
  }
  switch (second & 0x1f) {
    case 8:
      out.map = OpcodeMap::Xop8;
      return true;
    case 9:
      out.map = OpcodeMap::Xop9;
      return true;
    case 10:
      out.map = OpcodeMap::XopA;
      return true;
    default:
      return cursor.failed();
  }
}

[[nodiscard]] bool take_evex(Cursor& cursor, Instruction& out) noexcept {
  if (has_prefix_forbidden_with_vex(out)) {
    return false;
  }
  out.encoding = Encoding::Evex;
  const std::uint8_t p0 = cursor.take();
  const std::uint8_t p1 = cursor.take();
  const std::uint8_t p2 = cursor.take();
  out.rex = rex_from_inverted(p0, (p1 & 0x80) != 0);
  out.masked = (p2 & 7) != 0;
  set_vector_prefix(p1 & 3, out);
  out.opcode_offset = cursor.offset();
  out.opcode = cursor.take();
  if (cursor.failed()) {
    return true;
  }
  if ((p0 & 0x08) != 0 || (p1 & 0x04) == 0) {  // fixed bits; what APX made of them is not known here
    return false;
  }
  switch (p0 & 7) {
    case 1:
      out.map = OpcodeMap::Map0F;
      return true;
    case 2:
      out.map = OpcodeMap::Map0F38;
      return true;
    case 3:
      out.map = OpcodeMap::Map0F3A;
      return true;
    case 5:
      out.map = OpcodeMap::Map5;
      return true;
    case 6:
      out.map = OpcodeMap::Map6;
      return true;
    default:
      return false;
  }
}

[[nodiscard]] Shape vector_shape(const Instruction& in) noexcept {
  switch (in.map) {
    case OpcodeMap::Map0F:
      if (in.opcode == 0x77) {  // VZEROUPPER, VZEROALL
        return in.encoding == Encoding::Vex ? Shape::Plain : Shape::Undefined;
      }
      if ((in.opcode >= 0x70 && in.opcode <= 0x73) || in.opcode == 0xc2 || in.opcode == 0xc4 ||
          in.opcode == 0xc5 || in.opcode == 0xc6) {
        return Shape::ModrmImm8;
      }
      return Shape::Modrm;
    case OpcodeMap::Map0F3A:
    case OpcodeMap::Xop8:
      return Shape::ModrmImm8;
    case OpcodeMap::XopA:
      return Shape::ModrmImmZ;  // pp is 0 in XOP, so always four bytes
    default:
      return Shape::Modrm;
  }
}

[[nodiscard]] bool mandatory_prefix_fits(const Instruction& in, const Grid& prefixes) noexcept {
  const char digit = cell(prefixes, in.opcode);
  const unsigned allowed = static_cast<unsigned>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
  const unsigned have = in.repne ? 8 : in.rep ? 4 : in.operand_size_override ? 2 : 1;
  return (allowed & have) != 0;
}

// Takes the opcode of the legacy maps, or of the vector encodings that hide behind 62, 8F, C4 and C5.
[[nodiscard]] Shape take_opcode(Cursor& cursor, Instruction& out) noexcept {
  out.opcode_offset = cursor.offset();
  out.opcode = cursor.take();
  const auto shape = static_cast<Shape>(cell(kOneByteShapes, out.opcode));
  if (shape == Shape::Vector) {
    const bool exists = out.opcode == 0x62 ? take_evex(cursor, out) : take_vex(cursor, out.opcode, out);
    return exists ? vector_shape(out) : Shape::Undefined;
  }
  if (out.opcode == 0x8f && !cursor.failed() && (cursor.peek() & 0x1f) >= 8) {
    return take_xop(cursor, out) ? vector_shape(out) : Shape::Undefined;
  }
  if (shape != Shape::Escape) {
    return shape;
  }

  out.map = OpcodeMap::Map0F;
  out.opcode = cursor.take();
  if (out.opcode == 0x38 || out.opcode == 0x3a) {
    const bool is_38 = out.opcode == 0x38;
    out.map = is_38 ? OpcodeMap::Map0F38 : OpcodeMap::Map0F3A;
    out.opcode = cursor.take();
    if (cursor.failed()) {
      return Shape::Plain;
    }
    if (!mandatory_prefix_fits(out, is_38 ? k0F38Prefixes : k0F3APrefixes)) {
      return Shape::Undefined;
    }
    return is_38 ? Shape::Modrm : Shape::ModrmImm8;
  }
  if (cursor.failed()) {
    return Shape::Plain;
  }
  if (!mandatory_prefix_fits(out, k0FPrefixes)) {
    return Shape::Undefined;
  }
  return static_cast<Shape>(cell(k0FShapes, out.opcode));
}

// VSIB: the index is a vector register. Gathers and scatters, all in map 0F38.
[[nodiscard]] bool has_vector_index(const Instruction& in) noexcept {
  if (in.map != OpcodeMap::Map0F38 || in.encoding == Encoding::Legacy || in.encoding == Encoding::Xop) {
    return false;
  }
  if (in.opcode >= 0x90 && in.opcode <= 0x93) {
    return true;
  }
  return in.encoding == Encoding::Evex &&
         ((in.opcode >= 0xa0 && in.opcode <= 0xa3) || in.opcode == 0xc6 || in.opcode == 0xc7);
}

void take_modrm(Cursor& cursor, bool always_register, Instruction& out) noexcept {
  out.has_modrm = true;
  out.modrm_offset = cursor.offset();
  out.modrm = cursor.take();
  if (always_register || out.modrm_mod() == 3) {
    return;
  }
  out.has_memory_operand = true;
  MemoryOperand& memory = out.memory;
  const auto high = [](bool bit) { return static_cast<std::uint8_t>(bit ? 8 : 0); };
  std::uint8_t base = out.modrm_rm();
  if (base == 4) {
    out.has_sib = true;
    out.sib = cursor.take();
    base = out.sib & 7;
    const auto index = static_cast<std::uint8_t>(((out.sib >> 3) & 7) | high(out.rex_x()));
    if (index != 4 || has_vector_index(out)) {
      memory.index = index;
      memory.scale = static_cast<std::uint8_t>(1u << (out.sib >> 6));
    }
  }
  const bool no_base = out.modrm_mod() == 0 && base == 5;
  if (no_base) {
    memory.rip_relative = !out.has_sib;
    out.displacement_size = 4;
  } else {
    memory.base = static_cast<std::uint8_t>(base | high(out.rex_b()));
    out.displacement_size = out.modrm_mod() == 1 ? 1 : out.modrm_mod() == 2 ? 4 : 0;
  }
  out.displacement_offset = out.displacement_size != 0 ? cursor.offset() : std::uint8_t{0};
  memory.displacement = cursor.take_signed(out.displacement_size);
}

void take_immediate(Cursor& cursor, unsigned size, Instruction& out) noexcept {
  out.immediate_offset = cursor.offset();
  out.immediate_size = static_cast<std::uint8_t>(size);
  out.immediate = cursor.take_signed(size);
}

void take_moffs(Cursor& cursor, Instruction& out) noexcept {
  out.has_memory_operand = true;
  out.displacement_offset = cursor.offset();
  out.displacement_size = out.address_size_override ? 4 : 8;
  out.memory.displacement = cursor.take_signed(out.displacement_size);
}

// Takes everything behind the opcode.
void take_operands(Cursor& cursor, Shape shape, BranchRule branches, Instruction& out) noexcept {
  const unsigned full = out.operand_size_override && !out.rex_w() && out.encoding == Encoding::Legacy ? 2 : 4;
  switch (shape) {
    case Shape::Modrm:
      return take_modrm(cursor, false, out);
    case Shape::ModrmRegOnly:
      return take_modrm(cursor, true, out);
    case Shape::ModrmImm8:
      take_modrm(cursor, false, out);
      return take_immediate(cursor, 1, out);
    case Shape::ModrmImmZ:
      take_modrm(cursor, false, out);
      return take_immediate(cursor, full, out);
    case Shape::Group3Byte:
    case Shape::Group3Full:
      take_modrm(cursor, false, out);
      if (out.modrm_reg() < 2) {
        take_immediate(cursor, shape == Shape::Group3Byte ? 1 : full, out);
      }
      return;
    case Shape::Extrq:
      take_modrm(cursor, false, out);
      if (out.operand_size_override || out.repne) {
        take_immediate(cursor, 2, out);
      }
      return;
    case Shape::Amd3DNow:
      take_modrm(cursor, false, out);
      out.map = OpcodeMap::Map3DNow;
      out.opcode_offset = cursor.offset();
      out.opcode = cursor.take();
      return;
    case Shape::Imm8:
    case Shape::Rel8:
      return take_immediate(cursor, 1, out);
    case Shape::Imm16:
      return take_immediate(cursor, 2, out);
    case Shape::ImmZ:
      return take_immediate(cursor, full, out);
    case Shape::ImmV:
      return take_immediate(cursor, out.rex_w() ? 8 : full, out);
    case Shape::RelZ:
      return take_immediate(cursor, branches == BranchRule::Amd ? full : 4, out);
    case Shape::Enter:
      return take_immediate(cursor, 3, out);
    case Shape::Moffs:
      return take_moffs(cursor, out);
    default:
      return;
  }
}

}  // namespace

std::expected<Instruction, DecodeError> decode(std::span<const std::byte> bytes,
                                               BranchRule branches) noexcept {
  Instruction out;
  Cursor cursor(bytes);
  take_prefixes(cursor, out);
  const Shape shape = take_opcode(cursor, out);
  if (!cursor.failed() && shape == Shape::Undefined) {
    return std::unexpected(DecodeError::Undefined);
  }
  take_operands(cursor, shape, branches, out);
  if (cursor.too_long()) {
    return std::unexpected(DecodeError::TooLong);
  }
  if (cursor.truncated()) {
    return std::unexpected(DecodeError::Truncated);
  }
  if (out.encoding == Encoding::Legacy && !legacy_form_exists(out)) {
    return std::unexpected(DecodeError::Undefined);
  }
  out.length = cursor.offset();
  out.cls = classify(out);
  return out;
}

std::optional<std::uint64_t> effective_address(const Instruction& instruction,
                                               const AddressContext& context) noexcept {
  const MemoryOperand& memory = instruction.memory;
  if (!instruction.has_memory_operand || has_vector_index(instruction)) {
    return std::nullopt;
  }
  if (instruction.encoding == Encoding::Evex && instruction.displacement_size == 1) {
    return std::nullopt;
  }
  auto address = static_cast<std::uint64_t>(memory.displacement);
  if (memory.rip_relative) {
    address += context.rip + instruction.length;
  }
  if (memory.base != kNoRegister) {
    address += context.registers[memory.base];
  }
  if (memory.index != kNoRegister) {
    address += context.registers[memory.index] * memory.scale;
  }
  if (instruction.address_size_override) {
    address &= 0xffff'ffff;
  }
  if (instruction.segment == Segment::Fs) {
    address += context.fs_base;
  } else if (instruction.segment == Segment::Gs) {
    address += context.gs_base;
  }
  return address;
}

}  // namespace enclume::engine::decode
