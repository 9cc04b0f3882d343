// SPDX-License-Identifier: Apache-2.0
// Enclaves that seal, unseal and attest for the tests.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enclume/edge/interface.h"
#include "enclume/edge/report.h"
#include "enclume/enclave/attestation.h"

namespace vault {

using enclume::Error;
using enclume::Report;

/// Both keys, one after the other: that for sending first.
using Keys = std::array<std::byte, 32>;

// In the enclave.
std::expected<std::vector<std::byte>, Error> seal(std::string_view text, std::string_view label,
                                                  std::uint16_t policy);
std::expected<std::string, Error> unseal(std::span<const std::byte> sealed, std::string_view label,
                                         std::uint16_t least_svn);
/// With host memory as input, as output, and with one of the enclave's that ends outside.
std::expected<void, Error> seal_from(std::uint64_t address);
std::expected<void, Error> seal_to(std::uint64_t address);

enclume::TargetInfo name();
std::expected<Report, Error> prove(const enclume::TargetInfo& to, const enclume::ReportData& data);
std::expected<void, Error> verify(const Report& report);

std::expected<enclume::Hello, Error> hello();
std::expected<Report, Error> answer(const enclume::Hello& hello);
/// The proof.
std::expected<Report, Error> finish(const Report& answer, const enclume::Measurement& signer,
                                    std::uint16_t least_svn, bool allow_debug);
std::expected<void, Error> accept(const Report& proof, const enclume::Measurement& signer,
                                  std::uint16_t least_svn, bool allow_debug);
Keys keys();
std::uint16_t svn_of_peer();
/// Whether the key, or what AES makes of it, is anywhere on the stack after unseal().
std::expected<bool, Error> key_stays_on_stack(std::span<const std::byte> sealed);

}  // namespace vault

using Vault = enclume::Interface<
    enclume::Ecalls<vault::seal, vault::unseal, vault::seal_from, vault::seal_to, vault::name, vault::prove,
                    vault::verify, vault::hello, vault::answer, vault::finish, vault::accept, vault::keys,
                    vault::svn_of_peer, vault::key_stays_on_stack>>;
