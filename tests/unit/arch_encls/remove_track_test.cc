// SPDX-License-Identifier: Apache-2.0
// EREMOVE, EBLOCK, ETRACK, EPA, and the tracking of logical processors between them.
#include <gtest/gtest.h>

#include <set>

#include <memory>

#include "unit/arch_encls/ladder.h"

namespace enclume::arch {
namespace {

using namespace test;

std::unique_ptr<Stage> on_page(std::size_t page) {
  auto s = std::make_unique<Stage>();
  s->rcx = s->at(page);
  return s;
}

LeafResult run_eremove(Stage& s) {
  return eremove(s.machine.machine(), s.machine, s.rcx);
}
LeafResult run_eblock(Stage& s) {
  return eblock(s.machine.machine(), s.machine, s.rcx);
}
LeafResult run_etrack(Stage& s) {
  return etrack(s.machine.machine(), s.machine, s.rcx);
}
LeafResult run_epa(Stage& s) {
  return epa(s.machine.machine(), s.machine, s.rbx.value(), s.rcx);
}

const std::function<LeafResult(Stage&)> pf_rcx = [](Stage& s) { return epc_pf(s.rcx); };

void somebody_enters(Stage& s) {
  EXPECT_EQ(tracking_enter(s.enclave.secs()), tracking_epoch(s.enclave.secs()));
}

// --- EREMOVE

TEST(Eremove, ChecksInOrder) {
  climb([] { return on_page(Stage::kData); }, run_eremove,
        {
            misaligned(1, "page not aligned", &Stage::rcx, 0x10),
            not_epc(2, "page not in the EPC", &Stage::rcx),
            unmapped_epc(2, "page not mapped", &Stage::rcx),
            busy(3, "page in use", Stage::kData),
            {4, "somebody inside", somebody_enters, always(code(LeafCode::EnclaveAct))},
        });
}

TEST(Eremove, OfAFreePageDoesNothing) {
  auto s = on_page(Stage::kFree);
  const Snapshot before(*s);
  EXPECT_EQ(run_eremove(*s), leaf_success());
  EXPECT_TRUE(Snapshot(*s) == before);
}

TEST(Eremove, OfASecsNeedsItsChildrenGone) {
  auto s = on_page(Stage::kSecs);
  EXPECT_EQ(run_eremove(*s), code(LeafCode::ChildPresent));
  for (const std::size_t child : {Stage::kTcs, Stage::kCode, Stage::kData}) {
    EXPECT_EQ(eremove(s->machine.machine(), s->machine, s->at(child)), leaf_success());
    EXPECT_EQ(s->state(child), EpcmState{});
    EXPECT_EQ(run_eremove(*s), child == Stage::kData ? leaf_success() : code(LeafCode::ChildPresent));
  }
  EXPECT_EQ(s->state(Stage::kSecs), EpcmState{});
}

TEST(Eremove, OfAVersionArrayAlwaysSucceeds) {
  auto s = on_page(Stage::kVa);
  somebody_enters(*s);
  EXPECT_EQ(run_eremove(*s), leaf_success());
  EXPECT_EQ(s->state(Stage::kVa), EpcmState{});
}

TEST(Eremove, OfATrimmedPageSucceedsWithThreadsInsideOnceItIsAccepted) {
  auto s = on_page(Stage::kData);
  somebody_enters(*s);
  s->set_state(Stage::kData, {.valid = true, .modified = true, .type = PageType::Trim});
  EXPECT_EQ(run_eremove(*s), code(LeafCode::EnclaveAct));
  s->change_state(Stage::kData, [](EpcmState& e) { e.modified = false; });
  EXPECT_EQ(run_eremove(*s), leaf_success());
  EXPECT_EQ(s->enclave.secs().children(), 2U);
}

TEST(Eremove, MindsOnlyThreadsInThePagesOwnEnclave) {
  auto s = on_page(Stage::kData);
  const std::uint32_t epoch = tracking_enter(s->other.secs());
  EXPECT_EQ(run_eremove(*s), leaf_success());
  tracking_leave(s->other.secs(), epoch);
}

// --- EBLOCK

TEST(Eblock, ChecksInOrder) {
  const auto type = [](std::string_view name, PageType t, LeafCode c) {
    return in_state(
        5, name, Stage::kData, [t](EpcmState& e) { e.type = t; }, always(carry(c)));
  };
  climb([] { return on_page(Stage::kData); }, run_eblock,
        {
            misaligned(1, "page not aligned", &Stage::rcx, 0x10),
            not_epc(2, "page not in the EPC", &Stage::rcx),
            unmapped_epc(2, "page not mapped", &Stage::rcx),
            busy(3, "page in use", Stage::kData, code(LeafCode::EpcPageConflict)),
            in_state(
                4, "page invalid", Stage::kData, [](EpcmState& e) { e.valid = false; },
                always(code(LeafCode::PgInvld))),
            type("a SECS", PageType::Secs, LeafCode::PgIsSecs),
            type("a version array", PageType::Va, LeafCode::NotBlockable),
            in_state(
                6, "blocked already", Stage::kData, [](EpcmState& e) { e.blocked = true; },
                always(carry(LeafCode::BlkState))),
        });
}

TEST(Eblock, ChangesOneBitOnly) {
  for (const std::size_t page : {Stage::kTcs, Stage::kCode, Stage::kData}) {
    auto s = on_page(page);
    EpcmState expected = s->state(page);
    ASSERT_EQ(run_eblock(*s), leaf_success());
    expected.blocked = true;
    EXPECT_EQ(s->state(page), expected);
  }
}

// --- ETRACK

TEST(Etrack, ChecksInOrder) {
  climb(
      [] { return on_page(Stage::kSecs); }, run_etrack,
      {
          misaligned(1, "SECS not aligned", &Stage::rcx, 0x10),
          not_epc(2, "SECS not in the EPC", &Stage::rcx),
          unmapped_epc(2, "SECS not mapped", &Stage::rcx),
          busy(3, "SECS in use", Stage::kSecs),
          in_state(
              4, "SECS invalid", Stage::kSecs, [](EpcmState& e) { e.valid = false; }, pf_rcx),
          in_state(
              4, "not a SECS", Stage::kSecs, [](EpcmState& e) { e.type = PageType::Reg; }, pf_rcx),
          {5, "tracking in use", [](Stage& s) { s.enclave.secs().internal.tracking_lock = 1; }, always(gp())},
          {6, "previous epoch not over",
           [](Stage& s) {
             somebody_enters(s);
             ASSERT_TRUE(tracking_advance(s.enclave.secs()));
           },
           always(code(LeafCode::PrevTrkIncmpl))},
      });
}

class Tracking : public ::testing::Test {
 protected:
  Tracking() : s_(on_page(Stage::kSecs)), secs_(s_->enclave.secs()) {}
  LeafResult etrack_now() { return run_etrack(*s_); }
  std::uint32_t mark() {
    tracking_mark(secs_, s_->epcm(Stage::kData));
    return s_->epcm(Stage::kData).blocked_epoch;
  }
  std::unique_ptr<Stage> s_;
  Secs& secs_;
};

TEST_F(Tracking, NeedsAnEtrackEvenWithNobodyInside) {
  const std::uint32_t epoch = mark();
  EXPECT_FALSE(is_tracked(secs_, epoch));
  ASSERT_EQ(etrack_now(), leaf_success());
  EXPECT_TRUE(is_tracked(secs_, epoch));
}

TEST_F(Tracking, WaitsForWhoWasInsideAtTheEtrack) {
  const std::uint32_t a = tracking_enter(secs_);
  const std::uint32_t epoch = mark();
  const std::uint32_t b = tracking_enter(secs_);
  ASSERT_EQ(etrack_now(), leaf_success());
  const std::uint32_t c = tracking_enter(secs_);
  EXPECT_FALSE(is_tracked(secs_, epoch));
  tracking_leave(secs_, a);
  EXPECT_FALSE(is_tracked(secs_, epoch));
  tracking_leave(secs_, b);
  EXPECT_TRUE(is_tracked(secs_, epoch)) << "who entered later never saw the old state";
  EXPECT_EQ(tracking_inside(secs_), 1U);
  tracking_leave(secs_, c);
}

TEST_F(Tracking, WaitsForEveryTcsThoughTheyCountInLinesOfTheirOwn) {
  const LinearAddress first(0x7000), second(0x9000);
  ASSERT_NE(&tracking_stripe(secs_, first), &tracking_stripe(secs_, second));
  const std::uint32_t a = tracking_enter(secs_, first);
  const std::uint32_t b = tracking_enter(secs_, second);
  EXPECT_EQ(tracking_inside(secs_), 2U);
  const std::uint32_t epoch = mark();
  ASSERT_EQ(etrack_now(), leaf_success());
  tracking_leave(secs_, b, second);
  EXPECT_FALSE(is_tracked(secs_, epoch));
  EXPECT_NE(etrack_now(), leaf_success());
  tracking_leave(secs_, a, first);
  EXPECT_TRUE(is_tracked(secs_, epoch));
  EXPECT_EQ(etrack_now(), leaf_success());
}

TEST_F(Tracking, TcssAtRegularDistancesShareNoLine) {
  for (const std::uint64_t pages : {1U, 2U, 3U, 4U, 8U, 16U, 35U}) {
    std::set<std::uint64_t*> lines;
    for (std::uint64_t n = 0; n < 8; ++n) {
      lines.insert(&tracking_stripe(secs_, LinearAddress(0x10'0000 + n * pages * kPageSize)));
    }
    EXPECT_GE(lines.size(), 7U) << pages;
  }
}

TEST_F(Tracking, ReentryAfterTheEtrackCountsAsLeaving) {
  std::uint32_t entered = tracking_enter(secs_);
  const std::uint32_t epoch = mark();
  ASSERT_EQ(etrack_now(), leaf_success());
  tracking_leave(secs_, entered);  // the IPI
  entered = tracking_enter(secs_);
  EXPECT_TRUE(is_tracked(secs_, epoch));
  tracking_leave(secs_, entered);
}

TEST_F(Tracking, RefusesAThirdEpochAtOnce) {
  const std::uint32_t a = tracking_enter(secs_);
  ASSERT_EQ(etrack_now(), leaf_success());
  EXPECT_EQ(etrack_now(), code(LeafCode::PrevTrkIncmpl));
  EXPECT_EQ(etrack_now(), code(LeafCode::PrevTrkIncmpl)) << "a refusal starts nothing";
  tracking_leave(secs_, a);
  EXPECT_EQ(etrack_now(), leaf_success());
}

TEST_F(Tracking, APageBlockedAfterTheEtrackNeedsAnother) {
  ASSERT_EQ(etrack_now(), leaf_success());
  const std::uint32_t epoch = mark();
  EXPECT_FALSE(is_tracked(secs_, epoch));
}

TEST_F(Tracking, SurvivesTheEpochsWraparound) {
  secs_.internal.tracking = tracking_word::kEpochMask;
  for (TrackingStripe& stripe : secs_.stripes) stripe.word = tracking_word::kEpochMask;
  const std::uint32_t a = tracking_enter(secs_);
  const std::uint32_t epoch = mark();
  ASSERT_EQ(etrack_now(), leaf_success());
  EXPECT_EQ(tracking_epoch(secs_), 0U);
  EXPECT_EQ(tracking_inside(secs_), 1U) << "the carry stays out of the counts";
  EXPECT_FALSE(is_tracked(secs_, epoch));
  tracking_leave(secs_, a);
  EXPECT_TRUE(is_tracked(secs_, epoch));
}

TEST_F(Tracking, APageThatIsNewHasNothingToWaitFor) {
  EXPECT_TRUE(is_tracked(secs_, s_->epcm(Stage::kData).blocked_epoch));
  for (int i = 0; i < 3; ++i) {
    const std::uint32_t a = tracking_enter(secs_);
    tracking_clear(secs_, s_->epcm(Stage::kData));
    EXPECT_TRUE(is_tracked(secs_, s_->epcm(Stage::kData).blocked_epoch));
    tracking_leave(secs_, a);
    ASSERT_EQ(etrack_now(), leaf_success());
  }
}

// --- EPA

std::unique_ptr<Stage> before_epa() {
  auto s = on_page(Stage::kFree);
  s->rbx = LinearAddress(static_cast<std::uint64_t>(PageType::Va));
  return s;
}

TEST(Epa, ChecksInOrder) {
  climb(before_epa, run_epa,
        {
            {1, "RBX not PT_VA", [](Stage& s) { s.rbx = LinearAddress(2); }, always(gp())},
            {1, "RBX with high bits", [](Stage& s) { s.rbx = LinearAddress(0x1'0000'0003); }, always(gp())},
            misaligned(1, "page not aligned", &Stage::rcx, 8),
            not_epc(2, "page not in the EPC", &Stage::rcx),
            unmapped_epc(2, "page not mapped", &Stage::rcx),
            busy(3, "page in use", Stage::kFree),
            in_state(
                4, "page valid", Stage::kFree, [](EpcmState& e) { e.valid = true; }, pf_rcx),
        });
}

TEST(Epa, GivesEmptySlotsOfNoEnclave) {
  auto s = before_epa();
  std::memset(s->machine.epc_page(Stage::kFree).data, 0xee, kPageSize);
  ASSERT_EQ(run_epa(*s), leaf_success());
  EXPECT_EQ(s->state(Stage::kFree), (EpcmState{.valid = true, .type = PageType::Va}));
  EXPECT_EQ(s->epcm(Stage::kFree).enclave_secs, 0U);
  EXPECT_TRUE(all_zero({s->machine.epc_page(Stage::kFree).data, kPageSize}));
}

}  // namespace
}  // namespace enclume::arch
