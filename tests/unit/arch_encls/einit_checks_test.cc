// SPDX-License-Identifier: Apache-2.0
// EINIT: every check, and their order.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "arch/identity/keys.h"
#include "arch/identity/measurement.h"
#include "arch/identity/signature.h"
#include "arch/structs/einittoken.h"
#include "unit/arch_encls/ladder.h"

namespace enclume::arch {
namespace {

using namespace test;

// RSA is slow, and a ladder signs the same few certificates again and again.
void sign(Sigstruct& sig) {
  static std::map<std::string, Sigstruct> signed_before;
  const auto block = Signer::pkcs1_block(sig);
  const std::string key(reinterpret_cast<const char*>(block.data()), block.size());
  auto it = signed_before.find(key);
  if (it == signed_before.end()) {
    Sigstruct copy = sig;
    Signer().sign(copy);
    it = signed_before.emplace(key, copy).first;
  }
  sig.modulus = it->second.modulus;
  sig.signature = it->second.signature;
  sig.q1 = it->second.q1;
  sig.q2 = it->second.q2;
}

/// A stage with EINIT's operands. What the rungs spoil is kept apart from signing and from the token's MAC,
/// so that each rung fails in one way: run_einit() signs and authenticates what is there.
struct EinitStage {
  explicit EinitStage(const Secs& secs)
      : stage(false, secs),
        sig(stage.machine.allocate<Sigstruct>()),
        token(stage.machine.allocate<Einittoken>()),
        le_hash(Signer().mrsigner()) {
    stage.rbx = LinearAddress::of(&sig);
    stage.rcx = stage.at(Stage::kSecs);
    stage.rdx = LinearAddress::of(&token);
    sig = stage.enclave.certificate();
    sig.attribute_mask = {~std::uint64_t{0}, ~std::uint64_t{0}};
    fill_token();
  }

  void fill_token() {
    token.valid = 1;
    token.attributes = stage.enclave.secs().attributes;
    token.mrenclave = sig.enclave_hash;
    token.mrsigner = Signer().mrsigner();
    token.cpusvn_le = stage.machine.config().cpusvn;
    token.isv_prod_id_le = 1;
    token.isv_svn_le = 2;
    token.masked_attributes_le = {attribute::kMode64Bit | attribute::kInit, 3};
    token.keyid.fill(std::byte{0x77});
  }
  LeafResult run() {
    if (!bad_signature) {
      sign(sig);
    }
    token.mac = token_mac(launch_key(stage.machine.config(), le_hash, token), token);
    if (bad_mac) {
      token.mac[0] ^= std::byte{1};
    }
    return einit(stage.machine.machine(), stage.machine, le_hash, stage.rbx, stage.rcx, stage.rdx);
  }

  Stage stage;
  Sigstruct& sig;
  Einittoken& token;
  LePubKeyHash le_hash;
  bool bad_signature = false;
  bool bad_mac = false;
};

struct EinitRung {
  int rank;
  std::string_view name;
  std::function<void(EinitStage&)> spoil;
  std::function<LeafResult(EinitStage&)> expected;
};

std::function<LeafResult(EinitStage&)> ends(const LeafResult& r) {
  return [r](EinitStage&) { return r; };
}

void climb_einit(
    const Secs& secs, const std::vector<EinitRung>& rungs,
    const std::function<void(EinitStage&)>& prepare = [](EinitStage&) {}) {
  {
    EinitStage e(secs);
    prepare(e);
    ASSERT_EQ(e.run(), leaf_success()) << "nothing is spoiled yet";
  }
  const auto fall = [&](const EinitRung& rung, const EinitRung* later) {
    SCOPED_TRACE(rung.name);
    SCOPED_TRACE(later != nullptr ? later->name : "alone");
    EinitStage e(secs);
    prepare(e);
    if (later != nullptr) {
      later->spoil(e);
    }
    rung.spoil(e);
    const Snapshot before(e.stage);
    const LeafResult expected = rung.expected(e);
    const LeafResult result = e.run();
    EXPECT_TRUE(result == expected) << "expected " << describe(expected) << ", is " << describe(result);
    EXPECT_TRUE(Snapshot(e.stage) == before) << "a failing EINIT has changed something";
  };
  for (const EinitRung& rung : rungs) {
    fall(rung, nullptr);
    for (const EinitRung& later : rungs) {
      if (later.rank > rung.rank) {
        fall(rung, &later);
      }
    }
  }
}

EinitRung moved(int rank, std::string_view name, LinearAddress Stage::*reg, std::uint64_t by) {
  return {rank, name, [=](EinitStage& e) { e.stage.*reg = e.stage.*reg + by; }, ends(gp())};
}

const std::function<LeafResult(EinitStage&)> pf_secs = [](EinitStage& e) { return epc_pf(e.stage.rcx); };

EinitRung secs_state(std::string_view name, const std::function<void(EpcmState&)>& change) {
  return {7, name, [change](EinitStage& e) { e.stage.change_state(Stage::kSecs, change); }, pf_secs};
}

std::vector<EinitRung> operand_rungs() {
  return {
      moved(1, "SIGSTRUCT not aligned", &Stage::rbx, 0x800),
      moved(1, "SECS not aligned", &Stage::rcx, 0x800),
      moved(1, "token not aligned", &Stage::rdx, 0x100),
      {2, "SECS not in the EPC",
       [](EinitStage& e) { e.stage.rcx = LinearAddress::of(e.stage.machine.allocate_pages(1)); }, pf_secs},
      {2, "SECS not mapped", [](EinitStage& e) { e.stage.rcx = kNowhere; }, ends(walk_pf(kNowhere, true))},
      {3, "SIGSTRUCT not mapped", [](EinitStage& e) { e.stage.rbx = kNowhere; },
       ends(walk_pf(kNowhere, false))},
      {4, "token not mapped", [](EinitStage& e) { e.stage.rdx = kNowhere; }, ends(walk_pf(kNowhere, false))},
  };
}

// Steps 3 to 10 of the table in the architecture notes; ranks go on from the operands'.
std::vector<EinitRung> certificate_rungs() {
  const auto bad = ends(code(LeafCode::InvalidSigStruct));
  return {
      {5, "HEADER", [](EinitStage& e) { e.sig.header[0] ^= std::byte{1}; }, bad},
      {5, "VENDOR", [](EinitStage& e) { e.sig.vendor = 1; }, bad},
      {5, "HEADER2", [](EinitStage& e) { e.sig.header2[15] ^= std::byte{1}; }, bad},
      {5, "EXPONENT", [](EinitStage& e) { e.sig.exponent = 65537; }, bad},
      {5, "reserved", [](EinitStage& e) { e.sig.reserved4[11] = std::byte{1}; }, bad},
      {6, "signature",
       [](EinitStage& e) {
         sign(e.sig);
         e.bad_signature = true;
         e.sig.signature[5] ^= std::byte{1};
       },
       ends(code(LeafCode::InvalidSignature))},
      {6, "Q2",
       [](EinitStage& e) {
         sign(e.sig);
         e.bad_signature = true;
         e.sig.q2[5] ^= std::byte{1};
       },
       ends(code(LeafCode::InvalidSignature))},
      {7, "SECS in use", [](EinitStage& e) { e.stage.lock(Stage::kSecs); }, ends(gp())},
  };
}

TEST(Einit, ChecksInOrder) {
  std::vector<EinitRung> rungs = operand_rungs();
  for (EinitRung& r : certificate_rungs()) {
    rungs.push_back(std::move(r));
  }
  EinitRung invalid = secs_state("SECS invalid", [](EpcmState& s) { s.valid = false; });
  EinitRung type = secs_state("SECS of another type", [](EpcmState& s) { s.type = PageType::Reg; });
  invalid.rank = type.rank = 8;
  rungs.push_back(invalid);
  rungs.push_back(type);
  const std::vector<EinitRung> rest = {
      {9, "ISVFAMILYID without KSS", [](EinitStage& e) { e.sig.isv_family_id[0] = std::byte{1}; },
       ends(code(LeafCode::InvalidSigStruct))},
      {9, "ISVEXTPRODID without KSS", [](EinitStage& e) { e.sig.isv_ext_prod_id[0] = std::byte{1}; },
       ends(code(LeafCode::InvalidSigStruct))},
      {10, "hash in use", [](EinitStage& e) { e.stage.enclave.secs().internal.measurement_lock = 1; },
       ends(gp())},
      {11, "initialised", [](EinitStage& e) { e.stage.enclave.secs().set_initialised(); }, ends(gp())},
      {12, "ENCLAVEHASH", [](EinitStage& e) { e.sig.enclave_hash[31] ^= std::byte{1}; },
       ends(code(LeafCode::InvalidMeasurement))},
      {13, "ATTRIBUTES.flags", [](EinitStage& e) { e.sig.attributes.flags ^= attribute::kProvisionKey; },
       ends(code(LeafCode::InvalidAttribute))},
      {13, "ATTRIBUTES.XFRM", [](EinitStage& e) { e.sig.attributes.xfrm ^= 1ULL << 63; },
       ends(code(LeafCode::InvalidAttribute))},
      {14, "MISCSELECT", [](EinitStage& e) { e.sig.miscselect ^= 1; },
       ends(code(LeafCode::InvalidAttribute))},
      {15, "token of a debug launch enclave for a production enclave",
       [](EinitStage& e) { e.token.masked_attributes_le.flags |= attribute::kDebug; },
       ends(code(LeafCode::InvalidEinitToken))},
      {16, "token VALID reserved", [](EinitStage& e) { e.token.valid |= 2; },
       ends(code(LeafCode::InvalidEinitToken))},
      {16, "token reserved", [](EinitStage& e) { e.token.reserved1[43] = std::byte{1}; },
       ends(code(LeafCode::InvalidEinitToken))},
      {16, "token reserved after MRENCLAVE", [](EinitStage& e) { e.token.reserved2[0] = std::byte{1}; },
       ends(code(LeafCode::InvalidEinitToken))},
      {16, "token reserved after MRSIGNER", [](EinitStage& e) { e.token.reserved3[0] = std::byte{1}; },
       ends(code(LeafCode::InvalidEinitToken))},
      {16, "token reserved after ISVSVNLE", [](EinitStage& e) { e.token.reserved4[23] = std::byte{1}; },
       ends(code(LeafCode::InvalidEinitToken))},
      {17, "token CPUSVN beyond ours", [](EinitStage& e) { e.token.cpusvn_le[15] = std::byte{1}; },
       ends(code(LeafCode::InvalidCpusvn))},
      {18, "token MAC", [](EinitStage& e) { e.bad_mac = true; }, ends(code(LeafCode::InvalidEinitToken))},
      {19, "token for another MRENCLAVE", [](EinitStage& e) { e.token.mrenclave[0] ^= std::byte{1}; },
       ends(code(LeafCode::InvalidMeasurement))},
      {19, "token for another MRSIGNER", [](EinitStage& e) { e.token.mrsigner[0] ^= std::byte{1}; },
       ends(code(LeafCode::InvalidMeasurement))},
      {20, "token for other ATTRIBUTES", [](EinitStage& e) { e.token.attributes.xfrm ^= 4; },
       ends(code(LeafCode::InvalidAttribute))},
  };
  rungs.insert(rungs.end(), rest.begin(), rest.end());
  climb_einit(default_secs(), rungs);
}

TEST(Einit, ChecksTheLaunchAuthorityBeforeTheAttributeMask) {
  Secs secs = default_secs();
  secs.attributes.flags |= attribute::kEinitTokenKey;
  climb_einit(
      secs, {
                {1, "ENCLAVEHASH", [](EinitStage& e) { e.sig.enclave_hash[0] ^= std::byte{1}; },
                 ends(code(LeafCode::InvalidMeasurement))},
                {2, "launch key for somebody who is not the authority",
                 [](EinitStage& e) { e.le_hash[0] ^= std::byte{1}; }, ends(code(LeafCode::InvalidAttribute))},
                {3, "token of a debug launch enclave",
                 [](EinitStage& e) { e.token.masked_attributes_le.flags |= attribute::kDebug; },
                 ends(code(LeafCode::InvalidEinitToken))},
            });
}

TEST(Einit, WithoutATokenNeedsTheLaunchAuthoritysOwnSignature) {
  const auto no_token = [](EinitStage& e) { e.token.valid = 0; };
  climb_einit(default_secs(),
              {
                  {1, "ATTRIBUTES.flags", [](EinitStage& e) { e.sig.attributes.flags ^= 1ULL << 40; },
                   ends(code(LeafCode::InvalidAttribute))},
                  {2, "another authority", [](EinitStage& e) { e.le_hash[31] ^= std::byte{1}; },
                   ends(code(LeafCode::InvalidEinitToken))},
              },
              no_token);
}

TEST(Einit, DoesNotLookAtATokenThatIsNotValid) {
  EinitStage e(default_secs());
  std::memset(&e.token, 0xee, sizeof(e.token));
  e.token.valid = 0xfffffffe;
  EXPECT_EQ(e.run(), leaf_success());
}

TEST(Einit, AcceptsATokenForSomebodyElsesEnclave) {
  EinitStage e(default_secs());
  e.le_hash.fill(std::byte{0x42});
  EXPECT_EQ(e.run(), leaf_success());
}

TEST(Einit, AcceptsAnOlderLaunchEnclave) {
  EinitStage e(default_secs());
  e.token.cpusvn_le = {};
  EXPECT_EQ(e.run(), leaf_success());
}

TEST(Einit, AcceptsADebugLaunchEnclaveForADebugEnclave) {
  EinitStage e(Stage::debug_secs());
  e.token.masked_attributes_le.flags |= attribute::kDebug;
  EXPECT_EQ(e.run(), leaf_success());
}

TEST(Einit, ComparesAttributesUnderTheMaskOnly) {
  for (unsigned bit = 0; bit < 128; bit += 13) {  // not all: RSA is slow
    EinitStage e(Stage::debug_secs());
    e.token.valid = 0;
    std::uint64_t Attributes::*part = bit < 64 ? &Attributes::flags : &Attributes::xfrm;
    const std::uint64_t mask = 1ULL << (bit % 64);
    e.sig.attributes.*part ^= mask;
    e.sig.attribute_mask.*part &= ~mask;
    EXPECT_EQ(e.run(), leaf_success()) << "bit " << bit;
  }
}

TEST(Einit, KeepsTheWholeIdentityOfAKssEnclave) {
  Secs secs = default_secs();
  secs.attributes.flags |= attribute::kKss;
  EinitStage e(secs);
  e.sig.isv_family_id.fill(std::byte{0xfa});
  e.sig.isv_ext_prod_id.fill(std::byte{0xe0});
  e.sig.isv_prod_id = 0x1234;
  e.sig.isv_svn = 0x5678;
  ASSERT_EQ(e.run(), leaf_success());
  const Secs& made = e.stage.enclave.secs();
  EXPECT_EQ(made.internal.isv_family_id, e.sig.isv_family_id);
  EXPECT_EQ(made.internal.isv_ext_prod_id, e.sig.isv_ext_prod_id);
  EXPECT_EQ(made.isv_prod_id, 0x1234);
  EXPECT_EQ(made.isv_svn, 0x5678);
  EXPECT_EQ(made.mrsigner, Signer().mrsigner());
  EXPECT_EQ(made.mrenclave, e.sig.enclave_hash);
  EXPECT_EQ(made.internal.padding, pkcs1_padding());
}

TEST(Einit, ReadsAllOnesFromAnEpcPage) {
  EinitStage e(default_secs());
  e.stage.rbx = e.stage.at(Stage::kData);
  EXPECT_EQ(e.run(), code(LeafCode::InvalidSigStruct));
}

}  // namespace
}  // namespace enclume::arch
