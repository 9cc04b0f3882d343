// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/attestation.h"

#include <algorithm>
#include <cstring>

#include "runtime/enclave/processor.h"
#include "runtime/enclave/wipe.h"
#include "runtime/enclave/x25519.h"

namespace enclume {
namespace {

using enclave::AesKey;
using enclave::Wiped;

std::unexpected<Error> fail(Code code, std::int32_t system = 0) noexcept {
  return std::unexpected(Error(code, system));
}

std::span<const std::byte> bytes_of(const auto& object) noexcept {
  return std::as_bytes(std::span(&object, 1));
}

bool is_zero(std::span<const std::byte> bytes) noexcept {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

// The first is the sender's.
ReportData pair_of(const PublicKey& sender, const PublicKey& receiver) noexcept {
  ReportData data;
  std::memcpy(data.data(), sender.data(), sender.size());
  std::memcpy(data.data() + sender.size(), receiver.data(), receiver.size());
  return data;
}
PublicKey sender_of(const ReportData& data) noexcept {
  PublicKey key;
  std::memcpy(key.data(), data.data(), key.size());
  return key;
}

// All that a REPORT says of its enclave.
ReportBody without_data(ReportBody body) noexcept {
  body.report_data = {};
  return body;
}
ReportBody self() noexcept {
  return enclave::own_report();
}

// What both sides know, in the same order.
struct Transcript {
  std::array<char, 16> label{'E', 'n', 'c', 'l', 'u', 'm', 'e', ' ', 's', 'e', 's', 's', 'i', 'o', 'n', 1};
  PublicKey initiator_key, responder_key;
  ReportBody initiator, responder;  // without report data
};
static_assert(sizeof(Transcript) == 16 + 64 + 768);

// Two-step key derivation with AES-CMAC (SP 800-56C rev. 2, section 5; SP 800-108 in counter mode). False:
// the other side's key is of small order, and the secret would be the same whatever ours is.
bool derive(const enclave::Ephemeral& ours, const PublicKey& theirs, const Transcript& transcript,
            SessionKey& from_initiator, SessionKey& from_responder) noexcept {
  Wiped<PublicKey> shared;
  enclave::x25519(shared.value, ours.secret(), theirs);
  constexpr PublicKey kZero{};
  if (enclave::same_bytes(shared.value.data(), kZero.data(), kZero.size())) return false;
  Wiped<AesKey> root;
  root.value = enclave::cmac({}, shared.value);
  // Counter, label and context, number of bits: the numbers big-endian.
  std::array<std::byte, 4 + sizeof transcript + 4> input{};
  std::memcpy(input.data() + 4, &transcript, sizeof transcript);
  input[input.size() - 2] = std::byte{1};  // 256
  input[3] = std::byte{1};
  from_initiator = enclave::cmac(root.value, input);
  input[3] = std::byte{2};
  from_responder = enclave::cmac(root.value, input);
  return true;
}

}  // namespace

TargetInfo target_of(const ReportBody& body) noexcept {
  TargetInfo target{};
  target.mrenclave = body.identity.mrenclave;
  target.attributes = body.attributes;
  target.config_svn = body.version.config_svn;
  target.miscselect = body.miscselect;
  target.config_id = body.config_id;
  return target;
}

TargetInfo this_enclave() noexcept {
  return target_of(self());
}

std::expected<Report, Error> report_for(const TargetInfo& target, const ReportData& data) noexcept {
  // EREPORT would raise #GP.
  if (!is_zero(target.reserved1) || !is_zero(target.reserved2) || !is_zero(target.reserved3)) {
    return fail(Code::kBadTarget);
  }
  return enclave::make_report(target, data);
}

std::expected<void, Error> verify_report(const Report& report) noexcept {
  const enclave::WipedStack wiped;
  if (!enclave::has_aes()) return fail(Code::kNoCryptography);
  enclave::KeyRequest request{};
  request.name = enclave::kReportKey;
  request.key_id = report.key_id;
  Wiped<AesKey> key;
  if (const std::uint32_t code = enclave::get_key(request, key.value); code != 0) {
    return fail(Code::kNoKey, static_cast<std::int32_t>(code));
  }
  const enclave::AesBlock mac = enclave::cmac(key.value, bytes_of(report.body));
  if (!enclave::same_bytes(mac.data(), report.mac.data(), mac.size())) return fail(Code::kBadReport);
  return {};
}

std::expected<void, Error> check_peer(const ReportBody& body, const PeerRules& rules) noexcept {
  if (rules.mrenclave && body.identity.mrenclave != *rules.mrenclave) return fail(Code::kWrongEnclave);
  if (rules.mrsigner && body.identity.mrsigner != *rules.mrsigner) return fail(Code::kWrongSigner);
  if (rules.isv_prod_id && body.version.isv_prod_id != *rules.isv_prod_id) return fail(Code::kWrongProduct);
  if (!rules.allow_debug && (body.attributes.flags & kAttributeDebug) != 0) return fail(Code::kWrongMode);
  if (body.version.isv_svn < rules.least_svn) return fail(Code::kOlderEnclave);
  return {};
}

Session::~Session() {
  enclave::wipe(&sending, sizeof sending);
  enclave::wipe(&receiving, sizeof receiving);
}

namespace enclave {

Code Ephemeral::make() noexcept {
  const enclave::WipedStack wiped;
  forget();
  if (!random_bytes(secret_)) return Code::kNoRandomness;
  x25519_public(public_, secret_);
  is_there_ = true;
  return Code::kOk;
}

void Ephemeral::forget() noexcept {
  wipe(&secret_, sizeof secret_);
  is_there_ = false;
}

}  // namespace enclave

std::expected<Hello, Error> Initiator::hello() noexcept {
  if (const Code code = key_.make(); code != Code::kOk) return fail(code);
  return Hello{self(), key_.public_key()};
}

std::expected<Session, Error> Initiator::finish(const Report& answer, const PeerRules& rules,
                                                Report& proof) noexcept {
  const enclave::WipedStack wiped;
  if (!key_.is_there()) return fail(Code::kBadHandshake);
  const auto finished = [&]() -> std::expected<Session, Error> {
    if (const auto good = verify_report(answer); !good) return std::unexpected(good.error());
    const PublicKey theirs = sender_of(answer.body.report_data);
    if (theirs == key_.public_key() || answer.body.report_data != pair_of(theirs, key_.public_key())) {
      return fail(Code::kBadHandshake);
    }
    if (const auto good = check_peer(answer.body, rules); !good) return std::unexpected(good.error());
    Transcript transcript;
    transcript.initiator_key = key_.public_key();
    transcript.responder_key = theirs;
    transcript.initiator = self();
    transcript.responder = without_data(answer.body);
    Session session;
    session.peer = answer.body;
    if (!derive(key_, theirs, transcript, session.sending, session.receiving)) {
      return fail(Code::kBadHandshake);
    }
    proof = enclave::make_report(target_of(answer.body), pair_of(key_.public_key(), theirs));
    return session;
  }();
  key_.forget();
  return finished;
}

std::expected<Report, Error> Responder::answer(const Hello& hello) noexcept {
  if (const Code code = key_.make(); code != Code::kOk) return fail(code);
  hello_ = hello;
  return enclave::make_report(target_of(hello.from), pair_of(key_.public_key(), hello.key));
}

std::expected<Session, Error> Responder::finish(const Report& proof, const PeerRules& rules) noexcept {
  const enclave::WipedStack wiped;
  if (!key_.is_there()) return fail(Code::kBadHandshake);
  const auto finished = [&]() -> std::expected<Session, Error> {
    if (const auto good = verify_report(proof); !good) return std::unexpected(good.error());
    if (hello_.key == key_.public_key() || proof.body.report_data != pair_of(hello_.key, key_.public_key()) ||
        without_data(proof.body) != hello_.from) {
      return fail(Code::kBadHandshake);
    }
    if (const auto good = check_peer(proof.body, rules); !good) return std::unexpected(good.error());
    Transcript transcript;
    transcript.initiator_key = hello_.key;
    transcript.responder_key = key_.public_key();
    transcript.initiator = hello_.from;
    transcript.responder = self();
    Session session;
    session.peer = proof.body;
    if (!derive(key_, hello_.key, transcript, session.receiving, session.sending)) {
      return fail(Code::kBadHandshake);
    }
    return session;
  }();
  key_.forget();
  return finished;
}

}  // namespace enclume
