// SPDX-License-Identifier: Apache-2.0
#include "engine/step/out_of_line.h"

#include <linux/mman.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstring>

#include "base/syscall.h"

namespace enclume::engine {

namespace {

using decode::InstructionClass;

constexpr std::size_t kCopySize = 64;       // a cache line for each thread
constexpr std::uint32_t kSlots = 1U << 15;  // as many as the arena has
constexpr std::size_t kAreaSize = kCopySize * kSlots;
constexpr std::uint64_t kReach =
    0x7000'0000;  // of an operand relative to RIP, with room for where it points to

/// Areas for copies, each near some enclave. Private, so that a fork copies them; writable and executable at
/// once, so that code which a thread writes and then runs is at one address, which the processor keeps
/// coherent.
std::array<std::atomic<std::uint64_t>, 8> areas;

bool near(std::uint64_t area, std::uint64_t rip) noexcept {
  const std::uint64_t distance = area > rip ? area - rip : rip - area;
  return distance < kReach;
}

std::uint64_t map_area(std::uint64_t hint, int flags) noexcept {
  const auto r = sys::call(__NR_mmap, hint, kAreaSize, PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  return r ? static_cast<std::uint64_t>(*r) : 0;
}

std::uint64_t map_area_near(std::uint64_t rip) noexcept {
  constexpr std::uint64_t kStep = 16U << 20;
  const std::uint64_t here = rip & ~(kStep - 1);
  for (std::uint64_t distance = kStep; distance < kReach; distance += kStep) {
    for (const std::uint64_t hint : {here - distance, here + distance}) {
      if (hint < 1ULL << 47) {
        if (const std::uint64_t area = map_area(hint, MAP_FIXED_NOREPLACE); area != 0) {
          return area;
        }
      }
    }
  }
  return 0;
}

/// Any area will do unless it has to be near.
std::uint64_t area_for(std::uint64_t rip, bool must_be_near) noexcept {
  for (auto& area : areas) {
    std::uint64_t have = area.load(std::memory_order_acquire);
    if (have == 0) {
      const std::uint64_t fresh = must_be_near ? map_area_near(rip) : map_area(0, 0);
      if (fresh == 0) {
        return 0;
      }
      if (area.compare_exchange_strong(have, fresh, std::memory_order_acq_rel)) {
        return fresh;
      }
      sys::raw(__NR_munmap, static_cast<long>(fresh), kAreaSize);
    }
    if (!must_be_near || near(have, rip)) {
      return have;
    }
  }
  return 0;
}

bool is_indirect(InstructionClass cls) noexcept {
  return cls == InstructionClass::JmpIndirect || cls == InstructionClass::CallIndirect ||
         cls == InstructionClass::RetNear;
}

}  // namespace

std::optional<OutOfLine> place_out_of_line(std::span<const std::byte> code,
                                           const decode::Instruction& instruction, std::uint64_t rip,
                                           std::uint32_t slot) noexcept {
  const bool call =
      instruction.cls == InstructionClass::CallRelative || instruction.cls == InstructionClass::CallIndirect;
  if (instruction.cls == InstructionClass::Xbegin || code.size() < instruction.length || slot >= kSlots ||
      (call && instruction.operand_size_override)) {
    return std::nullopt;
  }
  const bool relative = instruction.has_memory_operand && instruction.memory.rip_relative;
  const std::uint64_t area = area_for(rip, relative);
  if (area == 0) {
    return std::nullopt;
  }
  const std::uint64_t at = area + std::uint64_t{slot} * kCopySize;
  auto* const copy = reinterpret_cast<std::byte*>(at);
  std::memcpy(copy, code.data(), instruction.length);
  if (relative) {
    const auto displacement = static_cast<std::int64_t>(rip - at) + instruction.memory.displacement;
    const auto displacement32 = static_cast<std::int32_t>(displacement);
    if (displacement32 != displacement) {
      return std::nullopt;
    }
    std::memcpy(copy + instruction.displacement_offset, &displacement32, sizeof(displacement32));
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return OutOfLine{at, is_indirect(instruction.cls)};
}

}  // namespace enclume::engine
