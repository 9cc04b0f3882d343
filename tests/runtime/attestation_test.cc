// SPDX-License-Identifier: Apache-2.0
// Enclaves that prove themselves to each other, with a host between them that does what it likes.
#include <cstring>

#include "runtime/vaults.h"

namespace {

using enclume::Code;
using enclume::Measurement;
using enclume::Report;
using enclume::ReportData;
using vault::load;
using Enclave = enclume::Enclave<Vault>;

template <typename T>
Code code_of(const std::expected<T, enclume::Error>& result) {
  return result ? Code::kOk : result.error().code;
}

ReportData data_of(std::string_view text) {
  ReportData data{};
  std::memcpy(data.data(), text.data(), text.size());
  return data;
}

Measurement signer_of(const Enclave& enclave) {
  return enclave.call<vault::prove>(enclave.call<vault::name>().value(), ReportData{})
      ->body.identity.mrsigner;
}

TEST(ReportTest, IsBelievedByItsTarget) {
  const auto prover = load(), verifier = load(vault::kOther);
  const auto target = verifier.call<vault::name>().value();
  const Report report = prover.call<vault::prove>(target, data_of("question 17")).value();
  EXPECT_EQ(code_of(verifier.call<vault::verify>(report)), Code::kOk);
  EXPECT_EQ(report.body.report_data, data_of("question 17"));
  EXPECT_EQ(report.body.identity.mrenclave, prover.call<vault::name>()->mrenclave);
  EXPECT_NE(report.body.identity.mrenclave, target.mrenclave);
  EXPECT_EQ(report.body.version.isv_prod_id, 7);
  EXPECT_EQ(report.body.version.isv_svn, 2);
}

TEST(ReportTest, IsBelievedByNobodyElse) {
  const auto prover = load(), verifier = load(vault::kOther), debugged = load(vault::kOther, {.debug = true});
  const auto target = verifier.call<vault::name>().value();
  const Report report = prover.call<vault::prove>(target, ReportData{}).value();
  EXPECT_EQ(code_of(prover.call<vault::verify>(report)), Code::kBadReport);
  EXPECT_EQ(code_of(debugged.call<vault::verify>(report)), Code::kBadReport);
}

TEST(ReportTest, WithAChangedByteIsNotBelieved) {
  const auto prover = load(), verifier = load(vault::kOther);
  Report report = prover.call<vault::prove>(verifier.call<vault::name>().value(), ReportData{}).value();
  for (std::byte& b : std::as_writable_bytes(std::span(&report, 1))) {
    b ^= std::byte{0x10};
    EXPECT_EQ(code_of(verifier.call<vault::verify>(report)), Code::kBadReport);
    b ^= std::byte{0x10};
  }
  EXPECT_EQ(code_of(verifier.call<vault::verify>(report)), Code::kOk);
}

TEST(ReportTest, ForATargetWithReservedBitsIsNotMade) {
  const auto enclave = load();
  const auto good = enclave.call<vault::name>().value();
  for (const unsigned at : {48U, 49U, 56U, 63U, 128U, 511U}) {
    auto bad = good;
    std::as_writable_bytes(std::span(&bad, 1))[at] = std::byte{1};
    EXPECT_EQ(code_of(enclave.call<vault::prove>(bad, ReportData{})), Code::kBadTarget) << at;
  }
}

class Handshake : public testing::Test {
 protected:
  // Host: carries the messages as it should.
  Code shake(const Enclave& initiator, const Enclave& responder) {
    const auto answer = responder.call<vault::answer>(initiator.call<vault::hello>().value());
    if (!answer) return answer.error().code;
    const auto proof = finish(initiator, *answer);
    return proof ? accept(responder, *proof) : proof.error().code;
  }
  std::expected<Report, enclume::Error> finish(const Enclave& initiator, const Report& answer) const {
    return initiator.call<vault::finish>(answer, signer_, least_svn_, allow_debug_);
  }
  Code accept(const Enclave& responder, const Report& proof) const {
    return code_of(responder.call<vault::accept>(proof, signer_, least_svn_, allow_debug_));
  }
  static vault::Keys turned(const vault::Keys& keys) {
    vault::Keys result;
    std::memcpy(result.data(), keys.data() + 16, 16);
    std::memcpy(result.data() + 16, keys.data(), 16);
    return result;
  }

  const Enclave a_ = load(), b_ = load(vault::kOther);
  Measurement signer_ = signer_of(a_);
  std::uint16_t least_svn_ = 2;
  bool allow_debug_ = false;
};

TEST_F(Handshake, GivesBothTheSameKeys) {
  ASSERT_EQ(shake(a_, b_), Code::kOk);
  const auto keys = a_.call<vault::keys>().value();
  EXPECT_EQ(keys, turned(b_.call<vault::keys>().value()));
  EXPECT_NE(keys, turned(keys));
  EXPECT_EQ(b_.call<vault::svn_of_peer>(), 2);
}

TEST_F(Handshake, GivesNewKeysEachTime) {
  ASSERT_EQ(shake(a_, b_), Code::kOk);
  const auto first = a_.call<vault::keys>().value();
  ASSERT_EQ(shake(a_, b_), Code::kOk);
  EXPECT_NE(a_.call<vault::keys>().value(), first);
}

TEST_F(Handshake, WorksBetweenTwoOfTheSameEnclave) {
  const auto twin = load();
  ASSERT_EQ(shake(a_, twin), Code::kOk);
  EXPECT_EQ(a_.call<vault::keys>().value(), turned(twin.call<vault::keys>().value()));
}

TEST_F(Handshake, RefusesAnotherSigner) {
  EXPECT_EQ(shake(a_, load(vault::kForeign)), Code::kWrongSigner);
}

TEST_F(Handshake, RefusesAnEarlierVersion) {
  least_svn_ = 3;
  EXPECT_EQ(shake(a_, b_), Code::kOlderEnclave);
  EXPECT_EQ(shake(a_, load(vault::kNewer)), Code::kOlderEnclave);  // the initiator is too old
  EXPECT_EQ(shake(load(vault::kNewer), load(vault::kNewer)), Code::kOk);
}

TEST_F(Handshake, RefusesDebugEnclavesUnlessTold) {
  const auto debugged = load(vault::kOther, {.debug = true});
  EXPECT_EQ(shake(a_, debugged), Code::kWrongMode);
  EXPECT_EQ(shake(debugged, a_), Code::kWrongMode);
  allow_debug_ = true;
  EXPECT_EQ(shake(a_, debugged), Code::kOk);
}

TEST_F(Handshake, RefusesAnswersToEarlierHellos) {
  const auto first = b_.call<vault::answer>(a_.call<vault::hello>().value()).value();
  const auto second = a_.call<vault::hello>().value();
  EXPECT_EQ(finish(a_, first).error().code, Code::kBadHandshake);
  // That was it: the right one comes too late.
  EXPECT_EQ(finish(a_, b_.call<vault::answer>(second).value()).error().code, Code::kBadHandshake);
}

TEST_F(Handshake, RefusesProofsOfEarlierHandshakes) {
  const auto proof = finish(a_, b_.call<vault::answer>(a_.call<vault::hello>().value()).value()).value();
  EXPECT_EQ(accept(b_, proof), Code::kOk);
  EXPECT_EQ(accept(b_, proof), Code::kBadHandshake);
  ASSERT_TRUE(b_.call<vault::answer>(a_.call<vault::hello>().value()));
  EXPECT_EQ(accept(b_, proof), Code::kBadHandshake);
}

TEST_F(Handshake, RefusesMessagesOutOfTurn) {
  const auto report = a_.call<vault::prove>(a_.call<vault::name>().value(), ReportData{}).value();
  EXPECT_EQ(finish(load(), report).error().code, Code::kBadHandshake);
  EXPECT_EQ(accept(load(), report), Code::kBadHandshake);
}

TEST_F(Handshake, RefusesAChangedHelloAnswerOrProof) {
  auto hello = a_.call<vault::hello>().value();
  hello.key[0] ^= std::byte{1};
  EXPECT_EQ(finish(a_, b_.call<vault::answer>(hello).value()).error().code, Code::kBadHandshake);

  auto answer = b_.call<vault::answer>(a_.call<vault::hello>().value()).value();
  answer.body.report_data[0] ^= std::byte{1};
  EXPECT_EQ(finish(a_, answer).error().code, Code::kBadReport);

  auto proof = finish(a_, b_.call<vault::answer>(a_.call<vault::hello>().value()).value()).value();
  proof.body.version.isv_svn = 9;
  EXPECT_EQ(accept(b_, proof), Code::kBadReport);
}

TEST_F(Handshake, RefusesAnAnswerToSomebodyElse) {
  auto hello = a_.call<vault::hello>().value();
  hello.from.identity.mrenclave[0] ^= std::byte{1};
  EXPECT_EQ(finish(a_, b_.call<vault::answer>(hello).value()).error().code, Code::kBadReport);
}

// A third enclave that the host controls claims the initiator's public key as its own: the initiator would
// believe to share keys with the responder, and the responder with the third.
TEST_F(Handshake, RefusesAProofByAnotherThanTheHelloNamed) {
  // Another enclave; the same one of another version; the same one signed by somebody else.
  for (const char* image : {vault::kOther, vault::kNewer, vault::kForeign}) {
    SCOPED_TRACE(image);
    const auto third = load(image);
    signer_ = signer_of(third);
    const auto hello = a_.call<vault::hello>().value();
    const auto answer = b_.call<vault::answer>(hello).value();
    ReportData claim;
    std::memcpy(claim.data(), hello.key.data(), 32);
    std::memcpy(claim.data() + 32, answer.body.report_data.data(), 32);
    const auto proof = third.call<vault::prove>(b_.call<vault::name>().value(), claim).value();
    EXPECT_EQ(accept(b_, proof), Code::kBadHandshake);
  }
}

TEST_F(Handshake, RefusesItsOwnHelloSentBack) {
  const auto hello = a_.call<vault::hello>().value();
  // An enclave of the same identity that the host can have made to say anything.
  ReportData back;
  std::memcpy(back.data(), hello.key.data(), 32);
  std::memcpy(back.data() + 32, hello.key.data(), 32);
  const auto report = a_.call<vault::prove>(a_.call<vault::name>().value(), back).value();
  EXPECT_EQ(finish(a_, report).error().code, Code::kBadHandshake);
}

TEST_F(Handshake, RefusesPublicKeysOfSmallOrder) {
  const auto hello = a_.call<vault::hello>().value();
  ReportData small{};
  std::memcpy(small.data() + 32, hello.key.data(), 32);
  const auto report = b_.call<vault::prove>(a_.call<vault::name>().value(), small).value();
  EXPECT_EQ(finish(a_, report).error().code, Code::kBadHandshake);
}

}  // namespace
