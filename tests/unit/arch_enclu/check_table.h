// SPDX-License-Identifier: Apache-2.0
// A leaf's checks as a table in the architecture's order, and the three claims that hold for every such
// table: each check raises its fault, of two failing checks the earlier one wins, and a fault changes
// nothing.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "unit/arch_enclu/world.h"

namespace enclume::test {

/// One check, made to fail.
struct Check {
  std::string_view name;
  std::function<void(World&)> violate;
  /// The end that it leads to: a fault, or a code in RAX.
  arch::LeafResult expected;
  /// Place in the order. Checks with the same number exclude each other or can't be told apart.
  int rank;
};

inline arch::LeafResult gp() {
  return arch::raise(arch::general_protection());
}
inline arch::LeafResult epcm_pf(std::uint64_t address, bool write = false) {
  return arch::raise(
      arch::epcm_fault(LinearAddress(address), arch::pfec::kUser | (write ? arch::pfec::kWrite : 0)));
}
/// The page tables' own fault, without the SGX bit.
inline arch::LeafResult walk_pf(std::uint64_t address, std::uint32_t code) {
  return arch::raise(arch::Fault{arch::Vector::PF, code | arch::pfec::kUser, LinearAddress(address)});
}

inline std::string describe(const arch::LeafResult& r) {
  return r.has_value() ? ::testing::PrintToString(*r) : ::testing::PrintToString(r.error());
}

/// A leaf with the registers as they are. RAX is restored after a fault: to load it was the test's doing.
inline arch::LeafResult execute(World& w, arch::EncluLeaf leaf) {
  const std::uint64_t rax = std::exchange(w.cpu[arch::Reg::Rax], static_cast<std::uint64_t>(leaf));
  arch::LeafResult r = arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake);
  if (!r.has_value()) {
    w.cpu[arch::Reg::Rax] = rax;
  }
  return r;
}

/// `setup` turns a fresh world into the one in which `leaf` would succeed; it must do so, or the table proves
/// nothing.
template <typename Setup, typename Leaf>
void expect_checks(const std::vector<Check>& checks, const WorldOptions& options, Setup setup, Leaf leaf) {
  {
    World w(options);
    setup(w);
    const arch::LeafResult r = leaf(w);
    ASSERT_TRUE(r.has_value() && r->code == arch::LeafCode::Success)
        << "the leaf fails before anything is violated: " << describe(r);
  }
  // The later check is violated first: what the earlier one needs to fail is then surely in place.
  const auto expect = [&](const Check& check, const Check* later) {
    SCOPED_TRACE(check.name);
    SCOPED_TRACE(later != nullptr ? later->name : "alone");
    World w(options);
    setup(w);
    if (later != nullptr) {
      later->violate(w);
    }
    check.violate(w);
    const std::optional<Snapshot> before = later == nullptr ? std::optional<Snapshot>(w) : std::nullopt;
    const arch::LeafResult r = leaf(w);
    EXPECT_TRUE(r == check.expected) << "expected " << describe(check.expected) << ", is " << describe(r);
    if (before.has_value() && !r.has_value()) {
      EXPECT_TRUE(Snapshot(w) == *before) << "a fault has changed something";
    }
  };
  for (const Check& check : checks) {
    expect(check, nullptr);
    for (const Check& later : checks) {
      if (later.rank > check.rank) {
        expect(check, &later);
      }
    }
  }
}

}  // namespace enclume::test
