// SPDX-License-Identifier: Apache-2.0
// A second model of what a program can do to the pages of a running enclave on Linux: page tables, EAUG on
// touch, the SGX2 ioctls and the leaves of ENCLU. Written from the SDM and from Linux's documented rules
// (Documentation/arch/x86/sgx.rst, sgx/ioctl.c, sgx/encl.c); it includes nothing of src. Pages are evicted
// and come back without its noticing, since nobody may notice.
//
// Results are the texts of replay.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "property/replay.h"

namespace enclume::property {

class LinuxModel {
 public:
  LinuxModel();

  // As the functions of replay.h. An empty result: the step makes no sense now and is left out.
  std::string read(unsigned page);
  std::string write(unsigned page, std::uint64_t value);
  std::string execute(unsigned page);
  std::string put_tcs(unsigned page);
  std::string accept(unsigned page, std::uint64_t flags);
  std::string accept_copy(unsigned to, unsigned from, std::uint64_t flags);
  std::string extend(unsigned page, std::uint64_t flags);
  std::string enter(unsigned page);
  std::string restrict(unsigned page, unsigned count, std::uint64_t permissions);
  std::string modify(unsigned page, unsigned count, std::uint64_t type);
  std::string remove(unsigned page, unsigned count);
  std::string protect(unsigned page, unsigned rwx);

  struct Page {
    bool present = false;
    // EPCM
    unsigned type = 2;
    unsigned rwx = 0;
    bool pending = false, modified = false, pr = false;
    // Linux
    unsigned max_rwx = 0;  ///< vm_max_prot_bits
    unsigned vma_rwx = REPLAY_R | REPLAY_W;
    // Contents
    enum class Contents : std::uint8_t {
      Word,  ///< `word` in the first eight bytes, then nothing that matters
      Tcs,   ///< the image of a TCS that has never been entered
    } contents = Contents::Word;
    std::uint64_t word = 0;
  };
  [[nodiscard]] const Page& page(unsigned number) const { return pages_[number]; }

 private:
  using Fault = std::optional<std::string>;

  /// The page walk for an access with a right of R, W or X, and what the kernel does about a missing page.
  Fault walk(unsigned page, unsigned right);
  /// The EPCM's say on an access of the enclave.
  Fault check(unsigned page, unsigned right) const;
  Fault touch(unsigned page, unsigned right);

  std::array<Page, REPLAY_PAGES> pages_;
};

}  // namespace enclume::property
