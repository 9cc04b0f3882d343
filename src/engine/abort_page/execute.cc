// SPDX-License-Identifier: Apache-2.0
#include "engine/abort_page/execute.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstring>

#include "base/syscall.h"
#include "engine/abort_page/stub.h"

namespace enclume::engine {

namespace {

/// What stub.S works on.
struct StubState {
  std::array<std::uint64_t, 16> gpr;
  std::uint64_t flags;
  std::byte* area;
  std::uint64_t mask;
  const std::byte* code;
  std::uint64_t faulted;
  arch::Fault fault;
};
static_assert(offsetof(StubState, gpr) == STUB_GPR && offsetof(StubState, flags) == STUB_FLAGS);
static_assert(offsetof(StubState, area) == STUB_AREA && offsetof(StubState, mask) == STUB_MASK);
static_assert(offsetof(StubState, code) == STUB_CODE && offsetof(StubState, faulted) == STUB_FAULTED);

extern "C" {
void enclume_run_relocated(StubState* state);
extern const char enclume_relocated_done[];
extern const char enclume_relocated_fault[];
}

constexpr std::size_t kCodeSize = 64;       // a cache line for each thread
constexpr std::uint32_t kSlots = 1U << 15;  // as many as the arena has
constexpr std::size_t kCodeBytes = kCodeSize * kSlots;
constexpr std::uint64_t kStatusFlags = arch::rflags::kCf | arch::rflags::kPf | arch::rflags::kAf |
                                       arch::rflags::kZf | arch::rflags::kSf | arch::rflags::kOf;
/// x87, SSE, AVX and AVX-512. Not PKRU: it is the engine's that must hold; and not AMX, whose loads are
/// refused.
constexpr std::uint64_t kComponents = 0xe7;

/// Private, writable and executable: private, so that a fork copies it; both at once, so that code which a
/// thread writes and then runs is at one address, which the processor keeps coherent by itself.
std::atomic<std::byte*> code_area{nullptr};

std::byte* code_of(std::uint32_t slot) noexcept {
  std::byte* area = code_area.load(std::memory_order_acquire);
  if (area == nullptr) {
    const auto r = sys::call(__NR_mmap, 0, kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!r) {
      return nullptr;
    }
    auto* fresh = reinterpret_cast<std::byte*>(*r);
    if (code_area.compare_exchange_strong(area, fresh, std::memory_order_acq_rel)) {
      area = fresh;
    } else {
      sys::raw(__NR_munmap, *r, kCodeBytes);
    }
  }
  return slot < kSlots ? area + std::size_t{slot} * kCodeSize : nullptr;
}

}  // namespace

Executed execute_relocated(arch::CpuState& cpu, const RelocatedInstruction& instruction, std::byte* operand,
                           std::uint32_t slot) noexcept {
  std::byte* const code = code_of(slot);
  if (code == nullptr || cpu.xsave.area == nullptr) {
    return {};
  }
  // The instruction, then JMP [RIP + 0] and its target: it changes neither registers nor flags.
  std::memcpy(code, instruction.bytes.data(), instruction.size);
  constexpr std::array<std::uint8_t, 6> kJump = {0xff, 0x25, 0, 0, 0, 0};
  const auto back = reinterpret_cast<std::uint64_t>(enclume_relocated_done);
  std::memcpy(code + instruction.size, kJump.data(), kJump.size());
  std::memcpy(code + instruction.size + kJump.size(), &back, sizeof(back));

  constexpr std::size_t kRsp = 4;
  constexpr std::size_t kRbp = 5;
  StubState state{};
  state.gpr = cpu.gpr;
  const std::uint64_t kept_base = cpu.gpr[instruction.base];
  const std::uint64_t kept_rbp = cpu.gpr[kRbp];
  if (instruction.rbp_stands_for_rsp) {
    state.gpr[kRbp] = cpu.gpr[kRsp];
  }
  state.gpr[instruction.base] = reinterpret_cast<std::uint64_t>(operand);
  state.flags = 0x202 | (cpu.rflags & kStatusFlags);
  state.area = cpu.xsave.area;
  state.mask = cpu.xsave.features & kComponents;
  state.code = code;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  enclume_run_relocated(&state);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (state.faulted != 0) {
    return {true, state.fault};
  }
  if (instruction.rbp_stands_for_rsp) {
    state.gpr[kRsp] = state.gpr[kRbp];
    state.gpr[kRbp] = kept_rbp;
  }
  state.gpr[instruction.base] = kept_base;
  cpu.gpr = state.gpr;
  cpu.rflags = (cpu.rflags & ~kStatusFlags) | (state.flags & kStatusFlags);
  return {true, {}};
}

bool is_relocated_code(std::uint64_t rip) noexcept {
  const std::byte* area = code_area.load(std::memory_order_relaxed);
  return area != nullptr && rip - reinterpret_cast<std::uint64_t>(area) < kCodeBytes;
}

bool fix_relocated_fault(UContext& uc) noexcept {
  SigContext& m = uc.mcontext;
  if (!is_relocated_code(m.rip) || m.rip % kCodeSize != 0) {
    return false;
  }
  auto& state = **reinterpret_cast<StubState**>(m.rsp);
  state.faulted = 1;
  state.fault = {static_cast<arch::Vector>(m.trapno), static_cast<std::uint32_t>(m.err),
                 LinearAddress(m.cr2)};
  m.rip = reinterpret_cast<std::uint64_t>(enclume_relocated_fault);
  return true;
}

}  // namespace enclume::engine
