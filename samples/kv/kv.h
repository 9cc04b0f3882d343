// SPDX-License-Identifier: Apache-2.0
// What the host and the enclave of the key-value store call of each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "enclume/edge/interface.h"

namespace kv {

using enclume::Error;

// In the enclave.

/// Takes over what commit() has once written; nothing: a new store. Once, before all others.
std::expected<void, Error> open(std::optional<std::span<const std::byte>> sealed);
/// kNoRoom: the store is full, or the key or value too long. Gone with the enclave, until commit() is done.
std::expected<void, Error> put(std::string_view key, std::string_view value);
std::optional<std::string> get(std::string_view key);
std::uint64_t count();
/// Everything that was put before is in the host's file afterwards.
std::expected<void, Error> commit();

// In the host.

/// Keeps the state for good, unless one with a higher number has been kept already. False: it cannot.
bool keep(std::uint64_t number, std::span<const std::byte> sealed);

}  // namespace kv

using Kv = enclume::Interface<enclume::Ecalls<kv::open, kv::put, kv::get, kv::count, kv::commit>,
                              enclume::Ocalls<kv::keep>>;
