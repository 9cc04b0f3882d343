// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/site_cache.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

#include "base/format.h"
#include "base/types.h"

namespace enclume::engine {
namespace {

// Text of this size is scanned in less time than a file is opened and read.
constexpr std::uint64_t kWorthKeeping = 64U << 10;

// An object with more sites is scanned each time.
constexpr std::size_t kMostSites = 240;

constexpr std::uint64_t kMagic = 0x3230'7365'7469'7365;  // "esites02"

// A file: this, then its sites, ascending.
struct Header {
  std::uint64_t magic;
  std::uint64_t key;  // of the object, the request and the engine
  ScanCounts counts;
  std::uint32_t sites;
};

struct Record {
  std::uint64_t offset;  // from the object's load bias
  std::uint32_t length;
  std::uint32_t kind;
};

struct Entry {
  Header header;
  std::array<Record, kMostSites> records;

  [[nodiscard]] std::span<const Record> sites() const { return std::span(records).first(header.sites); }
};
static_assert(std::is_trivially_default_constructible_v<Record>, "most of an entry is never touched");

std::uint64_t text_size(const ObjectImage& image) noexcept {
  std::uint64_t size = 0;
  image.for_each_executable([&](const CodeRange& segment) { size += segment.size(); });
  return size;
}

template <typename T>
std::uint64_t hash_with(const T& value, std::uint64_t seed) noexcept {
  return hash_of(std::as_bytes(std::span(&value, 1)), seed);
}

// Whether an entry says what could be in this object. Then nothing that it makes us do can go wrong: a site
// is patched only where the bytes are those of the instruction.
bool is_plausible(const Entry& entry, std::size_t size, std::uint64_t key,
                  const ObjectImage& image) noexcept {
  const Header& header = entry.header;
  if (size < sizeof(Header) || header.magic != kMagic || header.key != key || header.sites > kMostSites ||
      size != sizeof(Header) + header.sites * sizeof(Record)) {
    return false;
  }
  return std::ranges::is_sorted(entry.sites(), {}, &Record::offset) &&
         std::ranges::all_of(entry.sites(), [&](const Record& site) {
           const std::uint64_t address = image.load_bias() + site.offset;
           const auto segment = image.executable_around(address);
           return segment && site.length >= 2 && site.length <= decode::kMaxInstructionLength &&
                  segment->end - address >= site.length &&
                  site.kind <= static_cast<std::uint32_t>(SiteKind::ConstantCpuid);
         });
}

class FileName {
 public:
  explicit FileName(std::uint64_t key) noexcept : line_(storage_) { line_.text("code-").hex(key, 16); }
  [[nodiscard]] std::string_view view() const noexcept { return line_.view(); }

 private:
  std::array<char, 32> storage_{};
  LineBuffer line_;
};

}  // namespace

std::uint64_t hash_of(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  const auto mix = [&seed](std::uint64_t word) { seed = std::rotl(seed ^ word, 31) * 0x9e37'79b9'7f4a'7c15; };
  mix(bytes.size());
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), sizeof(std::uint64_t)))) {
    std::uint64_t word = 0;
    if (bytes.size() >= sizeof(word)) {
      std::memcpy(&word, bytes.data(), sizeof(word));
    } else {
      std::memcpy(&word, bytes.data(), bytes.size());
    }
    mix(word);
  }
  return std::rotl(seed, 31) * 0x9e37'79b9'7f4a'7c15;
}

std::span<const std::byte> build_id_of(const ObjectImage& image) noexcept {
  constexpr std::array<char, 4> kOwner = {'G', 'N', 'U', '\0'};
  for (const Elf64_Phdr& header : image.headers()) {
    if (header.p_type != PT_NOTE || header.p_align > 4) {
      continue;
    }
    std::uint64_t at = image.load_bias() + header.p_vaddr;
    const std::uint64_t end = at + header.p_memsz;
    while (at < end) {
      const auto note = image.read<Elf64_Nhdr>(at);
      const auto owner = image.read<std::array<char, 4>>(at + sizeof(Elf64_Nhdr));
      if (!note || !owner) {
        break;
      }
      const std::uint64_t content = at + sizeof(Elf64_Nhdr) + align_up(std::uint64_t{note->n_namesz}, 4);
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == kOwner.size() && *owner == kOwner &&
          image.readable(content, note->n_descsz)) {
        return {reinterpret_cast<const std::byte*>(content), note->n_descsz};
      }
      at = content + align_up(std::uint64_t{note->n_descsz}, 4);
    }
  }
  return {};
}

std::optional<ScanCounts> SitelessObjects::find(std::uint64_t key) const noexcept {
  const auto line = std::ranges::find(lines_, key, &Line::key);
  if (line == lines_.end() || key == 0) {
    return std::nullopt;
  }
  const auto& [candidates, let_be, plain, interior, unproven, a, b, c] = line->counts;
  return ScanCounts{
      .candidates = candidates, .let_be = let_be, .plain = plain, .interior = interior, .unproven = unproven};
}

bool SitelessObjects::add(std::uint64_t key, const ScanCounts& counts, bool replaces) noexcept {
  const auto free =
      std::ranges::find_if(lines_, [key](const Line& line) { return line.key == key || line.key == 0; });
  const std::array<std::uint32_t, 5> all = {counts.candidates, counts.let_be, counts.plain, counts.interior,
                                            counts.unproven};
  if (key == 0 || counts.proven != 0 || counts.constants != 0 || (free == lines_.end() && !replaces) ||
      std::ranges::any_of(all, [](std::uint32_t count) { return count > 0xff; })) {
    return false;
  }
  Line& line = free != lines_.end() ? *free : lines_[key % kPlaces];
  line.key = key;
  std::ranges::transform(all, line.counts.begin(),
                         [](std::uint32_t count) { return static_cast<std::uint8_t>(count); });
  return true;
}

std::optional<ScanCounts> SiteCache::find(const ObjectImage& image, const ScanRequest& request,
                                          MappedArray<HostSite>& sites) const noexcept {
  const auto key = key_of(image, request);
  if (!key) {
    return std::nullopt;
  }
  const auto siteless = siteless_ != nullptr ? siteless_->find(*key) : std::nullopt;
  return siteless || text_size(image) < kWorthKeeping ? siteless : read(*key, image, sites);
}

// Apart, as write() is, since an entry takes a page of the stack.
[[gnu::noinline]] std::optional<ScanCounts> SiteCache::read(std::uint64_t key, const ObjectImage& image,
                                                            MappedArray<HostSite>& sites) const noexcept {
  Entry entry;
  const std::size_t size =
      directory_.read(FileName(key).view(), std::as_writable_bytes(std::span(&entry, 1)));
  if (!is_plausible(entry, size, key, image)) {
    return std::nullopt;
  }
  const std::size_t before = sites.size();
  for (const Record& site : entry.sites()) {
    if (!sites.push_back({.address = image.load_bias() + site.offset,
                          .length = static_cast<std::uint8_t>(site.length),
                          .kind = static_cast<SiteKind>(site.kind)})) {
      sites.truncate(before);
      return std::nullopt;
    }
  }
  return entry.header.counts;
}

void SiteCache::keep(const ObjectImage& image, const ScanRequest& request, std::span<const HostSite> sites,
                     const ScanCounts& counts) const noexcept {
  const auto key = key_of(image, request);
  if (!key || sites.size() != counts.proven + counts.constants || sites.size() > kMostSites) {
    return;
  }
  if (siteless_ != nullptr && siteless_->add(*key, counts, replaces_)) {
    *changed_ = true;
  } else if (text_size(image) >= kWorthKeeping) {
    write(*key, image, sites, counts);
  }
}

[[gnu::noinline]] void SiteCache::write(std::uint64_t key, const ObjectImage& image,
                                        std::span<const HostSite> sites,
                                        const ScanCounts& counts) const noexcept {
  Entry entry;
  entry.header = {
      .magic = kMagic, .key = key, .counts = counts, .sites = static_cast<std::uint32_t>(sites.size())};
  std::ranges::transform(sites, entry.records.begin(), [&](const HostSite& site) {
    return Record{.offset = site.address - image.load_bias(),
                  .length = site.length,
                  .kind = static_cast<std::uint32_t>(site.kind)};
  });
  directory_.write(FileName(key).view(),
                   std::as_bytes(std::span(&entry, 1)).first(sizeof(Header) + sites.size() * sizeof(Record)));
}

std::optional<std::uint64_t> SiteCache::key_of(const ObjectImage& image,
                                               const ScanRequest& request) const noexcept {
  const auto id = build_id_of(image);
  if (!directory_.exists() || id.empty()) {
    return std::nullopt;
  }
  const std::uint64_t file = hash_of(id, hash_of(std::as_bytes(image.headers()), salt_));
  const std::uint64_t machine = hash_with(request.untrapped_max_leaf, hash_with(request.branches, file));
  return hash_with(request.constants,
                   hash_with(request.cpuid, hash_with(request.traps_call != nullptr, machine)));
}

}  // namespace enclume::engine
