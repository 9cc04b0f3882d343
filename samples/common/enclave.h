// SPDX-License-Identifier: Apache-2.0
//
// What the samples share: building an enclave by the Linux ABI alone, and calling it. samples/first-fault
// does the same step by step, with comments.
#pragma once

#include <asm/sgx.h>

#include <array>
#include <cstdint>
#include <span>

namespace samples {

inline constexpr std::uint64_t kPage = 4096;
// SECINFO.FLAGS
inline constexpr std::uint64_t kReg = 0x200, kTcs = 0x100, kR = 1, kW = 2, kX = 4;
// ATTRIBUTES and TCS.FLAGS
inline constexpr std::uint64_t kMode64 = 4, kAexNotify = 1 << 10, kTcsAexNotify = 2;
// ENCLU leaves
inline constexpr std::uint32_t kEenter = 2, kEresume = 3, kEexit = 4;

// Ends the program with a message (and errno's) unless `good`.
void check(bool good, const char* what);

struct Page {
  std::uint64_t offset;  // in the enclave
  std::uint64_t flags;   // SECINFO.FLAGS
  const void* bytes;     // null: zeros
};

// A TCS with two SSA frames at `ossa`; FS leads to the page at `ofsbase`.
std::array<std::uint8_t, kPage> tcs_page(std::uint64_t oentry, std::uint64_t ossa, std::uint64_t ofsbase,
                                         std::uint64_t flags);

// MISCSELECT: the SSA frame tells address and error code of a page fault.
inline constexpr std::uint32_t kExinfo = 1;

// Thrown by Enclave's constructor: the EPC has lost the enclave before it was finished.
struct EnclaveLost {};

// An enclave that is ready to enter, its pages mapped with their own permissions. `size` is a power of two.
class Enclave {
 public:
  Enclave(std::uint64_t size, std::uint64_t attributes, std::span<const Page> pages,
          std::uint32_t miscselect = 0);
  ~Enclave();
  Enclave(const Enclave&) = delete;
  Enclave& operator=(const Enclave&) = delete;
  [[nodiscard]] std::uint64_t base() const { return base_; }
  [[nodiscard]] int fd() const { return fd_; }
  // Maps addresses of the enclave that have no pages yet, read-write: they come when they are touched (SGX2).
  void map_hole(std::uint64_t offset, std::uint64_t length) const;

 private:
  void release();
  [[noreturn]] void give_up(const char* what);

  int fd_;
  void* area_;  // what was reserved, twice the size
  std::uint64_t size_, base_;
};

// ENCLU[leaf] by __vdso_sgx_enter_enclave: the registers on the way in, and what came of it in `run`. The
// vDSO function's result.
int enter(std::uint32_t leaf, sgx_enclave_run& run, std::uint64_t rdi = 0, std::uint64_t rsi = 0,
          std::uint64_t rdx = 0, std::uint64_t r8 = 0, std::uint64_t r9 = 0);

}  // namespace samples
