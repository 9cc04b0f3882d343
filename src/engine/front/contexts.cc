// SPDX-License-Identifier: Apache-2.0
// getcontext(), setcontext(), swapcontext(), makecontext(): whole, and not libc's, since libc's ask the
// kernel for the mask and set it there. A context holds the program's mask, the owned signals included: in
// the kernel they must never be blocked, and a context can come from anywhere, a signal handler's third
// argument too. (libc's also know CET shadow stacks; the frames that the engine builds don't, see
// docs/fidelity.md.)
#include <ucontext.h>

#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/types.h"
#include "engine/engine.h"
#include "engine/front/context_layout.h"
#include "engine/front/real.h"
#include "engine/front/signals.h"

namespace enclume::engine {

namespace {

static_assert(sizeof(ucontext_t) == 968);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_R8]) == CONTEXT_R8);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_R9]) == CONTEXT_R9);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_R12]) == CONTEXT_R12);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_R13]) == CONTEXT_R13);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_R14]) == CONTEXT_R14);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_R15]) == CONTEXT_R15);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RDI]) == CONTEXT_RDI);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RSI]) == CONTEXT_RSI);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RBP]) == CONTEXT_RBP);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RBX]) == CONTEXT_RBX);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RDX]) == CONTEXT_RDX);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RCX]) == CONTEXT_RCX);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RSP]) == CONTEXT_RSP);
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RIP]) == CONTEXT_RIP);
static_assert(offsetof(ucontext_t, uc_mcontext.fpregs) == CONTEXT_FPREGS);
static_assert(offsetof(ucontext_t, __fpregs_mem) == CONTEXT_FPREGS_MEM);
static_assert(offsetof(struct _libc_fpstate, mxcsr) == FPREGS_MXCSR);

/// sigprocmask(2) with the mask of a context: the kernel's eight bytes of it, behind which a context that a
/// signal handler got has its siginfo.
int change_mask(int how, const sigset_t* set, sigset_t* previous) {
  SignalSet wanted = 0;
  SignalSet before = 0;
  if (set != nullptr) {
    std::memcpy(&wanted, set, sizeof(wanted));
  }
  int result = 0;
  if (engine().active) {
    result = libc_result(front_sigprocmask(how, set != nullptr ? &wanted : nullptr, &before));
  } else {
    static Real<int(int, const sigset_t*, sigset_t*)> real{"sigprocmask"};
    sigset_t full;
    sigset_t old;
    sigemptyset(&full);
    std::memcpy(&full, &wanted, sizeof(wanted));
    result = real(how, set != nullptr ? &full : nullptr, &old);
    std::memcpy(&before, &old, sizeof(before));
  }
  if (result == 0 && previous != nullptr) {
    std::memcpy(previous, &before, sizeof(before));
  }
  return result;
}

greg_t word(const void* pointer) {
  return static_cast<greg_t>(reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace

extern "C" {

[[gnu::visibility("hidden")]] int enclume_context_get_mask(ucontext_t* context) {
  return change_mask(SIG_BLOCK, nullptr, &context->uc_sigmask);
}

[[gnu::visibility("hidden")]] int enclume_context_set_mask(ucontext_t* context) {
  return change_mask(SIG_SETMASK, &context->uc_sigmask, nullptr);
}

[[gnu::visibility("hidden")]] void enclume_context_end();
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported name below is C's

ENCLUME_EXPORT void makecontext(ucontext_t* context, void (*function)(), int count, ...) noexcept {
  const std::size_t arguments = count > 0 ? static_cast<std::size_t>(count) : 0;
  const std::size_t on_stack = arguments > 6 ? arguments - 6 : 0;
  const auto top = reinterpret_cast<std::uint64_t>(context->uc_stack.ss_sp) + context->uc_stack.ss_size;
  // From low to high, as at the first instruction of a function: the return address, arguments from the
  // seventh on, and above them uc_link, to which RBX points while the function runs.
  const std::uint64_t address = enclume::align_down(top - (on_stack + 1) * sizeof(std::uint64_t), 16) - 8;
  auto* stack = reinterpret_cast<greg_t*>(address);
  greg_t& link = stack[on_stack + 1];
  stack[0] = word(reinterpret_cast<const void*>(&enclume_context_end));
  link = word(context->uc_link);

  greg_t(&registers)[NGREG] = context->uc_mcontext.gregs;
  registers[REG_RIP] = word(reinterpret_cast<const void*>(function));
  registers[REG_RBX] = word(&link);
  registers[REG_RSP] = word(stack);
  constexpr int kByRegister[6] = {REG_RDI, REG_RSI, REG_RDX, REG_RCX, REG_R8, REG_R9};
  va_list list;
  va_start(list, count);
  for (std::size_t i = 0; i < arguments; ++i) {
    // Declared as int, but programs pass pointers, and libc lets them.
    const greg_t value = va_arg(list, greg_t);
    if (i < 6) {
      registers[kByRegister[i]] = value;
    } else {
      stack[1 + i - 6] = value;
    }
  }
  va_end(list);
}
