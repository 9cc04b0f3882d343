// SPDX-License-Identifier: Apache-2.0
// EAUG, EMODPR, EMODT, EDBGRD, EDBGWR: checks in order, and effects.
#include <gtest/gtest.h>

#include <memory>

#include "unit/arch_encls/ladder.h"

namespace enclume::arch {
namespace {

using namespace test;

const std::function<LeafResult(Stage&)> pf_rcx = [](Stage& s) { return epc_pf(s.rcx); };

Rung without_sgx2(int rank) {
  return {rank, "no SGX2", [](Stage& s) { s.machine.config().sgx2 = false; }, always(gp())};
}

// --- EAUG

std::unique_ptr<Stage> before_eaug() {
  auto s = std::make_unique<Stage>();
  s->pageinfo = {kEnclaveBase + Stage::kFreeAt, 0, 0, s->at(Stage::kSecs).value()};
  s->rbx = LinearAddress::of(&s->pageinfo);
  s->rcx = s->at(Stage::kFree);
  std::memset(s->machine.epc_page(Stage::kFree).data, 0xee, kPageSize);
  return s;
}

LeafResult run_eaug(Stage& s) {
  return eaug(s.machine.machine(), s.machine, s.rbx, s.rcx);
}

TEST(Eaug, ChecksInOrder) {
  const std::function<LeafResult(Stage&)> pf_secs = [](Stage& s) {
    return epc_pf(LinearAddress(s.pageinfo.secs));
  };
  climb(before_eaug, run_eaug,
        {
            without_sgx2(0),
            misaligned(1, "PAGEINFO not aligned", &Stage::rbx, 8),
            misaligned(1, "page not aligned", &Stage::rcx, 8),
            not_epc(2, "page not in the EPC", &Stage::rcx),
            unmapped_epc(2, "page not mapped", &Stage::rcx),
            unmapped_operand(3, "PAGEINFO not mapped", &Stage::rbx),
            field(4, "SECINFO not aligned", &Pageinfo::secinfo, 0x10020),
            field(4, "SECS not aligned", &Pageinfo::secs, 0x10010),
            field(4, "LINADDR not aligned", &Pageinfo::linaddr, kEnclaveBase + 1),
            field(4, "source given", &Pageinfo::srcpge, kPageSize),
            {5, "SECS not in the EPC",
             [](Stage& s) { s.pageinfo.secs = Stage::address_of(s.machine.allocate_pages(1)); }, pf_secs},
            busy(6, "page in use", Stage::kFree),
            in_state(
                7, "page valid", Stage::kFree, [](EpcmState& e) { e.valid = true; }, pf_rcx),
            {8, "SECINFO for a shadow stack, without CET",
             [](Stage& s) {
               s.secinfo = {};
               s.secinfo.flags = secinfo_flags_of(PageType::SsFirst, 3);
               s.pageinfo.secinfo = Stage::address_of(&s.secinfo);
             },
             always(gp())},
            {9, "page is the SECS", [](Stage& s) { s.pageinfo.secs = s.rcx.value(); }, pf_secs},
            busy(10, "SECS in use", Stage::kSecs),
            in_state(
                11, "SECS invalid", Stage::kSecs, [](EpcmState& e) { e.valid = false; }, pf_secs),
            in_state(
                11, "not a SECS", Stage::kSecs, [](EpcmState& e) { e.type = PageType::Reg; }, pf_secs),
            {12, "not initialised", [](Stage& s) { s.enclave.secs().attributes.flags &= ~attribute::kInit; },
             always(gp())},
            field(13, "LINADDR below", &Pageinfo::linaddr, kEnclaveBase - kPageSize),
            field(13, "LINADDR above", &Pageinfo::linaddr, kEnclaveBase + 16 * kPageSize),
        });
}

TEST(Eaug, GivesAZeroedPendingPage) {
  auto s = before_eaug();
  const Secs before = s->enclave.secs();
  ASSERT_EQ(run_eaug(*s), leaf_success());
  EXPECT_EQ(s->state(Stage::kFree),
            (EpcmState{.valid = true, .r = true, .w = true, .pending = true, .type = PageType::Reg}));
  EXPECT_TRUE(all_zero({s->machine.epc_page(Stage::kFree).data, kPageSize}));
  EXPECT_EQ(s->epcm(Stage::kFree).enclave_address, kEnclaveBase + Stage::kFreeAt);
  EXPECT_EQ(s->enclave.secs().children(), 4U);
  EXPECT_EQ(s->enclave.secs().internal.hash_blocks, before.internal.hash_blocks) << "not measured";
}

// --- EMODPR, EMODT

std::unique_ptr<Stage> before_emod(std::uint64_t flags, std::size_t page = Stage::kData) {
  auto s = std::make_unique<Stage>();
  s->secinfo = {};
  s->secinfo.flags = flags;
  s->rbx = LinearAddress::of(&s->secinfo);
  s->rcx = s->at(page);
  return s;
}

LeafResult run_emodpr(Stage& s) {
  return emodpr(s.machine.machine(), s.machine, s.rbx, s.rcx);
}
LeafResult run_emodt(Stage& s) {
  return emodt(s.machine.machine(), s.machine, s.rbx, s.rcx);
}

std::vector<Rung> emod_operands() {
  return {
      without_sgx2(0),
      misaligned(1, "SECINFO not aligned", &Stage::rbx, 32),
      misaligned(1, "page not aligned", &Stage::rcx, 8),
      not_epc(2, "page not in the EPC", &Stage::rcx),
      unmapped_epc(2, "page not mapped", &Stage::rcx),
      unmapped_operand(3, "SECINFO not mapped", &Stage::rbx),
      {4, "SECINFO flags reserved", [](Stage& s) { s.secinfo.flags |= 1ULL << 7; }, always(gp())},
      {4, "SECINFO reserved", [](Stage& s) { s.secinfo.reserved[55] = std::byte{1}; }, always(gp())},
      busy(5, "page in use", Stage::kData, code(LeafCode::EpcPageConflict)),
      in_state(
          6, "page invalid", Stage::kData, [](EpcmState& e) { e.valid = false; }, pf_rcx),
  };
}

const Rung kNotInitialised{9, "not initialised",
                           [](Stage& s) { s.enclave.secs().attributes.flags &= ~attribute::kInit; },
                           always(gp())};

TEST(Emodpr, ChecksInOrder) {
  std::vector<Rung> rungs = emod_operands();
  const std::vector<Rung> rest = {
      {4, "W without R", [](Stage& s) { s.secinfo.flags = secinfo_flags::kW; }, always(gp())},
      in_state(
          7, "pending", Stage::kData, [](EpcmState& e) { e.pending = true; },
          always(code(LeafCode::PageNotModifiable))),
      in_state(
          7, "modified", Stage::kData, [](EpcmState& e) { e.modified = true; },
          always(code(LeafCode::PageNotModifiable))),
      in_state(
          8, "a TCS", Stage::kData, [](EpcmState& e) { e.type = PageType::Tcs; }, pf_rcx),
      in_state(
          8, "trimmed", Stage::kData, [](EpcmState& e) { e.type = PageType::Trim; }, pf_rcx),
      in_state(
          8, "a version array", Stage::kData, [](EpcmState& e) { e.type = PageType::Va; }, pf_rcx),
      kNotInitialised,
  };
  rungs.insert(rungs.end(), rest.begin(), rest.end());
  climb([] { return before_emod(secinfo_flags::kR); }, run_emodpr, rungs);
}

TEST(Emodpr, OnlyTakesPermissionsAway) {
  for (std::uint64_t has = 0; has < 8; ++has) {
    for (std::uint64_t asked = 0; asked < 8; ++asked) {
      if ((asked & 3) == 2 || (has & 3) == 2) {
        continue;
      }
      auto s = before_emod(asked);
      EpcmState state{.valid = true,
                      .r = (has & 1) != 0,
                      .w = (has & 2) != 0,
                      .x = (has & 4) != 0,
                      .type = PageType::Reg};
      s->set_state(Stage::kData, state);
      ASSERT_EQ(run_emodpr(*s), leaf_success());
      const std::uint64_t left = has & asked;
      state.r = (left & 1) != 0;
      state.w = (left & 2) != 0;
      state.x = (left & 4) != 0;
      state.pr = true;
      EXPECT_EQ(s->state(Stage::kData), state);
      EXPECT_FALSE(is_tracked(s->enclave.secs(), s->epcm(Stage::kData).blocked_epoch));
    }
  }
}

TEST(Emodpr, TellsLinuxWhetherATrimmedPageWasAccepted) {
  auto s = before_emod(secinfo_flags_of(PageType::Trim, 0));
  ASSERT_EQ(run_emodt(*s), leaf_success());
  s->secinfo.flags = secinfo_flags::kR;
  EXPECT_EQ(run_emodpr(*s), code(LeafCode::PageNotModifiable)) << "not accepted yet";
  s->change_state(Stage::kData, [](EpcmState& e) { e.modified = false; });
  EXPECT_EQ(run_emodpr(*s), epc_pf(s->rcx)) << "accepted";
}

TEST(Emodt, ChecksInOrder) {
  std::vector<Rung> rungs = emod_operands();
  const auto target = [](std::string_view name, PageType t) {
    return Rung{4, name, [t](Stage& s) { s.secinfo.flags = secinfo_flags_of(t, 0); }, always(gp())};
  };
  const auto source = [](std::string_view name, PageType t) {
    return in_state(
        7, name, Stage::kData, [t](EpcmState& e) { e.type = t; }, pf_rcx);
  };
  const std::vector<Rung> rest = {
      target("to REG", PageType::Reg),
      target("to SECS", PageType::Secs),
      target("to VA", PageType::Va),
      target("to SS_FIRST", PageType::SsFirst),
      source("a TCS to TCS", PageType::Tcs),
      source("trimmed already", PageType::Trim),
      source("a version array", PageType::Va),
      source("a SECS", PageType::Secs),
      in_state(
          8, "pending", Stage::kData, [](EpcmState& e) { e.pending = true; },
          always(code(LeafCode::PageNotModifiable))),
      in_state(
          8, "modified", Stage::kData, [](EpcmState& e) { e.modified = true; },
          always(code(LeafCode::PageNotModifiable))),
      kNotInitialised,
  };
  rungs.insert(rungs.end(), rest.begin(), rest.end());
  climb([] { return before_emod(secinfo_flags_of(PageType::Tcs, 0)); }, run_emodt, rungs);
}

TEST(Emodt, TakesAllPermissionsAndWaitsForAcceptance) {
  struct Case {
    PageType from;
    PageType to;
  };
  for (const Case& c : {Case{PageType::Reg, PageType::Tcs}, Case{PageType::Reg, PageType::Trim},
                        Case{PageType::Tcs, PageType::Trim}}) {
    auto s = before_emod(secinfo_flags_of(c.to, secinfo_flags::kR));
    s->set_state(Stage::kData, {.valid = true, .r = true, .x = true, .pr = true, .type = c.from});
    ASSERT_EQ(run_emodt(*s), leaf_success());
    EXPECT_EQ(s->state(Stage::kData), (EpcmState{.valid = true, .modified = true, .type = c.to}));
    EXPECT_FALSE(is_tracked(s->enclave.secs(), s->epcm(Stage::kData).blocked_epoch));
  }
}

// --- EDBGRD, EDBGWR

LeafResult run_edbgrd(Stage& s) {
  std::uint64_t value = 0;
  return edbgrd(s.machine.machine(), s.machine, s.rcx, value);
}
LeafResult run_edbgwr(Stage& s) {
  return edbgwr(s.machine.machine(), s.machine, s.rcx, 1);
}

std::unique_ptr<Stage> before_edbg(std::size_t page, std::uint64_t offset) {
  auto s = std::make_unique<Stage>();
  s->rcx = s->at(page) + offset;
  return s;
}

std::vector<Rung> edbg_rungs(std::size_t page) {
  return {
      misaligned(1, "not aligned", &Stage::rcx, 4),
      not_epc(2, "not in the EPC", &Stage::rcx),
      unmapped_epc(2, "not mapped", &Stage::rcx),
      busy(3, "page in use", page),
      in_state(
          4, "page invalid", page, [](EpcmState& e) { e.valid = false; }, pf_rcx),
      in_state(
          5, "a SECS", page, [](EpcmState& e) { e.type = PageType::Secs; }, pf_rcx),
      in_state(
          5, "trimmed", page, [](EpcmState& e) { e.type = PageType::Trim; }, pf_rcx),
      in_state(
          6, "pending", page, [](EpcmState& e) { e.pending = true; },
          always(code(LeafCode::PageNotDebuggable))),
      in_state(
          6, "modified", page, [](EpcmState& e) { e.modified = true; },
          always(code(LeafCode::PageNotDebuggable))),
      {8, "not a debug enclave", [](Stage& s) { s.enclave.secs().attributes.flags &= ~attribute::kDebug; },
       always(gp())},
  };
}

TEST(Edbgrd, ChecksInOrder) {
  climb([] { return before_edbg(Stage::kData, 0x1f8); }, run_edbgrd, edbg_rungs(Stage::kData));
  std::vector<Rung> tcs = edbg_rungs(Stage::kTcs);
  tcs.push_back(
      {7, "behind the fields of a TCS", [](Stage& s) { s.rcx = s.at(Stage::kTcs) + 72; }, always(gp())});
  climb([] { return before_edbg(Stage::kTcs, 64); }, run_edbgrd, tcs);
}

TEST(Edbgwr, ChecksInOrder) {
  std::vector<Rung> data = edbg_rungs(Stage::kData);
  data.push_back(in_state(
      5, "a version array", Stage::kData, [](EpcmState& e) { e.type = PageType::Va; }, pf_rcx));
  climb([] { return before_edbg(Stage::kData, 0xff8); }, run_edbgwr, data);
  std::vector<Rung> tcs = edbg_rungs(Stage::kTcs);
  for (const std::uint64_t other : {0ULL, 16ULL, 24ULL, 64ULL, 72ULL}) {
    tcs.push_back({7, "a field of a TCS other than FLAGS",
                   [other](Stage& s) { s.rcx = s.at(Stage::kTcs) + other; }, always(gp())});
  }
  climb([] { return before_edbg(Stage::kTcs, 8); }, run_edbgwr, tcs);
}

TEST(Edbg, MovesQuadwordsWhateverThePermissions) {
  auto s = before_edbg(Stage::kCode, 0x128);  // R X
  EXPECT_EQ(edbgwr(s->machine.machine(), s->machine, s->rcx, 0x1122334455667788), leaf_success());
  std::uint64_t value = 0;
  EXPECT_EQ(edbgrd(s->machine.machine(), s->machine, s->rcx, value), leaf_success());
  EXPECT_EQ(value, 0x1122334455667788U);
  s->change_state(Stage::kCode, [](EpcmState& e) { e.r = e.x = false; });
  value = 0;
  EXPECT_EQ(edbgrd(s->machine.machine(), s->machine, s->rcx, value), leaf_success());
  EXPECT_EQ(value, 0x1122334455667788U);
}

TEST(Edbg, SetsDbgoptin) {
  auto s = before_edbg(Stage::kTcs, 8);
  EXPECT_EQ(edbgwr(s->machine.machine(), s->machine, s->rcx, tcs_flags::kDbgOptIn), leaf_success());
  EXPECT_EQ(tcs_of(s->machine.epc_page(Stage::kTcs)).flags, tcs_flags::kDbgOptIn);
}

TEST(Edbgrd, TellsOfAVersionOnlyThatItIsThere) {
  auto s = before_edbg(Stage::kVa, 8);
  version_array_of(s->machine.epc_page(Stage::kVa)).slot[1] = 0x4711;
  s->enclave.secs().attributes.flags &= ~attribute::kDebug;  // belongs to no enclave
  std::uint64_t value = 1;
  EXPECT_EQ(edbgrd(s->machine.machine(), s->machine, s->rcx, value), leaf_success());
  EXPECT_EQ(value, ~std::uint64_t{0});
  EXPECT_EQ(edbgrd(s->machine.machine(), s->machine, s->rcx + 8, value), leaf_success());
  EXPECT_EQ(value, 0U);
}

TEST(Edbgrd, LeavesTheRegisterAloneOnFailure) {
  auto s = before_edbg(Stage::kData, 0);
  s->change_state(Stage::kData, [](EpcmState& e) { e.pending = true; });
  std::uint64_t value = 0x77;
  EXPECT_EQ(edbgrd(s->machine.machine(), s->machine, s->rcx, value), code(LeafCode::PageNotDebuggable));
  EXPECT_EQ(value, 0x77U);
}

}  // namespace
}  // namespace enclume::arch
