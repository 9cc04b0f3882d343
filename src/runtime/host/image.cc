// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/image.h"

#include <elf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "enclume/edge/abi.h"
#include "runtime/edge/sgx.h"

namespace enclume::host {
namespace {

using edge::kPageSize;
using edge::page_up;

using enum ImageProblem;

constexpr std::size_t kMaxSegments = 32;
constexpr std::uint64_t kMaxImage = std::uint64_t{1} << 32;
constexpr std::uint64_t kMaxTls = std::uint64_t{1} << 24;
// Bytes of all segments beyond those of the file.
constexpr std::uint64_t kMaxZeros = std::uint64_t{1} << 26;

class File {
 public:
  explicit File(std::span<const std::byte> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool has(std::uint64_t offset, std::uint64_t size) const {
    return offset <= bytes_.size() && size <= bytes_.size() - offset;
  }
  template <typename T>
  [[nodiscard]] std::optional<T> at(std::uint64_t offset) const {
    if (!has(offset, sizeof(T))) return std::nullopt;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  [[nodiscard]] const std::byte* data(std::uint64_t offset) const { return bytes_.data() + offset; }

 private:
  std::span<const std::byte> bytes_;
};

// Where in the file the contents of our note of this type are, with exactly `size` bytes.
std::optional<std::uint64_t> find_note(const File& file, std::span<const Elf64_Phdr> segments,
                                       std::uint32_t type, std::uint64_t size) {
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE || !file.has(segment.p_offset, segment.p_filesz)) continue;
    // Aligned to 8: so are the parts of each note.
    std::uint64_t at = segment.p_offset;
    const std::uint64_t end = segment.p_offset + segment.p_filesz;
    while (at <= end && end - at >= sizeof(Elf64_Nhdr)) {
      const auto header = file.at<Elf64_Nhdr>(at);
      const std::uint64_t name = at + sizeof(Elf64_Nhdr);
      const std::uint64_t contents =
          at + ((sizeof(Elf64_Nhdr) + std::uint64_t{header->n_namesz} + 7) & ~std::uint64_t{7});
      if (contents > end || end - contents < header->n_descsz) break;
      if (header->n_type == type && header->n_namesz == sizeof edge::kNoteName && header->n_descsz == size &&
          std::memcmp(file.data(name), edge::kNoteName, sizeof edge::kNoteName) == 0) {
        return contents;
      }
      at = contents + ((std::uint64_t{header->n_descsz} + 7) & ~std::uint64_t{7});
    }
  }
  return std::nullopt;
}

std::uint64_t rights_of(const Elf64_Phdr& segment) {
  return ((segment.p_flags & PF_R) != 0 ? edge::kRead : 0) |
         ((segment.p_flags & PF_W) != 0 ? edge::kWrite : 0) |
         ((segment.p_flags & PF_X) != 0 ? edge::kExecute : 0);
}

// Whether the enclave can relocate itself: nothing but base + addend, and into its variables.
bool has_good_relocations(const File& file, std::span<const Elf64_Phdr> segments) {
  // Where the file has what is at this address, and how many bytes from there on.
  const auto place = [&](std::uint64_t address) -> std::pair<std::uint64_t, std::uint64_t> {
    for (const Elf64_Phdr& s : segments) {
      if (s.p_type == PT_LOAD && rights_of(s) != 0 && address >= s.p_vaddr &&
          address - s.p_vaddr < s.p_filesz) {
        return {s.p_offset + (address - s.p_vaddr), s.p_filesz - (address - s.p_vaddr)};
      }
    }
    return {0, 0};
  };
  const auto is_data = [&](std::uint64_t address) {
    return std::ranges::any_of(segments, [&](const Elf64_Phdr& s) {
      return s.p_type == PT_LOAD && (s.p_flags & PF_W) != 0 && address >= s.p_vaddr &&
             s.p_memsz >= sizeof(std::uint64_t) && address - s.p_vaddr <= s.p_memsz - sizeof(std::uint64_t);
    });
  };
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_DYNAMIC) continue;
    std::uint64_t table = 0, size = 0;
    for (std::uint64_t at = 0; at < segment.p_filesz; at += sizeof(Elf64_Dyn)) {
      if (!file.has(segment.p_offset, at)) return false;
      const auto entry = file.at<Elf64_Dyn>(segment.p_offset + at);
      if (!entry) return false;
      if (entry->d_tag == DT_NULL) break;
      if (entry->d_tag == DT_RELA) table = entry->d_un.d_ptr;
      if (entry->d_tag == DT_RELASZ) size = entry->d_un.d_val;
      if (entry->d_tag == DT_REL || entry->d_tag == DT_JMPREL || entry->d_tag == DT_RELR) return false;
    }
    const auto [offset, room] = place(table);
    if (size > room) return false;
    for (std::uint64_t at = 0; at + sizeof(Elf64_Rela) <= size; at += sizeof(Elf64_Rela)) {
      const auto entry = file.at<Elf64_Rela>(offset + at);
      if (!entry || ELF64_R_TYPE(entry->r_info) != R_X86_64_RELATIVE || !is_data(entry->r_offset))
        return false;
    }
  }
  return true;
}

}  // namespace

void Image::PagesDeleter::operator()(std::byte* pages) const noexcept {
  std::free(pages);
}

std::byte* Image::new_pages(std::uint64_t bytes) {
  auto* const pages = static_cast<std::byte*>(std::aligned_alloc(kPageSize, bytes));
  if (pages == nullptr) throw std::bad_alloc();
  pages_.emplace_back(pages);
  std::memset(pages, 0, bytes);
  return pages;
}

std::optional<Image> Image::parse(std::span<const std::byte> bytes, Error& error) {
  const auto fail = [&](ImageProblem problem) {
    error = Error(Code::kBadImage, static_cast<std::int32_t>(problem));
    return std::nullopt;
  };
  const File file(bytes);
  const auto header = file.at<Elf64_Ehdr>(0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
      header->e_machine != EM_X86_64 || header->e_type != ET_DYN) {
    return fail(kNoElf);
  }
  if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 || header->e_phnum > kMaxSegments ||
      !file.has(header->e_phoff, header->e_phnum * sizeof(Elf64_Phdr))) {
    return fail(kSegments);
  }
  std::vector<Elf64_Phdr> segments(header->e_phnum);
  std::memcpy(segments.data(), file.data(header->e_phoff), segments.size() * sizeof(Elf64_Phdr));

  Image image;
  const auto config = find_note(file, segments, edge::kNoteConfig, sizeof(edge::EnclaveConfig));
  if (!config) return fail(kNoConfig);
  image.config_ = *file.at<edge::EnclaveConfig>(*config);
  if (!edge::is_valid(image.config_)) return fail(kNoConfig);
  const auto sigstruct = find_note(file, segments, edge::kNoteSigstruct, edge::kSigstructSize);
  if (!sigstruct) return fail(kNoSigstruct);
  image.sigstruct_offset_ = *sigstruct;

  std::uint64_t end = 0;        // of the image in memory
  std::uint64_t loaded = 0;     // bytes of all segments
  std::uint64_t last_page = 0;  // first page that no segment has yet
  bool has_entry = false;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_TLS) {
      if (segment.p_memsz > kMaxTls || segment.p_align > 64) return fail(kTls);
      image.tls_size_ = (segment.p_memsz + 63) & ~std::uint64_t{63};
    }
    const std::uint64_t rights = rights_of(segment);
    // The one without permissions holds the SIGSTRUCT.
    if (segment.p_type != PT_LOAD || rights == 0 || segment.p_memsz == 0) continue;
    if ((rights & edge::kWrite) != 0 && (rights & edge::kExecute) != 0) {
      return fail(kSegmentRights);
    }
    if (segment.p_vaddr % kPageSize != 0 || segment.p_vaddr < last_page || segment.p_vaddr > kMaxImage ||
        segment.p_memsz > kMaxImage || segment.p_filesz > segment.p_memsz ||
        !file.has(segment.p_offset, segment.p_filesz)) {
      return fail(kSegmentPlace);
    }
    const std::uint64_t length = page_up(segment.p_memsz);
    // A few headers are not to make us take gigabytes: not by zeros, nor by one part of the file in many
    // segments.
    loaded += length;
    if (loaded > page_up(bytes.size()) + kMaxZeros) return fail(kSegmentPlace);
    std::byte* const pages = image.new_pages(length);
    std::memcpy(pages, file.data(segment.p_offset), segment.p_filesz);
    image.runs_.push_back({segment.p_vaddr, length, edge::kRegularPage | rights, true, pages});
    last_page = segment.p_vaddr + length;
    end = segment.p_vaddr + segment.p_memsz;
    has_entry = has_entry || ((rights & edge::kExecute) != 0 && header->e_entry >= segment.p_vaddr &&
                              header->e_entry - segment.p_vaddr < segment.p_memsz);
  }
  if (!has_entry) return fail(kEntry);
  if (!has_good_relocations(file, segments)) return fail(kRelocations);
  image.layout_ = edge::Layout::of(image.config_, end, image.tls_size_);
  if (image.layout_.size > edge::kMaxSize) return fail(kTooBig);
  if (image.config_.heap != 0) {
    image.runs_.push_back({image.layout_.heap, image.config_.heap,
                           edge::kRegularPage | edge::kRead | edge::kWrite, false, nullptr});
  }
  if (image.config_.heap_max != image.config_.heap) {
    image.reserves_.push_back({image.layout_.heap_end, image.layout_.heap_limit - image.layout_.heap_end});
  }
  image.add_threads(header->e_entry);
  return image;
}

void Image::add_threads(std::uint64_t entry) {
  constexpr std::uint64_t kData = edge::kRegularPage | edge::kRead | edge::kWrite;
  for (std::uint32_t index = 0; index < config_.threads; ++index) {
    const edge::ThreadLayout at = layout_.thread(config_, tls_size_, index);
    if (at.stack_limit != at.stack_end) {
      reserves_.push_back({at.stack_limit, at.stack_end - at.stack_limit});
    }
    runs_.push_back({at.stack_end, config_.stack, kData, false, nullptr});
    runs_.push_back({at.alt_end, edge::kAltStackSize, kData, false, nullptr});

    std::byte* const pages = new_pages(2 * kPageSize);
    edge::Tcs tcs{};
    tcs.ossa = at.ssa;
    tcs.nssa = config_.frames;
    tcs.oentry = entry;
    tcs.ofsbase = at.block;
    tcs.ogsbase = at.block;
    tcs.fslimit = tcs.gslimit = ~0U;
    std::memcpy(pages, &tcs, sizeof tcs);
    runs_.push_back({at.tcs, kPageSize, edge::kTcsPage, true, pages});

    // SSA frames and thread-local data: written before they are read.
    runs_.push_back({at.ssa, at.block - at.ssa, kData, false, nullptr});

    edge::ThreadBlock block{};
    block.seed_stack_top = at.stack_top;
    block.seed_stack_end = at.stack_end;
    block.seed_alt_top = at.alt_top;
    block.seed_alt_end = at.alt_end;
    block.seed_tcs = at.tcs;
    block.seed_ssa = at.ssa;
    block.seed_block = at.block;
    block.seed_index = index;
    std::memcpy(pages + kPageSize, &block, sizeof block);
    runs_.push_back({at.block, kPageSize, kData, true, pages + kPageSize});
  }
}

}  // namespace enclume::host
