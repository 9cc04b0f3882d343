// SPDX-License-Identifier: Apache-2.0
// Keys: each depends on exactly the inputs that the SDM names, and all agree with tests/oracle/keys.py.
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "arch/identity/crypto.h"
#include "arch/identity/keys.h"
#include "arch/identity/signature.h"
#include "support/fake_machine.h"
#include "unit/arch_encls/oracle.h"

namespace enclume::arch {
namespace {

using test::hex;

using Random = std::mt19937_64;

template <std::size_t N>
void fill(Random& random, Bytes<N>& bytes) {
  for (std::byte& b : bytes) {
    b = static_cast<std::byte>(random());
  }
}

/// An enclave that exists only as its SECS, a request, and the processor that both meet on.
struct Draw {
  explicit Draw(Random& random) : config(test::default_config()) {
    fill(random, config.secret);
    fill(random, config.cpusvn);
    secs.attributes = {random(), random()};
    secs.miscselect = static_cast<std::uint32_t>(random());
    fill(random, secs.mrenclave);
    fill(random, secs.mrsigner);
    fill(random, secs.config_id);
    secs.isv_prod_id = static_cast<std::uint16_t>(random());
    secs.isv_svn = static_cast<std::uint16_t>(random());
    secs.config_svn = static_cast<std::uint16_t>(random());
    fill(random, secs.internal.isv_ext_prod_id);
    fill(random, secs.internal.isv_family_id);
    secs.internal.padding = pkcs1_padding();
    request.keyname = static_cast<std::uint16_t>(random() % 5);
    request.keypolicy = static_cast<std::uint16_t>(random() & 0x3f);
    request.isv_svn = static_cast<std::uint16_t>(random());
    fill(random, request.cpusvn);
    request.attribute_mask = {random(), random()};
    fill(random, request.keyid);
    request.miscmask = static_cast<std::uint32_t>(random());
    request.config_svn = static_cast<std::uint16_t>(random());
  }

  [[nodiscard]] Block128 key() { return requested_key(config, secs, request); }
  [[nodiscard]] KeyName name() const { return static_cast<KeyName>(request.keyname); }
  [[nodiscard]] bool policy(std::uint16_t bit) const { return (request.keypolicy & bit) != 0; }
  [[nodiscard]] bool one_of(std::initializer_list<KeyName> names) const {
    return std::find(names.begin(), names.end(), name()) != names.end();
  }

  MachineConfig config;
  Secs secs{};
  Keyrequest request{};
};

/// One input: how to change it, and whether the key of a draw depends on it (asked before the change).
struct Input {
  std::string name;
  std::function<void(Draw&, Random&)> change;
  std::function<bool(const Draw&)> matters;
};

bool always(const Draw&) {
  return true;
}
bool is_report(const Draw& d) {
  return d.name() == KeyName::Report;
}
bool not_report(const Draw& d) {
  return !is_report(d);
}
bool is_seal_kind(const Draw& d) {
  return d.one_of({KeyName::Seal, KeyName::ProvisionSeal});
}

template <std::size_t N>
void flip(Random& random, Bytes<N>& bytes) {
  bytes[random() % N] ^= static_cast<std::byte>(1U << (random() % 8));
}

const std::vector<Input>& inputs() {
  static const std::vector<Input> kInputs = {
      {"machine secret", [](Draw& d, Random& r) { flip(r, d.config.secret); }, always},
      {"KEYNAME",
       [](Draw& d, Random&) { d.request.keyname = static_cast<std::uint16_t>((d.request.keyname + 1) % 5); },
       always},
      {"processor's CPUSVN", [](Draw& d, Random& r) { flip(r, d.config.cpusvn); }, is_report},
      {"request's CPUSVN", [](Draw& d, Random& r) { flip(r, d.request.cpusvn); }, not_report},
      {"request's ISVSVN", [](Draw& d, Random&) { d.request.isv_svn ^= 0x100; }, not_report},
      {"enclave's ISVSVN", [](Draw& d, Random&) { d.secs.isv_svn ^= 1; }, [](const Draw&) { return false; }},
      {"ISVPRODID", [](Draw& d, Random&) { d.secs.isv_prod_id ^= 0x40; },
       [](const Draw& d) {
         return d.one_of({KeyName::EinitToken, KeyName::Provision}) ||
                (is_seal_kind(d) && !d.policy(key_policy::kNoIsvProdId));
       }},
      {"MRENCLAVE", [](Draw& d, Random& r) { flip(r, d.secs.mrenclave); },
       [](const Draw& d) {
         return is_report(d) || (d.name() == KeyName::Seal && d.policy(key_policy::kMrenclave));
       }},
      {"MRSIGNER", [](Draw& d, Random& r) { flip(r, d.secs.mrsigner); },
       [](const Draw& d) {
         return d.one_of({KeyName::EinitToken, KeyName::Provision, KeyName::ProvisionSeal}) ||
                (d.name() == KeyName::Seal && d.policy(key_policy::kMrsigner));
       }},
      {"KEYID", [](Draw& d, Random& r) { flip(r, d.request.keyid); },
       [](const Draw& d) {
         return d.one_of({KeyName::EinitToken, KeyName::Report, KeyName::Seal});
       }},
      {"KEYPOLICY.MRENCLAVE", [](Draw& d, Random&) { d.request.keypolicy ^= key_policy::kMrenclave; },
       is_seal_kind},
      {"KEYPOLICY.CONFIGID", [](Draw& d, Random&) { d.request.keypolicy ^= key_policy::kConfigId; },
       is_seal_kind},
      {"CONFIGID", [](Draw& d, Random& r) { flip(r, d.secs.config_id); },
       [](const Draw& d) { return is_report(d) || (is_seal_kind(d) && d.policy(key_policy::kConfigId)); }},
      {"enclave's CONFIGSVN", [](Draw& d, Random&) { d.secs.config_svn ^= 2; }, is_report},
      {"request's CONFIGSVN", [](Draw& d, Random&) { d.request.config_svn ^= 2; },
       [](const Draw& d) { return is_seal_kind(d) && d.policy(key_policy::kConfigId); }},
      {"ISVFAMILYID", [](Draw& d, Random& r) { flip(r, d.secs.internal.isv_family_id); },
       [](const Draw& d) { return is_seal_kind(d) && d.policy(key_policy::kIsvFamilyId); }},
      {"ISVEXTPRODID", [](Draw& d, Random& r) { flip(r, d.secs.internal.isv_ext_prod_id); },
       [](const Draw& d) { return is_seal_kind(d) && d.policy(key_policy::kIsvExtProdId); }},
      {"ATTRIBUTES.DEBUG", [](Draw& d, Random&) { d.secs.attributes.flags ^= attribute::kDebug; }, always},
      {"ATTRIBUTES.INIT", [](Draw& d, Random&) { d.secs.attributes.flags ^= attribute::kInit; }, always},
      {"ATTRIBUTES.PROVISIONKEY",
       [](Draw& d, Random&) { d.secs.attributes.flags ^= attribute::kProvisionKey; },
       [](const Draw& d) {
         return is_report(d) || (d.request.attribute_mask.flags & attribute::kProvisionKey) != 0;
       }},
      {"ATTRIBUTES.XFRM bit 9", [](Draw& d, Random&) { d.secs.attributes.xfrm ^= 1 << 9; },
       [](const Draw& d) { return is_report(d) || (d.request.attribute_mask.xfrm & (1 << 9)) != 0; }},
      {"ATTRIBUTES bit 40", [](Draw& d, Random&) { d.secs.attributes.flags ^= 1ULL << 40; },
       [](const Draw& d) { return is_report(d) || (d.request.attribute_mask.flags & (1ULL << 40)) != 0; }},
      {"ATTRIBUTEMASK.INIT", [](Draw& d, Random&) { d.request.attribute_mask.flags ^= attribute::kInit; },
       [](const Draw& d) { return not_report(d) && d.name() != KeyName::EinitToken; }},
      {"ATTRIBUTEMASK over a bit that is clear",
       [](Draw& d, Random&) { d.request.attribute_mask.flags ^= 1ULL << 50; },
       [](const Draw& d) {
         return not_report(d) &&
                (d.name() != KeyName::EinitToken || (d.secs.attributes.flags & (1ULL << 50)) != 0);
       }},
      {"MISCSELECT bit 5", [](Draw& d, Random&) { d.secs.miscselect ^= 1 << 5; },
       [](const Draw& d) { return is_report(d) || (d.request.miscmask & (1 << 5)) != 0; }},
      {"MISCMASK bit 6", [](Draw& d, Random&) { d.request.miscmask ^= 1 << 6; },
       [](const Draw& d) {
         return not_report(d) && (d.name() != KeyName::EinitToken || (d.secs.miscselect & (1 << 6)) != 0);
       }},
      {"SIZE", [](Draw& d, Random&) { d.secs.size ^= 1 << 20; }, [](const Draw&) { return false; }},
      {"BASEADDR", [](Draw& d, Random&) { d.secs.base_addr ^= 1 << 20; }, [](const Draw&) { return false; }},
      {"EID", [](Draw& d, Random&) { d.secs.internal.eid ^= 1; }, [](const Draw&) { return false; }},
  };
  return kInputs;
}

TEST(Keys, ChangeIffAnInputThatTheyDependOnChanges) {
  Random random(1);
  for (int round = 0; round < 400; ++round) {
    Draw draw(random);
    const Block128 before = draw.key();
    for (const Input& input : inputs()) {
      const bool matters = input.matters(draw);
      Draw changed = draw;
      input.change(changed, random);
      EXPECT_EQ(changed.key() != before, matters)
          << input.name << ", key " << draw.request.keyname << ", policy " << draw.request.keypolicy
          << ", request " << hex(bytes_of(draw.request).first<80>());
    }
  }
}

TEST(Keys, OfAllNamesDifferForTheSameRequest) {
  Random random(2);
  for (int round = 0; round < 50; ++round) {
    Draw draw(random);
    std::set<Block128> keys;
    for (std::uint16_t name = 0; name < 5; ++name) {
      draw.request.keyname = name;
      keys.insert(draw.key());
    }
    EXPECT_EQ(keys.size(), 5U);
  }
}

// --- the other implementation

std::string number(const char* name, std::uint64_t value) {
  return std::string(" ") + name + "=" + std::to_string(value);
}
std::string bytes(const char* name, std::span<const std::byte> value) {
  return std::string(" ") + name + "=0x" + hex(value);
}
std::string describe(const Draw& d) {
  const Secs& s = d.secs;
  const Keyrequest& r = d.request;
  return "egetkey" + bytes("secret", d.config.secret) + bytes("cpusvn", d.config.cpusvn) +
         number("secs_flags", s.attributes.flags) + number("secs_xfrm", s.attributes.xfrm) +
         number("secs_miscselect", s.miscselect) + bytes("secs_mrenclave", s.mrenclave) +
         bytes("secs_mrsigner", s.mrsigner) + bytes("secs_configid", s.config_id) +
         number("secs_isvprodid", s.isv_prod_id) + number("secs_configsvn", s.config_svn) +
         bytes("secs_extprodid", s.internal.isv_ext_prod_id) +
         bytes("secs_familyid", s.internal.isv_family_id) + number("req_keyname", r.keyname) +
         number("req_policy", r.keypolicy) + number("req_isvsvn", r.isv_svn) + bytes("req_cpusvn", r.cpusvn) +
         number("req_maskflags", r.attribute_mask.flags) + number("req_maskxfrm", r.attribute_mask.xfrm) +
         bytes("req_keyid", r.keyid) + number("req_miscmask", r.miscmask) +
         number("req_configsvn", r.config_svn) + "\n";
}

TEST(Keys, AgreeWithTheOracle) {
  Random random(3);
  std::string description;
  std::vector<std::string> expected;
  for (int round = 0; round < 60; ++round) {
    Draw draw(random);
    description += describe(draw);
    expected.push_back(hex(draw.key()));
  }
  EXPECT_EQ(test::ask_oracle("keys.py", description), expected);
}

TEST(ReportMac, AgreesWithTheOracle) {
  Random random(4);
  std::string description;
  std::vector<std::string> expected;
  for (int round = 0; round < 20; ++round) {
    Draw draw(random);
    Targetinfo target{};
    fill(random, target.measurement);
    fill(random, target.config_id);
    target.attributes = {random(), random()};
    target.config_svn = static_cast<std::uint16_t>(random());
    target.miscselect = static_cast<std::uint32_t>(random());
    Bytes<32> keyid;
    fill(random, keyid);
    auto report = std::make_unique<Report>();
    auto& raw = reinterpret_cast<Bytes<sizeof(Report)>&>(*report);
    fill(random, raw);
    description +=
        "report" + bytes("secret", draw.config.secret) + bytes("cpusvn", draw.config.cpusvn) +
        number("target_flags", target.attributes.flags) + number("target_xfrm", target.attributes.xfrm) +
        number("target_miscselect", target.miscselect) + bytes("target_mrenclave", target.measurement) +
        bytes("target_configid", target.config_id) + number("target_configsvn", target.config_svn) +
        bytes("keyid", keyid) + bytes("body", std::span<const std::byte>(raw).first(384)) + "\n";
    expected.push_back(hex(report_mac(report_key(draw.config, draw.secs, target, keyid), *report)));
  }
  EXPECT_EQ(test::ask_oracle("keys.py", description), expected);
}

TEST(ReportKey, IsWhatTheTargetGetsFromEgetkeyAndNobodyElse) {
  Random random(5);
  for (int round = 0; round < 100; ++round) {
    Draw target(random);
    target.request.keyname = static_cast<std::uint16_t>(KeyName::Report);
    Targetinfo info{};
    info.measurement = target.secs.mrenclave;
    info.attributes = target.secs.attributes;
    info.miscselect = target.secs.miscselect;
    info.config_id = target.secs.config_id;
    info.config_svn = target.secs.config_svn;
    Draw reporter(random);
    const Block128 key = report_key(target.config, reporter.secs, info, target.request.keyid);
    EXPECT_EQ(key, target.key());
    target.secs.attributes.flags ^= attribute::kInit;
    EXPECT_NE(key, target.key()) << "TARGETINFO has to carry INIT";
  }
}

TEST(LaunchKey, IsWhatTheLaunchEnclaveGetsFromEgetkey) {
  Random random(6);
  for (int round = 0; round < 100; ++round) {
    Draw launch(random);
    launch.request.keyname = static_cast<std::uint16_t>(KeyName::EinitToken);
    Einittoken token{};
    token.isv_prod_id_le = launch.secs.isv_prod_id;
    token.isv_svn_le = launch.request.isv_svn;
    token.cpusvn_le = launch.request.cpusvn;
    token.masked_attributes_le = launch.secs.attributes & Attributes{launch.request.attribute_mask.flags | 3,
                                                                     launch.request.attribute_mask.xfrm};
    token.masked_miscselect_le = launch.secs.miscselect & launch.request.miscmask;
    token.keyid = launch.request.keyid;
    EXPECT_EQ(launch_key(launch.config, launch.secs.mrsigner, token), launch.key());
    LePubKeyHash other = launch.secs.mrsigner;
    other[7] ^= std::byte{1};
    EXPECT_NE(launch_key(launch.config, other, token), launch.key());
  }
}

TEST(Cmac, AgreesWithOpenssl) {
  Random random(7);
  EVP_MAC* algorithm = EVP_MAC_fetch(nullptr, "CMAC", nullptr);
  ASSERT_NE(algorithm, nullptr);
  for (std::size_t size = 0; size < 200; ++size) {
    Block128 key;
    fill(random, key);
    std::vector<std::byte> message(size);
    for (std::byte& b : message) {
      b = static_cast<std::byte>(random());
    }
    std::string cipher = "AES-128-CBC";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher.data(), 0),
                                 OSSL_PARAM_construct_end()};
    EVP_MAC_CTX* ctx = EVP_MAC_CTX_new(algorithm);
    Block128 expected;
    std::size_t got = 0;
    ASSERT_EQ(EVP_MAC_init(ctx, reinterpret_cast<const unsigned char*>(key.data()), key.size(), params), 1);
    ASSERT_EQ(EVP_MAC_update(ctx, reinterpret_cast<const unsigned char*>(message.data()), size), 1);
    ASSERT_EQ(EVP_MAC_final(ctx, reinterpret_cast<unsigned char*>(expected.data()), &got, expected.size()),
              1);
    EVP_MAC_CTX_free(ctx);
    EXPECT_EQ(aes_cmac(key, message), expected) << size;
  }
  EVP_MAC_free(algorithm);
}

TEST(Cpusvn, IsReachedIfEveryComponentIs) {
  MachineConfig config = test::default_config();
  EXPECT_TRUE(cpusvn_reached(config, {}));
  EXPECT_TRUE(cpusvn_reached(config, config.cpusvn));
  for (std::size_t i = 0; i < 16; ++i) {
    Bytes<16> higher = config.cpusvn;
    higher[i] = static_cast<std::byte>(std::to_integer<unsigned>(higher[i]) + 1);
    EXPECT_FALSE(cpusvn_reached(config, higher)) << i;
  }
}

TEST(MachineKeys, DifferByPurposeMachineAndBoot) {
  test::FakeMachine a;
  std::set<std::string> seen;
  const auto add = [&](const Machine& machine) {
    EXPECT_TRUE(seen.insert(hex(paging_key(machine))).second);
    EXPECT_TRUE(seen.insert(hex(report_keyid(machine))).second);
  };
  add(a.machine());
  a.shared().boot_nonce[31] ^= std::byte{1};
  add(a.machine());
  a.config().secret[31] ^= std::byte{1};
  add(a.machine());
}

}  // namespace
}  // namespace enclume::arch
