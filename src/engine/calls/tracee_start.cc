// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/tracee_start.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "base/syscall.h"
#include "engine/load/initial_stack.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kWord = sizeof(std::uint64_t);
constexpr std::uint64_t kMostVariables = 1U << 17;

/// Reads a tracee's words one after the other.
class Words {
 public:
  Words(pid_t tid, std::uint64_t at) : tid_(tid), at_(at) {}
  [[nodiscard]] bool next(std::uint64_t& word) {
    const bool there = sys::call(__NR_ptrace, PTRACE_PEEKDATA, tid_, at_, &word).has_value();
    at_ += kWord;
    return there;
  }
  void skip(std::uint64_t count) { at_ += count * kWord; }
  /// Where the next one is.
  [[nodiscard]] std::uint64_t at() const { return at_; }

 private:
  pid_t tid_;
  std::uint64_t at_;
};

/// Linux ELF_PLAT_INIT: all zero, which no program that runs has. (RAX is the call's result, or not yet.)
bool are_of_a_new_program(const user_regs_struct& r) {
  return (r.rbx | r.rcx | r.rdx | r.rsi | r.rdi | r.rbp | r.r8 | r.r9 | r.r10 | r.r11 | r.r12 | r.r13 |
          r.r14 | r.r15) == 0;
}

bool names_a_program(pid_t tid, std::uint64_t text) {
  std::array<std::uint64_t, 3> words{};
  static_assert(sizeof(words) >= kLoadName.size());
  Words string(tid, text);
  for (std::uint64_t& word : words) {
    if (!string.next(word)) {
      return false;
    }
  }
  return std::memcmp(words.data(), kLoadName.data(), kLoadName.size()) == 0;
}

}  // namespace

bool ask_for_stop_at_program(pid_t tid) {
  user_regs_struct registers{};
  std::uint64_t word = 0;
  if (!sys::call(__NR_ptrace, PTRACE_GETREGS, tid, 0, &registers) || !are_of_a_new_program(registers)) {
    return false;
  }
  Words stack(tid, registers.rsp);
  if (!stack.next(word)) {
    return false;
  }
  stack.skip(word + 1);  // the arguments
  bool is_loader = false;
  for (std::uint64_t n = 0; n < kMostVariables; ++n) {
    if (!stack.next(word)) {
      return false;
    }
    if (word == 0) {
      break;
    }
    is_loader = is_loader || names_a_program(tid, word);
  }
  std::uint64_t type = AT_NULL;
  while (is_loader && stack.next(type) && type != AT_NULL) {
    if (type == AT_FLAGS) {
      return sys::call(__NR_ptrace, PTRACE_POKEDATA, tid, stack.at(), kStopAtProgram).has_value();
    }
    stack.skip(1);
  }
  return false;
}

}  // namespace enclume::engine
