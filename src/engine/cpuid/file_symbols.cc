// SPDX-License-Identifier: Apache-2.0
#include <linux/fcntl.h>
#include <linux/mman.h>

#include <utility>

#include "base/syscall.h"
#include "engine/cpuid/function_bounds.h"

namespace enclume::engine {
namespace {

constexpr int kSeekEnd = 2;

// A whole file, mapped read-only.
class MappedFile {
 public:
  explicit MappedFile(const char* path) noexcept {
    const auto fd = sys::call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    if (!fd.has_value()) {
      return;
    }
    const auto size = sys::call(__NR_lseek, *fd, 0, kSeekEnd);
    if (size.has_value() && *size > 0) {
      const auto mapped = sys::call(__NR_mmap, 0, *size, PROT_READ, MAP_PRIVATE, *fd, 0);
      if (mapped.has_value()) {
        bytes_ = std::span(reinterpret_cast<const std::byte*>(*mapped), static_cast<std::size_t>(*size));
      }
    }
    sys::raw(__NR_close, *fd);
  }
  ~MappedFile() {
    if (!bytes_.empty()) {
      sys::raw(__NR_munmap, sys::arg(bytes_.data()), sys::arg(bytes_.size()));
    }
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// All of it, which is the caller's to unmap from now on.
  [[nodiscard]] std::span<const std::byte> keep() noexcept { return std::exchange(bytes_, {}); }

  [[nodiscard]] std::span<const std::byte> range(std::uint64_t offset, std::uint64_t size) const noexcept {
    if (size > bytes_.size() || offset > bytes_.size() - size) {
      return {};
    }
    return bytes_.subspan(offset, size);
  }

  template <typename T>
  [[nodiscard]] std::optional<T> read(std::uint64_t offset) const noexcept {
    const auto bytes = range(offset, sizeof(T));
    if (bytes.empty()) {
      return std::nullopt;
    }
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
};

// True if the file's program headers are those in memory: the same build, as far as this matters.
bool is_file_of(const ObjectImage& image, const MappedFile& file, const Elf64_Ehdr& header) noexcept {
  const auto headers = image.headers();
  if (header.e_phnum != headers.size() || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return false;
  }
  const auto in_file = file.range(header.e_phoff, headers.size_bytes());
  return in_file.size() == headers.size_bytes() &&
         std::memcmp(in_file.data(), headers.data(), headers.size_bytes()) == 0;
}

std::optional<Elf64_Shdr> symbol_section(const MappedFile& file, const Elf64_Ehdr& header) noexcept {
  std::optional<Elf64_Shdr> dynamic;
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    const auto section = file.read<Elf64_Shdr>(header.e_shoff + i * sizeof(Elf64_Shdr));
    if (section && section->sh_type == SHT_SYMTAB) {
      return section;
    }
    if (section && section->sh_type == SHT_DYNSYM) {
      dynamic = section;
    }
  }
  return dynamic;
}

}  // namespace

std::optional<CodeRange> frame_section_of(const ObjectImage& image) noexcept {
  const char* path = image.path();
  const MappedFile file(path == nullptr || *path == '\0' ? "/proc/self/exe" : path);
  const auto header = file.read<Elf64_Ehdr>(0);
  if (!header || !is_file_of(image, file, *header) || header->e_shentsize != sizeof(Elf64_Shdr)) {
    return std::nullopt;
  }
  const auto section_at = [&](unsigned i) {
    return file.read<Elf64_Shdr>(header->e_shoff + i * sizeof(Elf64_Shdr));
  };
  const auto names = section_at(header->e_shstrndx);
  constexpr char kName[] = ".eh_frame";
  for (unsigned i = 0; names && i < header->e_shnum; ++i) {
    const auto section = section_at(i);
    if (!section || (section->sh_flags & SHF_ALLOC) == 0) {
      continue;
    }
    const auto name = file.range(names->sh_offset + section->sh_name, sizeof(kName));
    if (!name.empty() && std::memcmp(name.data(), kName, sizeof(kName)) == 0) {
      const std::uint64_t begin = image.load_bias() + section->sh_addr;
      return CodeRange{begin, begin + section->sh_size};
    }
  }
  return std::nullopt;
}

FileSymbols::FileSymbols(const ObjectImage& image) noexcept : bias_(image.load_bias()) {
  const char* path = image.path();
  MappedFile file(path == nullptr || *path == '\0' ? "/proc/self/exe" : path);
  const auto header = file.read<Elf64_Ehdr>(0);
  if (!header || !is_file_of(image, file, *header) || header->e_shentsize != sizeof(Elf64_Shdr)) {
    return;
  }
  has_file_ = true;
  if (const auto section = symbol_section(file, *header)) {
    table_ = file.range(section->sh_offset, section->sh_size);
    names_all_ = section->sh_type == SHT_SYMTAB && !table_.empty();
    mapping_ = file.keep();
  }
}

FileSymbols::~FileSymbols() {
  if (!mapping_.empty()) {
    sys::raw(__NR_munmap, sys::arg(mapping_.data()), sys::arg(mapping_.size()));
  }
}

std::optional<CodeRange> FileSymbols::function_around(std::uint64_t address) const noexcept {
  const std::uint64_t value = address - bias_;
  for (std::size_t at = 0; at + sizeof(Elf64_Sym) <= table_.size(); at += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol;
    std::memcpy(&symbol, table_.data() + at, sizeof symbol);
    const unsigned type = ELF64_ST_TYPE(symbol.st_info);
    if ((type == STT_FUNC || type == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF &&
        value - symbol.st_value < symbol.st_size) {
      const std::uint64_t begin = bias_ + symbol.st_value;
      return CodeRange{begin, begin + symbol.st_size};
    }
  }
  return std::nullopt;
}

}  // namespace enclume::engine
