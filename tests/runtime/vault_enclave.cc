// SPDX-License-Identifier: Apache-2.0
#include "runtime/vault.h"

#include <cstring>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/sealing.h"

ENCLUME_ENCLAVE(Vault);

namespace vault {
namespace {

enclume::Initiator initiator;
enclume::Responder responder;
enclume::Session session;

std::expected<void, Error> keep(const std::expected<enclume::Session, Error>& result) {
  if (!result) return std::unexpected(result.error());
  session = *result;
  return {};
}

enclume::PeerRules rules(const enclume::Measurement& signer, std::uint16_t least_svn, bool allow_debug) {
  return {.mrenclave = {},
          .mrsigner = signer,
          .isv_prod_id = {},
          .least_svn = least_svn,
          .allow_debug = allow_debug};
}

}  // namespace

std::expected<std::vector<std::byte>, Error> seal(std::string_view text, std::string_view label,
                                                  std::uint16_t policy) {
  std::vector<std::byte> out(enclume::sealed_size(text.size()));
  const auto sealed = enclume::seal(std::as_bytes(std::span(text)), std::as_bytes(std::span(label)),
                                    static_cast<enclume::SealPolicy>(policy), out);
  if (!sealed) return std::unexpected(sealed.error());
  return out;
}

std::expected<std::string, Error> unseal(std::span<const std::byte> sealed, std::string_view label,
                                         std::uint16_t least_svn) {
  std::string text(enclume::unsealed_size(sealed), '\0');
  const auto data = enclume::unseal(sealed, std::as_bytes(std::span(label)),
                                    std::as_writable_bytes(std::span(text)), least_svn);
  if (!data) return std::unexpected(data.error());
  return text;
}

std::expected<void, Error> seal_from(std::uint64_t address) {
  std::byte out[300];
  const auto sealed =
      enclume::seal({reinterpret_cast<const std::byte*>(address), 16}, {}, enclume::SealPolicy::kSigner, out);
  if (!sealed) return std::unexpected(sealed.error());
  return {};
}

std::expected<void, Error> seal_to(std::uint64_t address) {
  const auto sealed =
      enclume::seal({}, {}, enclume::SealPolicy::kSigner, {reinterpret_cast<std::byte*>(address), 300});
  if (!sealed) return std::unexpected(sealed.error());
  return {};
}

enclume::TargetInfo name() {
  return enclume::this_enclave();
}

std::expected<Report, Error> prove(const enclume::TargetInfo& to, const enclume::ReportData& data) {
  return enclume::report_for(to, data);
}

std::expected<void, Error> verify(const Report& report) {
  return enclume::verify_report(report);
}

std::expected<enclume::Hello, Error> hello() {
  return initiator.hello();
}

std::expected<Report, Error> answer(const enclume::Hello& hello) {
  return responder.answer(hello);
}

std::expected<Report, Error> finish(const Report& answer, const enclume::Measurement& signer,
                                    std::uint16_t least_svn, bool allow_debug) {
  Report proof;
  const auto kept = keep(initiator.finish(answer, rules(signer, least_svn, allow_debug), proof));
  if (!kept) return std::unexpected(kept.error());
  return proof;
}

std::expected<void, Error> accept(const Report& proof, const enclume::Measurement& signer,
                                  std::uint16_t least_svn, bool allow_debug) {
  return keep(responder.finish(proof, rules(signer, least_svn, allow_debug)));
}

Keys keys() {
  Keys both;
  std::memcpy(both.data(), session.sending.data(), 16);
  std::memcpy(both.data() + 16, session.receiving.data(), 16);
  return both;
}

std::uint16_t svn_of_peer() {
  return session.peer.version.isv_svn;
}

}  // namespace vault
