// SPDX-License-Identifier: Apache-2.0
// Where the engine tells the trace what happens. Each hook costs one branch when nobody listens; what an
// event must know from before is copied only then. Signal context: safe, all of these.
#pragma once

#include <cstdint>
#include <optional>

#include "arch/cpu_state.h"
#include "arch/enclu/enclu.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "base/errno.h"
#include "base/types.h"
#include "engine/engine.h"
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
      engine().events.emit(*event_);
    }
    return resolution;
  }

 private:
  void before(const kernel::Kernel& kernel, const arch::Fault& fault) noexcept;

  std::optional<trace::PageFault> event_;
};

/// What became of an exception; `rip` is the program's.
void trace_delivery_now(kernel::ExceptionDesign design, const kernel::Delivery& delivery,
                        LinearAddress rip) noexcept;
inline void trace_delivery(kernel::ExceptionDesign design, const kernel::Delivery& delivery,
                           LinearAddress rip) noexcept {
  if (tracing()) [[unlikely]] {
    trace_delivery_now(design, delivery, rip);
  }
}

/// A call of the program: `call` is the event without its result. Hands the result on.
template <typename Call, typename T>
SysResult<T> traced(Call call, SysResult<T> result) noexcept {
  if (tracing()) [[unlikely]] {
    if (result) {
      call.result = static_cast<long>(*result);
    } else {
      call.result = fail(result.error());
    }
    engine().events.emit(call);
  }
  return result;
}

/// The same for an ioctl on an enclave's file, after it: what it says and points to is read from the program.
void trace_ioctl_now(int fd, std::uint32_t command, std::uint64_t argument,
                     const SysResult<long>& result) noexcept;
inline SysResult<long> traced_ioctl(int fd, std::uint32_t command, std::uint64_t argument,
                                    SysResult<long> result) noexcept {
  if (tracing()) [[unlikely]] {
    trace_ioctl_now(fd, command, argument, result);
  }
  return result;
}

}  // namespace enclume::engine
