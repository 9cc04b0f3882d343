// SPDX-License-Identifier: Apache-2.0
// EWB, ELDU, ELDB: checks in order, and that exactly the page that went out comes back.
#include <cpuid.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include "arch/identity/keys.h"
#include "arch/identity/page_seal.h"
#include "unit/arch_encls/ladder.h"

namespace enclume::arch {
namespace {

using namespace test;

LeafResult run_ewb(Stage& s) {
  return ewb(s.machine.machine(), s.machine, s.rbx, s.rcx, s.rdx);
}
LeafResult run_eldu(Stage& s) {
  return eldu(s.machine.machine(), s.machine, s.rbx, s.rcx, s.rdx);
}
LeafResult run_eldb(Stage& s) {
  return eldb(s.machine.machine(), s.machine, s.rbx, s.rcx, s.rdx);
}

constexpr std::size_t kSlot = 17;

std::uint64_t& slot(Stage& s, std::size_t index = kSlot) {
  return version_array_of(s.machine.epc_page(Stage::kVa)).slot[index];
}

void block_and_track(Stage& s, std::size_t page) {
  Stage::must(eblock(s.machine.machine(), s.machine, s.at(page)));
  const EpcAddress secs{s.epcm(page).enclave_secs.load()};
  Stage::must(etrack(s.machine.machine(), s.machine, LinearAddress::of(s.machine.page(secs).data)));
}

// EWB's operands for `page`, blocked and tracked if it has to be.
void prepare_ewb(Stage& s, std::size_t page) {
  const PageType type = s.state(page).type;
  if (type != PageType::Secs && type != PageType::Va) {
    block_and_track(s, page);
  }
  s.pageinfo = {0, Stage::address_of(s.buffer), Stage::address_of(&s.pcmd), 0};
  s.rbx = LinearAddress::of(&s.pageinfo);
  s.rcx = s.at(page);
  s.rdx = s.at(Stage::kVa) + kSlot * 8;
}

std::unique_ptr<Stage> before_ewb() {
  auto s = std::make_unique<Stage>();
  std::byte* data = s->machine.epc_page(Stage::kData).data;
  for (std::size_t i = 0; i < kPageSize; ++i) {
    data[i] = static_cast<std::byte>(i * 7 + i / 256);
  }
  prepare_ewb(*s, Stage::kData);
  return s;
}

// The page is out; operands to load it into kFree.
std::unique_ptr<Stage> before_eld() {
  auto s = before_ewb();
  Stage::must(run_ewb(*s));
  s->pageinfo.secs = s->at(Stage::kSecs).value();
  s->rcx = s->at(Stage::kFree);
  return s;
}

const std::function<LeafResult(Stage&)> pf_rcx = [](Stage& s) { return epc_pf(s.rcx); };
const std::function<LeafResult(Stage&)> pf_rdx = [](Stage& s) { return epc_pf(s.rdx); };

TEST(Ewb, ChecksInOrder) {
  climb(before_ewb, run_ewb,
        {
            misaligned(1, "PAGEINFO not aligned", &Stage::rbx, 16),
            misaligned(1, "page not aligned", &Stage::rcx, 0x100),
            not_epc(2, "page not in the EPC", &Stage::rcx),
            unmapped_epc(2, "page not mapped", &Stage::rcx),
            misaligned(3, "slot not aligned", &Stage::rdx, 4),
            not_epc(4, "slot not in the EPC", &Stage::rdx),
            unmapped_epc(4, "slot not mapped", &Stage::rdx),
            {5, "page and slot the same", [](Stage& s) { s.rdx = s.rcx.page() + 8; }, always(gp())},
            unmapped_operand(6, "PAGEINFO not mapped", &Stage::rbx),
            field(7, "LINADDR given", &Pageinfo::linaddr, kPageSize),
            field(7, "SECS given", &Pageinfo::secs, kPageSize),
            field(7, "PCMD not aligned", &Pageinfo::secinfo, 0x10040),
            field(7, "target not aligned", &Pageinfo::srcpge, 0x10040),
            busy(8, "page in use", Stage::kData),
            busy(8, "version array in use", Stage::kVa),
            in_state(
                9, "page invalid", Stage::kData, [](EpcmState& e) { e.valid = false; }, pf_rcx),
            in_state(
                10, "version array invalid", Stage::kVa, [](EpcmState& e) { e.valid = false; }, pf_rdx),
            in_state(
                10, "not a version array", Stage::kVa, [](EpcmState& e) { e.type = PageType::Reg; }, pf_rdx),
            in_state(
                11, "not blocked", Stage::kData, [](EpcmState& e) { e.blocked = false; },
                always(code(LeafCode::PageNotBlocked))),
            {12, "not tracked", [](Stage& s) { tracking_mark(s.enclave.secs(), s.epcm(Stage::kData)); },
             always(code(LeafCode::NotTracked))},
            field(13, "PCMD not mapped", &Pageinfo::secinfo, kNowhere.value(), walk_pf(kNowhere, true)),
            field(13, "target not mapped", &Pageinfo::srcpge, kNowhere.value(), walk_pf(kNowhere, true)),
        });
}

TEST(Ewb, OfASecsNeedsItsChildrenGone) {
  Stage s;
  prepare_ewb(s, Stage::kOtherSecs);
  EXPECT_EQ(run_ewb(s), code(LeafCode::ChildPresent));
  Stage::must(eremove(s.machine.machine(), s.machine, s.at(Stage::kOtherData)));
  EXPECT_EQ(run_ewb(s), leaf_success());
  EXPECT_EQ(s.pcmd.enclave_id, 0U);
  EXPECT_EQ(s.pcmd.secinfo.flags, secinfo_flags_of(PageType::Secs, 0));
}

TEST(Ewb, WritesTheEntryOfThePageBesideIt) {
  auto s = before_ewb();
  ASSERT_EQ(run_ewb(*s), leaf_success());
  EXPECT_EQ(s->pcmd.secinfo.flags, Stage::reg(secinfo_flags::kR | secinfo_flags::kW));
  EXPECT_EQ(s->pcmd.enclave_id, s->enclave.secs().internal.eid);
  EXPECT_TRUE(all_zero(s->pcmd.reserved));
  EXPECT_EQ(s->pageinfo.linaddr, kEnclaveBase + Stage::kDataAt);
  EXPECT_EQ(s->state(Stage::kData), EpcmState{});
  EXPECT_NE(slot(*s), 0U);
  EXPECT_EQ(s->enclave.secs().children(), 2U);
}

TEST(Ewb, IntoAnOccupiedSlotSucceedsWithCarry) {
  auto s = before_ewb();
  slot(*s) = 4711;
  EXPECT_EQ(run_ewb(*s), carry(LeafCode::VaSlotOccupied));
  EXPECT_EQ(s->state(Stage::kData), EpcmState{});
  s->pageinfo.secs = s->at(Stage::kSecs).value();
  s->rcx = s->at(Stage::kFree);
  EXPECT_EQ(run_eldu(*s), leaf_success());
}

TEST(Ewb, NeverUsesAVersionTwice) {
  auto s = before_eld();
  const std::uint64_t first = slot(*s);
  ASSERT_EQ(run_eldu(*s), leaf_success());
  prepare_ewb(*s, Stage::kFree);
  ASSERT_EQ(run_ewb(*s), leaf_success());
  EXPECT_NE(slot(*s), first);
}

TEST(Ewb, ToATargetInTheEpcLosesThePage) {
  auto s = before_ewb();
  std::vector<std::byte> code_page(s->machine.epc_page(Stage::kCode).data,
                                   s->machine.epc_page(Stage::kCode).data + kPageSize);
  s->pageinfo.srcpge = s->at(Stage::kCode).value();
  EXPECT_EQ(run_ewb(*s), leaf_success());
  EXPECT_EQ(std::memcmp(code_page.data(), s->machine.epc_page(Stage::kCode).data, kPageSize), 0);
}

std::vector<PageCipher> ciphers_here() {
  std::vector<PageCipher> ciphers{PageCipher::Portable};
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_AES) != 0 && (c & bit_PCLMUL) != 0) {
    ciphers.push_back(PageCipher::AesNi);
  }
  const bool avx = (c & bit_OSXSAVE) != 0 && __builtin_cpu_supports("avx2") != 0;
  if (avx && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_VAES) != 0 &&
      (c & bit_VPCLMULQDQ) != 0) {
    ciphers.push_back(PageCipher::Vaes);
  }
  return ciphers;
}

class PageCiphers : public testing::TestWithParam<PageCipher> {
 protected:
  PageCiphers() { set_page_cipher(GetParam()); }
  ~PageCiphers() override { set_page_cipher(PageCipher::Portable); }
};
std::string name_of(const testing::TestParamInfo<PageCipher>& cipher) {
  constexpr std::string_view kNames[] = {"Portable", "AesNi", "Vaes"};
  return std::string(kNames[static_cast<std::size_t>(cipher.param)]);
}
INSTANTIATE_TEST_SUITE_P(OfThisMachine, PageCiphers, testing::ValuesIn(ciphers_here()), name_of);

// The same page sealed by OpenSSL from the documented inputs.
TEST_P(PageCiphers, AreAesGcmOverPageAndHeader) {
  auto s = before_ewb();
  std::mt19937_64 random(GetParam() == PageCipher::Vaes ? 2 : 1);
  std::ranges::generate(std::span(s->machine.epc_page(Stage::kData).data, kPageSize),
                        [&] { return static_cast<std::byte>(random()); });
  std::vector<unsigned char> plain(kPageSize);
  std::memcpy(plain.data(), s->machine.epc_page(Stage::kData).data, kPageSize);
  ASSERT_EQ(run_ewb(*s), leaf_success());

  std::array<unsigned char, 12> iv{};
  std::memcpy(iv.data() + 4, &slot(*s), 8);
  std::array<unsigned char, 128> header{};
  const std::uint64_t eid = s->enclave.secs().internal.eid;
  const std::uint64_t linaddr = kEnclaveBase + Stage::kDataAt;
  const std::uint64_t flags = 0x203;
  std::memcpy(header.data(), &eid, 8);
  std::memcpy(header.data() + 8, &linaddr, 8);
  std::memcpy(header.data() + 16, &flags, 8);
  const Block128 key = paging_key(s->machine.machine());

  std::vector<unsigned char> cipher(kPageSize);
  std::array<unsigned char, 16> mac{};
  int size = 0;
  EVP_CIPHER_CTX* ctx = EVP_CIPHER_CTX_new();
  ASSERT_EQ(EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), nullptr,
                               reinterpret_cast<const unsigned char*>(key.data()), iv.data()),
            1);
  ASSERT_EQ(EVP_EncryptUpdate(ctx, nullptr, &size, header.data(), static_cast<int>(header.size())), 1);
  ASSERT_EQ(EVP_EncryptUpdate(ctx, cipher.data(), &size, plain.data(), static_cast<int>(plain.size())), 1);
  ASSERT_EQ(EVP_EncryptFinal_ex(ctx, cipher.data() + size, &size), 1);
  ASSERT_EQ(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, mac.data()), 1);
  EVP_CIPHER_CTX_free(ctx);

  EXPECT_EQ(std::memcmp(cipher.data(), s->buffer, kPageSize), 0);
  EXPECT_EQ(std::memcmp(mac.data(), s->pcmd.mac.data(), mac.size()), 0);
}

// Each key has other powers of H, with and without the bit that the reduction is about.
TEST_P(PageCiphers, OpenWhatEachOtherSealed) {
  for (unsigned boot = 0; boot < 64; ++boot) {
    auto s = before_ewb();
    s->machine.shared().boot_nonce.fill(static_cast<std::byte>(boot));
    const std::vector<std::byte> plain(s->machine.epc_page(Stage::kData).data,
                                       s->machine.epc_page(Stage::kData).data + kPageSize);
    set_page_cipher(GetParam());
    ASSERT_EQ(run_ewb(*s), leaf_success());
    set_page_cipher(PageCipher::Portable);
    s->pageinfo.secs = s->at(Stage::kSecs).value();
    s->rcx = s->at(Stage::kFree);
    ASSERT_EQ(run_eldu(*s), leaf_success()) << boot;
    ASSERT_EQ(std::memcmp(plain.data(), s->machine.epc_page(Stage::kFree).data, kPageSize), 0);
    prepare_ewb(*s, Stage::kFree);
    ASSERT_EQ(run_ewb(*s), leaf_success());
    set_page_cipher(GetParam());
    s->pageinfo.secs = s->at(Stage::kSecs).value();
    s->rcx = s->at(Stage::kSpare);
    ASSERT_EQ(run_eldu(*s), leaf_success()) << boot;
    ASSERT_EQ(std::memcmp(plain.data(), s->machine.epc_page(Stage::kSpare).data, kPageSize), 0);
  }
}

TEST_P(PageCiphers, RefuseEveryBitThatChanged) {
  auto s = before_ewb();
  ASSERT_EQ(run_ewb(*s), leaf_success());
  s->pageinfo.secs = s->at(Stage::kSecs).value();
  s->rcx = s->at(Stage::kFree);
  const std::vector<std::byte> sealed(s->buffer, s->buffer + kPageSize);
  for (std::size_t at = 0; at < kPageSize; at += 16) {
    std::memcpy(s->buffer, sealed.data(), kPageSize);
    s->buffer[at + at / 16 % 16] ^= std::byte{1} << (at / 256 % 8);
    ASSERT_EQ(run_eldu(*s), code(LeafCode::MacCompareFail)) << at;
  }
  std::memcpy(s->buffer, sealed.data(), kPageSize);
  for (std::byte& byte : s->pcmd.mac) {
    byte ^= std::byte{1};
    ASSERT_EQ(run_eldu(*s), code(LeafCode::MacCompareFail));
    byte ^= std::byte{1};
  }
  EXPECT_EQ(run_eldu(*s), leaf_success());
}

std::vector<Rung> eld_rungs() {
  const std::function<LeafResult(Stage&)> pf_secs = [](Stage& s) {
    return epc_pf(LinearAddress(s.pageinfo.secs));
  };
  return {
      misaligned(1, "PAGEINFO not aligned", &Stage::rbx, 16),
      misaligned(1, "page not aligned", &Stage::rcx, 0x100),
      not_epc(2, "page not in the EPC", &Stage::rcx),
      unmapped_epc(2, "page not mapped", &Stage::rcx),
      misaligned(3, "slot not aligned", &Stage::rdx, 1),
      not_epc(4, "slot not in the EPC", &Stage::rdx),
      unmapped_epc(4, "slot not mapped", &Stage::rdx),
      unmapped_operand(5, "PAGEINFO not mapped", &Stage::rbx),
      field(6, "source not aligned", &Pageinfo::srcpge, 0x10040),
      field(6, "PCMD not aligned", &Pageinfo::secinfo, 0x10040),
      field(7, "PCMD not mapped", &Pageinfo::secinfo, kNowhere.value(), walk_pf(kNowhere, false)),
      {8, "PCMD flags reserved", [](Stage& s) { s.pcmd.secinfo.flags |= 1ULL << 20; }, always(gp())},
      {8, "PCMD SECINFO reserved", [](Stage& s) { s.pcmd.secinfo.reserved[3] = std::byte{1}; }, always(gp())},
      {8, "PCMD reserved", [](Stage& s) { s.pcmd.reserved[39] = std::byte{1}; }, always(gp())},
      {9, "type unknown", [](Stage& s) { s.pcmd.secinfo.flags = secinfo_flags_of(PageType{7}, 0); },
       always(gp())},
      {9, "a SECS that names a SECS",
       [](Stage& s) { s.pcmd.secinfo.flags = secinfo_flags_of(PageType::Secs, 0); }, always(gp())},
      field(9, "SECS not aligned", &Pageinfo::secs, 0x10010),
      {9, "SECS not in the EPC",
       [](Stage& s) { s.pageinfo.secs = Stage::address_of(s.machine.allocate_pages(1)); }, pf_secs},
      field(9, "SECS not mapped", &Pageinfo::secs, kNowhere.value(), walk_pf(kNowhere, true)),
      busy(10, "page in use", Stage::kFree),
      in_state(
          11, "page valid", Stage::kFree, [](EpcmState& e) { e.valid = true; }, pf_rcx),
      {12, "slot in the page itself", [](Stage& s) { s.rdx = s.rcx.page(); }, pf_rdx},
      busy(13, "version array in use", Stage::kVa),
      in_state(
          14, "version array invalid", Stage::kVa, [](EpcmState& e) { e.valid = false; }, pf_rdx),
      in_state(
          14, "not a version array", Stage::kVa, [](EpcmState& e) { e.type = PageType::Reg; }, pf_rdx),
      busy(15, "SECS in use", Stage::kSecs),
      in_state(
          16, "SECS invalid", Stage::kSecs, [](EpcmState& e) { e.valid = false; }, pf_secs),
      in_state(
          16, "not a SECS", Stage::kSecs, [](EpcmState& e) { e.type = PageType::Va; }, pf_secs),
      field(17, "source not mapped", &Pageinfo::srcpge, kNowhere.value(), walk_pf(kNowhere, false)),
      {18, "contents changed", [](Stage& s) { s.buffer[1000] ^= std::byte{1}; },
       always(code(LeafCode::MacCompareFail))},
      {18, "permissions changed", [](Stage& s) { s.pcmd.secinfo.flags |= secinfo_flags::kX; },
       always(code(LeafCode::MacCompareFail))},
      {18, "MAC changed", [](Stage& s) { s.pcmd.mac[15] ^= std::byte{0x80}; },
       always(code(LeafCode::MacCompareFail))},
      {18, "address changed", [](Stage& s) { s.pageinfo.linaddr += kPageSize; },
       always(code(LeafCode::MacCompareFail))},
      {18, "another slot", [](Stage& s) { s.rdx = s.rdx + 8; }, always(code(LeafCode::MacCompareFail))},
      {18, "another version", [](Stage& s) { slot(s) += 1; }, always(code(LeafCode::MacCompareFail))},
      {18, "another EID", [](Stage& s) { s.enclave.secs().internal.eid += 1; },
       always(code(LeafCode::MacCompareFail))},
  };
}

TEST(Eldu, ChecksInOrder) {
  climb(before_eld, run_eldu, eld_rungs());
}

TEST(Eldb, ChecksInOrder) {
  climb(before_eld, run_eldb, eld_rungs());
}

TEST(Eldu, BringsBackContentsAndEntry) {
  auto s = before_ewb();
  std::vector<std::byte> plain(s->machine.epc_page(Stage::kData).data,
                               s->machine.epc_page(Stage::kData).data + kPageSize);
  ASSERT_EQ(run_ewb(*s), leaf_success());
  EXPECT_NE(std::memcmp(plain.data(), s->buffer, kPageSize), 0);
  // Nothing that is left in the EPC takes part.
  std::memset(s->machine.epc_page(Stage::kData).data, 0, kPageSize);
  s->pageinfo.secs = s->at(Stage::kSecs).value();
  s->rcx = s->at(Stage::kFree);
  ASSERT_EQ(run_eldu(*s), leaf_success());
  EXPECT_EQ(std::memcmp(plain.data(), s->machine.epc_page(Stage::kFree).data, kPageSize), 0);
  EXPECT_EQ(s->state(Stage::kFree), (EpcmState{.valid = true, .r = true, .w = true, .type = PageType::Reg}));
  EXPECT_EQ(s->epcm(Stage::kFree).enclave_secs, s->enclave.secs_page().address.value);
  EXPECT_EQ(s->epcm(Stage::kFree).enclave_address, kEnclaveBase + Stage::kDataAt);
  EXPECT_EQ(s->enclave.secs().children(), 3U);
  EXPECT_EQ(slot(*s), 0U);
}

TEST(Eldu, KeepsEveryStateAPageCanHave) {
  const EpcmState states[] = {
      {.valid = true, .r = true, .w = true, .pending = true, .type = PageType::Reg},
      {.valid = true, .r = true, .pr = true, .type = PageType::Reg},
      {.valid = true, .modified = true, .type = PageType::Tcs},
      {.valid = true, .modified = true, .type = PageType::Trim},
      {.valid = true, .type = PageType::Trim},
      {.valid = true, .r = true, .w = true, .x = true, .type = PageType::Reg},
      {.valid = true, .type = PageType::Tcs},
      {.valid = true, .type = PageType::Reg},
  };
  for (const EpcmState& state : states) {
    for (const bool blocked : {false, true}) {
      Stage s;
      s.set_state(Stage::kData, state);
      prepare_ewb(s, Stage::kData);
      ASSERT_EQ(run_ewb(s), leaf_success());
      s.pageinfo.secs = s.at(Stage::kSecs).value();
      s.rcx = s.at(Stage::kFree);
      ASSERT_EQ(blocked ? run_eldb(s) : run_eldu(s), leaf_success());
      EpcmState expected = state;
      expected.blocked = blocked;
      EXPECT_EQ(s.state(Stage::kFree), expected);
      // Nobody can have an old translation of a page that was out.
      EXPECT_TRUE(is_tracked(s.enclave.secs(), s.epcm(Stage::kFree).blocked_epoch));
    }
  }
}

TEST(Eldu, LoadsEachVersionOnce) {
  auto s = before_eld();
  ASSERT_EQ(run_eldu(*s), leaf_success());
  s->rcx = s->at(Stage::kSpare);
  EXPECT_EQ(run_eldu(*s), code(LeafCode::MacCompareFail));
  // Nor with the version put back by hand after the page has gone out again under another.
  prepare_ewb(*s, Stage::kFree);
  const std::vector<std::byte> old(s->buffer, s->buffer + kPageSize);
  const Pcmd old_pcmd = s->pcmd;
  ASSERT_EQ(run_ewb(*s), leaf_success());
  std::memcpy(s->buffer, old.data(), kPageSize);
  s->pcmd = old_pcmd;
  s->pageinfo.secs = s->at(Stage::kSecs).value();
  s->rcx = s->at(Stage::kSpare);
  EXPECT_EQ(run_eldu(*s), code(LeafCode::MacCompareFail));
}

TEST(Eldu, IntoAnotherEnclaveFails) {
  auto s = before_eld();
  s->pageinfo.secs = s->at(Stage::kOtherSecs).value();
  EXPECT_EQ(run_eldu(*s), code(LeafCode::MacCompareFail));
  EXPECT_EQ(s->other.secs().children(), 1U);
}

TEST(Eldu, AfterAnotherBootFails) {
  auto s = before_eld();
  s->machine.shared().boot_nonce.fill(std::byte{1});
  EXPECT_EQ(run_eldu(*s), code(LeafCode::MacCompareFail));
}

TEST(Eldu, OfVersionArraysChainsThem) {
  Stage s;
  Stage::must(epa(s.machine.machine(), s.machine, 3, s.at(Stage::kSpare)));
  version_array_of(s.machine.epc_page(Stage::kSpare)).slot[3] = 99;
  prepare_ewb(s, Stage::kSpare);
  ASSERT_EQ(run_ewb(s), leaf_success());
  EXPECT_EQ(s.pcmd.secinfo.flags, secinfo_flags_of(PageType::Va, 0));
  s.rcx = s.at(Stage::kFree);
  ASSERT_EQ(run_eldb(s), leaf_success());
  EXPECT_EQ(s.state(Stage::kFree), (EpcmState{.valid = true, .type = PageType::Va})) << "never blocked";
  EXPECT_EQ(version_array_of(s.machine.epc_page(Stage::kFree)).slot[3], 99U);
}

TEST(Eldu, OfASecsBringsBackTheWholeEnclaveIdentity) {
  Stage s;
  for (const std::size_t child : {Stage::kTcs, Stage::kCode, Stage::kData}) {
    Stage::must(eremove(s.machine.machine(), s.machine, s.at(child)));
  }
  const Secs before = s.enclave.secs();
  prepare_ewb(s, Stage::kSecs);
  ASSERT_EQ(run_ewb(s), leaf_success());
  s.rcx = s.at(Stage::kSpare);
  ASSERT_EQ(run_eldu(s), leaf_success());
  const Secs& after = secs_of(s.machine.epc_page(Stage::kSpare));
  EXPECT_EQ(std::memcmp(&before, &after, sizeof(before)), 0);
  EXPECT_EQ(s.state(Stage::kSpare), (EpcmState{.valid = true, .type = PageType::Secs}));
}

TEST(Eldu, SurvivesRandomPagesAndRandomDamage) {
  std::mt19937_64 random(99);
  for (int round = 0; round < 40; ++round) {
    Stage s;
    std::byte* data = s.machine.epc_page(Stage::kData).data;
    for (std::size_t i = 0; i < kPageSize; ++i) {
      data[i] = static_cast<std::byte>(random());
    }
    const std::vector<std::byte> plain(data, data + kPageSize);
    prepare_ewb(s, Stage::kData);
    ASSERT_EQ(run_ewb(s), leaf_success());
    s.pageinfo.secs = s.at(Stage::kSecs).value();
    s.rcx = s.at(Stage::kFree);
    const std::size_t at = random() % kPageSize;
    const auto flip = static_cast<std::byte>(1U << (random() % 8));
    s.buffer[at] ^= flip;
    EXPECT_EQ(run_eldu(s), code(LeafCode::MacCompareFail));
    EXPECT_EQ(s.state(Stage::kFree), EpcmState{});
    s.buffer[at] ^= flip;
    EXPECT_EQ(run_eldu(s), leaf_success());
    EXPECT_EQ(std::memcmp(plain.data(), s.machine.epc_page(Stage::kFree).data, kPageSize), 0);
  }
}

}  // namespace
}  // namespace enclume::arch
