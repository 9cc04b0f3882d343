// SPDX-License-Identifier: Apache-2.0
// EDBGRD, EDBGWR: a debugger's way into the pages of a debug enclave.
#include <atomic>

#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/structs/tcs.h"
#include "arch/structs/version_array.h"

namespace enclume::arch {

namespace {

enum class Direction : std::uint8_t {
  Read,
  Write
};

bool is_debuggable_type(PageType type, Direction direction) {
  return type == PageType::Reg || type == PageType::Tcs ||
         (type == PageType::Va && direction == Direction::Read);
}

// The part of a TCS that a debugger may touch.
bool is_debuggable_tcs_field(std::uint64_t offset, Direction direction) {
  return direction == Direction::Read ? offset < kTcsArchitecturalSize : offset == offsetof(Tcs, flags);
}

// Checks of a page that is found and locked; Success if the quadword may be accessed.
std::expected<LeafCode, Fault> check(const Machine& machine, const EpcPage& page, const EpcmState& state,
                                     LinearAddress address, Direction direction) {
  if (!state.valid || !is_debuggable_type(state.type, direction)) {
    return raise(epc_violation(machine, address));
  }
  if (state.pending || state.modified) {
    return LeafCode::PageNotDebuggable;
  }
  if (state.type == PageType::Tcs && !is_debuggable_tcs_field(address.page_offset(), direction)) {
    return raise(general_protection());
  }
  if (state.type != PageType::Va && !secs_of_child(machine, page).debug()) {
    return raise(general_protection());
  }
  return LeafCode::Success;
}

LeafResult access(const Machine& machine, AddressSpace& space, LinearAddress address, Direction direction,
                  std::uint64_t& value) {
  if (!address.aligned(sizeof(std::uint64_t))) {
    return raise(general_protection());
  }
  const auto page = resolve_epc(machine, space, address);
  if (!page.has_value()) {
    return raise(page.error());
  }
  const EpcPageSharedLock lock(*page);
  if (!lock) {
    return raise(general_protection());
  }
  const EpcmState state = page->epcm->load();
  const auto checked = check(machine, *page, state, address, direction);
  if (!checked.has_value()) {
    return raise(checked.error());
  }
  if (*checked != LeafCode::Success) {
    return leaf_failure(*checked);
  }
  // The enclave may be running: one access, not eight. EPCM permissions don't count here.
  const std::atomic_ref quadword(*reinterpret_cast<std::uint64_t*>(page->data + address.page_offset()));
  if (direction == Direction::Write) {
    quadword.store(value, std::memory_order_relaxed);
  } else if (state.type == PageType::Va) {
    // Versions stay secret: only whether the slot is taken can be seen.
    value = quadword.load(std::memory_order_relaxed) == 0 ? 0 : ~std::uint64_t{0};
  } else {
    value = quadword.load(std::memory_order_relaxed);
  }
  return leaf_success();
}

}  // namespace

LeafResult edbgrd(const Machine& machine, AddressSpace& space, LinearAddress address,
                  std::uint64_t& value) noexcept {
  return access(machine, space, address, Direction::Read, value);
}

LeafResult edbgwr(const Machine& machine, AddressSpace& space, LinearAddress address,
                  std::uint64_t value) noexcept {
  return access(machine, space, address, Direction::Write, value);
}

}  // namespace enclume::arch
