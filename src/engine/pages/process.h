// SPDX-License-Identifier: Apache-2.0
// The process as the kernel's half sees it: kernel::Platform on a real one.
#pragma once

#include <optional>
#include <span>

#include "engine/signals/frame.h"
#include "kernel/platform.h"

namespace enclume::engine {

class ProcessPlatform : public kernel::Platform {
 public:
  [[nodiscard]] bool copy_from_user(void* to, LinearAddress from, std::size_t size) noexcept override;
  [[nodiscard]] bool copy_to_user(LinearAddress to, const void* from, std::size_t size) noexcept override;
  [[nodiscard]] std::optional<kernel::SourceMapping> source_mapping(LinearAddress address) noexcept override;
  void prefault(kernel::FileHandle file, std::uint64_t offset, std::byte* where,
                std::uint64_t length) noexcept override;
  [[nodiscard]] std::uint64_t load_from_user(kernel::FileHandle file, std::uint64_t offset, std::byte* where,
                                             LinearAddress from, std::uint64_t length) noexcept override;
  [[nodiscard]] std::byte* map_file(kernel::FileHandle file, kernel::FilePart part, std::uint64_t offset,
                                    std::uint64_t length) noexcept override;
  void unmap_file(kernel::FilePart part, std::byte* where, std::uint64_t length) noexcept override;
  void discard(std::byte* where, std::uint64_t length) noexcept override;
  [[nodiscard]] void* allocate_pages(std::size_t size) noexcept override;
  void revoke(kernel::Enclave& enclave, std::uint64_t first_page, std::uint64_t count) noexcept override;
  void withhold(kernel::Enclave& enclave, std::span<const std::uint64_t> pages) noexcept override;
  bool kick(kernel::Enclave& enclave, std::optional<std::uint32_t> epoch) noexcept override;
  /// Interrupts the threads of this process that are inside or on their way in, and does not wait for them.
  /// Locks: none. Signal context: safe.
  void interrupt(const kernel::Enclave& enclave) noexcept;
  /// A thread of another process that was killed inside, or whose process has ended, has not left: on
  /// hardware the interrupt that brought it to the kernel did that. Makes its TCS free, as that AEX would
  /// have. (The frame holds what an earlier exit left there; the dead thread's registers are gone.) The page
  /// is in the EPC. False if it has no such thread. Locks: none. Signal context: safe.
  bool free_tcs_of_dead_thread(kernel::Enclave& enclave, std::uint64_t page) noexcept;
  [[nodiscard]] bool ask_to_evict(int process, std::uint32_t enclave) noexcept override;
  void relax() noexcept override;
  [[nodiscard]] int thread_id() noexcept override;
  [[nodiscard]] int process_id() noexcept override;
  [[nodiscard]] bool alive(int thread) noexcept override;
  [[nodiscard]] bool process_exists(int process) noexcept override;
  [[nodiscard]] bool has_let_go(int process, bool forked) noexcept override;
  [[nodiscard]] bool signal_pending() noexcept override;
  [[nodiscard]] bool is_provision_device(int fd) noexcept override;
  void count_pages(PageEvent what, std::uint64_t pages) noexcept override;
  [[nodiscard]] std::uint64_t paging_clock() noexcept override;
  void count_paging(std::uint64_t time) noexcept override;
  [[nodiscard]] std::optional<arch::LeafCode> injected_einit_code() noexcept override;
  [[nodiscard]] bool injected_full_epc() noexcept override;
  [[nodiscard]] bool injected_full_backing() noexcept override;

 protected:
  ~ProcessPlatform() = default;

 private:
  bool kick_other_processes(kernel::Enclave& enclave, std::optional<std::uint32_t> epoch) noexcept;
};

/// The process whoever asks.
class Process final : public ProcessPlatform {};

/// The process for one ioctl: knows without asking who calls, and with which signal mask.
class IoctlCaller final : public ProcessPlatform {
 public:
  IoctlCaller(int tid, SignalSet mask) : tid_(tid), mask_(mask) {}
  [[nodiscard]] int thread_id() noexcept override { return tid_; }
  [[nodiscard]] bool signal_pending() noexcept override;

 private:
  int tid_;
  SignalSet mask_;
  unsigned asked_ = 0;
  bool pending_ = false;
};

/// The program's mappings changed: forget what source_mapping() found.
void forget_source_mapping();

}  // namespace enclume::engine
