// SPDX-License-Identifier: Apache-2.0
// What the kernel's half asks of the process that it lives in. The engine implements it on a real process;
// the tests on plain memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "arch/fault.h"
#include "base/types.h"

namespace enclume::kernel {

class Enclave;

/// An enclave's file as the platform knows it (the engine: a descriptor of its own). -1: none.
struct FileHandle {
  int value = -1;
};

/// A mapping of the program that a source page of ADD_PAGES lies in.
struct SourceMapping {
  LinearRange range;
  bool may_exec = true;  ///< VM_MAYEXEC: false for files on a file system mounted noexec
  bool readable = true;  ///< VM_READ, and memory that get_user_pages() takes
};

/// What a mapping of the enclave's file is for. The engine gives EPC contents the key that host code lacks.
enum class FilePart : std::uint8_t {
  Epc,       ///< the alias of the enclave's pages
  Metadata,  ///< header alone before CREATE, the whole part after; contains the SECS and the VA pages
};

/// Every function may be called with an enclave's lock held, on a thread that has its signals blocked or that
/// runs in a signal handler, and never inside an enclave. None of them may call back into kernel/, except
/// that revoke() and kick() may use the readers named in their text.
class Platform {
 public:
  // -- The program's memory --------------------------------------------------------------------------------
  /// copy_from_user: all or nothing as the result says; a bad address is `false`, never a signal.
  [[nodiscard]] virtual bool copy_from_user(void* to, LinearAddress from, std::size_t size) noexcept = 0;
  /// copy_to_user: on `false` a leading part may have been written, as in Linux.
  [[nodiscard]] virtual bool copy_to_user(LinearAddress to, const void* from, std::size_t size) noexcept = 0;
  /// The mapping that holds `address`, or else the next one above; nothing if there is none. Asked by
  /// ADD_PAGES for the first source page of a call and for each page beyond the last answer, whatever the
  /// page's permissions: should be cheap (an answer kept until the program's mappings change will do).
  [[nodiscard]] virtual std::optional<SourceMapping> source_mapping(LinearAddress address) noexcept = 0;

  // -- The enclave's file ----------------------------------------------------------------------------------
  /// Maps `length` bytes of the file at `offset`, shared, readable and writable. Null if there is no room.
  [[nodiscard]] virtual std::byte* map_file(FileHandle file, FilePart part, std::uint64_t offset,
                                            std::uint64_t length) noexcept = 0;
  virtual void unmap_file(FilePart part, std::byte* where, std::uint64_t length) noexcept = 0;
  /// Gives the memory of whole pages back (MADV_REMOVE); they read as zeros afterwards, in every process.
  virtual void discard(std::byte* where, std::uint64_t length) noexcept = 0;

  /// Pages of the file at `offset`, mapped at `where`, which have no memory yet, are about to be written: a
  /// hint that saves their page faults.
  virtual void prefault(FileHandle /*file*/, std::uint64_t /*offset*/, std::byte* /*where*/,
                        std::uint64_t /*length*/) noexcept {}
  /// copy_from_user of whole pages to such pages, faster than one by one. How many bytes have come; what
  /// follows them in the file may have been written, too. None of them may come: it is left to
  /// copy_from_user then.
  [[nodiscard]] virtual std::uint64_t load_from_user(FileHandle /*file*/, std::uint64_t /*offset*/,
                                                     std::byte* /*where*/, LinearAddress /*from*/,
                                                     std::uint64_t /*length*/) noexcept {
    return 0;
  }

  // -- This process ----------------------------------------------------------------------------------------
  /// Zeroed private pages, never given back. Null if there are none.
  [[nodiscard]] virtual void* allocate_pages(std::size_t size) noexcept = 0;
  /// The program's native permissions of these pages, wherever the VMA table of this process maps them, must
  /// be no more than effective_protection() says now. Other processes learn from
  /// EnclaveShared::protection_epoch, which has been moved before the call. May read the VmaTable and
  /// ProtectionRuns. More permission than before need not be given: a fault asks for it.
  virtual void revoke(Enclave& enclave, std::uint64_t first_page, std::uint64_t count) noexcept = 0;
  /// The same for pages that are about to be evicted, or watched for that, ascending but for one place: their
  /// contents stay, and effective_protection() says none of them, unless one has been used just now. There
  /// are many such calls, so a platform may have a way that is cheaper than permissions.
  virtual void withhold(Enclave& enclave, std::span<const std::uint64_t> pages) noexcept {
    for (std::size_t i = 0; i < pages.size();) {
      std::size_t run = 1;
      while (i + run < pages.size() && pages[i + run] == pages[i] + run) {
        ++run;
      }
      revoke(enclave, pages[i], run);
      i += run;
    }
  }
  /// The IPI: returns when every thread, of any process, that was inside the enclave at the call has left it
  /// at least once (AEX done), or after a bounded wait if one can't (a stopped process): false then. With an
  /// epoch of ETRACK's, also when nobody is counted in it any more, and after a shorter wait: a thread of
  /// another process that has come back looks as if it had stayed, and one that is on its way in is counted
  /// before it can be found. The threads may be found by EpcmEntry::owner of the TCS pages. They leave
  /// without any lock of kernel/. A process whose threads come back sees the new protection_epoch at entry.
  virtual bool kick(Enclave& enclave, std::optional<std::uint32_t> epoch) noexcept = 0;
  /// Has another process of the machine evict pages of this enclave, which it has and this one may not:
  /// evict_for_others() there, soon. False if it can't be asked.
  [[nodiscard]] virtual bool ask_to_evict(int process, std::uint32_t enclave) noexcept = 0;
  /// Waits a little (a millisecond at most) before another try.
  virtual void relax() noexcept = 0;
  [[nodiscard]] virtual int thread_id() noexcept = 0;
  [[nodiscard]] virtual int process_id() noexcept = 0;
  /// Whether a thread, of any process, still runs.
  [[nodiscard]] virtual bool alive(int thread) noexcept = 0;
  /// Whether there is such a process.
  [[nodiscard]] virtual bool process_exists(int process) noexcept = 0;
  /// Whether a process has lost what it had mapped: it has ended, and its parent does not know yet; or it was
  /// `forked`, and has executed a program since. Costs some ten microseconds. False if nobody knows.
  [[nodiscard]] virtual bool has_let_go(int process, bool forked) noexcept = 0;
  /// Whether the calling thread has a signal to take before it goes on.
  [[nodiscard]] virtual bool signal_pending() noexcept = 0;
  /// Pages have moved, for whoever counts them.
  enum class PageEvent : std::uint8_t {
    Added,      ///< EADD
    Augmented,  ///< EAUG
    Out,        ///< EWB
    In,         ///< ELDU
    Removed,    ///< EREMOVE, by the program's request
  };
  virtual void count_pages(PageEvent /*what*/, std::uint64_t /*pages*/) noexcept {}
  /// The time, for whoever counts how much of it goes into evicting and loading pages; and how much has gone.
  [[nodiscard]] virtual std::uint64_t paging_clock() noexcept { return 0; }
  virtual void count_paging(std::uint64_t /*time*/) noexcept {}

  // -- Faults on demand (`enclume run --inject`) -----------------------------------------------------------
  /// What an EINIT that is about to be executed shall leave in RAX instead; nothing, as a rule.
  [[nodiscard]] virtual std::optional<arch::LeafCode> injected_einit_code() noexcept { return std::nullopt; }
  /// Whether a page that is about to be added finds the EPC full, and no page to be had.
  [[nodiscard]] virtual bool injected_full_epc() noexcept { return false; }
  /// Whether a page that is about to leave the EPC finds no room in the backing store.
  [[nodiscard]] virtual bool injected_full_backing() noexcept { return false; }

  /// Whether the program's descriptor is open on /dev/sgx_provision.
  [[nodiscard]] virtual bool is_provision_device(int fd) noexcept = 0;

 protected:
  ~Platform() = default;
};

}  // namespace enclume::kernel
