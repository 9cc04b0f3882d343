// SPDX-License-Identifier: Apache-2.0
#include "engine/trace/hooks.h"

#include <array>
#include <variant>

#include "arch/enclu/ssa.h"
#include "arch/structs/tcs.h"
#include "base/syscall.h"
#include "engine/entry/entry.h"
#include "engine/signals/mask.h"
#include "engine/trace/disassembly.h"
#include "engine/trace/symbols.h"
#include "kernel/uapi/sgx_enclave_run_offsets.h"

namespace enclume::engine {

namespace {

std::uint32_t cssa_of(const arch::LogicalProcessor& lp) {
  return arch::tcs_of(lp.tcs).atomic_cssa().load(std::memory_order_relaxed);
}

}  // namespace

void TracedEnclu::before(const arch::LogicalProcessor& lp, const arch::CpuState& cpu) noexcept {
  trace::Enclu& event = event_.emplace();
  event.leaf = static_cast<std::uint32_t>(cpu[arch::Reg::Rax]);
  event.rbx = cpu[arch::Reg::Rbx];
  event.rcx = cpu[arch::Reg::Rcx];
  event.rdx = cpu[arch::Reg::Rdx];
  event.rip = LinearAddress(cpu.rip);
  if (lp.enclave_mode) {
    event.tcs = lp.tcs_address;
    event.base = lp.elrange.begin;
  }
}

void TracedEnclu::emit(const arch::LeafResult& result, const arch::LogicalProcessor& lp,
                       const arch::CpuState& cpu) noexcept {
  const bool was_inside = event_->tcs != LinearAddress();
  if (!result) {
    const arch::Fault& fault = result.error();
    event_->outcome =
        trace::Exception{static_cast<std::uint8_t>(fault.vector), fault.error_code, fault.address};
  } else if (was_inside == lp.enclave_mode) {
    event_->outcome = trace::Completed{static_cast<std::uint32_t>(result->code)};
  } else if (lp.enclave_mode) {
    event_->outcome = trace::Entered{cssa_of(lp), LinearAddress(cpu.rip)};
    event_->base = lp.elrange.begin;
  } else {
    event_->outcome = trace::Exited{LinearAddress(cpu.rip)};
    if (engine().trace_instructions) {
      event_->symbol = host_symbol(LinearAddress(cpu.rip), sys::gettid());
    }
  }
  engine().events.emit(*event_);
}

void trace_instruction_now(const ThreadBlock& block, LinearAddress rip, std::span<const std::byte> code,
                           const decode::Instruction* decoded) noexcept {
  const LinearRange elrange = block.lp.elrange;
  std::array<char, 128> text;
  trace::Instruction event{.rip = rip,
                           .base = elrange.begin,
                           .code = code,
                           .text = disassemble(code, rip.value(), text),
                           .symbol = enclave_symbol(rip),
                           .target = {}};
  if (decoded != nullptr && (is_relative_branch(decoded->cls) || decoded->memory.rip_relative)) {
    const std::int64_t distance =
        decoded->memory.rip_relative ? decoded->memory.displacement : decoded->immediate;
    const LinearAddress target = rip + decoded->length + static_cast<std::uint64_t>(distance);
    event.target = elrange.contains(target) ? enclave_symbol(target) : host_symbol(target, block.tid);
  }
  engine().events.emit(event);
}

void TracedAex::before(const arch::LogicalProcessor& lp, const arch::CpuState& cpu) noexcept {
  trace::Aex& event = event_.emplace();
  event.rip = LinearAddress(cpu.rip);
  event.tcs = lp.tcs_address;
  event.base = lp.elrange.begin;
  event.aep = LinearAddress(arch::tcs_of(lp.tcs).aep);
  event.cssa = cssa_of(lp);
  frame_ = lp.ssa;
}

/// The exit has released the TCS, so a thread that is quick to resume can reuse the frame before it is read
/// here; what is printed then is that thread's EXITINFO.
void TracedAex::emit(std::variant<trace::Exception, trace::Interrupt> cause) noexcept {
  event_->cause = cause;
  event_->exitinfo = arch::gprsgx_of(frame_).exitinfo;
  engine().events.emit(*event_);
}

void TracedPageFault::before(const kernel::Kernel& kernel, const arch::Fault& fault) noexcept {
  began_ = trace::Stream::now();
  trace::PageFault& event = event_.emplace();
  event.address = fault.address;
  event.error_code = fault.error_code;
  const auto vma = kernel.vmas.find(fault.address);
  if (!vma || !vma->enclave->mapped()) {
    return;
  }
  const kernel::Enclave& enclave = *vma->enclave;
  const std::uint64_t page = enclave.page_number(fault.address.page());
  if (page >= enclave.pages()) {
    return;
  }
  if (!enclave.index().contains(page)) {
    event.how = trace::PageFault::How::Added;
  } else if (const kernel::PageState state = enclave.page(page).load(); !state.resident) {
    event.how = trace::PageFault::How::Loaded;
  } else if (state.untouched) {
    event.how = trace::PageFault::How::Mapped;
  }
}

namespace {

template <typename T>
std::optional<T> read(std::uint64_t address) {
  T value;
  if (enclume_guarded_copy(&value, reinterpret_cast<const void*>(address), sizeof(value)) != 0) {
    return std::nullopt;
  }
  return value;
}

trace::Question question(kernel::ExceptionDesign design, const kernel::TrapFrame& trap,
                         const arch::CpuState& cpu) {
  trace::Question q;
  q.design = name_of(design);
  q.exception = {static_cast<std::uint8_t>(trap.vector), kernel::sanitized_error_code(trap),
                 trap.vector == arch::Vector::PF ? trap.address : LinearAddress()};
  q.rip = trap.rip;
  if (read<std::array<std::byte, 3>>(trap.rip.value()) == kernel::kEncluBytes) {
    q.leaf = static_cast<std::uint32_t>(cpu[arch::Reg::Rax]);
  }
  return q;
}

/// `run` is the vDSO function's stack argument (kernel/vdso/enter_enclave.S).
trace::Receiver receiver_by_vdso(const arch::CpuState& cpu) {
  constexpr std::uint64_t kRunFromRbp = 16;
  const auto run = read<std::uint64_t>(cpu[arch::Reg::Rbp] + kRunFromRbp);
  const auto handler = run ? read<std::uint64_t>(*run + ENCLUME_RUN_USER_HANDLER) : std::nullopt;
  if (handler.value_or(0) != 0) {
    return {trace::Receiver::Who::Handler, LinearAddress(*handler)};
  }
  return {trace::Receiver::Who::Function, {}};
}

trace::Receiver receiver_of_fixup(kernel::ExceptionDesign design, const kernel::Fixup& fixup,
                                  const arch::CpuState& cpu) {
  switch (design) {
    case kernel::ExceptionDesign::Vdso:
      return receiver_by_vdso(cpu);
    case kernel::ExceptionDesign::PerMm:
      return {trace::Receiver::Who::Handler, fixup.rip};
    case kernel::ExceptionDesign::VdsoRegisters:
    case kernel::ExceptionDesign::Signals:
      break;
  }
  return {trace::Receiver::Who::Function, {}};
}

/// Linux force_sig_info_to_task(): a blocked or ignored signal of an exception ends the process.
trace::Receiver receiver_of_signal(int signo, SignalSet blocked) {
  using Who = trace::Receiver::Who;
  if ((blocked & signal_bit(signo)) != 0) {
    return {Who::Blocked, {}};
  }
  const Action action = engine().actions.get(signo);
  if (action.is_handler()) {
    return {Who::Signal, LinearAddress(action.handler)};
  }
  return {action.is_ignored() ? Who::Ignored : Who::Default, {}};
}

}  // namespace

void trace_delivery_now(const kernel::Delivery& delivery, kernel::ExceptionDesign design,
                        const kernel::TrapFrame& trap, const arch::CpuState& cpu, const ThreadBlock& block,
                        SignalSet mask) noexcept {
  const trace::Question asked = question(design, trap, cpu);
  const SignalSet blocked = mask | unpack_owned(block.virtual_mask);
  if (const auto* fixup = std::get_if<kernel::Fixup>(&delivery)) {
    engine().events.emit(trace::Fixup{asked, fixup->rip, receiver_of_fixup(design, *fixup, cpu)});
  } else if (const auto* signal = std::get_if<kernel::TrapSignal>(&delivery)) {
    engine().events.emit(trace::Signal{asked, signal->signo, signal->si_code, signal->addr,
                                       receiver_of_signal(signal->signo, blocked)});
  } else if (trap.vector != arch::Vector::PF || trap.page_fault != kernel::FaultResolution::Resolved) {
    engine().events.emit(trace::Dropped{asked});
  }
}

}  // namespace enclume::engine
