// SPDX-License-Identifier: Apache-2.0
#include "engine/load/sanitizer_runtime.h"

#include <cstdint>

namespace enclume::engine {

namespace {

// compiler-rt's AsanCheckDynamicRTPrereqs() and hwasan's; GCC has the same code. The link names, up to the
// version.
constexpr std::array<std::string_view, 4> kRuntimes = {"libasan.so", "liblsan.so", "libclang_rt.asan",
                                                       "libclang_rt.hwasan"};

/// Calls f(Elf64_Dyn) for each entry, until it returns false.
template <typename F>
void for_each_entry(int fd, const ProgramFile& file, F&& f) {
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type != PT_DYNAMIC) {
      continue;
    }
    std::array<Elf64_Dyn, 32> entries;
    for (std::uint64_t done = 0; done < segment.p_filesz; done += sizeof(entries)) {
      const std::uint64_t left = segment.p_filesz - done;
      const auto read = read_file_at(fd, entries.data(), left < sizeof(entries) ? left : sizeof(entries),
                                     segment.p_offset + done);
      const std::size_t count = read ? *read / sizeof(Elf64_Dyn) : 0;
      for (std::size_t i = 0; i < count; ++i) {
        if (entries[i].d_tag == DT_NULL || !f(entries[i])) {
          return;
        }
      }
      if (count != entries.size()) {
        return;
      }
    }
  }
}

/// What LD_PRELOAD cannot carry is no name of theirs.
bool is_runtime(std::string_view name) {
  for (const std::string_view runtime : kRuntimes) {
    if (name.starts_with(runtime)) {
      return name.find_first_of(" \t\n:;$/") == std::string_view::npos;
    }
  }
  return false;
}

}  // namespace

std::string_view sanitizer_runtime(int fd, const ProgramFile& file, LibraryName& name) {
  // Runtimes are the first libraries of a program: compilers name them so.
  std::array<std::uint64_t, 16> needed;
  std::size_t count = 0;
  std::uint64_t strings = 0;
  for_each_entry(fd, file, [&](const Elf64_Dyn& entry) {
    if (entry.d_tag == DT_STRTAB) {
      strings = file_offset(file, entry.d_un.d_ptr);
    } else if (entry.d_tag == DT_NEEDED && count < needed.size()) {
      needed[count++] = entry.d_un.d_val;
    }
    return true;
  });
  for (std::size_t i = 0; strings != 0 && i < count; ++i) {
    const auto read = read_file_at(fd, name.data(), name.size(), strings + needed[i]);
    const std::string_view text(name.data(), read ? *read : 0);
    const std::size_t length = text.find('\0');
    if (length != std::string_view::npos && is_runtime(text.substr(0, length))) {
      return text.substr(0, length);
    }
  }
  return {};
}

}  // namespace enclume::engine
