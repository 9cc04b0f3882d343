// SPDX-License-Identifier: Apache-2.0
// What the enclave knows of itself: its image, its layout, the thread that it runs on.
#pragma once

#include <atomic>
#include <cstdint>

#include "enclume/edge/abi.h"
#include "enclume/edge/image.h"
#include "enclume/enclave/exception.h"

namespace enclume::enclave {

extern "C" {
/// The note that the loader reads, too; it is loaded and measured.
[[gnu::visibility("hidden")]] extern const edge::EnclaveConfig enclume_config;
// Put there by the link script.
[[gnu::visibility("hidden")]] extern const char __ehdr_start[];
[[gnu::visibility("hidden")]] extern const char enclume_image_end[];
[[gnu::visibility("hidden")]] extern const char enclume_tls_start[];
[[gnu::visibility("hidden")]] extern const char enclume_tls_data_end[];
[[gnu::visibility("hidden")]] extern const char enclume_tls_end[];
}

[[nodiscard]] inline std::uint64_t address_of(const void* object) noexcept {
  return reinterpret_cast<std::uint64_t>(object);
}
[[nodiscard]] inline std::uint64_t base() noexcept {
  return address_of(__ehdr_start);
}
/// Bytes of thread-local data, as their alignment wants them below FS.
[[nodiscard]] std::uint64_t tls_size() noexcept;
[[nodiscard]] edge::Layout layout() noexcept;

[[nodiscard]] inline edge::ThreadBlock& this_thread() noexcept {
  edge::ThreadBlock* block;
  asm("mov %%fs:0, %0" : "=r"(block));
  return *block;
}
[[nodiscard]] inline edge::EntryFrame* this_entry() noexcept {
  return reinterpret_cast<edge::EntryFrame*>(this_thread().frame);
}

/// Which handlers and guards are asked at a time.
struct HandlerState {
  HandlerNode* thread = nullptr;
  HandlerNode* enclave = nullptr;  ///< null: from the first
  bool enclave_done = false;       ///< the last one is running, so none
  GuardRecord* guard = nullptr;
};

/// Knows ELRANGE for is_outside(); before anything else.
void learn_range() noexcept;
/// Puts the image's addresses into its data. Once.
void relocate() noexcept;
/// Gives this thread its thread-local variables, if it has none yet.
void prepare_thread() noexcept;
/// The host says, at the start, that pages can come later (ENCLUME_PLATFORM_DYNAMIC_MEMORY).
extern bool has_dynamic_memory;
/// EACCEPTs new pages of zeros, and has the kernel add them by that. Bytes from `first` on that it has got:
/// less than `bytes` if the kernel has no more. Every page once only: accepting it again would believe a host
/// that has taken it away and brought zeros.
[[nodiscard]] std::uint64_t accept_pages(std::uint64_t first, std::uint64_t bytes) noexcept;
/// Makes the heap of what the layout leaves for it. Once.
void start_heap() noexcept;
/// Constructors of static objects. Once.
void run_constructors() noexcept;

/// What C++ keeps of an entry, in the enclave's memory.
struct EntryContext {
  edge::Mailbox offer;      ///< what the host's mailbox offered
  HandlerState at_entry{};  ///< to go back to when the entry is given up
};
[[nodiscard]] inline EntryContext& this_context() noexcept {
  return *reinterpret_cast<EntryContext*>(this_entry()->context);
}

/// An OCALL of the runtime's own (ENCLUME_OCALL_*), with one word each way. kOutOfMemory, or the host's
/// status.
[[nodiscard]] Code call_host(std::uint32_t number, std::uint64_t& word) noexcept;

/// The registers at the end of the frame that this entry's exception was saved in, of CSSA `cssa` − 1, are
/// changed so that ERESUME goes on as somebody has decided; `just_end`: nobody is asked. False: nothing can
/// be done.
[[nodiscard]] bool handle_exception(std::uint64_t cssa, bool just_end) noexcept;
/// Ends what was interrupted at `cssa` − 1 because its time is over, as handle_exception() ends it with
/// nobody asked. False: it is where it must not be left.
[[nodiscard]] bool cancel(std::uint64_t cssa) noexcept;
/// Ends the call from where it is, because its time is over; returns if it must not be left there.
void end_over_time() noexcept;

/// Ends the call if another one has ended the enclave: what this one waits for will not come.
void end_if_crashed() noexcept;
/// Between two looks at a lock.
void wait_a_little() noexcept;

/// While it exists the call is not ended by a deadline, and an exception that ends it ends the enclave:
/// something of the runtime's own, such as a lock, would be left halfway.
class Critical {
 public:
  Critical() noexcept {
    this_thread().critical = this_thread().critical + 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~Critical() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    this_thread().critical = this_thread().critical - 1;
  }
  Critical(const Critical&) = delete;
  Critical& operator=(const Critical&) = delete;
};

/// The handlers and guards of this thread that an exception would ask now.
[[nodiscard]] HandlerState handler_state() noexcept;
/// Whether an exception that nobody handled has ended the enclave.
[[nodiscard]] bool has_crashed() noexcept;

}  // namespace enclume::enclave
