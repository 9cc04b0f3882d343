// SPDX-License-Identifier: Apache-2.0
// Random sequences of leaves against the second model, and what must hold after each of them.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <sstream>

#include "arch/encls/encls.h"
#include "arch/epc/tracking.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/pcmd.h"
#include "arch/structs/secs.h"
#include "support/enclave_builder.h"
#include "unit/arch_encls/paging_model.h"
#include "unit/arch_encls/stage.h"

namespace enclume::arch {
namespace {

using namespace test;

constexpr std::size_t kPageCount = 10;
constexpr std::size_t kSlots = 3;  // few, so that they collide

class Walk {
 public:
  explicit Walk(std::uint64_t seed)
      : random_(seed),
        model_(kPageCount),
        machine_(kPageCount),
        pageinfo_(machine_.allocate<Pageinfo>()),
        secinfo_(machine_.allocate<Secinfo>()),
        source_(machine_.allocate_pages(1)) {}

  // One random leaf, on both. Returns its name, for the message.
  std::string step() {
    const std::size_t page = any_page();
    switch (random_() % 17) {
      case 0:
        return ecreate_on(page);
      case 1:
      case 2:
        return eadd_on(page, rather(PageType::Secs));
      case 3:
        if (model_.is(page, PageType::Secs)) {  // EINIT, whose checks have tests of their own
          model_.pages[page].enclave->initialised = true;
          secs_of(machine_.epc_page(page)).set_initialised();
        }
        return "EINIT";
      case 4:
        return compare("EREMOVE", model_.eremove(page), eremove(machine(), machine_, at(page)), page);
      case 5:
      case 6:
        return compare("EBLOCK", model_.eblock(page), eblock(machine(), machine_, at(page)), page);
      case 7:
      case 8:
        return compare("ETRACK", model_.etrack(page), etrack(machine(), machine_, at(page)), page);
      case 9:
        return compare("EPA", model_.epa(page), epa(machine(), machine_, 3, at(page)), page);
      case 10:
      case 11:
        return ewb_on(page, rather(PageType::Va));
      case 12:
        return eld_on(page, any_page(), any_page());
      case 13:
        return eaug_on(page, rather(PageType::Secs));
      case 14:
        return emod_on(rather(PageType::Reg));
      case 15:
        return accept_on(page);
      default:
        return somebody_moves(rather(PageType::Tcs));
    }
  }

  void expect_agreement() {
    std::map<std::uint64_t, std::uint32_t> children;
    for (std::size_t i = 0; i < kPageCount; ++i) {
      const EpcPage page = machine_.epc_page(i);
      const EpcmState state = page.epcm->load();
      EXPECT_EQ(state, model_.pages[i].state) << "page " << i;
      EXPECT_EQ(page.epcm->lock, 0U) << "page " << i << " is left locked";
      expect_legal(i, state);
      if (model_.is_child(i)) {
        EXPECT_EQ(page.epcm->enclave_address, model_.pages[i].address);
        const EpcPage secs = machine_.page(EpcAddress{page.epcm->enclave_secs});
        ASSERT_TRUE(secs && is(secs, PageType::Secs)) << "an orphan";
        ++children[secs.address.value];
        EXPECT_EQ(is_tracked(secs_of(secs), page.epcm->blocked_epoch), model_.tracked(i)) << "page " << i;
      }
    }
    for (std::size_t i = 0; i < kPageCount; ++i) {
      const EpcPage page = machine_.epc_page(i);
      if (model_.is(i, PageType::Secs)) {
        EXPECT_EQ(secs_of(page).children(), children[page.address.value]);
        EXPECT_EQ(tracking_inside(secs_of(page)), model_.pages[i].enclave->inside.size());
      }
    }
    for (const auto& [id, lp] : processors_) {
      EXPECT_TRUE(model_.is(lp.tcs, PageType::Tcs) || model_.is(lp.tcs, PageType::Trim))
          << "the TCS of processor " << id << " is gone under it";
    }
  }

 private:
  struct Processor {
    EnclaveRef enclave;
    std::size_t tcs;
    std::size_t secs;
    std::uint32_t epoch;
  };
  struct Blob {
    std::vector<std::byte> contents;
    Pcmd pcmd;
    std::uint64_t linaddr;
  };

  // What no sequence of leaves may lead to.
  static void expect_legal(std::size_t i, const EpcmState& s) {
    SCOPED_TRACE("page " + std::to_string(i) + " " + ::testing::PrintToString(s));
    if (!s.valid) {
      EXPECT_EQ(s, EpcmState{});
      return;
    }
    EXPECT_TRUE(s.r || !s.w) << "W without R";
    EXPECT_FALSE(s.pending && s.modified);
    EXPECT_TRUE(s.type == PageType::Reg || (!s.r && !s.w && !s.x)) << "permissions of a page that has none";
    EXPECT_TRUE(s.type == PageType::Reg || !(s.pr || s.pending));
    if (s.type == PageType::Secs || s.type == PageType::Va) {
      EXPECT_FALSE(s.blocked || s.modified);
    }
  }

  static bool is(const EpcPage& page, PageType type) {
    const EpcmState s = page.epcm->load();
    return s.valid && s.type == type;
  }

  const Machine& machine() { return machine_.machine(); }
  LinearAddress at(std::size_t i) { return machine_.epc_address(i); }
  std::size_t any_page() { return random_() % kPageCount; }
  // A page of that type, if a few tries find one.
  std::size_t rather(PageType type) {
    std::size_t page = any_page();
    for (int tries = 0; tries < 6 && !model_.is(page, type); ++tries) {
      page = any_page();
    }
    return page;
  }
  static std::uint64_t address_of(const void* p) { return LinearAddress::of(p).value(); }
  LinearAddress operands() { return LinearAddress::of(&pageinfo_); }

  std::string compare(const std::string& name, const Prediction& expected, const LeafResult& result,
                      std::size_t page, std::size_t secs = 0, LinearAddress slot = {}) {
    LeafResult r = leaf_success();
    switch (expected.end) {
      case End::Success:
        break;
      case End::Gp:
        r = gp();
        break;
      case End::PfPage:
        r = epc_pf(at(page));
        break;
      case End::PfSecs:
        r = epc_pf(at(secs));
        break;
      case End::PfSlot:
        r = epc_pf(slot);
        break;
      case End::Code:
        r = code(expected.code);
        break;
      case End::Carry:
        r = carry(expected.code);
        break;
    }
    EXPECT_TRUE(r == result) << name << " on " << page << ": the model says " << describe(r)
                             << ", the processor " << describe(result);
    ++ends_[name + (expected.end == End::Success ? " succeeds" : " fails")];
    return name + " " + std::to_string(page);
  }

  std::string ecreate_on(std::size_t page) {
    const Secs secs = default_secs();
    std::memcpy(source_, &secs, sizeof(secs));
    secinfo_ = {};
    pageinfo_ = {0, address_of(source_), address_of(&secinfo_), 0};
    return compare("ECREATE", model_.ecreate(page), ecreate(machine(), machine_, operands(), at(page)), page);
  }

  std::string eadd_on(std::size_t page, std::size_t secs) {
    EpcmState asked{.type = random_() % 3 == 0 ? PageType::Tcs : PageType::Reg};
    const std::uint64_t rwx = random_() % 8;
    asked.r = (rwx & 1) != 0;
    asked.w = (rwx & 2) != 0;
    asked.x = (rwx & 4) != 0;
    std::memset(source_, 0, kPageSize);
    secinfo_ = {};
    secinfo_.flags = secinfo_flags_of(asked.type, rwx);
    const std::uint64_t address = kEnclaveBase + kPageSize * (random_() % 16);
    pageinfo_ = {address, address_of(source_), address_of(&secinfo_), at(secs).value()};
    return compare("EADD", model_.eadd(page, secs, asked, address),
                   eadd(machine(), machine_, operands(), at(page)), page, secs);
  }

  std::string eaug_on(std::size_t page, std::size_t secs) {
    const std::uint64_t address = kEnclaveBase + kPageSize * (random_() % 16);
    pageinfo_ = {address, 0, 0, at(secs).value()};
    return compare("EAUG", model_.eaug(page, secs, address), eaug(machine(), machine_, operands(), at(page)),
                   page, secs);
  }

  std::string ewb_on(std::size_t page, std::size_t va) {
    const std::size_t slot = random_() % kSlots;
    const LinearAddress slot_address = at(va) + slot * 8;
    auto& pcmd = machine_pcmd();
    pageinfo_ = {0, address_of(source_), address_of(&pcmd), 0};
    const int id = next_blob_++;
    const Prediction expected = model_.ewb(page, va, slot, id);
    const LeafResult result = ewb(machine(), machine_, operands(), at(page), slot_address);
    if (result.has_value() && !result->zf) {
      blobs_[id] = {{source_, source_ + kPageSize}, pcmd, pageinfo_.linaddr};
    }
    return compare("EWB", expected, result, page, 0, slot_address);
  }

  std::string eld_on(std::size_t page, std::size_t va, std::size_t secs) {
    if (blobs_.empty()) {
      return "nothing to load";
    }
    const auto it = std::next(blobs_.begin(), static_cast<std::ptrdiff_t>(random_() % blobs_.size()));
    const Blob& blob = it->second;
    std::size_t slot = random_() % kSlots;
    if (random_() % 4 != 0) {  // mostly where it belongs, else hardly anything would ever come back
      for (std::size_t i = 0; i < kPageCount; ++i) {
        for (const auto& [index, id] : model_.pages[i].slots) {
          if (id == it->first) {
            va = i;
            slot = index;
          }
        }
        if (model_.is(i, PageType::Secs) &&
            model_.pages[i].enclave == model_.blobs.at(it->first).page.enclave) {
          secs = i;
        }
      }
    }
    const PageType type = blob.pcmd.secinfo.type();
    const bool child = type != PageType::Secs && type != PageType::Va;
    const LinearAddress slot_address = at(va) + slot * 8;
    const bool blocked = random_() % 2 == 0;
    std::memcpy(source_, blob.contents.data(), kPageSize);
    auto& pcmd = machine_pcmd();
    pcmd = blob.pcmd;
    pageinfo_ = {blob.linaddr, address_of(source_), address_of(&pcmd), child ? at(secs).value() : 0};
    const auto leaf = blocked ? eldb : eldu;
    return compare("ELD", model_.eld(it->first, page, va, slot, secs, blocked),
                   leaf(machine(), machine_, operands(), at(page), slot_address), page, secs, slot_address);
  }

  std::string emod_on(std::size_t page) {
    secinfo_ = {};
    if (random_() % 2 == 0) {
      const std::uint64_t rwx = random_() % 8;
      secinfo_.flags = rwx;
      return compare("EMODPR", model_.emodpr(page, (rwx & 1) != 0, (rwx & 2) != 0, (rwx & 4) != 0),
                     emodpr(machine(), machine_, LinearAddress::of(&secinfo_), at(page)), page);
    }
    const PageType to = random_() % 2 == 0 ? PageType::Tcs : PageType::Trim;
    secinfo_.flags = secinfo_flags_of(to, 0);
    return compare("EMODT", model_.emodt(page, to),
                   emodt(machine(), machine_, LinearAddress::of(&secinfo_), at(page)), page);
  }

  // EACCEPT's effect; the leaf itself belongs to ENCLU's tests.
  std::string accept_on(std::size_t page) {
    if (model_.accept(page)) {
      EpcmEntry& entry = *machine_.epc_page(page).epcm;
      EpcmState s = entry.load();
      s.pending = s.modified = s.pr = false;
      entry.store(s);
    }
    return "EACCEPT " + std::to_string(page);
  }

  std::string somebody_moves(std::size_t page) {
    if (!processors_.empty() && random_() % 2 == 0) {
      const auto it =
          std::next(processors_.begin(), static_cast<std::ptrdiff_t>(random_() % processors_.size()));
      model_.leave(it->first, it->second.enclave);
      tracking_leave(secs_of(machine_.epc_page(it->second.secs)), it->second.epoch);
      processors_.erase(it);
      return "EEXIT";
    }
    const ModelPage& p = model_.pages[page];
    if (!model_.is(page, PageType::Tcs) || p.state.blocked || p.state.modified || !p.enclave->initialised) {
      return "no EENTER";
    }
    const EpcPage secs = machine_.page(EpcAddress{machine_.epc_page(page).epcm->enclave_secs});
    const int id = next_processor_++;
    p.enclave->inside.insert(id);
    processors_[id] = {p.enclave, page, secs.address.value / kPageSize - 1, tracking_enter(secs_of(secs))};
    return "EENTER " + std::to_string(page);
  }

  Pcmd& machine_pcmd() {
    if (pcmd_ == nullptr) {
      pcmd_ = &machine_.allocate<Pcmd>();
    }
    return *pcmd_;
  }

 public:
  std::map<std::string, int> ends_;  // how often each leaf has succeeded and failed

 private:
  std::mt19937_64 random_;
  PagingModel model_;
  FakeMachine machine_;
  Pageinfo& pageinfo_;
  Secinfo& secinfo_;
  std::byte* source_;
  Pcmd* pcmd_ = nullptr;
  std::map<int, Blob> blobs_;
  std::map<int, Processor> processors_;
  int next_blob_ = 0;
  int next_processor_ = 0;
};

TEST(PagingModel, AgreesWithTheProcessorOnRandomSequences) {
  std::map<std::string, int> ends;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Walk walk(seed);
    for (int i = 0; i < 2500; ++i) {
      const std::string what = walk.step();
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(i) + ": " + what);
      walk.expect_agreement();
      if (::testing::Test::HasFailure()) {
        return;
      }
    }
    for (const auto& [name, count] : walk.ends_) {
      ends[name] += count;
    }
  }
  // A walk that never gets anywhere would agree as well.
  for (const char* leaf :
       {"ECREATE", "EADD", "EREMOVE", "EBLOCK", "ETRACK", "EPA", "EWB", "ELD", "EAUG", "EMODPR", "EMODT"}) {
    EXPECT_GE(ends[std::string(leaf) + " succeeds"], 20) << leaf;
    EXPECT_GE(ends[std::string(leaf) + " fails"], 20) << leaf;
  }
}

}  // namespace
}  // namespace enclume::arch
