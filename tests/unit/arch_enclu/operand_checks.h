// SPDX-License-Identifier: Apache-2.0
// Checks that the leaves inside an enclave make of their operands.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/entry_checks.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {

/// An operand in ELRANGE: where it is, and which register says so.
struct OperandUnderTest {
  arch::Reg reg;
  std::uint64_t offset;  ///< of its page
  std::uint64_t alignment;
  arch::Access access;
  std::uint64_t in_page = 0;  ///< of the operand

  [[nodiscard]] std::uint64_t address() const { return kBase + offset + in_page; }
  [[nodiscard]] bool write() const { return access == arch::Access::Write; }
};

/// Alignment and ELRANGE.
inline std::vector<Check> range_checks(const OperandUnderTest& o, int rank) {
  return {
      {"not aligned", [o](World& w) { w.cpu[o.reg] += o.alignment / 2; }, gp(), rank},
      {"below ELRANGE", [o](World& w) { w.cpu[o.reg] = kBase - kPageSize; }, gp(), rank},
      {"above ELRANGE", [o](World& w) { w.cpu[o.reg] = kBase + kSize; }, gp(), rank},
      {"not canonical", [o](World& w) { w.cpu[o.reg] = 1ULL << 63; }, gp(), rank},
  };
}

/// Page walk, and EPC or not.
inline std::vector<Check> walk_checks(const OperandUnderTest& o, int rank) {
  const LinearAddress page(kBase + o.offset);
  const std::uint32_t write = o.write() ? arch::pfec::kWrite : 0;
  std::vector<Check> checks = {
      {"page tables: not present", [page](World& w) { w.fake.unmap(page); }, walk_pf(o.address(), write),
       rank},
      {"not in the EPC", [page](World& w) { w.fake.map(page, {w.fake.allocate_pages(1)}); },
       epcm_pf(o.address(), o.write()), rank},
  };
  if (o.write()) {
    checks.push_back({"page tables: read only",
                      [page, o](World& w) {
                        const arch::EpcPage p = w.page_at(o.offset);
                        w.fake.map_epc(page, p.address.value / kPageSize - 1, false);
                      },
                      walk_pf(o.address(), write | arch::pfec::kPresent), rank});
  }
  return checks;
}

/// EPCM: an accessible PT_REG page of this enclave.
inline std::vector<Check> page_list_checks(const OperandUnderTest& o, int rank) {
  std::vector<Refusal> refusals = refusals_of_reg_page();
  if (o.write()) {
    refusals.push_back({"not writable", editing([](arch::EpcmState& s) { s.w = false; })});
  } else {
    refusals.push_back({"not readable", editing([](arch::EpcmState& s) { s.r = false; })});
  }
  std::vector<Check> checks;
  checks.reserve(refusals.size());
  for (const Refusal& r : refusals) {
    checks.push_back(
        {r.name, [r, o](World& w) { r.apply(w.epcm_at(o.offset)); }, epcm_pf(o.address(), o.write()), rank});
  }
  return checks;
}

/// All three, as most leaves do at once for each operand.
inline std::vector<Check> operand_checks(const OperandUnderTest& o, int first_rank) {
  std::vector<Check> checks = range_checks(o, first_rank);
  append(checks, walk_checks(o, first_rank + 1));
  append(checks, page_list_checks(o, first_rank + 2));
  return checks;
}

/// A failure reported in RAX.
inline arch::LeafResult code(arch::LeafCode c) {
  return arch::leaf_failure(c);
}

}  // namespace enclume::test
