// SPDX-License-Identifier: Apache-2.0
#include "runtime/enclave/instruction_length.h"

namespace enclume::enclave {
namespace {

constexpr std::size_t kLongest = 15;

class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> code)
      : code_(code.first(code.size() < kLongest ? code.size() : kLongest)) {}
  // 0 beyond the end, which `good` tells of.
  std::uint8_t next() {
    if (at_ < code_.size()) return code_[at_++];
    good_ = false;
    return 0;
  }
  void skip(std::size_t bytes) {
    if (bytes > code_.size() - at_) {
      good_ = false;
    } else {
      at_ += bytes;
    }
  }
  void back() { --at_; }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] std::size_t at() const { return at_; }

 private:
  std::span<const std::uint8_t> code_;
  std::size_t at_ = 0;
  bool good_ = true;
};

struct Prefixes {
  bool operand_size = false, address_size = false, rex_w = false;
};

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

Prefixes read_prefixes(Reader& in) {
  Prefixes result;
  for (;;) {
    const std::uint8_t byte = in.next();
    if (!in.good()) return result;
    if (is_legacy_prefix(byte)) {
      result.operand_size |= byte == 0x66;
      result.address_size |= byte == 0x67;
      result.rex_w = false;  // a REX that is not the last prefix does nothing
    } else if ((byte & 0xf0) == 0x40) {
      result.rex_w = (byte & 8) != 0;
    } else {
      in.back();
      return result;
    }
  }
}

// ModRM with SIB and displacement. The ModRM byte.
std::uint8_t read_modrm(Reader& in) {
  const std::uint8_t modrm = in.next();
  const unsigned mode = modrm >> 6, rm = modrm & 7;
  if (mode == 3) return modrm;
  unsigned base = rm;
  if (rm == 4) base = in.next() & 7;
  if (mode == 1) {
    in.skip(1);
  } else if (mode == 2 || base == 5) {
    in.skip(4);
  }
  return modrm;
}

bool has_imm8_in_0f(std::uint8_t opcode) {
  return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xa4 || opcode == 0xac || opcode == 0xba ||
         opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6);
}

// VEX and EVEX: `map` as they number it.
bool read_vector_opcode(Reader& in, unsigned map, bool is_vex) {
  const std::uint8_t opcode = in.next();
  if (map == 0 || map > 6 || map == 4) return false;
  if (is_vex && map == 1 && (opcode & 0xfe) == 0x84) return false;  // Knights Corner's jumps
  if (!(is_vex && map == 1 && opcode == 0x77)) read_modrm(in);
  if (map == 3 || (map == 1 && has_imm8_in_0f(opcode))) in.skip(1);
  return in.good();
}

// Behind 0F.
bool read_0f(Reader& in) {
  const std::uint8_t opcode = in.next();
  switch (opcode) {
    case 0x38:
      in.skip(1);
      read_modrm(in);
      return true;
    case 0x3a:
    case 0x0f:  // 3DNow!, whose opcode comes last
      if (opcode == 0x3a) in.skip(1);
      read_modrm(in);
      in.skip(1);
      return true;
    case 0x05:
    case 0x06:
    case 0x07:
    case 0x08:
    case 0x09:
    case 0x0b:
    case 0x0e:
    case 0x30:
    case 0x31:
    case 0x32:
    case 0x33:
    case 0x34:
    case 0x35:
    case 0x37:
    case 0x77:
    case 0xa0:
    case 0xa1:
    case 0xa2:
    case 0xa8:
    case 0xa9:
    case 0xaa:
      return true;
    case 0x04:
    case 0x0a:
    case 0x0c:
    case 0x36:
    case 0x39:
    case 0x3b:
    case 0x3c:
    case 0x3d:
    case 0x3e:
    case 0x3f:
      return false;
    default:
      break;
  }
  if (opcode >= 0x80 && opcode <= 0x8f) {
    in.skip(4);
    return true;
  }
  if (opcode >= 0xc8 && opcode <= 0xcf) return true;
  if (opcode >= 0x20 && opcode <= 0x23) {  // control and debug registers: never memory
    in.skip(1);
    return true;
  }
  read_modrm(in);
  if (has_imm8_in_0f(opcode)) in.skip(1);
  return true;
}

// Of the one-byte opcodes.
bool has_modrm(std::uint8_t opcode) {
  if (opcode < 0x40) return (opcode & 7) < 4;
  switch (opcode) {
    case 0x63:
    case 0x69:
    case 0x6b:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xc7:
    case 0xf6:
    case 0xf7:
    case 0xfe:
    case 0xff:
      return true;
    default:
      return (opcode >= 0x80 && opcode <= 0x8f) || (opcode >= 0xd0 && opcode <= 0xd3) ||
             (opcode >= 0xd8 && opcode <= 0xdf);
  }
}

bool is_invalid(std::uint8_t opcode) {
  switch (opcode) {
    case 0x06:
    case 0x07:
    case 0x0e:
    case 0x16:
    case 0x17:
    case 0x1e:
    case 0x1f:
    case 0x27:
    case 0x2f:
    case 0x37:
    case 0x3f:
    case 0x60:
    case 0x61:
    case 0x82:
    case 0x9a:
    case 0xce:
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xea:
      return true;
    default:
      return false;
  }
}

std::size_t immediate_bytes(std::uint8_t opcode, std::uint8_t modrm, const Prefixes& prefixes) {
  const std::size_t full = prefixes.operand_size && !prefixes.rex_w ? 2 : 4;
  if (opcode < 0x40) return (opcode & 7) == 4 ? 1 : (opcode & 7) == 5 ? full : 0;
  if (opcode >= 0x70 && opcode <= 0x7f) return 1;
  if (opcode >= 0xa0 && opcode <= 0xa3) return prefixes.address_size ? 4 : 8;
  if (opcode >= 0xb0 && opcode <= 0xb7) return 1;
  if (opcode >= 0xb8 && opcode <= 0xbf) return prefixes.rex_w ? 8 : full;
  if (opcode >= 0xe0 && opcode <= 0xe7) return 1;
  const bool is_test = (modrm >> 3 & 7) <= 1;
  switch (opcode) {
    case 0x6a:
    case 0x6b:
    case 0x80:
    case 0x83:
    case 0xa8:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xcd:
    case 0xeb:
      return 1;
    case 0x68:
    case 0x69:
    case 0x81:
    case 0xa9:
    case 0xc7:
      return full;
    case 0xc2:
    case 0xca:
      return 2;
    case 0xc8:
      return 3;
    case 0xe8:
    case 0xe9:
      return 4;
    case 0xf6:
      return is_test ? 1 : 0;
    case 0xf7:
      return is_test ? full : 0;
    default:
      return 0;
  }
}

bool read(Reader& in) {
  const Prefixes prefixes = read_prefixes(in);
  const std::uint8_t opcode = in.next();
  switch (opcode) {
    case 0x0f:
      return read_0f(in);
    case 0xc5:
      in.skip(1);
      return read_vector_opcode(in, 1, true);
    case 0xc4: {
      const unsigned map = in.next() & 0x1f;
      in.skip(1);
      return read_vector_opcode(in, map, true);
    }
    case 0x62: {
      const unsigned map = in.next() & 7;
      in.skip(2);
      return read_vector_opcode(in, map, false);
    }
    default:
      break;
  }
  if (is_invalid(opcode)) return false;
  const std::uint8_t modrm = has_modrm(opcode) ? read_modrm(in) : 0;
  in.skip(immediate_bytes(opcode, modrm, prefixes));
  return true;
}

}  // namespace

std::size_t instruction_length(std::span<const std::uint8_t> code) noexcept {
  Reader in(code);
  return read(in) && in.good() ? in.at() : 0;
}

}  // namespace enclume::enclave
