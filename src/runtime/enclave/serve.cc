// SPDX-License-Identifier: Apache-2.0
// Every entry comes here from entry.S, on the enclave's stack and with clean registers.
#include <array>
#include <atomic>
#include <cstring>

#include "enclume/enclave/enclave.h"
#include "runtime/enclave/dump.h"
#include "runtime/enclave/self.h"

namespace enclume::enclave {

extern "C" {
[[gnu::visibility("hidden")]] extern const Service enclume_service;
[[gnu::visibility("hidden")]] std::uint64_t enclume_leave() noexcept;
[[gnu::visibility("hidden"), noreturn]] void enclume_finish_exception() noexcept;
[[gnu::visibility("hidden")]] void enclume_serve(std::uint32_t command, std::uint64_t mailbox,
                                                 std::uint64_t argument, std::uint64_t cssa) noexcept;
}

// Read by entry.S, from the first entry on.
extern "C" [[gnu::visibility("hidden")]] bool enclume_tracks_x87;
bool enclume_tracks_x87 = false;

namespace {

// Whether the processor knows initial x87 state as such. Not at the first attempt, perhaps: an interruption
// in between can load the same state as if it were another.
bool tracks_x87() noexcept {
  bool in_use = true;
  for (int tries = 0; tries < 4 && in_use; ++tries) {
    alignas(64) static constexpr std::array<std::uint32_t, 144> kInitial{0, 0, 0, 0, 0, 0, 0x1fbf};
    std::uint32_t eax = 1, edx = 0;
    asm volatile("xrstor %2\n\txgetbv" : "+a"(eax), "+d"(edx) : "m"(kInitial), "c"(1) : "memory");
    in_use = (eax & 1) != 0;
  }
  return !in_use;
}

// `number` if it is less than `count`, else 0, also where the processor runs ahead of the check for that: no
// branch.
std::uint64_t fenced(std::uint64_t number, std::uint64_t count) noexcept {
  std::uint64_t mask;
  asm volatile("cmp %2, %1\n\tsbb %0, %0" : "=r"(mask) : "r"(number), "r"(count) : "cc");
  return number & mask;
}

enum class State : std::uint32_t {
  kFresh,
  kStarting,
  kReady
};
std::atomic<State> state = State::kFresh;

// The exit and its value, which stand side by side in the mailbox.
void report(std::uint64_t mailbox, std::uint64_t exit, std::uint64_t value) noexcept {
  const std::uint64_t words[2] = {exit, value};
  copy_out(mailbox + offsetof(edge::Mailbox, exit), words, sizeof words);
}

Code start(std::uint64_t fingerprint, std::uint64_t platform) noexcept {
  State fresh = State::kFresh;
  if (!state.compare_exchange_strong(fresh, State::kStarting)) return Code::kRefused;
  relocate();
  if (fingerprint != enclume_service.fingerprint) return Code::kWrongInterface;
  has_dynamic_memory = (platform & ENCLUME_PLATFORM_DYNAMIC_MEMORY) != 0;
  enclume_tracks_x87 = (platform & ENCLUME_PLATFORM_XINUSE) != 0 && tracks_x87();
  prepare_thread();
  learn_whether_debug();
  start_heap();
  run_constructors();
  state = State::kReady;
  return Code::kOk;
}

Code call(std::uint64_t number, const edge::Mailbox& offer) noexcept {
  if (state != State::kReady) return Code::kRefused;
  if (has_crashed()) return Code::kCrashed;
  if (number >= enclume_service.count) return Code::kNoSuchCall;
  prepare_thread();
  return enclume_service.stubs[fenced(number, enclume_service.count)](offer);
}

}  // namespace

void enclume_serve(std::uint32_t command, std::uint64_t mailbox, std::uint64_t argument,
                   std::uint64_t cssa) noexcept {
  // Before the start nothing counts as outside.
  if (command == ENCLUME_COMMAND_START && state == State::kFresh) learn_range();
  const bool reachable = mailbox % 8 == 0 && is_outside(mailbox, sizeof(edge::Mailbox));
  EntryContext context;
  if (reachable) {
    // Each field once; from here on what the host does to its copy is its own affair.
    copy_in(&context.offer, mailbox, sizeof context.offer);
    context.at_entry = handler_state();
    this_entry()->context = address_of(&context);
  }
  if (command == ENCLUME_COMMAND_EXCEPTION) {
    if (reachable && handle_exception(cssa, argument == 1)) report(mailbox, ENCLUME_EXIT_RESUME, 0);
    enclume_finish_exception();
  }
  if (command == ENCLUME_COMMAND_CANCEL) {
    if (reachable) report(mailbox, ENCLUME_EXIT_RESUME, cancel(cssa) ? 0 : 1);
    enclume_finish_exception();
  }
  if (!reachable) return;
  const Code code = command == ENCLUME_COMMAND_START  ? start(argument, context.offer.words)
                    : command == ENCLUME_COMMAND_CALL ? call(argument, context.offer)
                                                      : Code::kRefused;
  report(mailbox, ENCLUME_EXIT_DONE, static_cast<std::uint64_t>(code));
}

edge::Mailbox offered() noexcept {
  return this_context().offer;
}

Code leave(std::uint32_t number, std::uint64_t words, std::uint64_t scratch_used) noexcept {
  const std::uint64_t out[4] = {ENCLUME_EXIT_OCALL, number, words, scratch_used};
  copy_out(this_entry()->mailbox + offsetof(edge::Mailbox, exit), out, sizeof out);
  const std::uint64_t status = enclume_leave();
  if (status == static_cast<std::uint64_t>(Code::kDeadline)) end_over_time();
  return status <= static_cast<std::uint64_t>(Code::kLast) ? static_cast<Code>(status) : Code::kBadResult;
}

}  // namespace enclume::enclave
