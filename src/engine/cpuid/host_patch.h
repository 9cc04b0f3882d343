// SPDX-License-Identifier: Apache-2.0
// Makes instructions of host code trap: CPUID, on machines that have no CPUID faulting, and SYSCALL outside
// libc.
//
// 0F A2 and 0F 05 become 0F 06 (CLTS, #GP): one byte, so a thread that runs through it meanwhile executes one
// or the other. The handler of SIGSEGV asks site_at() whether the address is one of ours, does what the
// instruction would for the program, and goes on behind it.
#pragma once

#include <link.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "base/lock.h"
#include "engine/cpuid/cpuid_stubs.h"
#include "engine/cpuid/scan.h"
#include "engine/cpuid/site_table.h"

namespace enclume::engine {

class SiteCache;
class TextWriter;

struct HostPatchConfig {
  /// libc's dl_iterate_phdr, or what stands for it. While it calls back, no object may be unloaded.
  int (*iterate)(int (*callback)(dl_phdr_info*, std::size_t, void*), void* data) = nullptr;
  decode::BranchRule branches = decode::BranchRule::Intel;
  bool cpuid = true;                            ///< CPUID is to trap
  std::uint32_t untrapped_max_leaf = 0;         ///< see ScanRequest
  bool (*traps_call)(std::uint32_t) = nullptr;  ///< see ScanRequest; libc's own calls never trap
  /// Objects that contain one of these addresses are left alone (0: none):
  ///  - the engine's own: it executes CPUID to answer the program's, and must not trap on it;
  ///  - the dynamic linker, by AT_BASE: it asks for caches and vector registers, which are answered unchanged
  ///    anyway, most of it before we are there;
  ///  - the vDSO, by AT_SYSINFO_EHDR: its pages are the kernel's, shared by all processes; and the image
  ///    that stands for it.
  std::uint64_t engine_address = 0;
  std::uint64_t linker_address = 0;
  std::uint64_t vdso_address = 0;
  std::uint64_t image_address = 0;
  std::uint64_t libc_address = 0;    ///< anything in libc
  const SiteCache* cache = nullptr;  ///< what is known of objects from other processes; null: nothing
  bool undisturbed = false;          ///< nothing runs in the objects yet; see TextWriter
  /// For CpuidStubs; null: there are to be none. Needs `undisturbed`.
  ConstantCpuid constant_cpuid = nullptr;
};

struct HostPatchReport {
  std::uint32_t objects_scanned = 0;
  ScanCounts scanned;               // of these objects
  std::uint32_t patched = 0;        // sites newly patched
  std::uint32_t patched_calls = 0;  // those of them that are system calls
  std::array<char, 64> caller{};    // the file that the first of these is in, "" for the program's own
  std::uint32_t refused = 0;        // proven, but the text could not be written or had changed meanwhile
  std::uint32_t forgotten = 0;      // sites of unloaded objects

  constexpr HostPatchReport& operator+=(const HostPatchReport& o) {
    objects_scanned += o.objects_scanned;
    scanned += o.scanned;
    patched += o.patched;
    if (patched_calls == 0) {
      caller = o.caller;
    }
    patched_calls += o.patched_calls;
    refused += o.refused;
    forgotten += o.forgotten;
    return *this;
  }
};

/// One for each process. Zero-initialised memory with a configuration is ready for use.
class HostPatcher {
 public:
  constexpr HostPatcher() = default;
  ~HostPatcher() = default;  // trivial: a global one serves to the process's very end
  HostPatcher(const HostPatcher&) = delete;
  HostPatcher& operator=(const HostPatcher&) = delete;

  /// Before the first refresh().
  void configure(const HostPatchConfig& config) noexcept { config_ = config; }

  /// Scans and patches objects that are new, and forgets the sites of those that are gone: to be called at
  /// start, and after each dlopen and dlclose. Costs next to nothing if no object came or went.
  ///
  /// A library's constructors run inside dlopen, so they execute their CPUID before this can be called.
  /// Lock order: the dynamic linker's, then ours. Any thread may call it; from a signal handler that
  /// interrupted it on the same thread it does nothing. Signal context: unsafe.
  HostPatchReport refresh() noexcept;

  /// The patched instruction at an address. Its first byte is `address`; execution continues `length` bytes
  /// later. Signal context: safe.
  [[nodiscard]] std::optional<HostSite> site_at(std::uint64_t address) const noexcept {
    return table_.find(address);
  }

  /// The answers that are given without a trap. Signal context: safe.
  [[nodiscard]] const CpuidStubs& stubs() const noexcept { return stubs_; }

  /// Whether any system call of the program's traps here. Signal context: safe.
  [[nodiscard]] bool traps_calls() const noexcept { return traps_calls_.load(std::memory_order_relaxed); }

  /// Sum of all reports.
  [[nodiscard]] const HostPatchReport& totals() const noexcept { return totals_; }

  /// In the child after fork. Signal context: safe.
  void reset_in_child() noexcept { lock_.reset_in_child(); }

 private:
  // What identifies an object that was scanned before.
  struct KnownObject {
    std::uint64_t bias = 0;
    std::uint64_t headers = 0;
    std::uint64_t fingerprint = 0;
    friend constexpr bool operator==(const KnownObject&, const KnownObject&) = default;
  };
  struct Session;
  static constexpr std::size_t kMostObjects = 12;  // that most programs have

  static int visit_object(dl_phdr_info* info, std::size_t size, void* session);
  [[nodiscard]] bool is_left_alone(const ObjectImage& image) const noexcept;
  [[nodiscard]] bool is_part_of_libc(const ObjectImage& image) const noexcept;
  void visit(Session& session, const ObjectImage& image) noexcept;
  void patch_fresh(Session& session, const ObjectImage& image) noexcept;
  void lay_stubs(Session& session, const ObjectImage& image) noexcept;
  void finish(Session& session) noexcept;

  HostPatchConfig config_;
  OwnerLock lock_;
  SiteTable table_;
  CpuidStubs stubs_;
  ImmortalArray<KnownObject, kMostObjects> known_;
  std::uint64_t loads_seen_ = 0;
  std::uint64_t unloads_seen_ = 0;
  std::size_t scanned_text_kept_ = 0;  // bytes; see text_residency.h
  HostPatchReport totals_;
  std::atomic<bool> traps_calls_{false};
};

static_assert(std::is_trivially_destructible_v<HostPatcher>);

}  // namespace enclume::engine
