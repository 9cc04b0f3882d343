// SPDX-License-Identifier: Apache-2.0
// Sealed data between real enclaves: those of the same signer, of another, newer ones, debug ones.
#include <vector>

#include "runtime/vaults.h"

namespace {

using enclume::Code;
using vault::load;
using Bytes = std::vector<std::byte>;
using Enclave = enclume::Enclave<Vault>;

constexpr std::string_view kText = "the recipe";
constexpr std::uint16_t kForEnclave = 1, kForSigner = 2;

Bytes seal(const Enclave& enclave, std::uint16_t policy = kForSigner) {
  const auto sealed = enclave.call<vault::seal>(kText, "label", policy);
  EXPECT_TRUE(sealed);
  return sealed.value_or(Bytes());
}

Code open(const Enclave& enclave, const Bytes& sealed, std::string_view label = "label",
          std::uint16_t least_svn = 0) {
  const auto text = enclave.call<vault::unseal>(sealed, label, least_svn);
  if (!text) return text.error().code;
  EXPECT_EQ(*text, kText);
  return Code::kOk;
}

TEST(Sealed, OpensInTheSameEnclaveLoadedAgain) {
  for (const std::uint16_t policy : {kForEnclave, kForSigner}) {
    const Bytes sealed = seal(load(), policy);
    EXPECT_EQ(open(load(), sealed), Code::kOk);
  }
}

TEST(Sealed, ForTheSignerOpensInItsOtherEnclave) {
  const auto other = load(vault::kOther);
  EXPECT_EQ(open(other, seal(load(), kForSigner)), Code::kOk);
  EXPECT_EQ(open(other, seal(load(), kForEnclave)), Code::kWrongEnclave);
}

TEST(Sealed, DoesNotOpenForAnotherSignerOrProduct) {
  const auto enclave = load();
  const auto foreign = load(vault::kForeign);
  EXPECT_EQ(open(foreign, seal(enclave, kForSigner)), Code::kWrongSigner);
  EXPECT_EQ(open(load(vault::kProduct), seal(enclave, kForSigner)), Code::kWrongProduct);
  EXPECT_EQ(open(load(vault::kProduct), seal(enclave, kForEnclave)), Code::kWrongProduct);
}

TEST(Sealed, ForTheEnclaveOpensInItWhoeverHasSignedIt) {
  EXPECT_EQ(open(load(vault::kForeign), seal(load(), kForEnclave)), Code::kOk);
}

TEST(Sealed, OpensInLaterVersionsOnly) {
  const auto enclave = load();
  const auto newer = load(vault::kNewer);
  for (const std::uint16_t policy : {kForEnclave, kForSigner}) {
    EXPECT_EQ(open(newer, seal(enclave, policy)), Code::kOk);
    EXPECT_EQ(open(newer, seal(enclave, policy), "label", 3), Code::kOlderEnclave);
    EXPECT_EQ(open(enclave, seal(newer, policy)), Code::kNewerEnclave);
  }
}

TEST(Sealed, IsNotSharedWithDebugEnclaves) {
  const auto enclave = load();
  const auto debugged = load(vault::kImage, {.debug = true});
  EXPECT_EQ(open(debugged, seal(enclave)), Code::kWrongMode);
  EXPECT_EQ(open(enclave, seal(debugged)), Code::kWrongMode);
  EXPECT_EQ(open(debugged, seal(debugged)), Code::kOk);
}

// What the header says is one thing; the key that the processor gives another.
TEST(Sealed, ClaimsInTheHeaderDoNotOpenIt) {
  const auto enclave = load();
  const auto other = load(vault::kOther);
  const Bytes theirs = seal(other, kForEnclave);
  Bytes ours = seal(enclave, kForEnclave);
  constexpr std::size_t kIdentity = 96;
  std::copy_n(theirs.begin() + kIdentity, 32, ours.begin() + kIdentity);
  EXPECT_EQ(open(other, ours), Code::kAltered);
}

TEST(Sealed, EachChangedByteIsRefused) {
  const auto enclave = load();
  Bytes sealed = seal(enclave);
  for (std::byte& b : sealed) {
    b ^= std::byte{0x40};
    EXPECT_NE(open(enclave, sealed), Code::kOk) << &b - sealed.data();
    b ^= std::byte{0x40};
  }
  EXPECT_EQ(open(enclave, sealed), Code::kOk);
}

TEST(Sealed, OtherAdditionalDataAreRefused) {
  const auto enclave = load();
  EXPECT_EQ(open(enclave, seal(enclave), "Label"), Code::kAltered);
}

TEST(Sealed, SomethingElseIsRefused) {
  const auto enclave = load();
  EXPECT_EQ(open(enclave, {}), Code::kNotSealed);
  EXPECT_EQ(open(enclave, Bytes(1000)), Code::kNotSealed);
}

TEST(Sealing, LeavesNoKeyOnTheStack) {
  const auto enclave = load();
  const auto sealed = enclave.call<vault::seal>(std::string(300, 'x'), "", kForSigner);
  ASSERT_TRUE(sealed);
  const auto stays = enclave.call<vault::key_stays_on_stack>(*sealed);
  ASSERT_TRUE(stays) << describe(stays.error().code);
  EXPECT_FALSE(*stays);
}

TEST(Sealing, ReadsAndWritesTheEnclavesMemoryOnly) {
  const auto enclave = load();
  static std::byte outside[300];
  const auto address = reinterpret_cast<std::uint64_t>(outside);
  EXPECT_EQ(enclave.call<vault::seal_from>(address).error().code, Code::kBadRange);
  EXPECT_EQ(enclave.call<vault::seal_to>(address).error().code, Code::kBadRange);
  EXPECT_EQ(enclave.call<vault::seal_from>(enclave.base() - 8).error().code, Code::kBadRange);
  EXPECT_EQ(enclave.call<vault::seal_to>(enclave.base() - 8).error().code, Code::kBadRange);
  EXPECT_EQ(enclave.call<vault::seal_from>(~std::uint64_t{0} - 7).error().code, Code::kBadRange);
}

}  // namespace
