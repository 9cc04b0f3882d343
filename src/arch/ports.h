// SPDX-License-Identifier: Apache-2.0
// What the processor needs from whoever runs it. The engine implements these on real mappings, the tests
// on byte arrays.
#pragma once

#include <expected>

#include "arch/epc/epcm.h"
#include "arch/fault.h"
#include "base/types.h"

namespace enclume::arch {

enum class Access : std::uint8_t {
  Read,
  Write,
  Execute
};

/// Where a linear address leads.
struct Operand {
  std::byte* data = nullptr;  ///< the byte at the address, good to the end of its page
  EpcPage epc;                ///< set if the page is in the EPC
};

/// Address translation: segmentation and paging, not EPCM.
class AddressSpace {
 public:
  /// Walks the page tables. A #PF that comes back is the page tables' (no SGX bit); the caller of the
  /// leaf lets the operating system handle it and executes the leaf again. Never blocks.
  [[nodiscard]] virtual std::expected<Operand, Fault> walk(LinearAddress address, Access access) noexcept = 0;

 protected:
  ~AddressSpace() = default;
};

/// Names of EPC pages to the pages themselves.
class Epc {
 public:
  /// An empty EpcPage if the name leads nowhere.
  [[nodiscard]] virtual EpcPage page(EpcAddress address) noexcept = 0;

 protected:
  ~Epc() = default;
};

}  // namespace enclume::arch
