// SPDX-License-Identifier: Apache-2.0
#include "engine/load/program_file.h"

#include <cstring>
#include <string_view>

#include "base/syscall.h"

namespace enclume::engine {

SysResult<std::size_t> read_file_at(int fd, void* to, std::size_t size, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < size) {
    const auto n =
        sys::call(__NR_pread64, fd, static_cast<std::byte*>(to) + done, size - done, offset + done);
    if (!n) {
      if (n.error() == Errno::Interrupted) {
        continue;
      }
      return fail(n.error());
    }
    if (*n == 0) {
      break;
    }
    done += static_cast<std::size_t>(*n);
  }
  return done;
}

std::uint64_t file_offset(const ProgramFile& file, std::uint64_t address) {
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type == PT_LOAD && address - segment.p_vaddr < segment.p_filesz) {
      return segment.p_offset + (address - segment.p_vaddr);
    }
  }
  return 0;
}

namespace {

/// Whether the file's DT_SONAME is that of a dynamic linker: ld-linux-x86-64.so.2, or another's ld.so.1.
bool is_dynamic_linker(int fd, const ProgramFile& file) {
  std::uint64_t strings = 0;
  std::uint64_t name = 0;
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type != PT_DYNAMIC) {
      continue;
    }
    std::array<Elf64_Dyn, 64> entries;
    const std::size_t size = segment.p_filesz < sizeof(entries) ? segment.p_filesz : sizeof(entries);
    const auto read = read_file_at(fd, entries.data(), size, segment.p_offset);
    for (std::size_t i = 0; read && i < *read / sizeof(Elf64_Dyn) && entries[i].d_tag != DT_NULL; ++i) {
      if (entries[i].d_tag == DT_SONAME) {
        name = entries[i].d_un.d_val;
      } else if (entries[i].d_tag == DT_STRTAB) {
        strings = entries[i].d_un.d_ptr;
      }
    }
  }
  std::array<char, 3> begin{};
  return name != 0 && strings != 0 &&
         read_file_at(fd, begin.data(), begin.size(), file_offset(file, strings + name)).has_value() &&
         begin[0] == 'l' && begin[1] == 'd' && (begin[2] == '-' || begin[2] == '.');
}

}  // namespace

bool is_for_musl(int fd, const ProgramFile& file) {
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type == PT_INTERP) {
      std::array<char, 256> name{};
      const std::size_t size = segment.p_filesz < name.size() ? segment.p_filesz : name.size();
      const auto read = read_file_at(fd, name.data(), size, segment.p_offset);
      return read && std::string_view(name.data(), *read).find("ld-musl") != std::string_view::npos;
    }
  }
  return false;
}

SysResult<void> read_program_headers(int fd, ProgramFile& file) {
  std::array<char, 1024> begin{};  // of most files it has the table
  const auto size = read_file_at(fd, begin.data(), begin.size(), 0);
  if (!size) {
    return fail(size.error());
  }
  std::memcpy(file.head.data(), begin.data(), file.head.size());
  file.kind = ProgramKind::Other;
  if (file.head[0] == '#' && file.head[1] == '!') {
    file.kind = ProgramKind::Script;
    return {};
  }
  std::memcpy(&file.header, file.head.data(), sizeof(file.header));
  // EI_CLASS and EI_DATA are no business of load_elf_binary()'s.
  if (std::memcmp(file.header.e_ident, ELFMAG, SELFMAG) != 0 || file.header.e_machine != EM_X86_64 ||
      (file.header.e_type != ET_EXEC && file.header.e_type != ET_DYN)) {
    return {};
  }
  if (file.header.e_phentsize != sizeof(Elf64_Phdr) || file.header.e_phnum == 0 ||
      file.header.e_phnum > ProgramFile::kMaxSegments) {
    return fail(Errno::NoExec);
  }
  const std::size_t table_size = file.header.e_phnum * sizeof(Elf64_Phdr);
  if (file.header.e_phoff <= *size && table_size <= *size - file.header.e_phoff) {
    std::memcpy(file.table.data(), &begin[file.header.e_phoff], table_size);
  } else if (const auto read = read_file_at(fd, file.table.data(), table_size, file.header.e_phoff);
             !read || *read != table_size) {
    return fail(Errno::NoExec);
  }
  file.kind = ProgramKind::Static;
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type == PT_INTERP) {
      file.kind = ProgramKind::Dynamic;
    }
  }
  return {};
}

SysResult<void> read_program_file(int fd, ProgramFile& file) {
  const auto read = read_program_headers(fd, file);
  if (read && file.kind == ProgramKind::Static && file.header.e_type == ET_DYN &&
      is_dynamic_linker(fd, file)) {
    file.kind = ProgramKind::Dynamic;
  }
  return read;
}

}  // namespace enclume::engine
