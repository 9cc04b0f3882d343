// SPDX-License-Identifier: Apache-2.0
// What instructions do with a memory operand that they read. Private to undo*.cc.
#pragma once

#include "engine/decode/opcode_tables.h"

namespace enclume::engine {

enum class Use : char {
  None = ' ',    // not read, or written, too, which a page with a jump does not allow
  Load = 'a',    // what is overwritten does not count: a vector, a part of one, flags
  Gpr = 'g',     // the same of a general register
  Extend = 'l',  // a general register is loaded, with zeros or signs in front
  Bit = 'b',     // BT, whose address is the operand's only with an immediate
  Imul = 'i',    // a register times it
  Xor = 'x',     // a vector's bits are flipped by it: XOR, and AES rounds, which end with one
  AddB = '1',    // it is added to a vector's bytes, ...
  AddW = '2',
  AddD = '4',
  AddQ = '8',
  SubB = '5',  // or subtracted from them
  SubW = '6',
  SubD = '7',
  SubQ = '9',
  Mixed = '.',  // mixed with a vector in a way that loses something, unless the result goes elsewhere
  MixedGpr = 'v',
  Lost = 'z',     // the same, and the result is always one of the operands
  String = 's',   // PCMPxSTRx: ECX, XMM0
  Special = '?',  // see undo.cc
};

// clang-format off
inline constexpr decode::Grid k0FUses = {{
    //0123456789abcdef
    "                ",  // 00
    "a a ..a         ",  // 10
    "        a a ggaa",  // 20
    "                ",  // 30
    "llllllllllllllll",  // 40
    " aaa...x..aa....",  // 50
    "..............aa",  // 60
    "a...... ......? ",  // 70
    "                ",  // 80
    "a               ",  // 90
    "   b          ai",  // a0
    "      llg b ggll",  // b0
    "  . a .         ",  // c0
    "....8.  ........",  // d0
    "......a .......x",  // e0
    "a.......5679124.",  // f0
}};

inline constexpr decode::Grid k0F38Uses = {{
    //0123456789abcdef
    "..............aa",  // 00
    "...a...aaaaaaaaa",  // 10
    "aaaaaa....a...  ",  // 20
    "aaaaaa..........",  // 30
    ".aaaa...........",  // 40
    "zzzz....aaaa....",  // 50
    "................",  // 60
    ".z.z.zzzaa...zzz",  // 70
    "........aa..... ",  // 80
    "zzzzzzzzzzzzzzzz",  // 90
    "    zzzzzzzzzzzz",  // a0
    "zzzzzzzzzzzzzzzz",  // b0
    "....a...zzzzzz..",  // c0
    "...........axxxx",  // d0
    "                ",  // e0
    "??vv?vvv        ",  // f0
}};

inline constexpr decode::Grid k0F3AUses = {{
    //0123456789abcdef
    "aa..aa..aaaaaaa.",  // 00
    "        a a     ",  // 10
    "aaa..z..........",  // 20
    "........a a.....",  // 30
    "................",  // 40
    "................",  // 50
    "ssss............",  // 60
    "................",  // 70
    "................",  // 80
    "................",  // 90
    "................",  // a0
    "................",  // b0
    "................",  // c0
    "...............a",  // d0
    "                ",  // e0
    "g               ",  // f0
}};
// clang-format on

}  // namespace enclume::engine
