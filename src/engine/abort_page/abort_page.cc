// SPDX-License-Identifier: Apache-2.0
#include "engine/abort_page/abort_page.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "engine/abort_page/execute.h"
#include "engine/abort_page/relocate.h"
#include "engine/abort_page/string_instruction.h"
#include "engine/decode/decoder.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {

using arch::CpuState;
using arch::Reg;
using decode::Encoding;
using decode::Instruction;
using decode::InstructionClass;
using decode::OpcodeMap;

/// The largest operand there is.
constexpr std::size_t kWindow = 64;
constexpr std::byte kOnes{0xff};

decode::AddressContext address_context(const CpuState& cpu) {
  return {cpu.gpr, cpu.rip, cpu.fs_base, cpu.gs_base};
}

/// Where the operand begins, if the access at `fault` can belong to it. For EVEX the unit of an 8-bit
/// displacement depends on the instruction: it is the one with which the operand begins where the fault was.
std::optional<std::uint64_t> operand_address(const CpuState& cpu, Instruction in, LinearAddress fault) {
  if (in.encoding == Encoding::Evex && in.displacement_size == 1) {
    const std::int64_t displacement = in.memory.displacement;
    in.displacement_size = 4;
    for (const std::int64_t unit : {64, 32, 16, 8, 4, 2, 1}) {
      in.memory.displacement = displacement * unit;
      const auto address = decode::effective_address(in, address_context(cpu));
      if (address == fault.value()) {
        return address;
      }
    }
    return std::nullopt;
  }
  const auto address = decode::effective_address(in, address_context(cpu));
  if (!address || fault.value() - *address >= kWindow) {
    return std::nullopt;
  }
  return address;
}

/// The memory that the relocated instruction works on. As aligned as the original's operand within a cache
/// line; all ones where that is on the abort page, the program's bytes elsewhere.
class Operand {
 public:
  Operand(std::uint64_t address, const AbortPageAccess& access)
      : address_(address),
        access_(access),
        split_(std::min<std::uint64_t>(kPageSize - (address & kPageMask), kWindow)) {
    std::fill(before_.begin(), before_.end(), kOnes);
    load(0, split_, ordinary_[0]);
    load(split_, kWindow, ordinary_[1]);
    std::memcpy(data(), before_.data(), kWindow);
  }

  [[nodiscard]] std::byte* data() { return memory_.data() + (address_ & (kWindow - 1)); }

  /// Takes what the instruction wrote to ordinary memory there. False if that can't be written.
  [[nodiscard]] bool write_back() {
    return store(0, split_, ordinary_[0]) && store(split_, kWindow, ordinary_[1]);
  }

 private:
  void load(std::uint64_t begin, std::uint64_t end, bool& ordinary) {
    if (begin == end || access_.is_abort_page(access_.context, LinearAddress(address_ + begin))) {
      return;
    }
    // What can't be read is no part of the operand: the window is larger than most.
    ordinary = enclume_guarded_copy(before_.data() + begin, reinterpret_cast<const void*>(address_ + begin),
                                    end - begin) == 0;
  }

  bool store(std::uint64_t begin, std::uint64_t end, bool ordinary) {
    for (std::uint64_t i = begin; ordinary && i < end; ++i) {
      if (data()[i] != before_[i] &&
          enclume_guarded_copy(reinterpret_cast<void*>(address_ + i), data() + i, 1) != 0) {
        return false;
      }
    }
    return true;
  }

  std::uint64_t address_;
  const AbortPageAccess& access_;
  std::uint64_t split_;
  std::array<bool, 2> ordinary_{};
  std::array<std::byte, kWindow> before_;
  alignas(kWindow) std::array<std::byte, 2 * kWindow> memory_;
};

AbortPageOutcome execute(CpuState& cpu, const Instruction& in, const AbortPageAccess& access) {
  const auto relocated = relocate(access.code, in);
  const auto address = operand_address(cpu, in, access.address);
  if (!relocated || !address) {
    return {};
  }
  Operand operand(*address, access);
  const CpuState before = cpu;
  const Executed executed = execute_relocated(cpu, *relocated, operand.data(), access.slot);
  if (!executed.possible) {
    return {};
  }
  if (executed.fault) {
    // A page fault there is none of the program's: an operand that relocate() knows nothing of.
    return executed.fault->vector == arch::Vector::PF
               ? AbortPageOutcome{}
               : AbortPageOutcome{AbortPageEnd::Fault, *executed.fault};
  }
  if (!operand.write_back()) {
    cpu.gpr = before.gpr;
    cpu.rflags = before.rflags;
    return {AbortPageEnd::MemoryFault};
  }
  cpu.rip += in.length;
  return {AbortPageEnd::Done};
}

/// PUSH m and POP m, with the operand on the abort page and the stack in ordinary memory.
AbortPageOutcome push_or_pop(CpuState& cpu, const Instruction& in, const AbortPageAccess& access, bool push) {
  const unsigned size = in.operand_size_override ? 2 : 8;
  const std::uint64_t place = push ? cpu[Reg::Rsp] - size : cpu[Reg::Rsp];
  if (access.is_abort_page(access.context, LinearAddress(place)) ||
      access.is_abort_page(access.context, LinearAddress(place + size - 1))) {
    return {};
  }
  std::uint64_t value = ~std::uint64_t{0};
  const auto copied = push ? enclume_guarded_copy(reinterpret_cast<void*>(place), &value, size)
                           : enclume_guarded_copy(&value, reinterpret_cast<const void*>(place), size);
  if (copied != 0) {
    return {AbortPageEnd::MemoryFault};
  }
  cpu[Reg::Rsp] = push ? place : place + size;
  cpu.rip += in.length;
  return {AbortPageEnd::Done};
}

bool is_one_byte(const Instruction& in, std::uint8_t opcode) {
  return in.encoding == Encoding::Legacy && in.map == OpcodeMap::OneByte && in.opcode == opcode;
}

/// BT, BTS, BTR, BTC with a register: the bit is anywhere around the address, and is one.
bool is_bit_string(const Instruction& in) {
  return in.encoding == Encoding::Legacy && in.map == OpcodeMap::Map0F && in.has_memory_operand &&
         (in.opcode == 0xa3 || in.opcode == 0xab || in.opcode == 0xb3 || in.opcode == 0xbb);
}

}  // namespace

AbortPageOutcome emulate_abort_page(CpuState& cpu, const AbortPageAccess& access) noexcept {
  const auto decoded = decode::decode(access.code);
  if (!decoded) {
    return {};
  }
  const Instruction& in = *decoded;
  if (is_string_instruction(in)) {
    return emulate_string_instruction(cpu, in, access);
  }
  if (is_bit_string(in)) {
    cpu.rflags |= arch::rflags::kCf;
    cpu.rip += in.length;
    return {AbortPageEnd::Done};
  }
  if (is_one_byte(in, 0xd7)) {  // XLAT
    cpu[Reg::Rax] |= 0xff;
    cpu.rip += in.length;
    return {AbortPageEnd::Done};
  }
  if (in.has_memory_operand &&
      (in.cls == InstructionClass::CallIndirect || in.cls == InstructionClass::JmpIndirect)) {
    // No address that all ones could be is canonical.
    return {AbortPageEnd::Fault, arch::general_protection()};
  }
  if (in.has_memory_operand && is_one_byte(in, 0xff) && in.modrm_reg() == 6) {
    return push_or_pop(cpu, in, access, true);
  }
  if (in.has_memory_operand && is_one_byte(in, 0x8f)) {
    return push_or_pop(cpu, in, access, false);
  }
  return execute(cpu, in, access);
}

}  // namespace enclume::engine
