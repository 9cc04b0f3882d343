// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/jump_tables.h"

#include <algorithm>
#include <span>

namespace enclume::engine {
namespace {

constexpr std::size_t kLongest = 1024;  // entries

bool has_opcode(const decode::Instruction& in, std::uint8_t opcode) {
  return in.encoding == decode::Encoding::Legacy && in.map == decode::OpcodeMap::OneByte &&
         in.opcode == opcode;
}

}  // namespace

JumpTables::JumpTables(const CodeMap& map, const ObjectImage& image, const CodeRange& function) noexcept
    : image_(image), function_(function) {
  constexpr std::uint8_t kMovFromMemory = 0x8b;
  constexpr std::uint8_t kLea = 0x8d;
  map.for_each_instruction([&](const PlacedInstruction& placed) {
    const decode::Instruction& in = placed.instruction;
    const bool jumps = in.cls == decode::InstructionClass::JmpIndirect;
    jumps_ += jumps ? 1 : 0;
    const auto displacement = static_cast<std::uint64_t>(in.memory.displacement);
    if (!in.has_memory_operand) {
      return true;
    }
    if (in.memory.rip_relative && has_opcode(in, kLea)) {
      const std::uint64_t base = function_.begin + placed.offset + in.length + displacement;
      consider(base, true);
      consider(base, false);
    } else if (in.memory.base == decode::kNoRegister && in.memory.scale == sizeof(std::uint64_t) &&
               (jumps || has_opcode(in, kMovFromMemory))) {
      consider(displacement, false);
    }
    return true;
  });
}

template <typename Visitor>
void JumpTables::for_each_target(const Table& table, Visitor&& visit) const noexcept {
  for (std::size_t i = 0; i < kLongest; ++i) {
    std::uint64_t target = 0;
    if (table.distances) {
      const auto distance = image_.read<std::int32_t>(table.base + i * sizeof(std::int32_t));
      target = distance ? table.base + static_cast<std::uint64_t>(std::int64_t{*distance}) : 0;
    } else {
      target = image_.read<std::uint64_t>(table.base + i * sizeof(target)).value_or(0);
    }
    if (!image_.executable_around(target)) {
      return;
    }
    visit(target);
  }
}

void JumpTables::consider(std::uint64_t base, bool distances) noexcept {
  const auto found = std::span(tables_).first(count_);
  if (count_ == kMost || std::ranges::any_of(found, [&](const Table& table) { return table.base == base; })) {
    return;
  }
  const Table table{base, distances};
  bool leads_here = false;
  for_each_target(table,
                  [&](std::uint64_t target) { leads_here = leads_here || function_.contains(target); });
  if (leads_here) {
    tables_[count_++] = table;
  }
}

bool JumpTables::may_lead_to(std::size_t first, std::size_t last) const noexcept {
  if (jumps_ > count_) {
    return true;
  }
  bool leads = false;
  for (const Table& table : std::span(tables_).first(count_)) {
    for_each_target(table, [&](std::uint64_t target) {
      leads = leads || (target >= function_.begin + first && target <= function_.begin + last);
    });
  }
  return jumps_ != 0 && leads;
}

}  // namespace enclume::engine
