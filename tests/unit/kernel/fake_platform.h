// SPDX-License-Identifier: Apache-2.0
// A process for tests of src/kernel: enclaves are real memfds, everything else can be made to fail.
#pragma once

#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "kernel/enclave.h"
#include "kernel/platform.h"
#include "kernel/vma/effective_protection.h"

namespace enclume::test {

class FakePlatform final : public kernel::Platform {
 public:
  FakePlatform() = default;
  FakePlatform(const FakePlatform&) = delete;
  FakePlatform& operator=(const FakePlatform&) = delete;
  virtual ~FakePlatform() {
    for (const auto& [pages, size] : allocated_) {
      munmap(pages, size);
    }
  }

  // -- What a test can turn --------------------------------------------------------------------------------
  /// How many more bytes copy_to_user() may write; then it fails.
  bool refuse_writes = false;
  bool refuse_pages = false;
  bool refuse_mappings = false;
  /// signal_pending() turns true after being asked this often.
  std::optional<int> signal_after;
  std::function<std::optional<kernel::SourceMapping>(LinearAddress)> mapping_of;
  std::set<int> dead;
  std::set<int> executed;
  std::set<int> zombies;
  std::optional<arch::LeafCode> einit_code;
  bool full_epc = false;
  bool full_backing = false;
  int provision_fd = 77;
  int pid = getpid();
  /// Called by kick(), unless empty.
  std::function<void(kernel::Enclave&)> on_kick;
  /// Called by ask_to_evict(), which fails if it is empty.
  std::function<bool(int, std::uint32_t)> on_ask;
  /// Called by revoke(), unless empty.
  std::function<void(kernel::Enclave&)> on_revoke;
  /// Protection of the VMAs, for revoke(): how native permissions follow.
  std::function<kernel::Protection(LinearAddress)> vma_protection;

  // -- What a test can look at -----------------------------------------------------------------------------
  std::atomic<int> kicks{0};
  std::atomic<int> revocations{0};
  std::atomic<int> source_questions{0};
  std::atomic<int> relaxations{0};

  /// Native permissions that enclave code has, by linear page address. Under native_lock.
  std::map<std::uint64_t, kernel::Protection> native;
  std::recursive_mutex native_lock;

  // -- kernel::Platform ------------------------------------------------------------------------------------
  bool copy_from_user(void* to, LinearAddress from, std::size_t size) noexcept override {
    return transfer(to, from, size, process_vm_readv);
  }
  bool copy_to_user(LinearAddress to, const void* from, std::size_t size) noexcept override {
    return !refuse_writes && transfer(const_cast<void*>(from), to, size, process_vm_writev);
  }
  std::optional<kernel::SourceMapping> source_mapping(LinearAddress address) noexcept override {
    ++source_questions;
    if (mapping_of) {
      return mapping_of(address);
    }
    return kernel::SourceMapping{{LinearAddress(0), LinearAddress(1ULL << 47)}, true};
  }
  std::byte* map_file(kernel::FileHandle file, kernel::FilePart, std::uint64_t offset,
                      std::uint64_t length) noexcept override {
    if (refuse_mappings) {
      return nullptr;
    }
    void* p = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.value,
                   static_cast<off_t>(offset));
    return p == MAP_FAILED ? nullptr : static_cast<std::byte*>(p);
  }
  void unmap_file(kernel::FilePart, std::byte* where, std::uint64_t length) noexcept override {
    munmap(where, length);
  }
  void discard(std::byte* where, std::uint64_t length) noexcept override {
    madvise(where, length, MADV_REMOVE);
  }
  void prefault(kernel::FileHandle, std::uint64_t, std::byte* where, std::uint64_t length) noexcept override {
    madvise(where, length, MADV_POPULATE_WRITE);
  }
  std::uint64_t load_from_user(kernel::FileHandle, std::uint64_t, std::byte* where, LinearAddress from,
                               std::uint64_t length) noexcept override {
    std::uint64_t done = 0;
    while (done < length && copy_from_user(where + done, from + done, kPageSize)) {
      done += kPageSize;
    }
    return done;
  }
  void* allocate_pages(std::size_t size) noexcept override {
    if (refuse_pages) {
      return nullptr;
    }
    void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
      return nullptr;
    }
    const std::lock_guard guard(native_lock);
    allocated_.emplace_back(p, size);
    return p;
  }
  void revoke(kernel::Enclave& enclave, std::uint64_t first, std::uint64_t count) noexcept override {
    ++revocations;
    if (on_revoke) {
      on_revoke(enclave);
    }
    const std::lock_guard guard(native_lock);
    for (std::uint64_t page = first; page < first + count; ++page) {
      const auto it = native.find(enclave.page_address(page).value());
      if (it != native.end()) {
        it->second = it->second & kernel::effective_protection(enclave, page, kernel::kProtAll);
      }
    }
  }
  bool kick(kernel::Enclave& enclave, std::optional<std::uint32_t> /*epoch*/) noexcept override {
    ++kicks;
    if (on_kick) {
      on_kick(enclave);
    }
    return true;
  }
  bool ask_to_evict(int process, std::uint32_t enclave) noexcept override {
    return on_ask && on_ask(process, enclave);
  }
  void relax() noexcept override {
    ++relaxations;
    usleep(50);
  }
  int thread_id() noexcept override { return gettid(); }
  int process_id() noexcept override { return pid; }
  bool alive(int id) noexcept override { return id != 0 && !dead.contains(id); }
  bool process_exists(int id) noexcept override { return !dead.contains(id); }
  bool has_let_go(int id, bool forked) noexcept override {
    return zombies.contains(id) || (forked && executed.contains(id));
  }
  bool signal_pending() noexcept override { return signal_after && (*signal_after)-- <= 0; }
  std::optional<arch::LeafCode> injected_einit_code() noexcept override {
    return std::exchange(einit_code, std::nullopt);
  }
  bool injected_full_backing() noexcept override { return full_backing; }
  bool injected_full_epc() noexcept override { return std::exchange(full_epc, false); }
  bool is_provision_device(int fd) noexcept override { return fd == provision_fd; }

 private:
  template <typename Call>
  static bool transfer(void* mine, LinearAddress user, std::size_t size, Call call) {
    const iovec local{mine, size};
    const iovec remote{reinterpret_cast<void*>(user.value()), size};
    return call(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
  }

  std::vector<std::pair<void*, std::size_t>> allocated_;
};

}  // namespace enclume::test
