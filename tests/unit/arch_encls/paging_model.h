// SPDX-License-Identifier: Apache-2.0
// A second model of what the supervisor leaves do to pages, made of sets and shared pointers instead of
// packed words and counters. It knows legal operands only: what it predicts is how states decide results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "arch/epc/epcm.h"
#include "arch/fault.h"

namespace enclume::test {

/// Predicted end of a leaf, without addresses: which operand a #PF names is enough.
enum class End {
  Success,
  Gp,
  PfPage,
  PfSecs,
  PfSlot,
  Code,   // with ZF
  Carry,  // with CF
};

struct Prediction {
  End end = End::Success;
  arch::LeafCode code = arch::LeafCode::Success;
  friend bool operator==(const Prediction&, const Prediction&) = default;
};

/// An enclave, wherever its SECS is.
struct ModelEnclave {
  bool initialised = false;
  std::set<int> inside;            ///< logical processors
  std::set<int> inside_at_etrack;  ///< those of them that the last ETRACK has seen
};
using EnclaveRef = std::shared_ptr<ModelEnclave>;

struct ModelPage {
  arch::EpcmState state;
  EnclaveRef enclave;  ///< a SECS' own, a child's; none for a version array
  std::uint64_t address = 0;
  /// Who may still use an old translation: unset while no ETRACK has followed the change.
  std::optional<std::set<int>> stale = std::set<int>{};
  std::map<std::size_t, int> slots{};  ///< version array: evicted page by slot
};

/// What EWB has written out.
struct ModelBlob {
  ModelPage page;
};

class PagingModel {
 public:
  explicit PagingModel(std::size_t page_count) : pages(page_count) {}

  Prediction ecreate(std::size_t page) {
    if (pages[page].state.valid) {
      return {End::PfPage};
    }
    pages[page] = {{.valid = true, .type = arch::PageType::Secs}, std::make_shared<ModelEnclave>()};
    return {};
  }

  Prediction eadd(std::size_t page, std::size_t secs, arch::EpcmState asked, std::uint64_t address) {
    if (pages[page].state.valid) {
      return {End::PfPage};
    }
    if (!is(secs, arch::PageType::Secs)) {
      return {End::PfSecs};
    }
    if (asked.type == arch::PageType::Reg && asked.w && !asked.r) {
      return {End::Gp};
    }
    if (pages[secs].enclave->initialised) {
      return {End::Gp};
    }
    if (asked.type == arch::PageType::Tcs) {
      asked.r = asked.w = asked.x = false;
    }
    asked.valid = true;
    pages[page] = {asked, pages[secs].enclave, address};
    return {};
  }

  Prediction eaug(std::size_t page, std::size_t secs, std::uint64_t address) {
    if (pages[page].state.valid) {
      return {End::PfPage};
    }
    if (!is(secs, arch::PageType::Secs)) {
      return {End::PfSecs};
    }
    if (!pages[secs].enclave->initialised) {
      return {End::Gp};
    }
    pages[page] = {{.valid = true, .r = true, .w = true, .pending = true, .type = arch::PageType::Reg},
                   pages[secs].enclave,
                   address};
    return {};
  }

  Prediction epa(std::size_t page) {
    if (pages[page].state.valid) {
      return {End::PfPage};
    }
    pages[page] = {{.valid = true, .type = arch::PageType::Va}, nullptr};
    return {};
  }

  Prediction eremove(std::size_t page) {
    const ModelPage& p = pages[page];
    if (p.state.valid && p.state.type == arch::PageType::Secs && children(page) > 0) {
      return failure(arch::LeafCode::ChildPresent);
    }
    const bool accepted_trim = p.state.type == arch::PageType::Trim && !p.state.modified;
    if (is_child(page) && !accepted_trim && !p.enclave->inside.empty()) {
      return failure(arch::LeafCode::EnclaveAct);
    }
    pages[page] = {};
    return {};
  }

  Prediction eblock(std::size_t page) {
    ModelPage& p = pages[page];
    if (!p.state.valid) {
      return failure(arch::LeafCode::PgInvld);
    }
    if (!is_child(page)) {
      return {End::Carry,
              p.state.type == arch::PageType::Secs ? arch::LeafCode::PgIsSecs : arch::LeafCode::NotBlockable};
    }
    if (p.state.blocked) {
      return {End::Carry, arch::LeafCode::BlkState};
    }
    p.state.blocked = true;
    p.stale.reset();
    return {};
  }

  Prediction etrack(std::size_t secs) {
    if (!is(secs, arch::PageType::Secs)) {
      return {End::PfPage};
    }
    ModelEnclave& e = *pages[secs].enclave;
    if (!e.inside_at_etrack.empty()) {
      return failure(arch::LeafCode::PrevTrkIncmpl);
    }
    e.inside_at_etrack = e.inside;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (is_child(i) && pages[i].enclave == pages[secs].enclave && !pages[i].stale.has_value()) {
        pages[i].stale = e.inside;
      }
    }
    return {};
  }

  Prediction ewb(std::size_t page, std::size_t va, std::size_t slot, int blob_id) {
    ModelPage& p = pages[page];
    if (page == va) {
      return {End::Gp};
    }
    if (!p.state.valid) {
      return {End::PfPage};
    }
    if (!is(va, arch::PageType::Va)) {
      return {End::PfSlot};
    }
    if (p.state.type == arch::PageType::Secs && children(page) > 0) {
      return failure(arch::LeafCode::ChildPresent);
    }
    if (is_child(page) && !p.state.blocked) {
      return failure(arch::LeafCode::PageNotBlocked);
    }
    if (is_child(page) && !tracked(page)) {
      return failure(arch::LeafCode::NotTracked);
    }
    blobs[blob_id] = {p};
    p = {};
    const bool occupied = pages[va].slots.contains(slot);
    pages[va].slots[slot] = blob_id;
    return occupied ? Prediction{End::Carry, arch::LeafCode::VaSlotOccupied} : Prediction{};
  }

  Prediction eld(int blob_id, std::size_t page, std::size_t va, std::size_t slot, std::size_t secs,
                 bool blocked) {
    const ModelBlob& blob = blobs.at(blob_id);
    const bool child =
        blob.page.state.type != arch::PageType::Secs && blob.page.state.type != arch::PageType::Va;
    if (pages[page].state.valid) {
      return {End::PfPage};
    }
    if (!is(va, arch::PageType::Va)) {
      return {End::PfSlot};
    }
    if (child && !is(secs, arch::PageType::Secs)) {
      return {End::PfSecs};
    }
    const auto remembered = pages[va].slots.find(slot);
    if (remembered == pages[va].slots.end() || remembered->second != blob_id ||
        (child && pages[secs].enclave != blob.page.enclave)) {
      return failure(arch::LeafCode::MacCompareFail);
    }
    pages[va].slots.erase(remembered);
    pages[page] = blob.page;
    pages[page].state.blocked = child && blocked;
    pages[page].stale = std::set<int>{};
    return {};
  }

  Prediction emodpr(std::size_t page, bool r, bool w, bool x) {
    ModelPage& p = pages[page];
    if (w && !r) {
      return {End::Gp};
    }
    if (!p.state.valid) {
      return {End::PfPage};
    }
    if (p.state.pending || p.state.modified) {
      return failure(arch::LeafCode::PageNotModifiable);
    }
    if (p.state.type != arch::PageType::Reg) {
      return {End::PfPage};
    }
    if (!p.enclave->initialised) {
      return {End::Gp};
    }
    p.state.r &= r;
    p.state.w &= w;
    p.state.x &= x;
    p.state.pr = true;
    p.stale.reset();
    return {};
  }

  Prediction emodt(std::size_t page, arch::PageType to) {
    ModelPage& p = pages[page];
    const bool legal = p.state.valid && (p.state.type == arch::PageType::Reg ||
                                         (p.state.type == arch::PageType::Tcs && to == arch::PageType::Trim));
    if (!legal) {
      return {End::PfPage};
    }
    if (p.state.pending || p.state.modified) {
      return failure(arch::LeafCode::PageNotModifiable);
    }
    if (!p.enclave->initialised) {
      return {End::Gp};
    }
    const bool still_blocked = p.state.blocked;
    p.state = {.valid = true, .blocked = still_blocked, .modified = true, .type = to};
    p.stale.reset();
    return {};
  }

  /// The enclave accepts whatever has been done to the page, if it may.
  bool accept(std::size_t page) {
    ModelPage& p = pages[page];
    if (!is_child(page) || p.state.blocked || !(p.state.pending || p.state.modified || p.state.pr) ||
        !tracked(page)) {
      return false;
    }
    p.state.pending = p.state.modified = p.state.pr = false;
    return true;
  }

  void leave(int processor, const EnclaveRef& enclave) {
    enclave->inside.erase(processor);
    enclave->inside_at_etrack.erase(processor);
    for (ModelPage& p : pages) {
      if (p.enclave == enclave && p.stale.has_value()) {
        p.stale->erase(processor);
      }
    }
  }

  [[nodiscard]] bool is(std::size_t page, arch::PageType type) const {
    return pages[page].state.valid && pages[page].state.type == type;
  }
  [[nodiscard]] bool is_child(std::size_t page) const {
    return pages[page].state.valid && !is(page, arch::PageType::Secs) && !is(page, arch::PageType::Va);
  }
  [[nodiscard]] std::size_t children(std::size_t secs) const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      count += is_child(i) && pages[i].enclave == pages[secs].enclave ? 1U : 0U;
    }
    return count;
  }
  [[nodiscard]] bool tracked(std::size_t page) const {
    return pages[page].stale.has_value() && pages[page].stale->empty();
  }

  std::vector<ModelPage> pages;
  std::map<int, ModelBlob> blobs;

 private:
  static Prediction failure(arch::LeafCode code) { return {End::Code, code}; }
};

}  // namespace enclume::test
