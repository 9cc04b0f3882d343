// SPDX-License-Identifier: Apache-2.0
#include "kernel/vdso/symbol_set.h"

#include <algorithm>

#include "kernel/vdso/elf_hash.h"
#include "kernel/vdso/entry_code.h"

namespace enclume::kernel {
namespace {

using Failure = std::unexpected<VdsoError>;

constexpr std::uint16_t kVersionHidden = 0x8000;
constexpr std::size_t kMaxNameBytes = 12 * 1024;

constexpr std::size_t kMaxBuckets = 67;
constexpr unsigned kBloomBits = 64;
constexpr unsigned kBloomShift = 6;

unsigned type_of(const Elf64_Sym& entry) {
  return ELF64_ST_TYPE(entry.st_info);
}

bool can_be_looked_up(const Elf64_Sym& entry) {
  const unsigned type = type_of(entry);
  return entry.st_shndx != SHN_UNDEF && ELF64_ST_BIND(entry.st_info) != STB_LOCAL && type != STT_SECTION &&
         type != STT_FILE && type != STT_TLS;
}

bool is_entry_name(std::string_view name) {
  return name == kEnterEnclaveName || name == kEncluName;
}

bool is_function(const VdsoSymbol& symbol) {
  const unsigned type = type_of(symbol.entry);
  return symbol.entry.st_shndx != SHN_ABS &&
         (type == STT_FUNC || type == STT_GNU_IFUNC || (type == STT_NOTYPE && symbol.in_code_section));
}

}  // namespace

std::expected<void, VdsoError> SymbolSet::collect(const MachineVdso& machine, LinearAddress machine_address,
                                                  std::optional<std::string_view> entry) noexcept {
  if (const auto done = collect_versions(machine, entry.has_value()); !done) {
    return done;
  }
  for (std::size_t i = 1; i < machine.symbol_count(); i++) {
    const auto symbol = machine.symbol(i);
    if (!symbol) {
      return Failure(symbol.error());
    }
    if (!can_be_looked_up(symbol->entry) || is_entry_name(symbol->name)) {
      continue;
    }
    if (const auto done = add(*symbol, machine_address, machine.size()); !done) {
      return done;
    }
  }

  std::size_t name_bytes = 0;
  for (const ImageSymbol& symbol : symbols()) {
    name_bytes += symbol.name.size();
  }
  for (const VdsoVersion& version : versions()) {
    name_bytes += version.name.size();
  }
  if (count_ == kMaxVdsoSymbols || name_bytes > kMaxNameBytes) {
    return Failure(VdsoError::TooLarge);
  }

  if (entry) {
    add_entry(*entry);
  }
  sort_by_gnu_bucket();
  return {};
}

void SymbolSet::add_entry(std::string_view name) noexcept {
  const auto version = std::find_if(versions().begin(), versions().end(),
                                    [](const VdsoVersion& v) { return v.name == kEntryVersion; });
  ImageSymbol& added = symbols_[count_++];
  added.name = name;
  added.gnu_hash = gnu_hash(name);
  added.version = version->index;
  added.entry.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
}

std::expected<void, VdsoError> SymbolSet::collect_versions(const MachineVdso& machine,
                                                           bool needs_ours) noexcept {
  // The base definition names the object; its index is fixed.
  versions_[version_count_++] = {.name = kVdsoSoname, .index = VER_NDX_GLOBAL, .flags = VER_FLG_BASE};
  std::uint16_t highest = VER_NDX_GLOBAL;
  bool has_ours = !needs_ours;
  for (const VdsoVersion& version : machine.versions()) {
    if ((version.flags & VER_FLG_BASE) != 0) {
      continue;
    }
    if (version_count_ == kMaxVdsoVersions || version.index >= VER_NDX_LORESERVE) {
      return Failure(VdsoError::TooLarge);
    }
    versions_[version_count_++] = version;
    highest = std::max(highest, version.index);
    has_ours = has_ours || version.name == kEntryVersion;
  }
  if (!has_ours) {
    if (version_count_ == kMaxVdsoVersions || highest + 1 >= kVersionHidden) {
      return Failure(VdsoError::TooLarge);
    }
    versions_[version_count_++] = {
        .name = kEntryVersion, .index = static_cast<std::uint16_t>(highest + 1), .flags = 0};
  }
  return {};
}

std::expected<void, VdsoError> SymbolSet::add(const VdsoSymbol& symbol, LinearAddress machine_address,
                                              std::size_t machine_size) noexcept {
  if (count_ == kMaxVdsoSymbols) {
    return Failure(VdsoError::TooLarge);
  }
  ImageSymbol added;
  added.name = symbol.name;
  added.gnu_hash = gnu_hash(symbol.name);
  added.version = symbol.version;
  added.entry = symbol.entry;
  if (symbol.entry.st_shndx != SHN_ABS) {
    if (symbol.offset >= machine_size) {
      return Failure(VdsoError::BadSymbol);
    }
    if (is_function(symbol)) {
      added.machine_offset = symbol.offset;
    } else {
      added.entry.st_shndx = SHN_ABS;
      added.entry.st_value = (machine_address + symbol.offset).value();
      added.placed_data = true;
    }
  }
  symbols_[count_++] = added;
  return {};
}

// At most as many as symbols. Primes, for the System V hash: it shifts by four bits a character, so that a
// power of two would see the last characters only.
std::uint32_t SymbolSet::bucket_count() const noexcept {
  static constexpr std::array<std::uint32_t, 6> kPrimes = {1, 3, 7, 17, 37, 67};
  static_assert(kPrimes.back() <= kMaxBuckets);
  std::uint32_t chosen = kPrimes.front();
  for (const std::uint32_t prime : kPrimes) {
    chosen = prime <= count_ ? prime : chosen;
  }
  return chosen;
}

// DT_GNU_HASH wants the symbols of one bucket side by side.
void SymbolSet::sort_by_gnu_bucket() noexcept {
  const std::uint32_t buckets = bucket_count();
  const auto range = symbols();
  std::sort(range.begin(), range.end(), [buckets](const ImageSymbol& a, const ImageSymbol& b) {
    return a.gnu_hash % buckets < b.gnu_hash % buckets;
  });
}

void SymbolSet::write_strings(ByteWriter& out) noexcept {
  const std::size_t start = out.place();
  const auto append = [&](std::string_view text) {
    const std::size_t offset = out.place() - start;
    out.string(text);
    return static_cast<std::uint32_t>(offset);
  };
  append({});
  soname_offset_ = append(kVdsoSoname);
  for (ImageSymbol& symbol : symbols()) {
    symbol.name_offset = append(symbol.name);
  }
  for (std::size_t i = 0; i < version_count_; i++) {
    version_names_[i] = append(versions_[i].name);
  }
}

void SymbolSet::write_symbols(ByteWriter& out) const noexcept {
  out.put(Elf64_Sym{});
  for (std::size_t i = 0; i < count_; i++) {
    Elf64_Sym entry = symbols_[i].entry;
    entry.st_name = symbols_[i].name_offset;
    out.put(entry);
  }
}

void SymbolSet::write_symbol_versions(ByteWriter& out) const noexcept {
  out.put(std::uint16_t{VER_NDX_LOCAL});
  for (std::size_t i = 0; i < count_; i++) {
    out.put(symbols_[i].version);
  }
}

void SymbolSet::write_versions(ByteWriter& out) const noexcept {
  for (std::size_t i = 0; i < version_count_; i++) {
    const bool last = i + 1 == version_count_;
    out.put(Elf64_Verdef{
        .vd_version = VER_DEF_CURRENT,
        .vd_flags = versions_[i].flags,
        .vd_ndx = versions_[i].index,
        .vd_cnt = 1,
        .vd_hash = sysv_hash(versions_[i].name),
        .vd_aux = sizeof(Elf64_Verdef),
        .vd_next = last ? 0U : static_cast<std::uint32_t>(sizeof(Elf64_Verdef) + sizeof(Elf64_Verdaux)),
    });
    out.put(Elf64_Verdaux{.vda_name = version_names_[i], .vda_next = 0});
  }
}

void SymbolSet::write_hash(ByteWriter& out) const noexcept {
  // Each chain begins at its bucket with the last symbol and leads down to symbol 0, which ends it.
  std::array<std::uint32_t, kMaxBuckets> buckets = {};
  std::array<std::uint32_t, kMaxVdsoSymbols + 1> chains = {};
  const std::uint32_t buckets_used = bucket_count();
  for (std::size_t i = 0; i < count_; i++) {
    std::uint32_t& bucket = buckets[sysv_hash(symbols_[i].name) % buckets_used];
    chains[i + 1] = bucket;
    bucket = static_cast<std::uint32_t>(i + 1);
  }
  out.put(buckets_used);
  out.put(static_cast<std::uint32_t>(count_ + 1));
  out.bytes(std::as_bytes(std::span(buckets).first(buckets_used)));
  out.bytes(std::as_bytes(std::span(chains).first(count_ + 1)));
}

void SymbolSet::write_gnu_hash(ByteWriter& out) const noexcept {
  // One quadword of the filter serves 16 symbols well enough; their number is a power of two.
  std::array<std::uint64_t, 8> bloom = {};
  static_assert(kMaxVdsoSymbols <= bloom.size() * 16);
  std::uint32_t bloom_words = 1;
  while (bloom_words * 16 < count_) {
    bloom_words *= 2;
  }
  std::array<std::uint32_t, kMaxBuckets> buckets = {};
  std::array<std::uint32_t, kMaxVdsoSymbols> chains = {};
  const std::uint32_t buckets_used = bucket_count();
  for (std::size_t i = 0; i < count_; i++) {
    const std::uint32_t hash = symbols_[i].gnu_hash;
    bloom[hash / kBloomBits % bloom_words] |=
        std::uint64_t{1} << hash % kBloomBits | std::uint64_t{1} << (hash >> kBloomShift) % kBloomBits;
    std::uint32_t& bucket = buckets[hash % buckets_used];
    if (bucket == 0) {
      bucket = static_cast<std::uint32_t>(i + 1);
    }
    const bool last = i + 1 == count_ || symbols_[i + 1].gnu_hash % buckets_used != hash % buckets_used;
    chains[i] = (hash & ~1U) | (last ? 1U : 0U);
  }
  constexpr std::uint32_t kFirstHashed = 1;
  out.put(std::array<std::uint32_t, 4>{buckets_used, kFirstHashed, bloom_words, kBloomShift});
  out.bytes(std::as_bytes(std::span(bloom).first(bloom_words)));
  out.bytes(std::as_bytes(std::span(buckets).first(buckets_used)));
  out.bytes(std::as_bytes(std::span(chains).first(count_)));
}

}  // namespace enclume::kernel
