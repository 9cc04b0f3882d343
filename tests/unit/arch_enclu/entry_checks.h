// SPDX-License-Identifier: Apache-2.0
// The checks that EENTER and ERESUME share, in the architecture's order (SDM Vol. 3D, "ENCLU[EENTER]").
#pragma once

#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {

inline constexpr std::uint64_t kTcsAddress = kBase + at::kTcs;
inline constexpr std::uint64_t kNotCanonical = 0x8000'0000'0000;

inline void append(std::vector<Check>& to, std::vector<Check> more) {
  for (Check& c : more) {
    to.push_back(std::move(c));
  }
}

/// Ways in which the EPCM can forbid the use of a page that must be a readable, writable PT_REG page.
struct Refusal {
  std::string_view name;
  std::function<void(arch::EpcmEntry&)> apply;
};

template <typename F>
std::function<void(arch::EpcmEntry&)> editing(F edit) {
  return [edit](arch::EpcmEntry& entry) {
    arch::EpcmState s = entry.load();
    edit(s);
    entry.store(s);
  };
}

inline std::vector<Refusal> refusals_of_any_page() {
  using S = arch::EpcmState;
  return {
      {"not valid", editing([](S& s) { s.valid = false; })},
      {"blocked", editing([](S& s) { s.blocked = true; })},
      {"pending", editing([](S& s) { s.pending = true; })},
      {"modified", editing([](S& s) { s.modified = true; })},
      {"added for another address", [](arch::EpcmEntry& e) { e.enclave_address += kPageSize; }},
  };
}

inline std::vector<Refusal> refusals_of_reg_page() {
  using S = arch::EpcmState;
  std::vector<Refusal> all = refusals_of_any_page();
  for (const arch::PageType t : {arch::PageType::Secs, arch::PageType::Tcs, arch::PageType::Va,
                                 arch::PageType::Trim, arch::PageType::SsFirst}) {
    all.push_back({"of another type", editing([t](S& s) { s.type = t; })});
  }
  all.push_back({"of another enclave", [](arch::EpcmEntry& e) { e.enclave_secs += kPageSize; }});
  return all;
}

/// Checks 1-16.
inline std::vector<Check> tcs_checks() {
  using arch::Reg;
  namespace attribute = arch::attribute;
  namespace tcs_flags = arch::tcs_flags;
  std::vector<Check> checks = {
      {"RBX not page aligned", [](World& w) { w.cpu[Reg::Rbx] += 8; }, gp(), 1},
      {"page tables: not present", [](World& w) { w.fake.unmap(LinearAddress(kTcsAddress)); },
       walk_pf(kTcsAddress, arch::pfec::kWrite), 2},
      {"page tables: read only",
       [](World& w) { w.fake.map_epc(LinearAddress(kTcsAddress), w.tcs_index, false); },
       walk_pf(kTcsAddress, arch::pfec::kWrite | arch::pfec::kPresent), 2},
      {"RBX not in the EPC",
       [](World& w) { w.fake.map(LinearAddress(kTcsAddress), {w.fake.allocate_pages(1)}); },
       epcm_pf(kTcsAddress), 2},
      {"RCX not canonical", [](World& w) { w.cpu[Reg::Rcx] = kNotCanonical; }, gp(), 3},
      {"TCS in use by another instruction", [](World& w) { w.page(w.tcs_index).epcm->lock = 1; }, gp(), 4},
  };
  for (const Refusal& r : refusals_of_any_page()) {
    checks.push_back(
        {r.name, [r](World& w) { r.apply(*w.page(w.tcs_index).epcm); }, epcm_pf(kTcsAddress), 5});
  }
  checks.push_back({"not a TCS",
                    [](World& w) {
                      editing([](arch::EpcmState& s) { s.type = arch::PageType::Reg; })(
                          *w.page(w.tcs_index).epcm);
                    },
                    epcm_pf(kTcsAddress), 5});
  const std::vector<Check> contents = {
      {"OSSA not page aligned", [](World& w) { w.tcs().ossa += 64; }, gp(), 9},
      {"OFSBASE not page aligned", [](World& w) { w.tcs().ofsbase += 8; }, gp(), 9},
      {"OGSBASE not page aligned", [](World& w) { w.tcs().ogsbase += 8; }, gp(), 9},
      {"reserved flag", [](World& w) { w.tcs().flags |= 4; }, gp(), 9},
      {"enclave not initialised", [](World& w) { w.secs().attributes.flags &= ~attribute::kInit; }, gp(), 9},
      {"32-bit enclave", [](World& w) { w.secs().attributes.flags &= ~attribute::kMode64Bit; }, gp(), 9},
      {"XFRM beyond XCR0", [](World& w) { w.secs().attributes.xfrm |= 1ULL << 10; }, gp(), 9},
      {"TCS alone wants AEX-Notify", [](World& w) { w.tcs().flags |= tcs_flags::kAexNotify; }, gp(), 9},
      {"SECS alone wants AEX-Notify", [](World& w) { w.secs().attributes.flags |= attribute::kAexNotify; },
       gp(), 9},
  };
  append(checks, contents);
  return checks;
}

/// Checks 18-19 for frame `index`: each page of the XSAVE area, then the page with GPRSGX. The world's frames
/// have four pages, of which the XSAVE area takes three.
inline std::vector<Check> ssa_checks(std::uint32_t index, int after) {
  std::vector<Check> checks;
  int rank = after;
  for (std::uint64_t page = 0; page < 4; ++page) {
    ++rank;
    const std::uint64_t offset = at::kSsa + (index * 4 + page) * kPageSize;
    const std::uint64_t address = kBase + offset;
    checks.push_back({"page tables: SSA page not present",
                      [address](World& w) { w.fake.unmap(LinearAddress(address)); },
                      walk_pf(address, arch::pfec::kWrite), rank});
    checks.push_back({"page tables: SSA page read only",
                      [address, offset](World& w) {
                        const arch::EpcPage p = w.page_at(offset);
                        w.fake.map_epc(LinearAddress(address), p.address.value / kPageSize - 1, false);
                      },
                      walk_pf(address, arch::pfec::kWrite | arch::pfec::kPresent), rank});
    checks.push_back({"SSA page not in the EPC",
                      [address](World& w) { w.fake.map(LinearAddress(address), {w.fake.allocate_pages(1)}); },
                      epcm_pf(address, true), rank});
    std::vector<Refusal> refusals = refusals_of_reg_page();
    refusals.push_back({"not readable", editing([](arch::EpcmState& s) { s.r = false; })});
    refusals.push_back({"not writable", editing([](arch::EpcmState& s) { s.w = false; })});
    for (const Refusal& r : refusals) {
      checks.push_back(
          {r.name, [r, offset](World& w) { r.apply(w.epcm_at(offset)); }, epcm_pf(address, true), rank});
    }
  }
  return checks;
}

/// Checks 20-22 of an entry at OENTRY.
inline std::vector<Check> entry_point_checks(int after) {
  const int rank = after + 1;
  return {
      {"OENTRY beyond the canonical addresses", [](World& w) { w.tcs().oentry = kNotCanonical; }, gp(), rank},
      {"FS base beyond the canonical addresses", [](World& w) { w.tcs().ofsbase = kNotCanonical; }, gp(),
       rank},
      {"GS base beyond the canonical addresses", [](World& w) { w.tcs().ogsbase = kNotCanonical; }, gp(),
       rank},
      {"TCS is active", [](World& w) { w.tcs().state = arch::tcs_state::kActive; }, gp(), rank},
  };
}

}  // namespace enclume::test
