// SPDX-License-Identifier: Apache-2.0
// Where a program's ENCLU and the faults of its enclaves meet the processor and the kernel's half.
#pragma once

#include <atomic>
#include <csignal>
#include <optional>

#include "arch/cpu_state.h"
#include "arch/fault.h"
#include "arch/machine.h"
#include "engine/debug_trap.h"
#include "engine/decode/decoder.h"
#include "engine/entry/entry.h"
#include "engine/pages/native_protection.h"
#include "engine/pages/process.h"
#include "engine/signals/frame.h"
#include "engine/step/step.h"
#include "engine/threads/thread_block.h"
#include "kernel/fault/page_fault.h"
#include "kernel/fixup/fixup.h"
#include "kernel/kernel.h"
#include "trace/event.h"

namespace enclume::engine {

/// Everything about one signal that reached the engine.
struct Interruption {
  ThreadBlock& block;
  UContext& uc;
  const siginfo_t& info;
  const EntryFacts& facts;
  ExitPlan& plan;
  std::uint64_t
      evictions;  ///< KernelShared::evictions before anything was looked at; see kernel::evicted_since()
  bool redirected = false;    ///< a fixup has moved RIP
  unsigned leaves_ahead = 0;  ///< ENCLUs that were reached without a signal of their own
};

/// Signal context: safe for all, with the thread's registers in `it`. The functions that return bool say
/// whether the matter is settled; if not, `report` holds the signal that the program gets, and the frame the
/// context that it sees.
class Sgx {
 public:
  Sgx(const arch::MachineConfig& config, kernel::KernelShared& shared, NativeTables& tables) noexcept;

  /// Whether RIP is at an ENCLU.
  bool at_enclu(const Interruption& it);
  /// Executes it, for host code.
  bool host_enclu(Interruption& it, siginfo_t& report);
  /// #OF of host code, a trap that has left RIP at an ENCLU: who gets it is for the design to say.
  bool host_overflow(Interruption& it, siginfo_t& report);
  /// #PF in host code: on EPC pages the abort page, else the program's own.
  bool host_page_fault(Interruption& it, siginfo_t& report);
  /// An exception that enclave code raised.
  bool enclave_fault(int signo, Interruption& it, siginfo_t& report);
  /// Anything else that arrived while enclave code ran: AEX, then the signal takes its course. Returns false.
  bool enclave_interrupt(Interruption& it);
  /// AEX on the way into the enclave: makes `plan` one for host code at the AEP. `why` is for the trace.
  void leave_enclave(ThreadBlock& block, UContext& uc, ExitPlan& plan, trace::Interrupt why = {});

  /// Has the pages of enclaves looked through before they are executed; or, `strict`, each instruction. Once,
  /// when the engine's features are known.
  void watch_execution(bool strict);

  /// Leaves that enclave code executes one after the other need no signal each; see go_ahead.cc. Once.
  void join_leaves() { joins_leaves_ = true; }

  /// Something was written to an enclave's page past its mapping: what was found in it does not hold any
  /// more.
  void content_changed(LinearAddress address);

  void after_fork();

  [[nodiscard]] kernel::Kernel& kernel() { return kernel_; }
  [[nodiscard]] Process& process() { return process_; }
  [[nodiscard]] NativeProtection& native() { return native_; }
  /// Of this process. Its design and its vDSO are set once, at start.
  [[nodiscard]] kernel::MmContext& mm() { return mm_; }

 private:
  /// An access of the enclave that the kernel has mended, and that the ERESUME to come repeats.
  struct Retry {
    std::uint64_t rip;
    LinearAddress address;
    arch::Access access;
  };
  bool run_enclu(Interruption& it, arch::CpuState& cpu, siginfo_t& report, const Retry* retry = nullptr);
  bool raise(Interruption& it, arch::CpuState& cpu, arch::Fault fault, bool trap_class,
             std::optional<kernel::FaultResolution> resolution, siginfo_t& report, std::uint64_t dr6 = 0);
  bool enclave_debug_trap(Interruption& it, arch::CpuState& cpu, DebugTrap trap, siginfo_t& report);
  bool enclave_software_trap(Interruption& it, arch::CpuState& cpu, DebugTrap trap, siginfo_t& report);
  bool is_step_without_cause(int signo, const Interruption& it);
  bool is_byte(const ThreadBlock& block, LinearAddress address, std::byte byte);
  bool enclave_page_fault(Interruption& it, arch::CpuState& cpu, siginfo_t& report);
  bool page_of_others(Interruption& it, arch::CpuState& cpu, siginfo_t& report, LinearAddress address,
                      arch::Access access);
  bool on_abort_page(Interruption& it, arch::CpuState& cpu, siginfo_t& report, LinearAddress address,
                     arch::Access access);
  [[nodiscard]] Pkru enclave_pkru(const ThreadBlock& block, Pkru pkru) const;
  bool let_access(Interruption& it, arch::CpuState& cpu, siginfo_t& report, const kernel::Vma& vma,
                  LinearAddress address, arch::Access access);
  bool step_on_page(Interruption& it, arch::CpuState& cpu, siginfo_t& report, const kernel::Vma& vma,
                    LinearAddress page, bool fresh);
  bool after_step(Interruption& it, arch::CpuState& cpu, siginfo_t& report, const StepEnd& end);
  bool undefined(Interruption& it, arch::CpuState& cpu, siginfo_t& report,
                 const decode::Instruction* instruction);
  bool go_on(Interruption& it, arch::CpuState& cpu, siginfo_t& report);
  class JumpMemory;
  bool enclave_read_jump(Interruption& it, arch::CpuState& cpu, siginfo_t& report);
  void keep_jumps_from(const ThreadBlock& block, const arch::CpuState& cpu);
  class OwnMemory;
  bool go_ahead(Interruption& it, arch::CpuState& cpu, LinearAddress enclu);
  bool comes_right_back(const Interruption& it, const arch::CpuState& cpu);
  bool add_page_inside(Interruption& it, const arch::CpuState& cpu, const arch::Fault& fault);
  void record_exit(const ThreadBlock& block, const arch::CpuState& cpu, const arch::Fault& fault);
  bool strict_step(Interruption& it, arch::CpuState& cpu, siginfo_t& report);
  std::optional<arch::Fault> refused_in_enclave(const ThreadBlock& block, const arch::CpuState& cpu,
                                                const decode::Instruction& instruction);
  [[nodiscard]] std::size_t fetchable_bytes(const ThreadBlock& block, LinearAddress rip,
                                            std::byte (&code)[decode::kMaxInstructionLength]) const;
  std::optional<arch::Fault> inject_at_entry(const arch::CpuState& cpu);
  bool interrupt_due(ThreadBlock& block);
  bool interrupt_here(Interruption& it, arch::CpuState& cpu);
  void release_site(ThreadBlock& block);
  void end_own_hold(ThreadBlock& block, LinearAddress page, std::uint64_t rip);
  arch::CpuState load_enclave_state(const UContext& uc, std::uint64_t fs, std::uint64_t gs,
                                    ThreadBlock& block, bool debug_trap, StepEnd& end);
  void close_page(LinearAddress page);
  bool peek(LinearAddress from, void* to, std::size_t size);
  void poke(LinearAddress to, const void* from, std::size_t size);
  [[nodiscard]] std::optional<decode::Instruction> instruction_at(const ThreadBlock& block,
                                                                  LinearAddress rip);
  [[nodiscard]] bool is_illegal(const decode::Instruction& instruction) const;
  void finish(Interruption& it, arch::CpuState& cpu);
  [[nodiscard]] arch::EpcPage epc_page_at(LinearAddress address) const;
  [[nodiscard]] std::optional<arch::Fault> refused_by_key(const UContext& uc, LinearAddress address,
                                                          arch::Access access) const;
  [[nodiscard]] bool enclu_comes_next(const Interruption& it, const arch::CpuState& cpu);
  void give_data(LinearAddress address);
  [[nodiscard]] std::optional<arch::Fault> refused_again(const ThreadBlock& block, const Retry& retry);
  bool free_tcs_of_dead_thread(LinearAddress address);
  bool met_an_eviction(LinearAddress tcs, std::uint64_t evictions);
  bool copies_to_evicted_page(std::uint32_t leaf, const arch::LeafResult& result,
                              const arch::CpuState& cpu) const;
  void enter(ThreadBlock& block, UContext& uc, bool resumed);
  void leave(ThreadBlock& block, UContext& uc);
  Slow remember_exit(ThreadBlock& block, LinearAddress enclu, bool has_door);
  void count_exit(const ThreadBlock& block, LinearAddress enclu, Slow why);
  void read_code(kernel::TrapFrame& trap) const;
  [[nodiscard]] std::size_t code_bytes(const ThreadBlock& block, LinearAddress rip, std::byte (&out)[15]);

  const arch::MachineConfig& config_;
  Process process_;
  decode::BranchRule branches_ = decode::BranchRule::Intel;
  std::atomic<bool> icebp_stays_{false};  ///< INT1's #DB was seen with RIP at the instruction
  bool strict_ = false;
  bool joins_leaves_ = false;
  std::atomic<bool> told_of_lost_read_{false};
  kernel::MmContext mm_;
  kernel::VmaTable vmas_;
  kernel::EnclaveTable enclaves_;
  kernel::Kernel kernel_;
  NativeProtection native_;
};

/// Where ENCLU[EREPORT] or ENCLU[EGETKEY] puts its result, 0 for other leaves.
LinearAddress output_of_enclu(const arch::CpuState& cpu);

/// The page that an ENCLU may make accessible, if it looks like an exception handler's: CSSA > 0. The access
/// that faulted comes next then, so that the page's native permissions are given at once; 0 otherwise.
LinearAddress mended_by_enclu(const ThreadBlock& block, const arch::CpuState& cpu);

/// Whether the bytes begin with ENCLU.
bool is_enclu(const std::byte* code, std::size_t size);

/// The number of the enclave that an EPC page belongs to.
inline std::uint32_t number_of_enclave(const arch::EpcPage& page) {
  return static_cast<std::uint32_t>(page.address.value >> kernel::kEpcmIndexBits);
}

/// What a page fault was about, by its error code.
arch::Access access_of(std::uint64_t error_code);

/// What the kernel has made of a page fault that became this signal.
kernel::FaultResolution resolution_of(const siginfo_t& info);

/// Whether an ENCLU can have raised this natively. Without SGX it is #UD; where the silicon has SGX and a
/// hypervisor hides it, ENCLU does execute, and always fails: #GP, or #PF at the TCS (see docs/fidelity.md).
bool may_be_enclu(int signo, const SigContext& m);

/// The engine's own interprocessor interrupt: makes a thread leave its enclave once.
bool is_kick(int signo, const siginfo_t& info);
void kick_thread(int process, int tid);

}  // namespace enclume::engine
