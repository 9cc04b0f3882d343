// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/sealing.h"
#include "enclume/enclave/sync.h"
#include "kv.h"

ENCLUME_ENCLAVE(Kv);

namespace kv {
namespace {

using enclume::Code;
using Bytes = std::vector<std::byte>;

// So much fits the heap whatever the host asks for: the store, and for each thread a state in plain and
// sealed.
constexpr std::size_t kMostKey = 256, kMostValue = 4096, kMostBytes = std::size_t{1} << 20, kEntry = 128;

// Sealed data of something else are not taken for a state.
constexpr std::string_view kLabel = "kv state 1";

struct Entry {
  std::string key, value;
  // No less than it takes in the heap, or when it is written.
  [[nodiscard]] std::size_t size() const { return kEntry + key.size() + value.size(); }
};

struct Store {
  enclume::Mutex lock;
  bool is_open = false;
  std::vector<Entry> entries;  // in the order of their keys
  std::size_t bytes = 0;       // of all entries' size()
  std::uint64_t number = 0;    // of the last state
} store;

auto find(std::string_view key) {
  return std::ranges::lower_bound(store.entries, key, {},
                                  [](const Entry& e) { return std::string_view(e.key); });
}

void append(Bytes& bytes, const void* data, std::size_t size) {
  const auto* const from = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), from, from + size);
}

// The number, and of each entry both lengths, key and value.
Bytes written(std::uint64_t number) {
  Bytes bytes;
  bytes.reserve(sizeof number + store.bytes);
  append(bytes, &number, sizeof number);
  for (const Entry& entry : store.entries) {
    const std::uint32_t lengths[2] = {static_cast<std::uint32_t>(entry.key.size()),
                                      static_cast<std::uint32_t>(entry.value.size())};
    append(bytes, lengths, sizeof lengths);
    append(bytes, entry.key.data(), entry.key.size());
    append(bytes, entry.value.data(), entry.value.size());
  }
  return bytes;
}

// The reverse. Only this enclave can have written it, so a mistake is its own.
void read(std::span<const std::byte> bytes) {
  const auto take = [&bytes](void* to, std::size_t size) {
    if (size > bytes.size()) std::abort();
    std::memcpy(to, bytes.data(), size);
    bytes = bytes.subspan(size);
  };
  take(&store.number, sizeof store.number);
  while (!bytes.empty()) {
    std::uint32_t lengths[2];
    take(lengths, sizeof lengths);
    Entry entry{std::string(lengths[0], '\0'), std::string(lengths[1], '\0')};
    take(entry.key.data(), lengths[0]);
    take(entry.value.data(), lengths[1]);
    store.bytes += entry.size();
    store.entries.push_back(std::move(entry));
  }
}

}  // namespace

std::expected<void, Error> open(std::optional<std::span<const std::byte>> sealed) {
  const std::scoped_lock guard(store.lock);
  if (store.is_open) return std::unexpected(Error(Code::kRefused));
  if (sealed) {
    if (sealed->size() > enclume::sealed_size(kMostBytes + 8)) return std::unexpected(Error(Code::kTooBig));
    Bytes bytes(enclume::unsealed_size(*sealed));
    const auto data = enclume::unseal(*sealed, std::as_bytes(std::span(kLabel)), bytes);
    if (!data) return std::unexpected(data.error());
    read(*data);
  }
  store.is_open = true;
  return {};
}

std::expected<void, Error> put(std::string_view key, std::string_view value) {
  if (key.size() > kMostKey || value.size() > kMostValue) return std::unexpected(Error(Code::kNoRoom));
  const std::scoped_lock guard(store.lock);
  if (!store.is_open) return std::unexpected(Error(Code::kRefused));
  const auto at = find(key);
  const bool is_there = at != store.entries.end() && at->key == key;
  const std::size_t before = is_there ? at->size() : 0, after = kEntry + key.size() + value.size();
  if (store.bytes - before + after > kMostBytes) return std::unexpected(Error(Code::kNoRoom));
  if (is_there) {
    at->value = value;
  } else {
    store.entries.insert(at, Entry{std::string(key), std::string(value)});
  }
  store.bytes += after - before;
  return {};
}

std::optional<std::string> get(std::string_view key) {
  const std::scoped_lock guard(store.lock);
  const auto at = find(key);
  if (at == store.entries.end() || at->key != key) return std::nullopt;
  return at->value;
}

std::uint64_t count() {
  const std::scoped_lock guard(store.lock);
  return store.entries.size();
}

std::expected<void, Error> commit() {
  Bytes bytes;
  std::uint64_t number = 0;
  {
    const std::scoped_lock guard(store.lock);
    if (!store.is_open) return std::unexpected(Error(Code::kRefused));
    number = ++store.number;
    bytes = written(number);
  }
  // No lock is held outside. States may overtake each other; the number tells which one is the later.
  Bytes sealed(enclume::sealed_size(bytes.size()));
  const auto done =
      enclume::seal(bytes, std::as_bytes(std::span(kLabel)), enclume::SealPolicy::kSigner, sealed);
  if (!done) return std::unexpected(done.error());
  const auto kept = enclume::Outside<Kv>().call<keep>(number, std::span<const std::byte>(sealed));
  if (!kept) return std::unexpected(kept.error());
  if (!*kept) return std::unexpected(Error(Code::kRefused));
  return {};
}

}  // namespace kv
