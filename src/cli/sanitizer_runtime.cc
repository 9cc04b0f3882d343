// SPDX-License-Identifier: Apache-2.0
#include "cli/sanitizer_runtime.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "cli/file_descriptor.h"

namespace enclume::cli {
namespace {

// compiler-rt's AsanCheckDynamicRTPrereqs() and hwasan's; GCC has the same code. The link names, up to the
// version.
constexpr std::array<std::string_view, 4> kRuntimes = {"libasan.so", "liblsan.so", "libclang_rt.asan",
                                                       "libclang_rt.hwasan"};

// A file in memory, for as long as this lives.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || status.st_size <= 0) return;
    const auto size = static_cast<std::size_t>(status.st_size);
    void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (address != MAP_FAILED) bytes_ = {static_cast<const std::byte*>(address), size};
  }
  ~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  template <typename Struct>
  [[nodiscard]] std::optional<Struct> at(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(Struct)) return std::nullopt;
    Struct value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  // The string there; empty if it has no end.
  [[nodiscard]] std::string_view text(std::uint64_t offset) const {
    if (offset >= bytes_.size()) return {};
    const auto* const begin = reinterpret_cast<const char*>(bytes_.data() + offset);
    const auto* const end = static_cast<const char*>(std::memchr(begin, '\0', bytes_.size() - offset));
    return end != nullptr ? std::string_view(begin, end) : std::string_view{};
  }

 private:
  std::span<const std::byte> bytes_;
};

// Where the file has what is loaded at `address`.
std::optional<std::uint64_t> file_offset(const MappedFile& file, const Elf64_Ehdr& header,
                                         std::uint64_t address) {
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    const auto segment = file.at<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr));
    if (segment && segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
        address - segment->p_vaddr < segment->p_filesz) {
      return segment->p_offset + (address - segment->p_vaddr);
    }
  }
  return std::nullopt;
}

std::string runtime_in(const MappedFile& file, const Elf64_Ehdr& header, const Elf64_Phdr& dynamic) {
  const auto entry = [&](std::uint64_t i) {
    return (i + 1) * sizeof(Elf64_Dyn) <= dynamic.p_filesz
               ? file.at<Elf64_Dyn>(dynamic.p_offset + i * sizeof(Elf64_Dyn))
               : std::nullopt;
  };
  std::optional<std::uint64_t> strings;
  for (std::uint64_t i = 0; !strings; ++i) {
    const auto tag = entry(i);
    if (!tag || tag->d_tag == DT_NULL) return "";
    if (tag->d_tag == DT_STRTAB) strings = file_offset(file, header, tag->d_un.d_ptr);
  }
  for (std::uint64_t i = 0;; ++i) {
    const auto tag = entry(i);
    if (!tag || tag->d_tag == DT_NULL) return "";
    if (tag->d_tag != DT_NEEDED) continue;
    const auto name = file.text(*strings + tag->d_un.d_val);
    for (const auto runtime : kRuntimes) {
      // What LD_PRELOAD cannot carry is no name of theirs.
      if (name.starts_with(runtime) && name.find_first_of(" \t\n:;$/") == name.npos) return std::string(name);
    }
  }
}

}  // namespace

std::string sanitizer_runtime(const std::string& path) {
  const MappedFile file(path);
  const auto header = file.at<Elf64_Ehdr>(0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_phentsize != sizeof(Elf64_Phdr)) {
    return "";
  }
  for (std::uint64_t i = 0; i < header->e_phnum; ++i) {
    const auto segment = file.at<Elf64_Phdr>(header->e_phoff + i * sizeof(Elf64_Phdr));
    if (segment && segment->p_type == PT_DYNAMIC) return runtime_in(file, *header, *segment);
  }
  return "";
}

}  // namespace enclume::cli
