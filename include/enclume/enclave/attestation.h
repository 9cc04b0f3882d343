// SPDX-License-Identifier: Apache-2.0
// Local attestation: enclaves of one machine prove to each other who they are, by REPORTs. A REPORT is made
// by the processor for one enclave, which alone can verify it; the host only carries it.
//
// For a proof in one direction:   verifier  this_enclave(), and something fresh  ->  prover
//                                 prover    report_for(target, data with it)     ->  verifier
//                                 verifier  verify_report(report), then report.body.report_data
//
// For both directions, with keys that only the two have:
//   Initiator                                     Responder
//   hello()                        --Hello-->     answer(hello)
//   finish(answer, rules, proof)   <--Report--
//                                  --Report-->    finish(proof, rules)
//
// REPORTDATA has the sender's and the receiver's fresh X25519 public keys: each says "I, this enclave, have
// the secret of the first and answer the second", so that nothing old and nothing of another pair will do.
// The responder also insists that the proof is by just the enclave that the hello named, for which its own
// REPORT was made. Keys come from the shared secret, both public keys and all that the two REPORTs say of the
// enclaves, by CMAC (SP 800-56C).
//
// What it does not give: proof to anybody on another machine; who runs the host; delivery, since the host may
// drop every message; a limit to how many instances of an enclave there are; and, with the two keys, no
// cipher: count messages, or use a nonce never twice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>

#include "enclume/edge/error.h"
#include "enclume/edge/report.h"

namespace enclume {

/// What another enclave needs to make a REPORT for this one.
[[nodiscard]] TargetInfo this_enclave() noexcept;
/// The same of the enclave that a REPORT is of.
[[nodiscard]] TargetInfo target_of(const ReportBody& body) noexcept;

/// A REPORT of this enclave that `target` can verify. kBadTarget: reserved bits are set.
[[nodiscard]] std::expected<Report, Error> report_for(const TargetInfo& target,
                                                      const ReportData& data) noexcept;

/// Whether the processor has made this REPORT for this enclave. kBadReport if not; kNoCryptography, kNoKey.
/// What it says, and whether it is new, is another question.
[[nodiscard]] std::expected<void, Error> verify_report(const Report& report) noexcept;

/// Who is welcome on the other side. At least one of the two measurements should be given.
struct PeerRules {
  std::optional<Measurement> mrenclave;      ///< else kWrongEnclave
  std::optional<Measurement> mrsigner;       ///< else kWrongSigner
  std::optional<std::uint16_t> isv_prod_id;  ///< else kWrongProduct
  std::uint16_t least_svn = 0;               ///< else kOlderEnclave
  /// Everybody can look into a debug enclave, so by default none is welcome: kWrongMode.
  bool allow_debug = false;
};
/// Whether an enclave that has proven itself is welcome. Errors: those that PeerRules names.
[[nodiscard]] std::expected<void, Error> check_peer(const ReportBody& body, const PeerRules& rules) noexcept;

/// Of X25519.
using PublicKey = std::array<std::byte, 32>;
/// For a cipher of the application's choice.
using SessionKey = std::array<std::byte, 16>;

/// The first message of a handshake.
struct Hello {
  ReportBody from;  ///< who says it, unproven; no report data
  PublicKey key;    ///< for this handshake only
  bool operator==(const Hello&) const = default;
};

/// What both have when all is done.
struct Session {
  SessionKey sending;    ///< the other side's `receiving`
  SessionKey receiving;  ///< the other side's `sending`
  ReportBody peer;       ///< who is there
  Session() = default;
  Session(const Session&) = default;
  Session& operator=(const Session&) = default;
  ~Session();  // wipes the keys
};

namespace enclave {

/// A secret key that is used for one handshake only.
class Ephemeral {
 public:
  Ephemeral() = default;
  ~Ephemeral() { forget(); }
  Ephemeral(const Ephemeral&) = delete;
  Ephemeral& operator=(const Ephemeral&) = delete;
  [[nodiscard]] Code make() noexcept;
  void forget() noexcept;
  [[nodiscard]] bool is_there() const noexcept { return is_there_; }
  [[nodiscard]] const PublicKey& public_key() const noexcept { return public_; }
  [[nodiscard]] const PublicKey& secret() const noexcept { return secret_; }

 private:
  PublicKey secret_{};
  PublicKey public_{};
  bool is_there_ = false;
};

}  // namespace enclave

/// Either side may be used again and again, one handshake at a time; what fails has to begin anew. Used by
/// one thread at a time.
class Initiator {
 public:
  /// Errors: kNoRandomness.
  [[nodiscard]] std::expected<Hello, Error> hello() noexcept;
  /// With the responder's answer. `proof` is for the responder. Errors: kBadHandshake, those of
  /// verify_report() and check_peer().
  [[nodiscard]] std::expected<Session, Error> finish(const Report& answer, const PeerRules& rules,
                                                     Report& proof) noexcept;

 private:
  enclave::Ephemeral key_;
};

/// The side that is called; otherwise as Initiator.
class Responder {
 public:
  /// Errors: kNoRandomness.
  [[nodiscard]] std::expected<Report, Error> answer(const Hello& hello) noexcept;
  /// With the initiator's proof. Errors as Initiator::finish().
  [[nodiscard]] std::expected<Session, Error> finish(const Report& proof, const PeerRules& rules) noexcept;

 private:
  enclave::Ephemeral key_;
  Hello hello_{};
};

}  // namespace enclume
