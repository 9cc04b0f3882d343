// SPDX-License-Identifier: Apache-2.0
// Exceptions in the enclave, seen from inside. When the processor reports one (EXITINFO.VALID in the SSA
// frame), the host lets the enclave look at it, on the same TCS, one SSA frame further. Asked in this order:
//
//   1. the handlers of the thread, the latest first;
//   2. the handlers of the enclave, the earliest first;
//   3. the innermost guard of the interrupted call;
//   4. nobody: the call ends with Code::kFault, and the enclave, too, unless it was built with
//   SURVIVE_FAULTS.
//
// A handler runs on a small stack of its own (12 KiB) and may call outside. An exception in a handler is
// looked at in the same way, by the handlers that come after that one, as deep as FRAMES − 2; then the call
// ends.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <type_traits>
#include <utility>

#include "enclume/edge/error.h"
#include "enclume/edge/registers.h"

namespace enclume {

/// What a handler is given (SDM volume 3D, "EXITINFO Structure", "EXINFO Structure"). On the handler's stack.
struct Exception {
  std::uint8_t vector;  ///< 0 #DE, 1 #DB, 3 #BP, 5 #BR, 6 #UD, 13 #GP, 14 #PF, 16 #MF, 17 #AC, 19 #XM, 21 #CP
  bool is_software;     ///< INT3: RIP is behind the instruction.
  /// Of a page fault the address in full, of #GP 0; nothing for other exceptions.
  std::optional<std::uint64_t> address;
  std::uint32_t error_code;  ///< With `address` only.
  Registers& registers;      ///< of the interrupted code, to read and to change
};

/// What a handler wants.
enum class Verdict {
  kPassOn,  ///< ask the next one
  kResume,  ///< go on with the registers as they are now
  kSkip,    ///< go on behind the instruction at RIP; if it cannot be decoded, as kPassOn
  kUnwind,  ///< go on at the innermost guard of the interrupted call; if there is none, as kPassOn
};

namespace enclave {

/// What the two kinds of handlers have in common. Part of a list while it lives.
struct HandlerNode {
  Verdict (*ask)(HandlerNode& node, Exception& exception) = nullptr;
  HandlerNode* next = nullptr;
};
void add_thread_handler(HandlerNode& node) noexcept;
void remove_thread_handler(HandlerNode& node) noexcept;
void add_enclave_handler(HandlerNode& node) noexcept;
void remove_enclave_handler(HandlerNode& node) noexcept;

template <typename F, auto kAdd, auto kRemove>
class Handler : HandlerNode {
  static_assert(std::is_invocable_r_v<Verdict, F&, Exception&>,
                "a handler is called with an Exception& and says a Verdict");

 public:
  explicit Handler(F callable) : callable_(std::move(callable)) {
    ask = [](HandlerNode& node, Exception& exception) {
      return static_cast<Handler&>(node).callable_(exception);
    };
    kAdd(*this);
  }
  ~Handler() { kRemove(*this); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  F callable_;
};

/// Where a guard goes on. Offsets are shared with guard.S.
struct GuardRecord {
  std::uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
  std::uint32_t mxcsr;
  std::uint16_t x87_control;
  GuardRecord* outer;
  std::uint64_t entry;     ///< the EntryFrame of the call that it belongs to
  HandlerNode* handlers;   ///< of the thread, at that time
  std::uint64_t critical;  ///< how many things must not be left undone, at that time
  Fault fault;
};
/// 0; and once more, with 1, when an exception unwinds to the record. As setjmp().
extern "C" [[gnu::returns_twice]] int enclume_guard_save(GuardRecord* record) noexcept;
void push_guard(GuardRecord& record) noexcept;
void pop_guard(GuardRecord& record) noexcept;

}  // namespace enclave

/// A handler for this thread, that is TCS, while the object lives; also in calls that come in meanwhile.
template <typename F>
class ThreadHandler : enclave::Handler<F, enclave::add_thread_handler, enclave::remove_thread_handler> {
 public:
  /// `callable`: Verdict(Exception&).
  explicit ThreadHandler(F callable)
      : enclave::Handler<F, enclave::add_thread_handler, enclave::remove_thread_handler>(
            std::move(callable)) {}
};

/// A handler for all threads, while the object lives. To be made and destroyed when no exception is being
/// handled.
template <typename F>
class EnclaveHandler : enclave::Handler<F, enclave::add_enclave_handler, enclave::remove_enclave_handler> {
 public:
  /// `callable`: Verdict(Exception&).
  explicit EnclaveHandler(F callable)
      : enclave::Handler<F, enclave::add_enclave_handler, enclave::remove_enclave_handler>(
            std::move(callable)) {}
};

/// Runs `callable`; if an exception in it reaches the guard, or a handler says kUnwind, the facts of that
/// instead of a result. Destructors between here and there do not run, as with longjmp(). Guards nest; they
/// do not reach across the border: an exception in a call that came in during an OCALL belongs to that call.
template <typename F, typename R = std::invoke_result_t<F&>>
[[nodiscard]] std::expected<R, Fault> guard(F&& callable) {
  enclave::GuardRecord record;
  if (enclave::enclume_guard_save(&record) != 0) {
    return std::unexpected(record.fault);
  }
  enclave::push_guard(record);
  if constexpr (std::is_void_v<R>) {
    callable();
    enclave::pop_guard(record);
    return {};
  } else {
    std::expected<R, Fault> result(callable());
    enclave::pop_guard(record);
    return result;
  }
}

}  // namespace enclume
