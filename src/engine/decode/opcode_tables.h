// SPDX-License-Identifier: Apache-2.0
// The opcode maps of 64-bit mode, drawn as the manuals draw them: one row for each high digit.
// Source: Intel SDM vol. 2D, appendix A; AMD APM vol. 3, appendix A. Private to the decoder.
#pragma once

#include <array>
#include <cstdint>

namespace enclume::engine::decode {

// What follows an opcode. The letters are those of the grids below.
enum class Shape : char {
  Undefined = 'x',
  Plain = '.',      // nothing
  Modrm = 'm',      // ModRM and what it asks for
  ModrmImm8 = 'B',  // ModRM, imm8
  ModrmImmZ = 'Z',  // ModRM, imm16 or imm32 by operand size
  Imm8 = 'b',
  Imm16 = 'w',
  ImmZ = 'z',          // imm16 or imm32 by operand size
  ImmV = 'v',          // as ImmZ, imm64 with REX.W
  Rel8 = 'j',          // branch distance
  RelZ = 'r',          // branch distance of 32 bits (see BranchRule)
  Moffs = 'o',         // an address as wide as the address size
  Enter = 'n',         // imm16, imm8
  Group3Byte = 'g',    // ModRM; imm8 for reg 0 and 1
  Group3Full = 'G',    // ModRM; immZ for reg 0 and 1
  ModrmRegOnly = 'c',  // ModRM whose mod is ignored and means a register
  Extrq = '8',         // ModRM; two imm8 with prefix 66 or F2
  Amd3DNow = '3',      // ModRM, then the opcode itself
  Prefix = 'p',
  Rex = 'R',
  Vector = 'V',  // VEX, EVEX, XOP (8F is told from POP by its second byte)
  Escape = 'e',
};

/// 16 rows of 16 columns. Not of pointers, which each process that starts would have to relocate.
struct Grid {
  char rows[16][17];
};

[[nodiscard]] constexpr char cell(const Grid& grid, std::uint8_t opcode) noexcept {
  return grid.rows[opcode >> 4][opcode & 15];
}

// clang-format off
inline constexpr Grid kOneByteShapes = {{
    //0123456789abcdef
    "mmmmbzxxmmmmbzxe",  // 00
    "mmmmbzxxmmmmbzxx",  // 10
    "mmmmbzpxmmmmbzpx",  // 20
    "mmmmbzpxmmmmbzpx",  // 30
    "RRRRRRRRRRRRRRRR",  // 40
    "................",  // 50
    "xxVmppppzZbB....",  // 60
    "jjjjjjjjjjjjjjjj",  // 70
    "BZxBmmmmmmmmmmmm",  // 80
    "..........x.....",  // 90
    "oooo....bz......",  // a0
    "bbbbbbbbvvvvvvvv",  // b0
    "BBw.VVBZn.w..bx.",  // c0
    "mmmmxxx.mmmmmmmm",  // d0
    "jjjjbbbbrrxj....",  // e0
    "p.pp..gG......mm",  // f0
}};

inline constexpr Grid k0FShapes = {{
    //0123456789abcdef
    "mmmmx.....x.xm.3",  // 00
    "mmmmmmmmmmmmmmmm",  // 10
    "ccccxxxxmmmmmmmm",  // 20
    "......x.exexxxxx",  // 30
    "mmmmmmmmmmmmmmmm",  // 40
    "mmmmmmmmmmmmmmmm",  // 50
    "mmmmmmmmmmmmmmmm",  // 60
    "BBBBmmm.8mxxmmmm",  // 70
    "rrrrrrrrrrrrrrrr",  // 80
    "mmmmmmmmmmmmmmmm",  // 90
    "...mBmmm...mBmmm",  // a0
    "mmmmmmmmmmBmmmmm",  // b0
    "mmBmBBBm........",  // c0
    "mmmmmmmmmmmmmmmm",  // d0
    "mmmmmmmmmmmmmmmm",  // e0
    "mmmmmmmmmmmmmmmm",  // f0
}};

// Which mandatory prefixes an opcode exists with, a hexadecimal digit: 1 none, 2 66, 4 F3, 8 F2. Opcodes for
// which the prefixes are mere prefixes have f.
inline constexpr Grid k0FPrefixes = {{
    //0123456789abcdef
    "ffff0fffff0f0fff",  // 00
    "fff33373ffffffff",  // 10
    "ffff000033ffff33",  // 20
    "ffffff0100000000",  // 30
    "ffffffffffffffff",  // 40
    "3f553333fff7ffff",  // 50
    "3333333333332237",  // 60
    "f3333331bb00aa77",  // 70
    "ffffffffffffffff",  // 80
    "ffffffffffffffff",  // 90
    "ffffff47ffffffff",  // a0
    "ffffffff4fffffff",  // b0
    "fff1333fffffffff",  // c0
    "a33333e333333333",  // d0
    "333333e333333333",  // e0
    "833333333333333f",  // f0
}};

// All of 0F38 have ModRM and nothing else; all of 0F3A have ModRM and imm8. So the prefixes say it all.
inline constexpr Grid k0F38Prefixes = {{
    //0123456789abcdef
    "3333333333330000",  // 00
    "2000220200003330",  // 10
    "2222220022220000",  // 20
    "2222220222222222",  // 30
    "2200000000000000",  // 40
    "0000000000000000",  // 50
    "0000000000000000",  // 60
    "0000000000000000",  // 70
    "2220000000000000",  // 80
    "0000000000000000",  // 90
    "0000000000000000",  // a0
    "0000000000000000",  // b0
    "0000000011111102",  // c0
    "0000000040026666",  // d0
    "0000000000000000",  // e0
    "bb000270e1440000",  // f0
}};

inline constexpr Grid k0F3APrefixes = {{
    //0123456789abcdef
    "0000000022222223",  // 00
    "0000222200000000",  // 10
    "2220000000000000",  // 20
    "0000000000000000",  // 30
    "2220200000000000",  // 40
    "0000000000000000",  // 50
    "2222000000000000",  // 60
    "0000000000000000",  // 70
    "0000000000000000",  // 80
    "0000000000000000",  // 90
    "0000000000000000",  // a0
    "0000000000000000",  // b0
    "0000000000001022",  // c0
    "0000000000000002",  // d0
    "0000000000000000",  // e0
    "4000000000000000",  // f0
}};

// x87, D8..DF: which values of ModRM.reg exist with a memory operand (bit = reg), and which ModRM bytes
// C0..FF exist without (bit = low six bits). Aliases that every processor runs count as defined.
inline constexpr std::array<std::uint8_t, 8> kX87Memory = {
    0xff, 0xfd, 0xff, 0xaf, 0xff, 0xdf, 0xff, 0xff,
};
inline constexpr std::array<std::uint64_t, 8> kX87Register = {
    0xffff'ffff'ffff'ffff,  // d8
    0xffff'7f33'ff01'ffff,  // d9
    0x0000'0200'ffff'ffff,  // da
    0x00ff'ff1f'ffff'ffff,  // db
    0xffff'ffff'ffff'ffff,  // dc
    0x0000'ffff'ffff'ffff,  // dd
    0xffff'ffff'02ff'ffff,  // de
    0x00ff'ff01'ffff'ffff,  // df
};
// clang-format on

}  // namespace enclume::engine::decode
