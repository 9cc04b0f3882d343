// SPDX-License-Identifier: Apache-2.0
// The enclave's X25519 against RFC 7748 and OpenSSL.
#include "runtime/enclave/x25519.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string_view>

namespace {

using enclume::enclave::x25519;
using enclume::enclave::x25519_public;
using enclume::enclave::X25519Key;

X25519Key from_hex(std::string_view text) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  X25519Key key;
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = static_cast<std::byte>(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
  }
  return key;
}

X25519Key product(const X25519Key& scalar, const X25519Key& point) {
  X25519Key result;
  x25519(result, scalar, point);
  return result;
}

// RFC 7748, section 5.2.
TEST(X25519, GivesThePublishedAnswers) {
  EXPECT_EQ(product(from_hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                    from_hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")),
            from_hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
  EXPECT_EQ(product(from_hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
                    from_hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493")),
            from_hex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"));
}

TEST(X25519, GivesThePublishedAnswerAfterAThousandRounds) {
  X25519Key scalar{std::byte{9}}, point = scalar;
  for (int i = 0; i < 1000; ++i) {
    const X25519Key next = product(scalar, point);
    point = scalar;
    scalar = next;
    if (i == 0) {
      EXPECT_EQ(next, from_hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
    }
  }
  EXPECT_EQ(scalar, from_hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
}

TEST(X25519, BothSidesHaveTheSameSecret) {
  X25519Key alice, bob, alice_public, bob_public;
  alice.fill(std::byte{0xa1});
  bob.fill(std::byte{0xb0});
  x25519_public(alice_public, alice);
  x25519_public(bob_public, bob);
  EXPECT_NE(alice_public, bob_public);
  EXPECT_EQ(product(alice, bob_public), product(bob, alice_public));
}

TEST(X25519, AgreesWithOpenssl) {
  std::mt19937 random(25519);
  const auto draw = [&random] {
    X25519Key key;
    for (std::byte& b : key) b = static_cast<std::byte>(random());
    return key;
  };
  const auto plain = [](const X25519Key& key) { return reinterpret_cast<const unsigned char*>(key.data()); };
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  for (int i = 0; i < 500; ++i) {
    const X25519Key scalar = draw(), point = draw();
    const Key ours(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, plain(scalar), 32), EVP_PKEY_free);
    const Key theirs(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, plain(point), 32), EVP_PKEY_free);
    const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
        EVP_PKEY_CTX_new(ours.get(), nullptr), EVP_PKEY_CTX_free);
    ASSERT_EQ(EVP_PKEY_derive_init(context.get()), 1);
    ASSERT_EQ(EVP_PKEY_derive_set_peer(context.get(), theirs.get()), 1);
    X25519Key expected;
    std::size_t length = expected.size();
    ASSERT_EQ(EVP_PKEY_derive(context.get(), reinterpret_cast<unsigned char*>(expected.data()), &length), 1);
    ASSERT_EQ(product(scalar, point), expected);
    X25519Key expected_public, public_key;
    length = expected_public.size();
    ASSERT_EQ(EVP_PKEY_get_raw_public_key(ours.get(),
                                          reinterpret_cast<unsigned char*>(expected_public.data()), &length),
              1);
    x25519_public(public_key, scalar);
    ASSERT_EQ(public_key, expected_public);
  }
}

// Little-endian p + small, which stands for the small number itself.
X25519Key p_and(unsigned more) {
  X25519Key key;
  key.fill(std::byte{0xff});
  key[0] = static_cast<std::byte>(0xed + more);
  key[31] = std::byte{0x7f};
  return key;
}

TEST(X25519, TakesNumbersOfPAndMoreModuloP) {
  X25519Key scalar{};
  for (std::size_t i = 0; i < scalar.size(); ++i) scalar[i] = static_cast<std::byte>(i * 37 + 1);
  for (unsigned more = 0; more < 19; ++more) {
    EXPECT_EQ(product(scalar, p_and(more)), product(scalar, X25519Key{static_cast<std::byte>(more)})) << more;
  }
}

TEST(X25519, PointsOfSmallOrderGiveZero) {
  X25519Key scalar{};
  scalar.fill(std::byte{0x5a});
  const X25519Key kSmall[] = {
      X25519Key{},
      X25519Key{std::byte{1}},
      from_hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
      from_hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
      p_and(0),
      p_and(1),
  };
  for (const X25519Key& point : kSmall) EXPECT_EQ(product(scalar, point), X25519Key{});
}

}  // namespace
