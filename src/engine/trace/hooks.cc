// SPDX-License-Identifier: Apache-2.0
#include "engine/trace/hooks.h"

#include <variant>

#include "arch/enclu/ssa.h"
#include "arch/structs/tcs.h"

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
  if (lp.enclave_mode) {
    event.tcs = lp.tcs_address;
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
  } else {
    event_->outcome = trace::Exited{LinearAddress(cpu.rip)};
  }
  engine().events.emit(*event_);
}

void TracedAex::before(const arch::LogicalProcessor& lp, const arch::CpuState& cpu) noexcept {
  trace::Aex& event = event_.emplace();
  event.rip = LinearAddress(cpu.rip);
  event.tcs = lp.tcs_address;
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
  } else if (!enclave.page(page).load().resident) {
    event.how = trace::PageFault::How::Loaded;
  }
}

void trace_delivery_now(kernel::ExceptionDesign design, const kernel::Delivery& delivery,
                        LinearAddress rip) noexcept {
  if (const auto* fixup = std::get_if<kernel::Fixup>(&delivery)) {
    engine().events.emit(trace::Fixup{name_of(design), fixup->rdi, fixup->rsi, fixup->rdx, fixup->rip});
  } else if (const auto* signal = std::get_if<kernel::TrapSignal>(&delivery)) {
    engine().events.emit(trace::Signal{signal->signo, signal->si_code, signal->addr, rip});
  }
}

}  // namespace enclume::engine
