// SPDX-License-Identifier: Apache-2.0
#include "arch/identity/measurement.h"

#include <nettle/sha2.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "arch/identity/crypto_guard.h"

namespace enclume::arch {

namespace {

static_assert(SHA256_BLOCK_SIZE == 64 && SHA256_DIGEST_SIZE == sizeof(Hash256));
static_assert(sizeof(sha256_ctx::state) == sizeof(SecsInternal::hash_state));

using Block = Bytes<SHA256_BLOCK_SIZE>;

template <typename T>
void put(Block& block, std::size_t offset, const T& value) {
  std::memcpy(block.data() + offset, &value, sizeof(value));
}

// A block begins with the leaf's name, padded with zeros to 8 bytes.
Block named_block(std::string_view name) {
  Block block{};
  std::memcpy(block.data(), name.data(), name.size());
  return block;
}

// Everything is measured in whole blocks, so nettle's own buffer is always empty.
sha256_ctx load(const SecsInternal& in) {
  sha256_ctx ctx;
  std::copy(in.hash_state.begin(), in.hash_state.end(), ctx.state);
  ctx.count = in.hash_blocks;
  ctx.index = 0;
  return ctx;
}

void store(SecsInternal& out, const sha256_ctx& ctx) {
  std::copy(std::begin(ctx.state), std::end(ctx.state), out.hash_state.begin());
  out.hash_blocks = ctx.count;
}

void append(sha256_ctx& ctx, std::span<const std::byte> blocks) {
  sha256_update(&ctx, blocks.size(), reinterpret_cast<const std::uint8_t*>(blocks.data()));
}

}  // namespace

void measure_ecreate(Secs& secs) noexcept {
  Block block = named_block("ECREATE");
  put(block, 8, secs.ssa_frame_size);
  put(block, 12, secs.size);

  const CryptoGuard guard;
  sha256_ctx ctx;
  sha256_init(&ctx);
  append(ctx, block);
  store(secs.internal, ctx);
}

void measure_eadd(Secs& secs, std::uint64_t page_offset, const Secinfo& secinfo) noexcept {
  Block block = named_block("EADD");
  put(block, 8, page_offset);
  std::memcpy(block.data() + 16, &secinfo, 48);

  const CryptoGuard guard;
  sha256_ctx ctx = load(secs.internal);
  append(ctx, block);
  store(secs.internal, ctx);
}

void measure_eextend(Secs& secs, std::uint64_t chunk_offset, std::span<const std::byte> chunks) noexcept {
  Block block = named_block("EEXTEND");

  const CryptoGuard guard;
  sha256_ctx ctx = load(secs.internal);
  for (; !chunks.empty(); chunks = chunks.subspan(kMeasuredChunk), chunk_offset += kMeasuredChunk) {
    put(block, 8, chunk_offset);
    append(ctx, block);
    append(ctx, chunks.first(kMeasuredChunk));
  }
  store(secs.internal, ctx);
}

Hash256 measured_so_far(const Secs& secs) noexcept {
  const CryptoGuard guard;
  sha256_ctx ctx = load(secs.internal);
  Hash256 digest;
  sha256_digest(&ctx, digest.size(), reinterpret_cast<std::uint8_t*>(digest.data()));
  return digest;
}

}  // namespace enclume::arch
