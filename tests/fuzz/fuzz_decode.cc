// SPDX-License-Identifier: Apache-2.0
// The instruction decoder on any bytes: it stays inside them, and what it says depends on the instruction's
// own bytes only.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/decode/decoder.h"

namespace {

using enclume::engine::decode::BranchRule;
using enclume::engine::decode::decode;
using enclume::engine::decode::DecodeError;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void try_decode(std::span<const std::byte> bytes, BranchRule branches) {
  const auto decoded = decode(bytes, branches);
  if (!decoded.has_value()) {
    require(decoded.error() != DecodeError::Truncated || bytes.size() < 15);
    return;
  }
  const std::size_t length = decoded->length;
  require(length >= 1 && length <= 15 && length <= bytes.size());
  require(decoded->opcode_offset < length && decoded->modrm_offset < length);
  require(decoded->displacement_offset + decoded->displacement_size <= length);
  require(decoded->immediate_offset + decoded->immediate_size <= length);

  const auto alone = decode(bytes.first(length), branches);
  require(alone.has_value() && alone->length == length && alone->cls == decoded->cls);
  const auto cut = decode(bytes.first(length - 1), branches);
  require(!cut.has_value() && cut.error() == DecodeError::Truncated);

  static_cast<void>(enclume::engine::decode::effective_address(*decoded, {}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try_decode(bytes, BranchRule::Intel);
  try_decode(bytes, BranchRule::Amd);
  return 0;
}
