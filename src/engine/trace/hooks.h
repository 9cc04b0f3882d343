// SPDX-License-Identifier: Apache-2.0
// Where the engine tells the trace what happens. Each hook costs one branch when nobody listens; what an
// event must know from before is copied only then. Signal context: safe, all of these.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "arch/cpu_state.h"
#include "arch/enclu/enclu.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "base/errno.h"
#include "base/types.h"
#include "engine/decode/instruction.h"
#include "engine/engine.h"
#include "engine/signals/frame.h"
#include "engine/threads/thread_block.h"
#include "kernel/fixup/fixup.h"
#include "kernel/kernel.h"
#include "trace/event.h"
#include "trace/stream.h"

namespace enclume::engine {

inline bool tracing() {
  return engine().events.on();
}

/// One execution of ENCLU: made before, told of the end after.
class TracedEnclu {
 public:
  TracedEnclu(const arch::LogicalProcessor& lp, const arch::CpuState& cpu) noexcept {
    if (tracing()) [[unlikely]] {
      before(lp, cpu);
    }
  }
  void ended(const arch::LeafResult& result, const arch::LogicalProcessor& lp,
             const arch::CpuState& cpu) noexcept {
    if (event_) [[unlikely]] {
      emit(result, lp, cpu);
    }
  }

 private:
  void before(const arch::LogicalProcessor& lp, const arch::CpuState& cpu) noexcept;
  void emit(const arch::LeafResult& result, const arch::LogicalProcessor& lp,
            const arch::CpuState& cpu) noexcept;

  std::optional<trace::Enclu> event_;
};

/// An instruction of enclave code, before it is executed; only if the trace is to have these. `decoded` is
/// null if it is none.
void trace_instruction_now(const ThreadBlock& block, LinearAddress rip, std::span<const std::byte> code,
                           const decode::Instruction* decoded) noexcept;
inline void trace_instruction(const ThreadBlock& block, LinearAddress rip, std::span<const std::byte> code,
                              const decode::Instruction* decoded) noexcept {
  if (engine().trace_instructions) [[unlikely]] {
    trace_instruction_now(block, rip, code, decoded);
  }
}

/// One asynchronous exit: made before arch::aex(), told after.
class TracedAex {
 public:
  TracedAex(const arch::LogicalProcessor& lp, const arch::CpuState& cpu) noexcept {
    if (tracing()) [[unlikely]] {
      before(lp, cpu);
    }
  }
  /// By an exception; or by a signal, 0 if it is not known which, or the engine's own kick.
  void left(const arch::Fault& fault) noexcept {
    if (event_) [[unlikely]] {
      emit(trace::Exception{static_cast<std::uint8_t>(fault.vector), fault.error_code, fault.address});
    }
  }
  void left(trace::Interrupt interrupt) noexcept {
    if (event_) [[unlikely]] {
      emit(interrupt);
    }
  }

 private:
  void before(const arch::LogicalProcessor& lp, const arch::CpuState& cpu) noexcept;
  void emit(std::variant<trace::Exception, trace::Interrupt> cause) noexcept;

  std::optional<trace::Aex> event_;
  arch::SsaFrameCache frame_;
};

/// A page fault that the kernel's half is asked about: made before, told of the answer after.
class TracedPageFault {
 public:
  TracedPageFault(const kernel::Kernel& kernel, const arch::Fault& fault) noexcept {
    if (tracing()) [[unlikely]] {
      before(kernel, fault);
    }
  }
  kernel::FaultResolution decided(kernel::FaultResolution resolution) const noexcept {
    if (event_ && resolution == kernel::FaultResolution::Resolved) [[unlikely]] {
      engine().events.emit(*event_, began_);
    }
    return resolution;
  }

 private:
  void before(const kernel::Kernel& kernel, const arch::Fault& fault) noexcept;

  std::optional<trace::PageFault> event_;
  std::uint64_t began_ = 0;
};

/// What became of an exception, before the program's registers in `cpu` say so. `mask` is the kernel's
/// part of the thread's signal mask.
void trace_delivery_now(const kernel::Delivery& delivery, kernel::ExceptionDesign design,
                        const kernel::TrapFrame& trap, const arch::CpuState& cpu, const ThreadBlock& block,
                        SignalSet mask) noexcept;
inline void trace_delivery(const kernel::Delivery& delivery, kernel::ExceptionDesign design,
                           const kernel::TrapFrame& trap, const arch::CpuState& cpu, const ThreadBlock& block,
                           SignalSet mask) noexcept {
  if (tracing()) [[unlikely]] {
    trace_delivery_now(delivery, design, trap, cpu, block, mask);
  }
}

/// A call of the program: `call` is the event without its result, `make` makes the call. Hands its result on.
template <typename Call, typename Make>
auto traced(Call call, Make make) noexcept {
  const std::uint64_t began = tracing() ? trace::Stream::now() : 0;
  auto result = make();
  if (tracing()) [[unlikely]] {
    if (result) {
      call.result = static_cast<long>(*result);
    } else {
      call.result = fail(result.error());
    }
    engine().events.emit(call, began);
  }
  return result;
}

/// The same for an ioctl on an enclave's file: what it says and points to is read from the program
/// afterwards.
void trace_ioctl_now(int fd, std::uint32_t command, std::uint64_t argument, const SysResult<long>& result,
                     std::uint64_t began) noexcept;
template <typename Make>
SysResult<long> traced_ioctl(int fd, std::uint32_t command, std::uint64_t argument, Make make) noexcept {
  const std::uint64_t began = tracing() ? trace::Stream::now() : 0;
  const SysResult<long> result = make();
  if (tracing()) [[unlikely]] {
    trace_ioctl_now(fd, command, argument, result, began);
  }
  return result;
}

}  // namespace enclume::engine
