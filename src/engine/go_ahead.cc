// SPDX-License-Identifier: Apache-2.0
// The half of Sgx that goes from one ENCLU of enclave code to the next without a signal for each.
#include "engine/engine.h"
#include "engine/sgx.h"
#include "engine/step/run_ahead.h"
#include "kernel/vma/effective_protection.h"

namespace enclume::engine {

using arch::CpuState;

/// Pages of the thread's own enclave, by their alias. The thread counts as inside all the while, so that a
/// page that may be accessed once stays in the EPC.
class Sgx::OwnMemory final : public AheadMemory {
 public:
  OwnMemory(const Sgx& sgx, const ThreadBlock& block) : sgx_(sgx), block_(block) {}

  std::size_t fetch(std::uint64_t rip, std::byte (&code)[decode::kMaxInstructionLength]) override {
    return sgx_.fetchable_bytes(block_, LinearAddress(rip), code);
  }

  std::byte* operand(std::uint64_t address, bool write) override {
    const LinearAddress at(address);
    const auto vma = block_.lp.elrange.contains(at) ? sgx_.vmas_.find(at) : std::nullopt;
    if (!vma || vma->pkey != 0 || !vma->enclave->mapped()) {
      return nullptr;
    }
    const std::uint64_t number = vma->enclave->page_number(at.page());
    const kernel::Protection now = kernel::effective_protection(*vma->enclave, number, vma->prot);
    // Code that is written has to be looked through again.
    if (write ? !now.writable() || now.executable() : !now.readable()) {
      return nullptr;
    }
    return vma->enclave->epc_page(number).data + at.page_offset();
  }

 private:
  const Sgx& sgx_;
  const ThreadBlock& block_;
};

/// Behind an ENCLU at `enclu` that has left the thread inside: whether the next one can be executed now, to
/// which `cpu` has been brought then. Not if something waits to be delivered, and not where somebody counts
/// instructions or wants to stop at them.
bool Sgx::go_ahead(Interruption& it, CpuState& cpu, LinearAddress enclu) {
  /// A signal for the program is noticed at each leaf, but a thread that goes round for ever shall be seen
  /// by a debugger as well.
  constexpr unsigned kMostLeaves = 512;
  ThreadBlock& block = it.block;
  if (!joins_leaves_ || block.lp.dbgoptin || (cpu.rflags & arch::rflags::kTf) != 0 ||
      engine().injector.wants_instructions() || block.deferred.load(std::memory_order_relaxed) != 0 ||
      it.leaves_ahead == kMostLeaves || !block.ahead.good(enclu.value())) {
    return false;
  }
  OwnMemory memory(*this, block);
  const bool there = run_ahead(cpu, memory, branches_);
  block.ahead.ended(enclu.value(), there);
  it.leaves_ahead += there ? 1U : 0U;
  return there;
}

}  // namespace enclume::engine
