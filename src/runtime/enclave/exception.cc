// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/exception.h"

#include <atomic>

#include "enclume/enclave/memory.h"
#include "runtime/enclave/dump.h"
#include "runtime/enclave/instruction_length.h"
#include "runtime/enclave/self.h"

namespace enclume::enclave {
namespace {

extern "C" {
[[gnu::visibility("hidden"), noreturn]] void enclume_finish() noexcept;
[[gnu::visibility("hidden"), noreturn]] void enclume_finish_exception() noexcept;
[[gnu::visibility("hidden")]] void enclume_guard_return() noexcept;
[[gnu::visibility("hidden")]] extern const char enclume_entry[];
[[gnu::visibility("hidden")]] extern const std::uint64_t enclume_entry_frame_offset;
[[gnu::visibility("hidden")]] extern const char enclume_entry_end[];
[[gnu::visibility("hidden")]] extern const char enclume_accept_instruction[];
[[gnu::visibility("hidden")]] extern const char enclume_accept_end[];
}

// The end of an SSA frame (SDM volume 3D, "GPRSGX Region", "EXINFO Structure"); the second is there if the
// loader has found MISCSELECT.EXINFO in the processor.
struct Exinfo {
  std::uint64_t address;
  std::uint32_t error_code;
  std::uint32_t reserved;
};
struct SavedState {
  Exinfo exinfo;
  Registers registers;
  std::uint64_t ursp;
  std::uint64_t urbp;
  std::uint32_t exitinfo;
  std::uint32_t reserved;
  std::uint64_t fsbase;
  std::uint64_t gsbase;
};
static_assert(sizeof(SavedState) == 16 + 184 && offsetof(SavedState, exitinfo) == 16 + 160);

constexpr std::uint32_t kTypeMask = 7 << 8, kTypeSoftware = 6 << 8, kValid = 1U << 31;
constexpr std::uint8_t kGeneralProtection = 13, kPageFault = 14;
// Flags that code must not begin with: the arithmetic ones, TF, DF, NT, RF, AC.
constexpr std::uint64_t kStrayFlags = 0x54dd5;

std::atomic<bool> crashed = false;
// Of the enclave, in order.
HandlerNode* first_enclave_handler = nullptr;
std::atomic_flag enclave_handlers_locked = ATOMIC_FLAG_INIT;
thread_local HandlerState state;
// The call that is being given up has had its time.
thread_local bool is_over_time = false;
// It waited for something that another call, which ended the enclave, has left locked.
thread_local bool is_late = false;

class Lock {
 public:
  Lock() {
    while (enclave_handlers_locked.test_and_set(std::memory_order_acquire)) wait_a_little();
  }
  ~Lock() { enclave_handlers_locked.clear(std::memory_order_release); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  const Critical critical_;
};

SavedState& saved_at(std::uint64_t cssa) {
  return *reinterpret_cast<SavedState*>(base() + this_thread().seed_ssa + cssa * edge::kPageSize -
                                        sizeof(SavedState));
}

Exception exception_of(SavedState& saved) {
  Exception exception{.vector = static_cast<std::uint8_t>(saved.exitinfo),
                      .is_software = (saved.exitinfo & kTypeMask) == kTypeSoftware,
                      .address = std::nullopt,
                      .error_code = 0,
                      .registers = saved.registers};
  // Reported at all only with EXINFO, so it is there.
  if (exception.vector == kPageFault || exception.vector == kGeneralProtection) {
    exception.address = saved.exinfo.address;
    exception.error_code = saved.exinfo.error_code;
  }
  return exception;
}

// The innermost guard of the call that was interrupted; null: none. Nor does one help that is outside of
// something that must not be left undone.
GuardRecord* guard_of(std::uint64_t interrupted_frame) {
  const bool reachable = state.guard != nullptr && state.guard->entry == interrupted_frame &&
                         state.guard->critical == this_thread().critical;
  return reachable ? state.guard : nullptr;
}

void unwind(GuardRecord& guard, const Exception& exception) {
  guard.fault = {exception.vector, static_cast<std::uint16_t>(exception.error_code),
                 exception.address.value_or(0)};
  state.guard = guard.outer;
  state.thread = guard.handlers;
  Registers& r = exception.registers;
  r.rbx = guard.rbx;
  r.rbp = guard.rbp;
  r.r12 = guard.r12;
  r.r13 = guard.r13;
  r.r14 = guard.r14;
  r.r15 = guard.r15;
  r.rsp = guard.rsp;
  r.rdi = reinterpret_cast<std::uint64_t>(&guard);
  r.rip = address_of(reinterpret_cast<const void*>(&enclume_guard_return));
  r.rflags &= ~kStrayFlags;
}

bool skip(Registers& registers) {
  const std::size_t length = instruction_length({reinterpret_cast<const std::uint8_t*>(registers.rip), 15});
  registers.rip += length;
  return length != 0;
}

// Whether `node` has seen to it.
bool ask(HandlerNode& node, Exception& exception, std::uint64_t interrupted_frame) {
  switch (node.ask(node, exception)) {
    case Verdict::kResume:
      return true;
    case Verdict::kSkip:
      return skip(exception.registers);
    case Verdict::kUnwind:
      if (GuardRecord* const guard = guard_of(interrupted_frame)) {
        unwind(*guard, exception);
        return true;
      }
      return false;
    case Verdict::kPassOn:
      return false;
  }
  return false;
}

// Asks all there are. While one runs, exceptions in it ask those behind it, and guards made in it.
bool ask_all(Exception& exception, std::uint64_t interrupted_frame) {
  const HandlerState before = state;
  for (HandlerNode* node = before.thread; node != nullptr; node = node->next) {
    state.thread = node->next;
    const bool done = ask(*node, exception, interrupted_frame);
    // An unwound guard has its own.
    if (done && state.guard != before.guard) return true;
    state = before;
    if (done) return true;
  }
  if (!before.enclave_done) {
    HandlerNode* node = before.enclave;
    if (node == nullptr) {
      const Lock lock;
      node = first_enclave_handler;
    }
    state.thread = nullptr;
    for (; node != nullptr; node = node->next) {
      state.enclave = node->next;
      state.enclave_done = node->next == nullptr;
      const bool done = ask(*node, exception, interrupted_frame);
      if (done && state.guard != before.guard) {
        state.enclave = before.enclave;
        state.enclave_done = before.enclave_done;
        return true;
      }
      if (done) {
        state = before;
        return true;
      }
    }
    state = before;
  }
  if (GuardRecord* const guard = guard_of(interrupted_frame)) {
    unwind(*guard, exception);
    return true;
  }
  return false;
}

// Pages that a stack gets at a time, if it may still have so many.
constexpr std::uint64_t kStackGrowth = 4 * edge::kPageSize;

// Whether the exception was a touch of what this thread's stack may grow to, which has pages now.
bool grow_stack(const Exception& exception) {
  edge::ThreadBlock& thread = this_thread();
  if (exception.vector != kPageFault || *exception.address < thread.stack_limit ||
      *exception.address >= thread.stack_bottom) {
    return false;
  }
  const Critical critical;  // a page that is accepted is one of the stack
  const std::uint64_t page = *exception.address & ~(edge::kPageSize - 1);
  const std::uint64_t ahead = kStackGrowth - edge::kPageSize;
  const std::uint64_t to = page - thread.stack_limit < ahead ? thread.stack_limit : page - ahead;
  // From the top down, so that the stack is whole wherever it ends.
  while (thread.stack_bottom > to) {
    const std::uint64_t next = thread.stack_bottom - edge::kPageSize;
    if (accept_pages(next, edge::kPageSize) == 0) break;
    thread.stack_bottom = next;
  }
  return thread.stack_bottom <= page;
}

// Whether it was an EACCEPT for which the host had no page: that fails, and its caller goes on.
bool fail_accept(const Exception& exception) {
  if (exception.registers.rip != address_of(enclume_accept_instruction)) return false;
  exception.registers.rax = ~std::uint32_t{0};
  exception.registers.rip = address_of(enclume_accept_end);
  return true;
}

// Nothing where the entry was interrupted before its mailbox was seen to be outside.
void tell_host(std::uint64_t exit, std::uint64_t value) {
  if (this_entry()->context == 0) return;
  const std::uint64_t words[2] = {exit, value};
  copy_out(this_entry()->mailbox + offsetof(edge::Mailbox, exit), words, sizeof words);
}

// Puts the handlers back to what they were when this entry came in.
void forget_handlers() {
  if (this_entry()->context != 0) state = this_context().at_entry;
}

void end_interrupted(std::uint64_t cssa) noexcept;

// Whether the enclave goes on when the call does not. What was in the middle of the heap, say, has left it
// locked and perhaps half changed: then nobody can go on.
bool survives_faults() noexcept {
  return (enclume_config.flags & edge::kFlagSurviveFaults) != 0 && this_thread().critical == 0;
}

// Where a call goes on that an exception has ended: on its own stack, of which all but its beginning is dead.
[[noreturn]] void give_up_call() noexcept {
  forget_handlers();
  this_thread().critical = 0;
  const Code code = is_over_time ? Code::kDeadline : is_late ? Code::kCrashed : Code::kFault;
  is_over_time = is_late = false;
  tell_host(ENCLUME_EXIT_DONE, static_cast<std::uint64_t>(code));
  enclume_finish();
}

// The same for the handling of an exception: then that exception ends what it has interrupted.
[[noreturn]] void give_up_handling() noexcept {
  forget_handlers();
  end_interrupted(this_thread().level);
  tell_host(ENCLUME_EXIT_RESUME, 0);
  enclume_finish_exception();
}

// Makes what was interrupted at `cssa` − 1 give up when it is resumed. Its EntryFrame is the one outside this
// entry's.
void end_interrupted(std::uint64_t cssa) noexcept {
  // There may have been no exception, and of those before it nobody asks any more.
  const bool is_by_exception = this_thread().reserved[0] == 0 || !is_over_time;
  if (is_by_exception && this_entry()->context != 0) {
    dump(exception_of(saved_at(cssa)), cssa - 1, this_context().offer.dumps);
  }
  Registers& registers = saved_at(cssa).registers;
  const auto function = cssa == 1 ? &give_up_call : &give_up_handling;
  registers.rip = address_of(reinterpret_cast<const void*>(function));
  // Below its EntryFrame and its context, which are read still; and as if called.
  const auto& frame = *reinterpret_cast<const edge::EntryFrame*>(this_entry()->outer);
  const std::uint64_t top = frame.context != 0 ? frame.context : this_entry()->outer;
  registers.rsp = (top & ~std::uint64_t{15}) - 8;
  registers.rflags &= ~kStrayFlags;
  if (cssa == 1 && !survives_faults()) crashed = true;
}

}  // namespace

bool has_crashed() noexcept {
  return crashed.load(std::memory_order_relaxed);
}

HandlerState handler_state() noexcept {
  // Before the thread has its variables there are no handlers.
  return this_thread().reserved[0] != 0 ? state : HandlerState{};
}

bool handle_exception(std::uint64_t cssa, bool just_end) noexcept {
  const edge::ThreadBlock& thread = this_thread();
  const std::uint64_t interrupted = this_entry()->outer;
  Exception exception = exception_of(saved_at(cssa));
  // Each is looked at once: a host that comes with it again would have the same verdict on other registers.
  saved_at(cssa).exitinfo &= ~kValid;
  // The runtime's own, before anybody is asked.
  if (fail_accept(exception) || (!just_end && grow_stack(exception))) return true;
  // In the middle of an entry that has no frame yet: there is nothing to end but what has called outside.
  const bool has_frame = exception.registers.rip - address_of(enclume_entry) >= enclume_entry_frame_offset;
  if (interrupted == 0 || !has_frame) return false;
  const bool is_rescue = address_of(this_entry()) < base() + thread.seed_alt_end + edge::kRescueStackSize ||
                         cssa + 1 == enclume_config.frames;
  if (!just_end && !is_rescue && thread.reserved[0] != 0) {
    if (ask_all(exception, interrupted)) return true;
  }
  end_interrupted(cssa);
  return true;
}

bool cancel(std::uint64_t cssa) noexcept {
  const edge::ThreadBlock& thread = this_thread();
  const std::uint64_t interrupted = this_entry()->outer;
  if (thread.reserved[0] == 0 || thread.critical != 0 || interrupted == 0 ||
      reinterpret_cast<const edge::EntryFrame*>(interrupted)->context == 0) {
    return false;
  }
  // On the way in or out, where thread block and frames are in between.
  const std::uint64_t rip = saved_at(cssa).registers.rip;
  if (rip >= address_of(enclume_entry) && rip < address_of(enclume_entry_end)) return false;
  is_over_time = true;
  end_interrupted(cssa);
  return true;
}

void end_over_time() noexcept {
  const edge::ThreadBlock& thread = this_thread();
  if (thread.reserved[0] == 0 || thread.critical != 0) return;
  is_over_time = true;
  if (thread.level != 0) give_up_handling();
  if ((enclume_config.flags & edge::kFlagSurviveFaults) == 0) crashed = true;
  give_up_call();
}

void end_if_crashed() noexcept {
  if (!has_crashed()) return;
  if (this_thread().level != 0) give_up_handling();
  is_late = true;
  give_up_call();
}

void wait_a_little() noexcept {
  end_if_crashed();
  __builtin_ia32_pause();
}

void add_thread_handler(HandlerNode& node) noexcept {
  node.next = state.thread;
  state.thread = &node;
}

void remove_thread_handler(HandlerNode& node) noexcept {
  for (HandlerNode** at = &state.thread; *at != nullptr; at = &(*at)->next) {
    if (*at == &node) {
      *at = node.next;
      return;
    }
  }
}

void add_enclave_handler(HandlerNode& node) noexcept {
  const Lock lock;
  HandlerNode** at = &first_enclave_handler;
  while (*at != nullptr) at = &(*at)->next;
  node.next = nullptr;
  *at = &node;
}

void remove_enclave_handler(HandlerNode& node) noexcept {
  const Lock lock;
  for (HandlerNode** at = &first_enclave_handler; *at != nullptr; at = &(*at)->next) {
    if (*at == &node) {
      *at = node.next;
      return;
    }
  }
}

void push_guard(GuardRecord& record) noexcept {
  record.outer = state.guard;
  record.handlers = state.thread;
  record.entry = this_thread().frame;
  record.critical = this_thread().critical;
  state.guard = &record;
}

void pop_guard(GuardRecord& record) noexcept {
  state.guard = record.outer;
}

}  // namespace enclume::enclave
