// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/reader.h"

#include <algorithm>
#include <array>
#include <span>

#include "arch/machine.h"
#include "base/types.h"
#include "engine/fast/undo.h"

namespace enclume::engine {

namespace {

/// Bytes in front from which the code is decoded to find where the instruction begins: see exit_load.cc.
constexpr std::size_t kRunUp = 64;

}  // namespace

using arch::CpuState;

bool undo_read(CpuState& cpu, std::uint64_t word, ReaderMemory& memory,
               decode::BranchRule branches) noexcept {
  std::array<std::byte, kRunUp + decode::kMaxInstructionLength> code;
  const std::uint64_t in_page = cpu.rip % kPageSize;
  // Between two iterations RF is set, and only there (debug_trap.h).
  if ((cpu.rflags & arch::rflags::kRf) != 0) {
    const std::size_t room = std::min<std::uint64_t>(decode::kMaxInstructionLength, kPageSize - in_page);
    if (memory.own(cpu.rip, code.data(), room)) {
      const auto next = decode::decode({code.data(), room}, branches);
      if (next && is_string(*next) && (next->rep || next->repne)) {
        return Undo(cpu, cpu.rip, {code.data(), room}, *next, word, memory).string().undone;
      }
    }
  }
  std::size_t before = kRunUp;
  if (!memory.own(cpu.rip - before, code.data(), before)) {
    before = std::min<std::uint64_t>(before, in_page);
    if (before == 0 || !memory.own(cpu.rip - before, code.data(), before)) {
      return false;
    }
  }
  const std::span<const std::byte> text(code.data(), before);

  // How many streams of instructions that begin in front have one of this length that ends at RIP.
  std::array<unsigned, decode::kMaxInstructionLength + 1> streams{};
  for (std::size_t begin = 0; begin < before; ++begin) {
    std::size_t now = begin;
    while (now < before) {
      const auto instruction = decode::decode(
          text.subspan(now, std::min<std::size_t>(before - now, decode::kMaxInstructionLength)), branches);
      if (!instruction) {
        break;
      }
      now += instruction->length;
      if (now == before) {
        ++streams[instruction->length];
      }
    }
  }
  // The likeliest that can have read the word. Of two that are alike the longer one: the other is its end.
  for (;;) {
    const auto best = std::max_element(streams.rbegin(), streams.rend());
    if (*best == 0) {
      return false;
    }
    const auto length = static_cast<std::size_t>(streams.rend() - best) - 1;
    *best = 0;
    const auto one = text.subspan(before - length);
    const auto instruction = decode::decode(one, branches);
    const auto result = Undo(cpu, cpu.rip - length, one, *instruction, word, memory).run();
    if (result.fits) {
      return result.undone;
    }
  }
}

}  // namespace enclume::engine
