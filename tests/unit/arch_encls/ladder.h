// SPDX-License-Identifier: Apache-2.0
// A leaf's checks as a ladder in the architecture's order, and what holds for every ladder: each check has
// its result, of two failing checks the earlier one wins, and a leaf that fails changes nothing.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string_view>
#include <vector>

#include "unit/arch_encls/stage.h"

namespace enclume::test {

/// One way to fail.
struct Rung {
  int rank;  ///< place in the order; equal ranks exclude each other or can't be told apart
  std::string_view name;
  std::function<void(Stage&)> spoil;
  std::function<arch::LeafResult(Stage&)> expected;  ///< asked after `spoil`
};

using Leaf = std::function<arch::LeafResult(Stage&)>;
using Scene = std::function<void(Stage&)>;

inline std::function<arch::LeafResult(Stage&)> always(const arch::LeafResult& r) {
  return [r](Stage&) { return r; };
}

/// `make` gives a stage on which `leaf` succeeds. Every rung is climbed alone and together with every later
/// one, which is spoiled first so that the earlier one is surely in place.
template <typename Make>
void climb(const Make& make, const Leaf& leaf, const std::vector<Rung>& rungs) {
  {
    auto stage = make();
    ASSERT_EQ(leaf(*stage), arch::leaf_success()) << "nothing is spoiled yet";
  }
  const auto fall = [&](const Rung& rung, const Rung* later) {
    SCOPED_TRACE(rung.name);
    SCOPED_TRACE(later != nullptr ? later->name : "alone");
    auto stage = make();
    if (later != nullptr) {
      later->spoil(*stage);
    }
    rung.spoil(*stage);
    const Snapshot before(*stage);
    const arch::LeafResult expected = rung.expected(*stage);
    const arch::LeafResult result = leaf(*stage);
    EXPECT_TRUE(result == expected) << "expected " << describe(expected) << ", is " << describe(result);
    EXPECT_TRUE(Snapshot(*stage) == before) << "a failing leaf has changed something";
  };
  for (const Rung& rung : rungs) {
    fall(rung, nullptr);
    for (const Rung& later : rungs) {
      if (later.rank > rung.rank) {
        fall(rung, &later);
      }
    }
  }
}

// Rungs that many leaves share.
inline Rung misaligned(int rank, std::string_view name, LinearAddress Stage::*reg, std::uint64_t by) {
  return {rank, name, [reg, by](Stage& s) { s.*reg = s.*reg + by; }, always(gp())};
}
inline Rung not_epc(int rank, std::string_view name, LinearAddress Stage::*reg) {
  return {rank, name, [reg](Stage& s) { s.*reg = LinearAddress::of(s.machine.allocate_pages(1)); },
          [reg](Stage& s) { return epc_pf(s.*reg); }};
}
inline Rung unmapped_epc(int rank, std::string_view name, LinearAddress Stage::*reg) {
  return {rank, name, [reg](Stage& s) { s.*reg = kNowhere; },
          [reg](Stage& s) { return walk_pf(s.*reg, true); }};
}
inline Rung unmapped_operand(int rank, std::string_view name, LinearAddress Stage::*reg) {
  return {rank, name, [reg](Stage& s) { s.*reg = kNowhere; },
          [reg](Stage& s) { return walk_pf(s.*reg, false); }};
}
inline Rung busy(int rank, std::string_view name, std::size_t page, const arch::LeafResult& expected = gp()) {
  return {rank, name, [page](Stage& s) { s.lock(page); }, always(expected)};
}
inline Rung in_state(int rank, std::string_view name, std::size_t page,
                     const std::function<void(arch::EpcmState&)>& change,
                     const std::function<arch::LeafResult(Stage&)>& expected) {
  return {rank, name, [page, change](Stage& s) { s.change_state(page, change); }, expected};
}
inline Rung field(int rank, std::string_view name, std::uint64_t arch::Pageinfo::*member, std::uint64_t value,
                  const arch::LeafResult& expected = gp()) {
  return {rank, name, [member, value](Stage& s) { s.pageinfo.*member = value; }, always(expected)};
}

}  // namespace enclume::test
