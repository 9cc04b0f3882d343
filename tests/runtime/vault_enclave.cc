// SPDX-License-Identifier: Apache-2.0
#include "runtime/vault.h"

#include <cstring>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/sealing.h"
#include "runtime/enclave/processor.h"

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

namespace {

constexpr std::size_t kLooked = 12 << 10;
enclume::enclave::AesKey key_of_seal;

[[gnu::noinline]] void clear_stack() {
  char room[kLooked];
  std::memset(room, 0, sizeof room);
  asm volatile("" : : "r"(room) : "memory");
}

[[gnu::noinline]] bool is_on_stack(const enclume::enclave::AesKey& key) {
  const auto* const here = static_cast<const volatile std::uint64_t*>(__builtin_frame_address(0));
  std::uint64_t first, second;
  std::memcpy(&first, key.data(), sizeof first);
  std::memcpy(&second, key.data() + sizeof first, sizeof second);
  for (std::size_t i = 32; i < kLooked / sizeof first; ++i) {
    if (*(here - i) == first || *(here - i) == second) return true;
  }
  return false;
}

// As sealing.cc asks for it.
void learn_key(const enclume::SealedHeader& header) {
  enclume::enclave::KeyRequest request{};
  request.name = enclume::enclave::kSealKey;
  request.policy = header.policy;
  request.isv_svn = header.isv_svn;
  request.cpu_svn = header.cpu_svn;
  request.attribute_mask.flags = 0xff00'0000'0000'000b;
  request.key_id = header.key_id;
  request.miscmask = 0xf000'0000;
  static_cast<void>(enclume::enclave::get_key(request, key_of_seal));
}

}  // namespace

std::expected<bool, Error> key_stays_on_stack(std::span<const std::byte> sealed) {
  enclume::SealedHeader header;
  std::memcpy(&header, sealed.data(), sizeof header);
  learn_key(header);
  clear_stack();
  static std::array<std::byte, 4096> data;
  const auto opened = enclume::unseal(sealed, {}, data);
  const bool result = is_on_stack(key_of_seal);
  if (!opened) return std::unexpected(opened.error());
  return result;
}

}  // namespace vault
