// SPDX-License-Identifier: Apache-2.0
// The half of Sgx for enclave code that reads its own EEXIT where a direct exit's jump is
// (docs/fast-paths.md).
#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/fast/read_watch.h"
#include "engine/fast/reader.h"
#include "engine/sgx.h"

namespace enclume::engine {

using arch::CpuState;

namespace {

constexpr std::string_view kLostRead =
    "enclume: warning: an enclave has read the code that it leaves by, and seen a jump of the engine's; "
    "--fast=off avoids that (docs/fast-paths.md)\n";

}  // namespace

class Sgx::JumpMemory final : public ReaderMemory {
 public:
  JumpMemory(Sgx& sgx, const NativeProtection::Jumps& jumps) : sgx_(sgx), jumps_(jumps) {}

  bool own(std::uint64_t address, std::byte* to, std::size_t size) override {
    return sgx_.peek(LinearAddress(address), to, size);
  }

  void overlay(std::uint64_t address, std::byte* bytes, std::size_t size) override {
    for (std::size_t n = 0; n < jumps_.count; ++n) {
      const auto& jump = jumps_.jump[n];
      for (std::size_t i = 0; i < jump.bytes.size(); ++i) {
        if (jump.at + i - address < size) {
          bytes[jump.at + i - address] = jump.bytes[i];
        }
      }
    }
  }

 private:
  Sgx& sgx_;
  const NativeProtection::Jumps& jumps_;
};

/// The trap behind an instruction that has read one of the watched words.
bool Sgx::enclave_read_jump(Interruption& it, CpuState& cpu, siginfo_t& report) {
  const std::uint64_t word = watched_word(it.info);
  const NativeProtection::Jumps jumps = native_.give_up_read(word, it.block.tid);
  if (JumpMemory memory(*this, jumps); jumps.count != 0 && !undo_read(cpu, word, memory, branches_)) {
    if (engine().stats.on()) {
      engine().stats.add(it.block.slot, Count::ReadsLost);
    }
    if (!told_of_lost_read_.exchange(true)) {
      sys::write_all(2, kLostRead.data(), kLostRead.size());
    }
  }
  return go_on(it, cpu, report);
}

/// Before an instruction that is executed under TF, whose trap hides the other one: what it may read shows
/// the enclave's own bytes by then.
void Sgx::keep_jumps_from(const ThreadBlock& block, const CpuState& cpu) {
  constexpr std::uint64_t kMostRead = 64;
  const auto instruction = instruction_at(block, LinearAddress(cpu.rip));
  if (!instruction) {
    return;
  }
  const int tid = block.tid;
  if (instruction->has_memory_operand) {
    const auto at = decode::effective_address(*instruction, {cpu.gpr, cpu.rip, cpu.fs_base, cpu.gs_base});
    if (at) {
      native_.give_up_before_read(*at, kMostRead, tid);
    } else {
      native_.withdraw_exits(tid);
    }
  }
  for (const arch::Reg reg : {arch::Reg::Rsi, arch::Reg::Rdi, arch::Reg::Rsp}) {
    native_.give_up_before_read(cpu[reg] - 8, 2 * 8, tid);  // string instructions, either way; POP
  }
}

}  // namespace enclume::engine
