// SPDX-License-Identifier: Apache-2.0
#include <atomic>

#include "enclume/edge/error.h"
#include "enclume/enclave/memory.h"
#include "runtime/enclave/self.h"

namespace enclume::enclave {
namespace {

extern "C" [[gnu::visibility("hidden"), noreturn]] void enclume_finish() noexcept;

// The registers at the end of an SSA frame (SDM, "GPRSGX Region"; 184 bytes).
struct Gprsgx {
  std::uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rflags;
  std::uint64_t rip;
  std::uint64_t ursp;
  std::uint64_t urbp;
  std::uint32_t exitinfo;
  std::uint32_t reserved;
  std::uint64_t fsbase;
  std::uint64_t gsbase;
};
static_assert(sizeof(Gprsgx) == 184 && offsetof(Gprsgx, exitinfo) == 160);

std::atomic<bool> crashed = false;

// Where a call goes on that an exception has ended: on its own stack, which holds nothing any more.
[[noreturn]] void give_up() noexcept {
  const std::uint64_t words[2] = {ENCLUME_EXIT_DONE, static_cast<std::uint64_t>(Code::kFault)};
  copy_out(this_entry()->mailbox + offsetof(edge::Mailbox, exit), words, sizeof words);
  enclume_finish();
}

}  // namespace

bool has_crashed() noexcept {
  return crashed.load(std::memory_order_relaxed);
}

bool handle_exception(std::uint64_t cssa) noexcept {
  const edge::ThreadBlock& thread = this_thread();
  auto& saved =
      *reinterpret_cast<Gprsgx*>(base() + thread.seed_ssa + cssa * edge::kPageSize - sizeof(Gprsgx));
  const auto* const own = reinterpret_cast<const edge::EntryFrame*>(thread.frame);
  const auto* const interrupted = reinterpret_cast<const edge::EntryFrame*>(own->outer);
  // In the middle of an entry that has no frame yet: there is no call to end.
  if (interrupted == nullptr || thread.level != 1) return false;

  if ((enclume_config.flags & edge::kFlagSurviveFaults) == 0) crashed = true;
  saved.rip = address_of(reinterpret_cast<const void*>(&give_up));
  saved.rsp = address_of(interrupted) - 8;  // as if called
  saved.rflags = 2;
  return true;
}

}  // namespace enclume::enclave
