// SPDX-License-Identifier: Apache-2.0
// Loads the matrix's enclave by the Linux ABI alone: /dev/sgx_enclave and <asm/sgx.h>.
#pragma once

#include <cstdint>

#include "cli/matrix/probe/image.h"

namespace enclume::cli::matrix::probe {

struct EnclaveOptions {
  bool debug = false;
  bool exinfo = true;  // MISCSELECT.EXINFO
  bool mode64 = true;  // ATTRIBUTES.MODE64BIT
  bool avx = true;     // in XFRM, where machine and SGX have it
  bool initialise = true;
  bool map_hole = false;  // read-write, so that EAUG fills it when it is touched
};

// An enclave for one attempt. Throws std::system_error. It stays mapped until the process ends.
class Enclave {
 public:
  explicit Enclave(const EnclaveOptions& options);

  [[nodiscard]] std::uint64_t base() const { return base_; }
  [[nodiscard]] std::uint64_t tcs() const { return base_ + ENCLAVE_TCS; }
  [[nodiscard]] std::uint64_t at(std::uint64_t offset) const { return base_ + offset; }

  // SGX2, by the ioctls. Each throws std::system_error if the kernel refuses.
  void restrict_to_read(std::uint64_t offset) const;
  void trim(std::uint64_t offset) const;
  // mprotect() of one page.
  void protect(std::uint64_t offset, int protection) const;
  // TCS.FLAGS.DBGOPTIN, as a debugger does it: Linux turns writes to /proc/self/mem into EDBGWR.
  void opt_in(std::uint64_t tcs) const;

 private:
  int fd_;
  std::uint64_t base_;
};

}  // namespace enclume::cli::matrix::probe
