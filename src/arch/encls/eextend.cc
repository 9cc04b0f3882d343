// SPDX-License-Identifier: Apache-2.0
// EEXTEND: measures 256 bytes of a page of an enclave that is being built.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/identity/measurement.h"

namespace enclume::arch {

namespace {

/// `measure(secs, offset of the page in the enclave, offset in the page, page)`
template <typename Measure>
LeafResult extend(const Machine& machine, AddressSpace& space, LinearAddress secs_address,
                  LinearAddress chunk, Measure measure) noexcept {
  if (!secs_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  const auto secs_page = resolve_epc(machine, space, secs_address);
  if (!secs_page.has_value()) {
    return raise(secs_page.error());
  }
  if (!chunk.aligned(kMeasuredChunk)) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, chunk);
  if (!page.has_value()) {
    return raise(page.error());
  }
  const EpcPageSharedLock lock(*page);
  if (!lock) {
    return raise(general_protection());
  }
  const EpcmState state = page->epcm->load();
  if (!state.valid || (state.type != PageType::Reg && state.type != PageType::Tcs)) {
    return raise(epc_violation(machine, chunk));
  }
  if (page->epcm->enclave_secs.load(std::memory_order_relaxed) != secs_page->address.value) {
    return raise(general_protection());
  }
  Secs& secs = secs_of(*secs_page);
  const SecsFieldLock measuring(secs.internal.measurement_lock);
  if (!measuring || secs.initialised()) {
    return raise(general_protection());
  }
  measure(secs, page->epcm->enclave_address.load(std::memory_order_relaxed) - secs.base_addr, *page);
  return leaf_success();
}

}  // namespace

LeafResult eextend(const Machine& machine, AddressSpace& space, LinearAddress secs_address,
                   LinearAddress chunk) noexcept {
  return extend(machine, space, secs_address, chunk,
                [in_page = chunk.page_offset()](Secs& secs, std::uint64_t offset, const EpcPage& page) {
                  measure_eextend(secs, offset + in_page,
                                  std::span<const std::byte>(page.data + in_page, kMeasuredChunk));
                });
}

LeafResult eextend_page(const Machine& machine, AddressSpace& space, LinearAddress secs_address,
                        LinearAddress page_address) noexcept {
  if (!page_address.aligned(kPageSize)) {
    return raise(general_protection());
  }
  return extend(machine, space, secs_address, page_address,
                [](Secs& secs, std::uint64_t offset, const EpcPage& page) {
                  measure_eextend(secs, offset, std::span<const std::byte>(page.data, kPageSize));
                });
}

}  // namespace enclume::arch
