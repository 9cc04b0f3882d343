// SPDX-License-Identifier: Apache-2.0
// ECREATE, EADD, EEXTEND: every check, and their order.
#include <gtest/gtest.h>

#include <memory>

#include "unit/arch_encls/ladder.h"

namespace enclume::arch {
namespace {

using namespace test;

// --- ECREATE

std::unique_ptr<Stage> before_ecreate(const MachineConfig& config = default_config()) {
  auto s = std::make_unique<Stage>(true, Stage::debug_secs(), config);
  const Secs source = Stage::debug_secs();
  std::memcpy(s->buffer, &source, sizeof(source));
  s->secinfo = {};
  s->pageinfo = {0, Stage::address_of(s->buffer), Stage::address_of(&s->secinfo), 0};
  s->rbx = LinearAddress::of(&s->pageinfo);
  s->rcx = s->at(Stage::kFree);
  return s;
}

LeafResult run_ecreate(Stage& s) {
  return ecreate(s.machine.machine(), s.machine, s.rbx, s.rcx);
}

Rung source_secs(std::string_view name, const std::function<void(Secs&)>& change) {
  return {11, name, [change](Stage& s) { change(overlay<Secs>(s.buffer)); }, always(gp())};
}

TEST(Ecreate, ChecksInOrder) {
  const std::function<LeafResult(Stage&)> pf_rcx = [](Stage& s) { return epc_pf(s.rcx); };
  climb([] { return before_ecreate(); }, run_ecreate,
        {
            misaligned(1, "PAGEINFO not 32-byte aligned", &Stage::rbx, 16),
            misaligned(2, "page not aligned", &Stage::rcx, 0x800),
            not_epc(3, "page not in the EPC", &Stage::rcx),
            unmapped_epc(3, "page not mapped", &Stage::rcx),
            unmapped_operand(4, "PAGEINFO not mapped", &Stage::rbx),
            field(5, "SRCPGE not aligned", &Pageinfo::srcpge, 0x10010),
            field(5, "SECINFO not aligned", &Pageinfo::secinfo, 0x10020),
            field(5, "LINADDR given", &Pageinfo::linaddr, kPageSize),
            field(5, "SECS given", &Pageinfo::secs, kPageSize),
            field(6, "SECINFO not mapped", &Pageinfo::secinfo, kNowhere.value(), walk_pf(kNowhere, false)),
            {7, "SECINFO flags reserved", [](Stage& s) { s.secinfo.flags |= 1ULL << 16; }, always(gp())},
            {7, "SECINFO reserved", [](Stage& s) { s.secinfo.reserved[55] = std::byte{1}; }, always(gp())},
            {7, "SECINFO of another type", [](Stage& s) { s.secinfo.flags = Stage::reg(0); }, always(gp())},
            busy(8, "page in use", Stage::kFree),
            in_state(
                9, "page valid", Stage::kFree, [](EpcmState& e) { e.valid = true; }, pf_rcx),
            field(10, "source not mapped", &Pageinfo::srcpge, kNowhere.value(), walk_pf(kNowhere, false)),
            source_secs("XFRM without SSE", [](Secs& s) { s.attributes.xfrm = 1; }),
            source_secs("XFRM without x87", [](Secs& s) { s.attributes.xfrm = 2; }),
            source_secs("XFRM component that is not there", [](Secs& s) { s.attributes.xfrm |= 1 << 10; }),
            source_secs("XFRM bit 63", [](Secs& s) { s.attributes.xfrm |= 1ULL << 63; }),
            source_secs("XFRM AVX-512 without AVX", [](Secs& s) { s.attributes.xfrm = 0xe3; }),
            source_secs("XFRM a part of AVX-512", [](Secs& s) { s.attributes.xfrm = 0x67; }),
            source_secs("XFRM a half of AMX",
                        [](Secs& s) {
                          s.attributes.xfrm |= 1 << 17;
                          s.ssa_frame_size = 8;
                        }),
            source_secs("MISCSELECT that is not there", [](Secs& s) { s.miscselect = 2; }),
            source_secs("no SSA frame", [](Secs& s) { s.ssa_frame_size = 0; }),
            source_secs("SSA frame too small for AMX",
                        [](Secs& s) {
                          s.attributes.xfrm = 0x602e7;
                          s.ssa_frame_size = 2;
                        }),
            source_secs("BASEADDR not canonical", [](Secs& s) { s.base_addr = 0x8000'0000'0000; }),
            source_secs("BASEADDR not aligned to SIZE", [](Secs& s) { s.base_addr += s.size / 2; }),
            source_secs("SIZE 0", [](Secs& s) { s.size = 0; }),
            source_secs("SIZE one page", [](Secs& s) { s.size = kPageSize; }),
            source_secs("SIZE no power of two", [](Secs& s) { s.size = 3 * kPageSize; }),
            source_secs("SIZE the advertised maximum",
                        [](Secs& s) {
                          s.base_addr = 0;
                          s.size = 1ULL << 47;
                        }),
            source_secs("BASEADDR of a 32-bit enclave",
                        [](Secs& s) { s.attributes.flags &= ~attribute::kMode64Bit; }),
            source_secs("SIZE of a 32-bit enclave",
                        [](Secs& s) {
                          s.attributes.flags &= ~attribute::kMode64Bit;
                          s.base_addr = 0;
                          s.size = 1ULL << 31;
                        }),
            source_secs("ATTRIBUTES.INIT", [](Secs& s) { s.attributes.flags |= attribute::kInit; }),
            source_secs("ATTRIBUTES bit 3", [](Secs& s) { s.attributes.flags |= 1 << 3; }),
            source_secs("ATTRIBUTES.CET", [](Secs& s) { s.attributes.flags |= attribute::kCet; }),
            source_secs("ATTRIBUTES bit 63", [](Secs& s) { s.attributes.flags |= 1ULL << 63; }),
            source_secs("CET_LEG_BITMAP_OFFSET", [](Secs& s) { s.cet_leg_bitmap_offset = 1; }),
            source_secs("CET_ATTRIBUTES", [](Secs& s) { s.cet_attributes = 1; }),
            source_secs("CONFIGID without KSS", [](Secs& s) { s.config_id[63] = std::byte{1}; }),
            source_secs("CONFIGSVN without KSS", [](Secs& s) { s.config_svn = 1; }),
        });
}

TEST(Ecreate, RefusesEveryReservedByte) {
  auto s = before_ecreate();
  for (std::size_t at = 0; at < kPageSize; ++at) {
    const bool reserved =
        (at >= 24 && at < 48) || (at >= 96 && at < 128) || (at >= 160 && at < 192) || at >= 262;
    if (reserved) {
      s->buffer[at] = std::byte{1};
      EXPECT_EQ(run_ecreate(*s), gp()) << "byte " << at;
      s->buffer[at] = std::byte{0};
    }
  }
  EXPECT_EQ(run_ecreate(*s), leaf_success());
}

TEST(Ecreate, AcceptsWhatIsJustLegal) {
  struct Case {
    const char* what;
    std::function<void(Secs&)> change;
  };
  const Case cases[] = {
      {"the largest size", [](Secs& s) { s.base_addr = 0, s.size = 1ULL << 46; }},
      {"the smallest size", [](Secs& s) { s.size = 2 * kPageSize; }},
      {"base 0", [](Secs& s) { s.base_addr = 0; }},
      {"the upper half of the address space", [](Secs& s) { s.base_addr = 0xffff'8000'0000'0000; }},
      {"all components in three pages", [](Secs& s) { s.attributes.xfrm = 0x602e7, s.ssa_frame_size = 3; }},
      {"EXINFO", [](Secs& s) { s.miscselect = miscselect::kExinfo; }},
      {"KSS with CONFIGID and CONFIGSVN",
       [](Secs& s) {
         s.attributes.flags |= attribute::kKss;
         s.config_id.fill(std::byte{7});
         s.config_svn = 9;
       }},
      {"a 32-bit enclave",
       [](Secs& s) {
         s.attributes.flags &= ~attribute::kMode64Bit;
         s.base_addr = 0x4000'0000;
         s.size = 1ULL << 30;
       }},
      {"values where EINIT will write",
       [](Secs& s) { s.mrenclave.fill(std::byte{1}), s.mrsigner.fill(std::byte{1}), s.isv_svn = 1; }},
  };
  for (const Case& c : cases) {
    auto s = before_ecreate();
    c.change(overlay<Secs>(s->buffer));
    EXPECT_EQ(run_ecreate(*s), leaf_success()) << c.what;
  }
}

TEST(Ecreate, RefusesWhatThisMachineDoesNotHave) {
  MachineConfig config = default_config();
  config.attributes_supported &= ~attribute::kKss;
  config.misc_supported = 0;
  config.xfrm_supported = 7;
  auto s = before_ecreate(config);
  Secs& source = overlay<Secs>(s->buffer);
  source.attributes.flags |= attribute::kKss;
  EXPECT_EQ(run_ecreate(*s), gp());
  source.attributes.flags &= ~attribute::kKss;
  source.miscselect = miscselect::kExinfo;
  EXPECT_EQ(run_ecreate(*s), gp());
  source.miscselect = 0;
  source.attributes.xfrm = 0xe7;
  EXPECT_EQ(run_ecreate(*s), gp());
  source.attributes.xfrm = 7;
  EXPECT_EQ(run_ecreate(*s), leaf_success());
}

TEST(Ecreate, MakesASecsThatOwesNothingToItsSource) {
  auto s = before_ecreate();
  Secs& source = overlay<Secs>(s->buffer);
  source.mrsigner.fill(std::byte{1});
  source.mrenclave.fill(std::byte{1});
  source.isv_prod_id = source.isv_svn = 5;
  ASSERT_EQ(run_ecreate(*s), leaf_success());
  EXPECT_EQ(s->state(Stage::kFree), (EpcmState{.valid = true, .type = PageType::Secs}));
  EXPECT_EQ(s->epcm(Stage::kFree).enclave_address, 0U);
  const Secs& made = secs_of(s->machine.epc_page(Stage::kFree));
  EXPECT_TRUE(all_zero(made.mrsigner));
  EXPECT_EQ(made.isv_prod_id, 0);
  EXPECT_EQ(made.isv_svn, 0);
  EXPECT_EQ(made.size, source.size);
  EXPECT_EQ(made.attributes, source.attributes);
}

TEST(Ecreate, ReadsAllOnesFromAnEpcPage) {
  auto s = before_ecreate();
  s->pageinfo.srcpge = s->at(Stage::kData).value();  // abort page: no legal SECS
  EXPECT_EQ(run_ecreate(*s), gp());
  EXPECT_EQ(s->machine.epc_page(Stage::kFree).data[0], std::byte{0xff});
}

// --- EADD

std::unique_ptr<Stage> before_eadd() {
  auto s = std::make_unique<Stage>(false);
  std::memset(s->buffer, 0, kPageSize);
  s->secinfo = {};
  s->secinfo.flags = Stage::reg(secinfo_flags::kR | secinfo_flags::kW);
  s->pageinfo = {s->enclave.linear(Stage::kFreeAt).value(), Stage::address_of(s->buffer),
                 Stage::address_of(&s->secinfo), s->at(Stage::kSecs).value()};
  s->rbx = LinearAddress::of(&s->pageinfo);
  s->rcx = s->at(Stage::kFree);
  return s;
}

LeafResult run_eadd(Stage& s) {
  return eadd(s.machine.machine(), s.machine, s.rbx, s.rcx);
}

void source_is_tcs(Stage& s) {
  s.secinfo.flags = secinfo_flags_of(PageType::Tcs, 0);
}

TEST(Eadd, ChecksInOrder) {
  const std::function<LeafResult(Stage&)> pf_rcx = [](Stage& s) { return epc_pf(s.rcx); };
  const std::function<LeafResult(Stage&)> pf_secs = [](Stage& s) {
    return epc_pf(LinearAddress(s.pageinfo.secs));
  };
  const auto secinfo_is = [](std::string_view name, PageType type) {
    return Rung{8, name, [type](Stage& s) { s.secinfo.flags = secinfo_flags_of(type, 1); }, always(gp())};
  };
  climb(
      before_eadd, run_eadd,
      {
          misaligned(1, "PAGEINFO not 32-byte aligned", &Stage::rbx, 8),
          misaligned(2, "page not aligned", &Stage::rcx, 1),
          not_epc(3, "page not in the EPC", &Stage::rcx),
          unmapped_epc(3, "page not mapped", &Stage::rcx),
          unmapped_operand(4, "PAGEINFO not mapped", &Stage::rbx),
          field(5, "SRCPGE not aligned", &Pageinfo::srcpge, 0x10010),
          field(5, "SECS not aligned", &Pageinfo::secs, 0x10010),
          field(5, "LINADDR not aligned", &Pageinfo::linaddr, kEnclaveBase + 0x10),
          field(5, "SECINFO not aligned", &Pageinfo::secinfo, 0x10020),
          {6, "SECS not in the EPC",
           [](Stage& s) { s.pageinfo.secs = Stage::address_of(s.machine.allocate_pages(1)); }, pf_secs},
          field(6, "SECS not mapped", &Pageinfo::secs, kNowhere.value(), walk_pf(kNowhere, true)),
          field(7, "SECINFO not mapped", &Pageinfo::secinfo, kNowhere.value(), walk_pf(kNowhere, false)),
          {8, "SECINFO flags reserved", [](Stage& s) { s.secinfo.flags |= 1ULL << 6; }, always(gp())},
          {8, "SECINFO reserved", [](Stage& s) { s.secinfo.reserved[0] = std::byte{1}; }, always(gp())},
          secinfo_is("SECINFO says SECS", PageType::Secs),
          secinfo_is("SECINFO says VA", PageType::Va),
          secinfo_is("SECINFO says TRIM", PageType::Trim),
          secinfo_is("SECINFO says SS_FIRST, without CET", PageType::SsFirst),
          busy(9, "page in use", Stage::kFree),
          in_state(
              10, "page valid", Stage::kFree, [](EpcmState& e) { e.valid = true; }, pf_rcx),
          busy(11, "SECS in use", Stage::kSecs),
          in_state(
              12, "SECS invalid", Stage::kSecs, [](EpcmState& e) { e.valid = false; }, pf_secs),
          in_state(
              12, "SECS of another type", Stage::kSecs, [](EpcmState& e) { e.type = PageType::Va; }, pf_secs),
          field(13, "source not mapped", &Pageinfo::srcpge, kNowhere.value(), walk_pf(kNowhere, false)),
          {14, "W without R", [](Stage& s) { s.secinfo.flags = Stage::reg(secinfo_flags::kW); },
           always(gp())},
          {14, "TCS with a reserved byte",
           [](Stage& s) {
             source_is_tcs(s);
             s.buffer[72] = std::byte{1};
           },
           always(gp())},
          field(15, "LINADDR below", &Pageinfo::linaddr, kEnclaveBase - kPageSize),
          field(15, "LINADDR above", &Pageinfo::linaddr, kEnclaveBase + 16 * kPageSize),
          {16, "hash in use", [](Stage& s) { s.enclave.secs().internal.measurement_lock = 1; }, always(gp())},
          {17, "enclave initialised", [](Stage& s) { s.enclave.secs().set_initialised(); }, always(gp())},
      });
}

TEST(Eadd, ToThePageOfTheSecsItselfIsNoConflictButAFault) {
  auto s = before_eadd();
  s->pageinfo.secs = s->rcx.value();
  EXPECT_EQ(run_eadd(*s), epc_pf(s->rcx));
}

TEST(Eadd, OnAProcessorWithoutSgx2RaisesGpForEpcmViolations) {
  auto s = before_eadd();
  s->machine.config().sgx2 = false;
  s->change_state(Stage::kFree, [](EpcmState& e) { e.valid = true; });
  EXPECT_EQ(run_eadd(*s), gp());
  s->rcx = kNowhere;
  EXPECT_EQ(run_eadd(*s), walk_pf(kNowhere, true)) << "the page tables' own fault stays one";
}

TEST(Eadd, CopiesThePageAndTakesItsPermissions) {
  for (const std::uint64_t rwx : {0U, 1U, 3U, 4U, 5U, 7U}) {
    auto s = before_eadd();
    s->buffer[0] = std::byte{0x11};
    s->buffer[kPageSize - 1] = std::byte{0x22};
    s->secinfo.flags = Stage::reg(rwx);
    ASSERT_EQ(run_eadd(*s), leaf_success()) << rwx;
    EXPECT_EQ(s->state(Stage::kFree), (EpcmState{.valid = true,
                                                 .r = (rwx & 1) != 0,
                                                 .w = (rwx & 2) != 0,
                                                 .x = (rwx & 4) != 0,
                                                 .type = PageType::Reg}));
    EXPECT_EQ(s->epcm(Stage::kFree).enclave_address, kEnclaveBase + Stage::kFreeAt);
    EXPECT_EQ(s->epcm(Stage::kFree).enclave_secs, s->enclave.secs_page().address.value);
    EXPECT_EQ(std::memcmp(s->machine.epc_page(Stage::kFree).data, s->buffer, kPageSize), 0);
    EXPECT_EQ(s->enclave.secs().children(), 4U);
  }
}

TEST(Eadd, MakesATcsFreshAndUnreachable) {
  auto s = before_eadd();
  s->secinfo.flags = secinfo_flags_of(PageType::Tcs, secinfo_flags::kRwx);
  Tcs& source = overlay<Tcs>(s->buffer);
  source.state = 1;
  source.flags = tcs_flags::kDbgOptIn | tcs_flags::kAexNotify;
  source.cssa = 3;
  source.nssa = 4;
  source.oentry = 0x123;
  source.aep = 0x555;
  ASSERT_EQ(run_eadd(*s), leaf_success());
  const Tcs& tcs = tcs_of(s->machine.epc_page(Stage::kFree));
  EXPECT_EQ(tcs.state, tcs_state::kInactive);
  EXPECT_EQ(tcs.flags, tcs_flags::kAexNotify);
  EXPECT_EQ(tcs.cssa, 0U);
  EXPECT_EQ(tcs.nssa, 4U);
  EXPECT_EQ(tcs.oentry, 0x123U);
  EXPECT_EQ(tcs.aep, 0U);
  EXPECT_EQ(s->state(Stage::kFree), (EpcmState{.valid = true, .type = PageType::Tcs}));
}

TEST(Eadd, ChecksSegmentLimitsOf32BitEnclavesOnly) {
  Secs secs = Stage::debug_secs();
  secs.attributes.flags &= ~attribute::kMode64Bit;
  secs.base_addr = 0x4000'0000;
  Tcs tcs{};
  tcs.fslimit = tcs.gslimit = 0xfff;
  FakeMachine machine;
  EnclaveBuilder enclave(machine, 0);
  ASSERT_EQ(enclave.create(secs), leaf_success());
  EXPECT_EQ(enclave.add_tcs(1, 0, tcs), leaf_success());
  tcs.fslimit = 0xffe;
  EXPECT_EQ(enclave.add_tcs(2, 0, tcs), gp());
  tcs.fslimit = 0x1fff;
  tcs.gslimit = 0;
  EXPECT_EQ(enclave.add_tcs(2, 0, tcs), gp());
}

// --- EEXTEND

std::unique_ptr<Stage> before_eextend() {
  auto s = std::make_unique<Stage>(false);
  s->rbx = s->at(Stage::kSecs);
  s->rcx = s->at(Stage::kData) + 0x300;
  return s;
}

LeafResult run_eextend(Stage& s) {
  return eextend(s.machine.machine(), s.machine, s.rbx, s.rcx);
}

TEST(Eextend, ChecksInOrder) {
  const std::function<LeafResult(Stage&)> pf_rcx = [](Stage& s) { return epc_pf(s.rcx); };
  const auto type = [&](std::string_view name, PageType t) {
    return in_state(
        7, name, Stage::kData, [t](EpcmState& e) { e.type = t; }, pf_rcx);
  };
  climb(
      before_eextend, run_eextend,
      {
          misaligned(1, "SECS not aligned", &Stage::rbx, 0x100),
          not_epc(2, "SECS not in the EPC", &Stage::rbx),
          unmapped_epc(2, "SECS not mapped", &Stage::rbx),
          misaligned(3, "chunk not aligned", &Stage::rcx, 0x80),
          not_epc(4, "chunk not in the EPC", &Stage::rcx),
          unmapped_epc(4, "chunk not mapped", &Stage::rcx),
          busy(5, "page in use", Stage::kData),
          in_state(
              6, "page invalid", Stage::kData, [](EpcmState& e) { e.valid = false; }, pf_rcx),
          type("page of type VA", PageType::Va),
          type("page of type SECS", PageType::Secs),
          type("page of type TRIM", PageType::Trim),
          {8, "not the page's SECS", [](Stage& s) { s.rbx = s.at(Stage::kOtherSecs); }, always(gp())},
          {9, "hash in use", [](Stage& s) { s.enclave.secs().internal.measurement_lock = 1; }, always(gp())},
          {10, "enclave initialised", [](Stage& s) { s.enclave.secs().set_initialised(); }, always(gp())},
      });
}

TEST(Eextend, MeasuresTheCopyInTheEpcNotItsSource) {
  auto s = before_eadd();
  s->buffer[0] = std::byte{1};
  ASSERT_EQ(run_eadd(*s), leaf_success());
  s->buffer[0] = std::byte{2};
  const Secs before = s->enclave.secs();
  ASSERT_EQ(eextend(s->machine.machine(), s->machine, s->at(Stage::kSecs), s->rcx), leaf_success());
  const Secs first = s->enclave.secs();
  // The same again from the same state, with what the source holds now: another hash.
  s->enclave.secs() = before;
  s->machine.epc_page(Stage::kFree).data[0] = std::byte{2};
  ASSERT_EQ(eextend(s->machine.machine(), s->machine, s->at(Stage::kSecs), s->rcx), leaf_success());
  EXPECT_NE(s->enclave.secs().internal.hash_state, first.internal.hash_state);
  EXPECT_EQ(s->enclave.secs().internal.hash_blocks, before.internal.hash_blocks + 5);
}

}  // namespace
}  // namespace enclume::arch
