// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/intel_image.h"

#include <elf.h>
#include <fmt/format.h>
#include <nettle/sha2.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "arch/structs/secinfo.h"
#include "arch/structs/sigstruct.h"
#include "arch/structs/tcs.h"

namespace enclume::cli {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMaxPages = std::uint64_t{1} << 20;  // 4 GiB: more takes too long to hash

// Offsets in metadata_t. The SIGSTRUCT lies behind the header, the directories behind the SIGSTRUCT.
constexpr std::uint64_t kSizeAt = 16;
constexpr std::uint64_t kSsaFrameSizeAt = 24;
constexpr std::uint64_t kEnclaveSizeAt = 40;
constexpr std::uint64_t kDirectoriesAt = 64 + sizeof(arch::Sigstruct);

struct Directory {
  std::uint32_t offset;  // from the metadata
  std::uint32_t size;
};

struct Patch {
  std::uint64_t to;    // in the file
  std::uint32_t from;  // in the metadata
  std::uint32_t size;
  std::uint32_t reserved[4];
};
static_assert(sizeof(Patch) == 32);

constexpr std::uint16_t kGroup = 1U << 12;
constexpr std::uint16_t kAdd = 1, kExtend = 2;  // attributes: PAGE_ATTR_EADD, PAGE_ATTR_EEXTEND

struct Entry {
  std::uint16_t id;
  std::uint16_t attributes;
  std::uint32_t page_count;
  std::uint64_t offset;
  std::uint32_t content_size;  // without content: a word to fill the pages with
  std::uint32_t content_offset;
  std::uint64_t secinfo_flags;
};
struct Group {  // repeats the entries before it
  std::uint16_t id;
  std::uint16_t entry_count;
  std::uint32_t times;
  std::uint64_t step;
  std::uint32_t reserved[4];
};
static_assert(sizeof(Entry) == 32 && sizeof(Group) == 32);

struct Damaged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename T>
T read(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) throw Damaged("the file is cut short");
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::span<const std::byte> part(std::span<const std::byte> bytes, std::uint64_t offset, std::uint64_t size) {
  if (offset > bytes.size() || bytes.size() - offset < size)
    throw Damaged(fmt::format("{:#x} bytes at offset {:#x} are not in the file", size, offset));
  return bytes.subspan(offset, size);
}

class Builder {
 public:
  Builder(std::span<const std::byte> file, std::uint64_t metadata)
      : file_(file.begin(), file.end()),
        metadata_(part(file, metadata, read<std::uint32_t>(file, metadata + kSizeAt))),
        size_(read<std::uint64_t>(metadata_, kEnclaveSizeAt)) {}

  IntelImage build() {
    patch();
    create();
    segments();
    const auto layout = directory(1);
    const auto count = layout.size() / sizeof(Entry);
    entries(layout, 0, count, 0);
    IntelImage image = image_;
    sha256_digest(&hash_, image.mrenclave.emplace().size(),
                  reinterpret_cast<std::uint8_t*>(image.mrenclave->data()));
    return image;
  }

 private:
  std::span<const std::byte> directory(std::uint64_t index) const {
    const auto entry = read<Directory>(metadata_, kDirectoriesAt + index * sizeof(Directory));
    return part(metadata_, entry.offset, entry.size);
  }

  // What the signing tool has to say about the image is copied over it before it is loaded.
  void patch() {
    const auto table = directory(0);
    for (std::uint64_t at = 0; at + sizeof(Patch) <= table.size(); at += sizeof(Patch)) {
      const auto entry = read<Patch>(table, at);
      const auto from = part(metadata_, entry.from, entry.size);
      part(file_, entry.to, entry.size);
      std::memcpy(file_.data() + entry.to, from.data(), from.size());
    }
  }

  void record(std::string_view tag, std::span<const std::byte> rest) {
    std::array<std::byte, 64> block{};
    std::memcpy(block.data(), tag.data(), tag.size());
    std::memcpy(block.data() + 8, rest.data(), rest.size());
    hash(block);
  }
  void hash(std::span<const std::byte> bytes) {
    sha256_update(&hash_, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
  }

  void create() {
    sha256_init(&hash_);
    std::array<std::byte, 12> fields;
    std::memcpy(fields.data(), part(metadata_, kSsaFrameSizeAt, 4).data(), 4);
    std::memcpy(fields.data() + 4, &size_, 8);
    record("ECREATE", fields);
  }

  void add(std::uint64_t offset, std::uint64_t secinfo_flags, const std::array<std::byte, kPage>& page,
           unsigned attributes) {
    if ((attributes & kAdd) == 0) return;
    if (++image_.pages > kMaxPages) throw Damaged("the enclave has too many pages");
    if (offset >= size_ || offset % kPage != 0) throw Damaged(fmt::format("page {:#x} is outside", offset));
    if (arch::Secinfo{.flags = secinfo_flags, .reserved = {}}.type() == arch::PageType::Tcs) {
      ++image_.tcs_pages;
      secinfo_flags &= ~arch::secinfo_flags::kRwx;
    }
    std::array<std::uint64_t, 2> fields = {offset, secinfo_flags};
    record("EADD", std::as_bytes(std::span(fields)));
    if ((attributes & kExtend) == 0) return;
    ++image_.measured_pages;
    for (std::uint64_t chunk = 0; chunk < kPage; chunk += 256) {
      const std::uint64_t place = offset + chunk;
      record("EEXTEND", std::as_bytes(std::span(&place, 1)));
      hash(std::span(page).subspan(chunk, 256));
    }
  }

  // `memory_size` bytes at `offset`, the first of them from the file. The first page may begin in the middle.
  void region(std::uint64_t offset, std::span<const std::byte> bytes, std::uint64_t memory_size,
              std::uint64_t secinfo_flags) {
    std::uint64_t done = 0;
    while (done < bytes.size()) {
      const std::uint64_t at = offset + done;
      const std::uint64_t room = kPage - at % kPage;
      const std::uint64_t size = std::min<std::uint64_t>(room, bytes.size() - done);
      std::array<std::byte, kPage> page{};
      std::memcpy(page.data() + at % kPage, bytes.data() + done, size);
      const bool relocated = std::ranges::binary_search(relocated_, at / kPage);
      add(at - at % kPage, secinfo_flags | (relocated ? arch::secinfo_flags::kW : 0), page, kAdd | kExtend);
      done += room;
    }
    for (; done < memory_size; done += kPage) add(offset + done, secinfo_flags, {}, kAdd | kExtend);
  }

  void segments() {
    const auto header = read<Elf64_Ehdr>(file_, 0);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_phentsize != sizeof(Elf64_Phdr)) {
      throw Damaged("it is no 64-bit ELF file");
    }
    std::vector<Elf64_Phdr> loads, dynamic;
    for (unsigned i = 0; i < header.e_phnum; ++i) {
      const auto segment = read<Elf64_Phdr>(file_, header.e_phoff + i * sizeof(Elf64_Phdr));
      if (segment.p_type == PT_LOAD) loads.push_back(segment);
      if (segment.p_type == PT_DYNAMIC) dynamic.push_back(segment);
    }
    if (loads.empty()) throw Damaged("it has no loadable segment");
    for (const auto& segment : dynamic) find_relocations(segment, loads);
    const Elf64_Phdr* highest = nullptr;
    for (const auto& segment : loads) {
      if (highest != nullptr) fill_after(*highest, &segment);
      if (highest == nullptr || segment.p_vaddr > highest->p_vaddr) highest = &segment;
      region(segment.p_vaddr, part(file_, segment.p_offset, segment.p_filesz), segment.p_memsz,
             flags_of(segment));
    }
    fill_after(*highest, nullptr);
  }

  static std::uint64_t up(std::uint64_t value) { return (value + kPage - 1) / kPage * kPage; }

  static std::uint64_t flags_of(const Elf64_Phdr& segment) {
    const std::uint64_t rwx = ((segment.p_flags & PF_R) != 0 ? arch::secinfo_flags::kR : 0) |
                              ((segment.p_flags & PF_W) != 0 ? arch::secinfo_flags::kW : 0) |
                              ((segment.p_flags & PF_X) != 0 ? arch::secinfo_flags::kX : 0);
    return arch::secinfo_flags_of(arch::PageType::Reg, rwx);
  }

  // A segment that does not begin on a page and whose rounded size reaches one page further than its end gets
  // that page, if the next segment leaves it free.
  void fill_after(const Elf64_Phdr& last, const Elf64_Phdr* next) {
    const std::uint64_t end = up(last.p_vaddr + last.p_memsz);
    if (end < up(up(last.p_memsz) + last.p_vaddr) &&
        (next == nullptr || end < next->p_vaddr / kPage * kPage)) {
      add(end, flags_of(last), {}, kAdd | kExtend);
    }
  }

  // With text relocations the pages that they change are writable.
  void find_relocations(const Elf64_Phdr& dynamic, std::span<const Elf64_Phdr> loads) {
    bool text = false;
    std::uint64_t tables[2] = {}, sizes[2] = {};
    for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic.p_filesz; at += sizeof(Elf64_Dyn)) {
      const auto entry = read<Elf64_Dyn>(file_, dynamic.p_offset + at);
      if (entry.d_tag == DT_NULL) break;
      text = text || entry.d_tag == DT_TEXTREL;
      if (entry.d_tag == DT_RELA) tables[0] = entry.d_un.d_ptr;
      if (entry.d_tag == DT_RELASZ) sizes[0] = entry.d_un.d_val;
      if (entry.d_tag == DT_JMPREL) tables[1] = entry.d_un.d_ptr;
      if (entry.d_tag == DT_PLTRELSZ) sizes[1] = entry.d_un.d_val;
    }
    for (int i = 0; text && i < 2; ++i) {
      for (std::uint64_t at = 0; at + sizeof(Elf64_Rela) <= sizes[i]; at += sizeof(Elf64_Rela)) {
        const auto entry = read<Elf64_Rela>(file_, file_offset(tables[i], loads) + at);
        if (ELF64_R_TYPE(entry.r_info) == R_X86_64_NONE) continue;
        relocated_.push_back(entry.r_offset / kPage);
        if (entry.r_offset % kPage > kPage - 8) relocated_.push_back(entry.r_offset / kPage + 1);
      }
    }
    std::ranges::sort(relocated_);
  }

  static std::uint64_t file_offset(std::uint64_t address, std::span<const Elf64_Phdr> loads) {
    for (const auto& segment : loads) {
      if (address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz)
        return address - segment.p_vaddr + segment.p_offset;
    }
    throw Damaged("a relocation table is in no segment");
  }

  void entries(std::span<const std::byte> layout, std::uint64_t first, std::uint64_t end,
               std::uint64_t delta) {
    for (std::uint64_t i = first; i < end; ++i) {
      const auto entry = read<Entry>(layout, i * sizeof(Entry));
      if ((entry.id & kGroup) == 0) {
        add_entry(entry, delta);
        continue;
      }
      const auto group = read<Group>(layout, i * sizeof(Group));
      if (delta != 0 || group.entry_count > i || group.times > kMaxPages)
        throw Damaged("its layout table is damaged");
      for (std::uint32_t n = 1; n <= group.times; ++n)
        entries(layout, i - group.entry_count, i, n * group.step);
    }
  }

  void add_entry(const Entry& entry, std::uint64_t delta) {
    const std::uint64_t offset = entry.offset + delta;
    if (entry.page_count > kMaxPages) throw Damaged("the enclave has too many pages");
    if (entry.content_offset != 0) {
      const auto content = part(metadata_, entry.content_offset, entry.content_size);
      if (arch::Secinfo{.flags = entry.secinfo_flags, .reserved = {}}.type() == arch::PageType::Tcs) {
        add_tcs(entry, offset, content);
      } else {
        region(offset, content, entry.page_count * kPage, entry.secinfo_flags);
      }
    } else if (entry.secinfo_flags != 0) {
      std::array<std::byte, kPage> page{};
      for (std::size_t at = 0; at < kPage; at += sizeof entry.content_size)
        std::memcpy(page.data() + at, &entry.content_size, sizeof entry.content_size);
      for (std::uint32_t n = 0; n < entry.page_count; ++n)
        add(offset + n * kPage, entry.secinfo_flags, page, entry.attributes);
    }
  }

  // The offsets in the template are from the TCS itself.
  void add_tcs(const Entry& entry, std::uint64_t offset, std::span<const std::byte> content) {
    std::array<std::byte, kPage> page{};
    std::memcpy(page.data(), content.data(), std::min<std::size_t>(content.size(), kPage));
    arch::Tcs tcs;
    std::memcpy(&tcs, page.data(), sizeof tcs);
    tcs.ossa += offset;
    tcs.ofsbase += offset;
    tcs.ogsbase += offset;
    std::memcpy(page.data(), &tcs, sizeof tcs);
    for (std::uint32_t n = 0; n < entry.page_count; ++n)
      add(offset + n * kPage, entry.secinfo_flags, page, entry.attributes);
  }

  std::vector<std::byte> file_;  // with the patches
  std::span<const std::byte> metadata_;
  std::uint64_t size_;
  sha256_ctx hash_{};
  IntelImage image_;
  std::vector<std::uint64_t> relocated_;  // page numbers, rising
};

}  // namespace

IntelImage measure_intel_image(std::span<const std::byte> file, std::uint64_t metadata) {
  try {
    return Builder(file, metadata).build();
  } catch (const Damaged& damage) {
    IntelImage image;
    image.problem = damage.what();
    return image;
  }
}

}  // namespace enclume::cli
