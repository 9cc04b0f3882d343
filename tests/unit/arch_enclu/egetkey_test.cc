// SPDX-License-Identifier: Apache-2.0
// EGETKEY: SDM Vol. 3D, "ENCLU[EGETKEY]".
#include <gtest/gtest.h>

#include "unit/arch_enclu/identity_world.h"

namespace enclume::test {
namespace {

using arch::EncluLeaf;
using arch::KeyName;
using arch::Keyrequest;
using arch::LeafCode;
using arch::Reg;
using Ref = ReferenceDependencies;
namespace policy = arch::key_policy;

constexpr OperandUnderTest kRequest{Reg::Rbx, at::kData, 512, arch::Access::Read, 0x200};
constexpr OperandUnderTest kOutput{Reg::Rcx, at::kOtherData, 16, arch::Access::Write, 0x7f0};

constexpr KeyName kKeys[] = {KeyName::EinitToken, KeyName::Provision, KeyName::ProvisionSeal, KeyName::Report,
                             KeyName::Seal};

Keyrequest& request(World& w) {
  return w.object_at<Keyrequest>(kRequest.offset + kRequest.in_page);
}
Key& output(World& w) {
  return w.object_at<Key>(kOutput.offset + kOutput.in_page);
}

// A request that depends on as much as it can.
void prepare(World& w, KeyName name) {
  with_identity(w);
  Keyrequest& r = request(w);
  r.keyname = static_cast<std::uint16_t>(name);
  r.keypolicy = policy::kMrenclave | policy::kMrsigner | policy::kConfigId | policy::kIsvFamilyId |
                policy::kIsvExtProdId;
  r.isv_svn = 7;
  r.cpusvn = {std::byte{1}, std::byte{2}, std::byte{3}};
  r.attribute_mask = {0x95, 0x61};
  r.keyid = numbered<32>(6);
  r.miscmask = 0xffff'fff1;
  r.config_svn = 3;
  w.cpu[Reg::Rbx] = kRequest.address();
  w.cpu[Reg::Rcx] = kOutput.address();
}

arch::LeafResult egetkey(World& w) {
  return execute(w, EncluLeaf::Egetkey);
}

Key key_of(World& w) {
  EXPECT_TRUE(egetkey(w) == arch::leaf_success());
  return output(w);
}

TEST(EgetkeyTest, ChecksInOrder) {
  std::vector<Check> checks = operand_checks(kRequest, 1);
  append(checks, operand_checks(kOutput, 4));
  append(checks, {{"reserved byte", [](World& w) { request(w).reserved1[0] = std::byte{1}; }, gp(), 7},
                  {"CET mask", [](World& w) { request(w).cet_attributes_mask = 1; }, gp(), 7},
                  {"last reserved byte", [](World& w) { request(w).reserved2[433] = std::byte{1}; }, gp(), 7},
                  {"reserved policy bit", [](World& w) { request(w).keypolicy |= 1U << 6; }, gp(), 7},
                  {"KSS policy without KSS",
                   [](World& w) {
                     request(w).config_svn = 0;
                     w.secs().attributes.flags &= ~arch::attribute::kKss;
                   },
                   gp(), 7},
                  {"CONFIGSVN without KSS",
                   [](World& w) {
                     request(w).keypolicy = policy::kMrenclave;
                     w.secs().attributes.flags &= ~arch::attribute::kKss;
                   },
                   gp(), 7},
                  {"CPUSVN beyond the processor's", [](World& w) { request(w).cpusvn[4] = std::byte{1}; },
                   code(LeafCode::InvalidCpusvn), 8},
                  {"ISVSVN beyond the enclave's", [](World& w) { request(w).isv_svn = 10; },
                   code(LeafCode::InvalidIsvsvn), 9},
                  {"CONFIGSVN beyond the enclave's", [](World& w) { request(w).config_svn = 6; },
                   code(LeafCode::InvalidIsvsvn), 9}});
  expect_checks(
      checks, identity_options(), [](World& w) { prepare(w, KeyName::Seal); }, egetkey);
}

TEST(EgetkeyTest, UnknownKeysAreRefused) {
  for (const std::uint16_t name : {std::uint16_t{5}, std::uint16_t{0xffff}}) {
    World w(identity_options());
    prepare(w, KeyName::Seal);
    request(w).keyname = name;
    request(w).cpusvn.fill(std::byte{0xff});
    EXPECT_TRUE(egetkey(w) == code(LeafCode::InvalidKeyname));
    EXPECT_EQ(w.cpu[Reg::Rax], 256U);
  }
}

TEST(EgetkeyTest, PrivilegedKeysNeedTheirAttribute) {
  for (const KeyName name : kKeys) {
    SCOPED_TRACE(static_cast<int>(name));
    const std::uint64_t needed = name == KeyName::EinitToken ? arch::attribute::kEinitTokenKey
                                 : name == KeyName::Provision || name == KeyName::ProvisionSeal
                                     ? arch::attribute::kProvisionKey
                                     : 0;
    World w(identity_options());
    prepare(w, name);
    w.secs().attributes.flags &= ~(arch::attribute::kEinitTokenKey | arch::attribute::kProvisionKey) | needed;
    EXPECT_TRUE(egetkey(w) == arch::leaf_success());
    w.secs().attributes.flags &= ~(arch::attribute::kEinitTokenKey | arch::attribute::kProvisionKey);
    request(w).cpusvn.fill(needed != 0 ? std::byte{0xff} : std::byte{0});  // a later check
    w.cpu[Reg::Rbx] = kRequest.address();
    w.cpu[Reg::Rcx] = kOutput.address();
    EXPECT_TRUE(egetkey(w) == (needed != 0 ? code(LeafCode::InvalidAttribute) : arch::leaf_success()));
  }
}

TEST(EgetkeyTest, ReportKeyAsksForNoVersion) {
  World w(identity_options());
  prepare(w, KeyName::Report);
  request(w).cpusvn.fill(std::byte{0xff});
  request(w).isv_svn = 0xffff;
  request(w).config_svn = 0xffff;
  EXPECT_TRUE(egetkey(w) == arch::leaf_success());
}

TEST(EgetkeyTest, OnlySealLooksAtConfigsvn) {
  for (const KeyName name : kKeys) {
    World w(identity_options());
    prepare(w, name);
    request(w).config_svn = 0xffff;
    EXPECT_TRUE(egetkey(w) == (name == KeyName::Seal ? code(LeafCode::InvalidIsvsvn) : arch::leaf_success()))
        << static_cast<int>(name);
  }
}

TEST(EgetkeyTest, ReportsInRaxAndZf) {
  World w(identity_options());
  prepare(w, KeyName::Seal);
  w.cpu.rflags = 0x202 | 0x8d5;
  ASSERT_TRUE(egetkey(w) == arch::leaf_success());
  EXPECT_EQ(w.cpu[Reg::Rax], 0U);
  EXPECT_EQ(w.cpu.rflags, 0x202U);
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode + 3);

  output(w).fill(std::byte{0x33});
  request(w).isv_svn = 0xffff;
  w.cpu.rflags = 0x202 | 0x895;
  ASSERT_TRUE(egetkey(w) == code(LeafCode::InvalidIsvsvn));
  EXPECT_EQ(w.cpu[Reg::Rax], 64U);
  EXPECT_EQ(w.cpu.rflags, 0x202 | arch::rflags::kZf);
  Key untouched;
  untouched.fill(std::byte{0x33});
  EXPECT_EQ(output(w), untouched);
}

TEST(EgetkeyTest, WritesSixteenBytesAndNoMore) {
  World w(identity_options());
  prepare(w, KeyName::Seal);
  std::memset(w.page_at(kOutput.offset).data, 0x77, kPageSize);
  ASSERT_TRUE(egetkey(w) == arch::leaf_success());
  for (std::uint64_t i = 0; i < kPageSize; ++i) {
    if (i < kOutput.in_page || i >= kOutput.in_page + 16) {
      ASSERT_EQ(w.object_at<std::uint8_t>(kOutput.offset + i), 0x77) << i;
    }
  }
}

// The whole derivation once more, for the request of prepare(), by OpenSSL.
Key reference_key(World& w, KeyName name) {
  const arch::Secs& s = w.secs();
  const Keyrequest& r = request(w);
  const arch::MachineConfig& config = w.fake.config();
  const std::uint64_t mask[2] = {r.attribute_mask.flags, r.attribute_mask.xfrm};
  const std::uint64_t all[2] = {s.attributes.flags, s.attributes.xfrm};
  const std::uint64_t masked[2] = {all[0] & (mask[0] | 3), all[1] & mask[1]};
  const Key fuses = reference_root("fuses", config.secret);

  Ref d;
  d.put(Ref::kKeyname, static_cast<std::uint16_t>(name));
  d.put(Ref::kPadding, reference_padding());
  if (name == KeyName::Report) {
    d.put(Ref::kSealFuses, fuses).put(Ref::kCpusvn, config.cpusvn).put(Ref::kAttributes, all);
    d.put(Ref::kMiscselect, s.miscselect).put(Ref::kMrenclave, s.mrenclave).put(Ref::kKeyid, r.keyid);
    d.put(Ref::kConfigid, s.config_id).put(Ref::kConfigsvn, s.config_svn);
    return d.derive(config.secret);
  }
  d.put(Ref::kAttributes, masked).put(Ref::kCpusvn, r.cpusvn).put(Ref::kIsvsvn, r.isv_svn);
  d.put(Ref::kMiscselect, s.miscselect & r.miscmask).put(Ref::kIsvprodid, s.isv_prod_id);
  if (name != KeyName::Seal || (r.keypolicy & policy::kMrsigner) != 0) {
    d.put(Ref::kMrsigner, s.mrsigner);
  }
  if (name != KeyName::EinitToken) {
    d.put(Ref::kAttributemask, mask).put(Ref::kMiscmask, ~r.miscmask);
  }
  if (name != KeyName::Provision) {
    d.put(Ref::kSealFuses, fuses);
  }
  if (name == KeyName::EinitToken || name == KeyName::Seal) {
    d.put(Ref::kKeyid, r.keyid);
  }
  if (name == KeyName::Seal || name == KeyName::ProvisionSeal) {
    d.put(Ref::kKeypolicy, r.keypolicy);
    d.put(Ref::kConfigid, s.config_id).put(Ref::kConfigsvn, r.config_svn);
    d.put(Ref::kIsvfamilyid, s.internal.isv_family_id).put(Ref::kIsvextprodid, s.internal.isv_ext_prod_id);
  }
  if (name == KeyName::Seal) {
    d.put(Ref::kMrenclave, s.mrenclave);
  }
  return d.derive(config.secret);
}

TEST(EgetkeyTest, EqualsTheReferenceDerivation) {
  for (const KeyName name : kKeys) {
    World w(identity_options());
    prepare(w, name);
    EXPECT_EQ(key_of(w), reference_key(w, name)) << static_cast<int>(name);
  }
}

// What each key depends on: rows of the SDM's table "Key derivation", columns as in kKeys.
struct Input {
  std::string_view name;
  std::function<void(World&)> change;
  bool matters[5];  ///< EINITTOKEN, PROVISION, PROVISION_SEAL, REPORT, SEAL
};

std::vector<Input> inputs() {
  return {
      {"masked-in attribute",
       [](World& w) { w.secs().attributes.flags ^= 4; },
       {true, true, true, true, true}},
      {"masked-out attribute",
       [](World& w) { w.secs().attributes.flags ^= 1 << 10; },
       {false, false, false, true, false}},
      {"DEBUG, not in the mask",
       [](World& w) { w.secs().attributes.flags ^= 2; },
       {true, true, true, true, true}},
      {"masked-in XFRM", [](World& w) { w.secs().attributes.xfrm ^= 0x20; }, {true, true, true, true, true}},
      {"masked-out XFRM",
       [](World& w) { w.secs().attributes.xfrm ^= 0x4; },
       {false, false, false, true, false}},
      {"ATTRIBUTEMASK",
       [](World& w) { request(w).attribute_mask.flags ^= 1ULL << 40; },
       {false, true, true, false, true}},
      {"CPUSVN asked for",
       [](World& w) { request(w).cpusvn[1] = std::byte{0}; },
       {true, true, true, false, true}},
      {"CPUSVN of the processor",
       [](World& w) { w.fake.config().cpusvn[7] = std::byte{9}; },
       {false, false, false, true, false}},
      {"ISVSVN asked for", [](World& w) { request(w).isv_svn = 6; }, {true, true, true, false, true}},
      {"ISVSVN of the enclave", [](World& w) { w.secs().isv_svn = 10; }, {false, false, false, false, false}},
      {"ISVPRODID", [](World& w) { w.secs().isv_prod_id ^= 1; }, {true, true, true, false, true}},
      {"MRENCLAVE",
       [](World& w) { w.secs().mrenclave[31] ^= std::byte{1}; },
       {false, false, false, true, true}},
      {"MRSIGNER", [](World& w) { w.secs().mrsigner[0] ^= std::byte{1}; }, {true, true, true, false, true}},
      {"KEYID", [](World& w) { request(w).keyid[31] ^= std::byte{1}; }, {true, false, false, true, true}},
      {"masked-in MISCSELECT", [](World& w) { w.secs().miscselect ^= 1; }, {true, true, true, true, true}},
      {"masked-out MISCSELECT",
       [](World& w) { w.secs().miscselect ^= 2; },
       {false, false, false, true, false}},
      {"MISCMASK", [](World& w) { request(w).miscmask ^= 1U << 30; }, {false, true, true, false, true}},
      {"KEYPOLICY",
       [](World& w) { request(w).keypolicy ^= policy::kNoIsvProdId; },
       {false, false, true, false, true}},
      {"CONFIGID",
       [](World& w) { w.secs().config_id[63] ^= std::byte{1}; },
       {false, false, true, true, true}},
      {"CONFIGSVN asked for", [](World& w) { request(w).config_svn = 2; }, {false, false, true, false, true}},
      {"CONFIGSVN of the enclave",
       [](World& w) { w.secs().config_svn = 6; },
       {false, false, false, true, false}},
      {"ISVFAMILYID",
       [](World& w) { w.secs().internal.isv_family_id[0] ^= std::byte{1}; },
       {false, false, true, false, true}},
      {"ISVEXTPRODID",
       [](World& w) { w.secs().internal.isv_ext_prod_id[0] ^= std::byte{1}; },
       {false, false, true, false, true}},
      {"PADDING",
       [](World& w) { w.secs().internal.padding[100] ^= std::byte{1}; },
       {true, true, true, false, true}},
      {"machine secret",
       [](World& w) { w.fake.config().secret[31] ^= std::byte{1}; },
       {true, true, true, true, true}},
      {"boot",
       [](World& w) { w.fake.shared().boot_nonce[0] ^= std::byte{1}; },
       {false, false, false, false, false}},
  };
}

WorldOptions without_exinfo() {
  WorldOptions options = identity_options();
  options.miscselect = 0;
  return options;
}

TEST(EgetkeyTest, KeyChangesIffTheTableSaysSo) {
  for (const Input& input : inputs()) {
    for (std::size_t k = 0; k < std::size(kKeys); ++k) {
      World before(without_exinfo());
      prepare(before, kKeys[k]);
      World after(without_exinfo());
      prepare(after, kKeys[k]);
      input.change(after);
      EXPECT_EQ(key_of(before) != key_of(after), input.matters[k])
          << input.name << " for key " << static_cast<int>(kKeys[k]);
    }
  }
}

TEST(EgetkeyTest, SealPolicyChoosesTheIdentity) {
  // With a policy bit off, the field behind it does not matter.
  struct Row {
    std::uint16_t bit;
    std::function<void(World&)> change;
    bool inverted;
  };
  const Row rows[] = {
      {policy::kMrenclave, [](World& w) { w.secs().mrenclave[0] ^= std::byte{1}; }, false},
      {policy::kMrsigner, [](World& w) { w.secs().mrsigner[0] ^= std::byte{1}; }, false},
      {policy::kNoIsvProdId, [](World& w) { w.secs().isv_prod_id ^= 1; }, true},
      {policy::kConfigId, [](World& w) { w.secs().config_id[0] ^= std::byte{1}; }, false},
      {policy::kIsvFamilyId, [](World& w) { w.secs().internal.isv_family_id[0] ^= std::byte{1}; }, false},
      {policy::kIsvExtProdId, [](World& w) { w.secs().internal.isv_ext_prod_id[0] ^= std::byte{1}; }, false},
  };
  for (const Row& row : rows) {
    for (const bool on : {false, true}) {
      const auto derive = [&](bool changed) {
        World w(identity_options());
        prepare(w, KeyName::Seal);
        request(w).keypolicy = on ? row.bit : 0;
        if (changed) {
          row.change(w);
        }
        return key_of(w);
      };
      EXPECT_EQ(derive(false) != derive(true), on != row.inverted) << row.bit;
    }
  }
}

}  // namespace
}  // namespace enclume::test
