// SPDX-License-Identifier: Apache-2.0
// SIGSTRUCT's signature against OpenSSL's arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "arch/identity/signature.h"
#include "support/signer.h"

namespace enclume::arch {
namespace {

using test::blank_sigstruct;
using test::Signer;

std::byte* raw(Sigstruct& s) {
  return reinterpret_cast<std::byte*>(&s);
}

// Adds a small number to a little-endian big number.
void add(Bytes<kRsaSize>& number, int delta) {
  for (std::byte& b : number) {
    const int sum = std::to_integer<int>(b) + delta;
    b = static_cast<std::byte>(sum & 0xff);
    delta = sum >> 8;
  }
}

class Signature : public ::testing::Test {
 protected:
  Signature() : sig_(blank_sigstruct()) {
    std::mt19937_64 random(7);
    for (std::byte& b : sig_.enclave_hash) {
      b = static_cast<std::byte>(random());
    }
    Signer().sign(sig_);
  }
  Sigstruct sig_;
};

TEST_F(Signature, OfOpensslIsAcceptedAndLeavesItsPadding) {
  const auto padding = verify_signature(sig_);
  ASSERT_TRUE(padding.has_value());
  EXPECT_EQ(*padding, pkcs1_padding());
  // The block's upper end, stored backwards.
  const auto block = Signer::pkcs1_block(sig_);
  EXPECT_TRUE(std::equal(padding->rbegin(), padding->rend(), block.begin()));
}

TEST_F(Signature, ByAnyKeyIsAcceptedForThatKeyOnly) {
  Signer(1).sign(sig_);
  EXPECT_TRUE(verify_signature(sig_).has_value());
  Sigstruct other = sig_;
  Signer(0).sign(other);
  sig_.modulus = other.modulus;
  EXPECT_FALSE(verify_signature(sig_).has_value());
}

TEST_F(Signature, CoversEveryBitOfTheSignedPartsAndNoOther) {
  for (std::size_t at = 0; at < sizeof(Sigstruct); ++at) {
    const bool covered = at < 128 || (at >= 900 && at < 1028);
    // The exponent and the reserved bytes at its sides are checked elsewhere (sigstruct_well_formed).
    const bool ignored = (at >= 512 && at < 516) || (at >= 1028 && at < 1040);
    raw(sig_)[at] ^= std::byte{0x10};
    EXPECT_EQ(verify_signature(sig_).has_value(), ignored) << "byte " << at << (covered ? ", signed" : "");
    raw(sig_)[at] ^= std::byte{0x10};
  }
}

TEST_F(Signature, NeedsTheExactQuotients) {
  for (Bytes<kRsaSize> Sigstruct::*quotient : {&Sigstruct::q1, &Sigstruct::q2}) {
    for (const int delta : {1, -1, 2, -2}) {
      Sigstruct changed = sig_;
      add(changed.*quotient, delta);
      EXPECT_FALSE(verify_signature(changed).has_value()) << delta;
    }
    Sigstruct changed = sig_;
    (changed.*quotient).fill(std::byte{0xff});
    EXPECT_FALSE(verify_signature(changed).has_value());
    (changed.*quotient).fill(std::byte{0});
    EXPECT_FALSE(verify_signature(changed).has_value());
  }
}

TEST_F(Signature, OfAnotherPaddingIsRefused) {
  struct Change {
    const char* what;
    std::size_t at;  // in the big-endian block
    unsigned flipped;
  };
  const Change changes[] = {
      {"block type 0", 1, 1},
      {"block type 3", 1, 2},
      {"hole in the FF string", 2, 0x01},
      {"last FF missing", 331, 0xff},
      {"no separator", 332, 0xff},
      {"another digest algorithm", 347, 3},
      {"parameters not NULL", 348, 1},
      {"digest length", 351, 0x10},
      {"first byte of the hash", 352, 0x80},
      {"last byte of the hash", 383, 0x01},
  };
  for (const Change& change : changes) {
    auto block = Signer::pkcs1_block(sig_);
    block[change.at] ^= static_cast<std::byte>(change.flipped);
    Sigstruct forged = sig_;
    Signer().sign_block(forged, block);
    EXPECT_FALSE(verify_signature(forged).has_value()) << change.what;
  }
  Sigstruct genuine = sig_;
  Signer().sign_block(genuine, Signer::pkcs1_block(sig_));
  EXPECT_TRUE(verify_signature(genuine).has_value());
}

// Nobody needs a private key to make one pair of modulus and signature that fit: with S = 2^1020 the modulus
// S^3 - block does. Its numbers are small enough that wrong ones with the same cube fit into 384 bytes, too.
class SmallSignature : public Signature {
 protected:
  SmallSignature() {
    sig_.signature = {};
    sig_.signature[1020 / 8] = std::byte{1 << (1020 % 8)};
    auto block = Signer::pkcs1_block(sig_);
    std::reverse(block.begin(), block.end());
    sig_.modulus = {};
    sig_.modulus[3060 / 8] = std::byte{1 << (3060 % 8)};
    subtract(sig_.modulus, block);
    Signer::fill_quotients(sig_);
  }
  static void subtract(Bytes<kRsaSize>& a, const Bytes<kRsaSize>& b) {
    int borrow = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const int difference = std::to_integer<int>(a[i]) - std::to_integer<int>(b[i]) - borrow;
      a[i] = static_cast<std::byte>(difference & 0xff);
      borrow = difference < 0 ? 1 : 0;
    }
  }
  static void add_number(Bytes<kRsaSize>& a, const Bytes<kRsaSize>& b) {
    int carry = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const int sum = std::to_integer<int>(a[i]) + std::to_integer<int>(b[i]) + carry;
      a[i] = static_cast<std::byte>(sum & 0xff);
      carry = sum >> 8;
    }
    ASSERT_EQ(carry, 0);
  }
};

TEST_F(SmallSignature, IsAccepted) {
  EXPECT_TRUE(verify_signature(sig_).has_value());
}

TEST_F(SmallSignature, PlusTheModulusIsRefusedThoughItsCubeIsTheSame) {
  add_number(sig_.signature, sig_.modulus);
  Signer::fill_quotients(sig_);
  EXPECT_FALSE(verify_signature(sig_).has_value());
}

TEST_F(SmallSignature, WithQuotientsThatMakeUpForEachOtherIsRefused) {
  // S = M - T with T = 2^1020 and the modulus T^3 + block also fits; here Q1 is not 0.
  // (R1 + M) * S - (Q2 + S) * M is the block as well, but R1 + M is no remainder.
  sig_.modulus = {};
  sig_.modulus[3060 / 8] = std::byte{1 << (3060 % 8)};
  auto block = Signer::pkcs1_block(sig_);
  std::reverse(block.begin(), block.end());
  add_number(sig_.modulus, block);
  const Bytes<kRsaSize> t = sig_.signature;
  sig_.signature = sig_.modulus;
  subtract(sig_.signature, t);
  Signer::fill_quotients(sig_);
  ASSERT_TRUE(verify_signature(sig_).has_value());
  add(sig_.q1, -1);
  add_number(sig_.q2, sig_.signature);
  EXPECT_FALSE(verify_signature(sig_).has_value());
}

TEST_F(Signature, EqualToTheModulusIsRefused) {
  Sigstruct changed = sig_;
  changed.signature = changed.modulus;
  changed.q1 = changed.modulus;  // S * S - M * M = 0
  changed.q2.fill(std::byte{0});
  EXPECT_FALSE(verify_signature(changed).has_value());
}

TEST_F(Signature, OfDegenerateNumbersIsRefused) {
  Sigstruct s = blank_sigstruct();
  EXPECT_FALSE(verify_signature(s).has_value()) << "all zero";
  s.modulus[0] = std::byte{1};
  EXPECT_FALSE(verify_signature(s).has_value()) << "modulus 1";
  s.modulus.fill(std::byte{0xff});
  s.signature[0] = std::byte{1};
  EXPECT_FALSE(verify_signature(s).has_value()) << "signature 1";
}

TEST_F(Signature, SignerIsTheHashOfTheModulus) {
  EXPECT_EQ(signer_of(sig_), Signer().mrsigner());
  Signer(1).sign(sig_);
  EXPECT_EQ(signer_of(sig_), Signer(1).mrsigner());
  EXPECT_NE(signer_of(sig_), Signer(0).mrsigner());
}

TEST(SigstructForm, AcceptsBothVendors) {
  Sigstruct s = blank_sigstruct();
  EXPECT_TRUE(sigstruct_well_formed(s));
  s.vendor = 0x8086;
  EXPECT_TRUE(sigstruct_well_formed(s));
  s.vendor = 0x1022;
  EXPECT_FALSE(sigstruct_well_formed(s));
}

TEST(SigstructForm, RefusesEveryChangeOfAConstantOrReservedByteAndNoOther) {
  struct Range {
    std::size_t begin;
    std::size_t end;
  };
  // HEADER, VENDOR, HEADER2, reserved, EXPONENT, reserved (CET), reserved, reserved.
  const Range fixed[] = {{0, 20}, {24, 40}, {44, 128}, {512, 516}, {908, 912}, {992, 1008}, {1028, 1040}};
  for (std::size_t at = 0; at < sizeof(Sigstruct); ++at) {
    Sigstruct s = blank_sigstruct();
    raw(s)[at] ^= std::byte{0x40};
    const bool must_refuse = std::any_of(std::begin(fixed), std::end(fixed),
                                         [at](const Range& r) { return at >= r.begin && at < r.end; });
    EXPECT_EQ(sigstruct_well_formed(s), !must_refuse) << "byte " << at;
  }
}

}  // namespace
}  // namespace enclume::arch
