// SPDX-License-Identifier: Apache-2.0
// The half of Sgx that executes ENCLU: transitions, and what has to follow each.
#include "arch/enclu/enclu.h"

#include <cstring>

#include "arch/enclu/debug.h"
#include "arch/structs/tcs.h"
#include "base/lock.h"
#include "engine/engine.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/fast/exit_sites.h"
#include "engine/sgx.h"
#include "engine/signals/context.h"
#include "engine/trace/hooks.h"
#include "kernel/enclave_lock.h"
#include "kernel/spaces.h"

namespace enclume::engine {

namespace {

using arch::CpuState;
using arch::Fault;
using arch::Vector;

Count counted_as(std::uint32_t leaf, bool completed, bool was_inside, bool is_inside) {
  if (was_inside) {
    return is_inside || !completed ? Count::OtherLeaf : Count::Eexit;
  }
  if (!completed) {
    return Count::EntryFault;
  }
  return leaf == static_cast<std::uint32_t>(arch::EncluLeaf::Eenter) ? Count::Eenter : Count::Eresume;
}

/// What a leaf that ends with a code in RAX has changed of the registers.
struct BeforeLeaf {
  explicit BeforeLeaf(const CpuState& cpu) noexcept
      : rax(cpu[arch::Reg::Rax]), rip(cpu.rip), rflags(cpu.rflags) {}
  void restore(CpuState& cpu) const noexcept {
    cpu[arch::Reg::Rax] = rax;
    cpu.rip = rip;
    cpu.rflags = rflags;
    cpu.pending_single_step = false;
  }

  std::uint64_t rax, rip, rflags;
};

}  // namespace

/// EACCEPTCOPY has refused a page that the reclaimer has blocked between the walk and the check, or taken.
/// Linux lets nobody meet one, so this is the page fault that an earlier look had found (UserSpace::walk()).
bool Sgx::copies_to_evicted_page(std::uint32_t leaf, const arch::LeafResult& result,
                                 const CpuState& cpu) const {
  if (leaf != static_cast<std::uint32_t>(arch::EncluLeaf::Eacceptcopy) || !result ||
      result->code != arch::LeafCode::PageAttributesMismatch) {
    return false;
  }
  const arch::EpcPage to = epc_page_at(cpu.address(arch::Reg::Rcx));
  const arch::EpcmState state = to ? to.epcm->load() : arch::EpcmState{};
  return !state.valid || state.blocked;
}

void Sgx::enter(ThreadBlock& block, UContext& uc, bool resumed) {
  engine().watch_enclave_calls(block);
  block.fast.entered_at = engine().stats.now();
  block.host_fs = block.lp.host_fs_base;
  block.host_gs = block.lp.host_gs_base;
  block.host_pkru = frame_pkru(uc);
  block.xfrm = block.lp.xfrm;
  set_frame_pkru(uc, enclave_pkru(block, block.host_pkru));
  if (kernel::Enclave* enclave = enclaves_.find(number_of_enclave(block.lp.secs)); enclave != nullptr) {
    native_.sync(*enclave);
  }
  native_.join_watch(block);
  remember_entry(block, kernel_, {arch::tcs_of(block.lp.tcs).aep, uc.mcontext.rsp, resumed});
}

void Sgx::leave(ThreadBlock& block, UContext& uc) {
  set_frame_pkru(uc, pkru_after_exit(block.xfrm, block.host_pkru, frame_pkru(uc), enclume_epc_fence));
  if (engine().stats.on()) [[unlikely]] {
    engine().stats.add(block.slot, Count::TicksInside, engine().stats.now() - block.fast.entered_at);
  }
  block.traced = 0;
  block.fast.door = nullptr;
  block.inside.store(0, std::memory_order_seq_cst);
  block.exits.fetch_add(1, std::memory_order_seq_cst);
}

/// After EEXIT by a trap: the next one from there, by a thread that has been remembered, needs none. Why this
/// one needed it; first what is wrong with the place, since that does not pass.
Slow Sgx::remember_exit(ThreadBlock& block, LinearAddress enclu, bool has_door) {
  if (enclume_fast_on == 0) {
    return direct_paths_off_because();
  }
  if (no_selectors()) {
    return Slow::NoSelectors;
  }
  const bool had_selector = block.fast.es != 0;
  // A selector costs a system call that interrupts all of the process's threads: not for a thread that soon
  // ends.
  constexpr std::uint32_t kExitsBeforeSelector = 3;
  if (++block.fast.trapped_exits >= kExitsBeforeSelector) {
    give_selector(block);
  }
  const auto vma = vmas_.find(enclu);
  const Slow why = vma ? native_.leave_directly(*vma, enclu, block.tid) : Slow::NotWatched;
  if (why != Slow::Disturbed || (had_selector && has_door)) {
    return why;
  }
  if (had_selector) {
    return Slow::NoDoor;
  }
  if (no_selectors()) {
    return Slow::NoSelectors;
  }
  return has_place_in_ldt(block) ? Slow::NewSelector : Slow::TooManyThreads;
}

void Sgx::count_exit(const ThreadBlock& block, LinearAddress enclu, Slow why) {
  engine().stats.add_slow_exit(block.slot, why);
  if (const auto vma = is_of_site(why) ? vmas_.find(enclu) : std::nullopt) {
    std::uint64_t measurement;
    std::memcpy(&measurement, arch::secs_of(vma->enclave->secs_page()).mrenclave.data(), sizeof(measurement));
    engine().stats.add_slow_site(enclu.value(), why, measurement, enclu - vma->enclave->elrange().begin);
  }
}

bool Sgx::run_enclu(Interruption& it, CpuState& cpu, siginfo_t& report, const Retry* retry) {
  ThreadBlock& block = it.block;
  if (!block.lp.enclave_mode) {
    if (const auto fault = inject_at_entry(cpu)) {
      return raise(it, cpu, *fault, false, {}, report);
    }
  }
  bool resolved = false;  // a page fault of this very instruction, or of the one before it
  for (;;) {
    const LinearAddress mended = mended_by_enclu(block, cpu);
    const bool was_inside = block.lp.enclave_mode;
    const LinearAddress enclu(cpu.rip);
    if (!was_inside) {
      if (const auto vma = vmas_.find(cpu.address(arch::Reg::Rbx)); vma && vma->enclave->mapped()) {
        block.inside.store(vma->enclave->secs_page().address.value, std::memory_order_seq_cst);
      }
    }
    const LinearAddress output = was_inside ? output_of_enclu(cpu) : LinearAddress{};
    const auto leaf = static_cast<std::uint32_t>(cpu[arch::Reg::Rax]);
    it.evictions = kernel_.shared.evictions.load();
    kernel::UserSpace space(kernel_);
    TracedEnclu traced(block.lp, cpu);
    const BeforeLeaf before(cpu);
    arch::LeafResult result = arch::enclu(kernel_.machine(), block.lp, cpu, space);
    if (was_inside && copies_to_evicted_page(leaf, result, cpu)) {
      before.restore(cpu);
      result =
          arch::raise(arch::epcm_fault(cpu.address(arch::Reg::Rcx), arch::pfec::kUser | arch::pfec::kWrite));
    }
    traced.ended(result, block.lp, cpu);
    if (engine().stats.on()) [[unlikely]] {
      engine().stats.add(block.slot, counted_as(leaf, result.has_value(), was_inside, block.lp.enclave_mode));
    }
    if (result) {
      if (!was_inside && block.lp.enclave_mode) {
        enter(block, it.uc, leaf == static_cast<std::uint32_t>(arch::EncluLeaf::Eresume));
        if (!block.lp.elrange.contains(LinearAddress(cpu.rip))) {
          // ERESUME to a frame that says so: the first fetch is refused.
          return raise(it, cpu, arch::general_protection(), false, {}, report);
        }
        if (cpu.rip == block.site.next) {
          release_site(block);
        }
      } else if (was_inside && !block.lp.enclave_mode) {
        const bool has_door = block.fast.door != nullptr;
        leave(block, it.uc);
        const Slow why = remember_exit(block, enclu, has_door);
        if (engine().stats.on()) [[unlikely]] {
          count_exit(block, enclu, why);
        }
      }
      if (output.value() != 0) {
        content_changed(output);
      }
      if (mended.value() != 0) {
        give_data(mended);
      }
      if (cpu.pending_single_step) {
        cpu.pending_single_step = false;
        return raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, arch::dr6::kSingleStep);
      }
      if (resolved && !was_inside && block.lp.enclave_mode) {
        // Back at the leaf whose operand it was (EACCEPT of a page that was never touched, say).
        resolved = false;
        std::byte code[15];
        if (is_enclu(code, code_bytes(block, LinearAddress(cpu.rip), code))) {
          continue;
        }
      }
      if (block.lp.enclave_mode && retry != nullptr && cpu.rip == retry->rip) {
        // Natively, what is known already would be one more signal.
        if (const auto refused = refused_again(block, *retry)) {
          return raise(it, cpu, *refused, false, {}, report);
        }
      }
      if (was_inside && block.lp.enclave_mode && go_ahead(it, cpu, enclu)) {
        continue;
      }
      if (block.lp.enclave_mode) {
        return go_on(it, cpu, report);
      }
      finish(it, cpu);
      return true;
    }
    if (!was_inside) {
      block.inside.store(0, std::memory_order_seq_cst);
    }
    if (!was_inside && result.error() == arch::general_protection() &&
        (met_an_eviction(cpu.address(arch::Reg::Rbx), it.evictions) ||
         free_tcs_of_dead_thread(cpu.address(arch::Reg::Rbx)))) {
      continue;
    }
    if (was_inside && add_page_inside(it, cpu, result.error())) {
      record_exit(block, cpu, result.error());
      continue;
    }
    if (!raise(it, cpu, result.error(), false, {}, report)) {
      return false;
    }
    if (!enclu_comes_next(it, cpu)) {
      return true;
    }
    resolved = true;
  }
}

/// Whether a TCS that seemed to be in use was on its way out of the EPC, or back.
bool Sgx::met_an_eviction(LinearAddress tcs, std::uint64_t evictions) {
  const auto vma = vmas_.find(tcs);
  return vma && kernel::evicted_since(kernel_, *vma->enclave, evictions);
}

/// After a page fault that the kernel resolved, what follows natively would be one more trap at the same
/// ENCLU, or at the AEP's: it can be executed at once, unless the program put something else there, or a
/// signal has arrived meanwhile. That one is delivered here, with the exit as the fault left it. (Not where a
/// fixup leads, though it may be an ENCLU: that can go round for ever, and signals have to come in between.)
bool Sgx::enclu_comes_next(const Interruption& it, const CpuState& cpu) {
  const ThreadBlock& block = it.block;
  std::byte code[15];
  return !it.redirected && !block.lp.enclave_mode && block.deferred.load(std::memory_order_relaxed) == 0 &&
         is_enclu(code, code_bytes(block, LinearAddress(cpu.rip), code));
}

/// EENTER or ERESUME has found the TCS in use: whether by a thread that is no more.
bool Sgx::free_tcs_of_dead_thread(LinearAddress address) {
  const auto vma = vmas_.find(address.page());
  const arch::EpcPage page = epc_page_at(address.page());
  if (!vma || !page || page.epcm->load().type != arch::PageType::Tcs) {
    return false;
  }
  const std::uint64_t number = vma->enclave->page_number(address.page());
  const auto owner = static_cast<int>(page.epcm->owner.load(std::memory_order_acquire));
  if (owner == 0) {
    const kernel::EnclaveLock lock(kernel_, *vma->enclave);  // it isn't evicted then
    return process_.free_tcs_of_dead_thread(*vma->enclave, number);
  }
  if (engine().arena.find(owner) != nullptr || !thread_is_gone(owner)) {
    return false;
  }
  (void)process_.kick(*vma->enclave, {});  // who lives leaves first, so that it is known whose count is whose
  if (page.epcm->owner.load(std::memory_order_acquire) == static_cast<std::uint32_t>(owner)) {
    (void)process_.free_tcs_of_dead_thread(*vma->enclave, number);
  }
  return true;
}

}  // namespace enclume::engine
