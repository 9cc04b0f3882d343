// SPDX-License-Identifier: Apache-2.0
// The enclaves of another process as their shared metadata shows them at one moment. Nothing is asked of the
// process and nothing in it waits, so it may be stopped, or in a debugger; each page is seen as it is when
// its word is read.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "arch/epc/epcm.h"
#include "kernel/protection.h"

namespace enclume::cli {

// Where a page is.
enum class Residence : std::uint8_t {
  kEpc,      // in the EPC
  kEvicted,  // written out: its ciphertext waits for the next touch
  kLost,     // the kernel believes it to be in the EPC, which was lost
};

// What is the same for neighbouring pages that are shown as one range.
struct PageKind {
  arch::PageType type = arch::PageType::Reg;
  kernel::Protection permissions;      // of the EPCM; an evicted page's come back with it
  kernel::Protection max_permissions;  // what a mapping of the page may have at most (vm_max_prot_bits)
  Residence residence = Residence::kEpc;
  bool pending = false;      // added, and not accepted by the enclave yet
  bool modified = false;     // its type was changed, and not accepted yet
  bool restricted = false;   // permissions were restricted, and not accepted yet (EPCM.PR)
  bool blocked = false;      // about to be evicted
  bool untouched = false;    // in no page table: the next touch faults
  std::uint32_t thread = 0;  // TCS: the thread that is inside, 0: none
  friend bool operator==(const PageKind&, const PageKind&) = default;
};

struct PageRange {
  std::uint64_t first = 0;  // page number in ELRANGE
  std::uint64_t count = 0;
  PageKind kind;
};

struct EnclaveView {
  std::uint32_t number = 0;  // on its machine
  bool created = false;
  bool initialized = false;
  bool debug = false;
  bool lost = false;  // its EPC has been lost
  std::uint64_t base = 0;
  std::uint64_t size = 0;      // bytes of ELRANGE
  std::uint64_t va_pages = 0;  // version arrays, which take EPC pages as well
  bool secs_resident = false;
  std::vector<PageRange> ranges;  // by address

  [[nodiscard]] std::uint64_t pages() const;           // that the enclave has
  [[nodiscard]] std::uint64_t pages(Residence) const;  // of those
  [[nodiscard]] std::uint64_t epc_pages() const;       // all that it takes of the EPC, as Linux counts it
};

struct Snapshot {
  int pid = 0;
  std::optional<std::uint64_t>
      epc_size;                       // bytes, of the whole machine, if the process's settings can be read
  std::vector<EnclaveView> enclaves;  // by number
};

// Reads `size` bytes of one enclave's metadata, from `offset` in that part of its file. False if it can't.
using MetadataReader = std::function<bool(std::uint64_t offset, void* to, std::size_t size)>;

// One enclave; nothing if that is no enclave's metadata, or it went away meanwhile.
[[nodiscard]] std::optional<EnclaveView> view_enclave(const MetadataReader& read);

// All enclaves that the process has mapped or open. Throws Failure (kNegative) if they may not be read.
[[nodiscard]] Snapshot take_snapshot(int pid);

}  // namespace enclume::cli
