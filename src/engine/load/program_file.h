// SPDX-License-Identifier: Apache-2.0
// An executable file as Linux looks at it before it gives up the old program (fs/exec.c, fs/binfmt_elf.c).
#pragma once

#include <elf.h>

#include <array>
#include <cstddef>
#include <span>

#include "base/errno.h"
#include "base/types.h"

namespace enclume::engine {

/// The first bytes of a file, by which the kernel chooses who loads it (BINPRM_BUF_SIZE); behind the end of a
/// shorter file zeros.
using FileHead = std::array<char, 256>;

enum class ProgramKind {
  Static,   ///< ELF for this machine, without an interpreter: static or static-PIE
  Dynamic,  ///< ELF for this machine with an interpreter, or the dynamic linker called as a program
  Script,   ///< begins with #!
  Other,    ///< whatever else the kernel may know (binfmt_misc, 32-bit programs) or not
};

struct ProgramFile {
  /// The kernel takes no table larger than a page (load_elf_phdrs()).
  static constexpr std::size_t kMaxSegments = kPageSize / sizeof(Elf64_Phdr);

  ProgramKind kind = ProgramKind::Other;
  FileHead head{};
  Elf64_Ehdr header{};  ///< of an ELF file
  std::array<Elf64_Phdr, kMaxSegments> table;

  [[nodiscard]] std::span<const Elf64_Phdr> segments() const { return {table.data(), header.e_phnum}; }
};

/// Reads what there is to know. Fails with ENOEXEC where the kernel would for an ELF file of this machine,
/// and with what read(2) says. Signal context: safe. The result takes 4.5 KiB.
[[nodiscard]] SysResult<void> read_program_file(int fd, ProgramFile& file);
/// The same, but that a dynamic linker is taken for a static program, which only its content tells apart.
[[nodiscard]] SysResult<void> read_program_headers(int fd, ProgramFile& file);

/// Whether the program's dynamic linker is musl's, which can't load the engine, and would load nothing for
/// it. Signal context: safe.
[[nodiscard]] bool is_for_musl(int fd, const ProgramFile& file);

/// Up to `size` bytes; fewer at the end of the file. Signal context: safe.
[[nodiscard]] SysResult<std::size_t> read_file_at(int fd, void* to, std::size_t size, std::uint64_t offset);
/// The place in the file of what is loaded at an address; 0 if nothing is.
[[nodiscard]] std::uint64_t file_offset(const ProgramFile& file, std::uint64_t address);

}  // namespace enclume::engine
