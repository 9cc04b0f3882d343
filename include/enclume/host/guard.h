// SPDX-License-Identifier: Apache-2.0
// Catches the processor's exceptions in host code as values, for a library that owns neither the process nor
// its signals. Needs no enclave.
//
//   const auto first = enclume::guard([&] { return mapped_file[0]; });
//   if (!first) …first.error().vector, .error_code, .address…
//
// A guard is its thread's. Entering one stores ten words and makes no system call. The first one of the
// process installs handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGTRAP, which pass on what is no guard's
// to whoever was there before. A handler that somebody installs later and that passes nothing on keeps guards
// from working: enclume::renew_guards() puts them in front of it again.
#pragma once

#include <cstdint>
#include <expected>
#include <type_traits>
#include <utility>

#include "enclume/edge/error.h"

namespace enclume {

/// Code that a guard is for: faults with RIP in [begin, end). By default all.
struct CodeRange {
  const void* begin = nullptr;  ///< the first byte
  /// Behind the last one.
  const void* end = reinterpret_cast<const void*>(~std::uintptr_t{0});
};

namespace host {

/// Where a guard goes on. The offsets of the first ten are shared with guard.S.
struct GuardRecord {
  std::uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
  std::uint32_t mxcsr;
  std::uint16_t x87_control;
  GuardRecord* outer;
  CodeRange range;
  Fault fault;
};

/// 0; and once more, with 1, after a fault. As setjmp().
extern "C" [[gnu::returns_twice]] int enclume_host_guard_save(GuardRecord* record) noexcept;

/// Makes the record the innermost of its thread while it lives.
class GuardScope {
 public:
  explicit GuardScope(GuardRecord& record) noexcept;
  ~GuardScope();
  GuardScope(const GuardScope&) = delete;
  GuardScope& operator=(const GuardScope&) = delete;

 private:
  GuardRecord& record_;
};

}  // namespace host

/// Puts the guards' handlers in front of all that others have installed meanwhile.
void renew_guards() noexcept;

/// Runs `callable`; if it raises an exception of the processor at a RIP in `range`, the facts of that instead
/// of a result: vector, error code and, for page faults, address. MXCSR and x87 control word are then as they
/// were at the guard, and the signal mask is that of the code that faulted: a guard asks the kernel nothing.
/// (So a fault in a signal handler that has interrupted a guard on the same stack leaves the handler's mask.)
/// A stack that is used up is caught on threads with an alternate stack only; destructors between here and
/// there do not run, as with longjmp(). Guards nest: the innermost one whose range fits has it. What
/// `callable` throws passes through.
template <typename F, typename R = std::invoke_result_t<F&>>
[[nodiscard]] std::expected<R, Fault> guard(F&& callable, const CodeRange& range = {}) {
  host::GuardRecord record;
  record.range = range;
  if (host::enclume_host_guard_save(&record) != 0) return std::unexpected(record.fault);
  const host::GuardScope scope(record);
  if constexpr (std::is_void_v<R>) {
    callable();
    return {};
  } else {
    return callable();
  }
}

}  // namespace enclume
