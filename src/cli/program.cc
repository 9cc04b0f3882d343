// SPDX-License-Identifier: Apache-2.0
#include "cli/program.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "cli/failure.h"
#include "cli/file_descriptor.h"
#include "engine/load/privileges.h"
#include "engine/load/program_file.h"
#include "engine/load/script_line.h"

namespace enclume::cli {
namespace {

[[noreturn]] void refuse(ExitStatus status, const std::string& message) {
  throw Failure(status, message);
}

// Empty if the file is a regular one that this process may execute, else why not.
int execute_error(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno;
  if (!S_ISREG(status.st_mode)) return EACCES;
  if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0) return 0;
  // Filters of older containers give EPERM for faccessat2(), which they don't know and glibc asks first.
  return errno == EPERM && ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

std::string why_not_executable(const std::string& path, int error) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return fmt::format("{} is a directory, not a program", path);
    if (!S_ISREG(status.st_mode))
      return fmt::format("{} is not a regular file, so it cannot be executed", path);
    if ((status.st_mode & 0111) == 0) {
      return fmt::format("{} is not executable; if it is a program, make it so: chmod +x {}", path, path);
    }
  }
  return fmt::format("{} cannot be executed: {}", path, std::strerror(error));
}

// Reads up to `size` bytes from `offset`; short at the end of the file.
std::vector<std::byte> read_at(int fd, std::size_t size, off_t offset) {
  std::vector<std::byte> bytes(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = ::pread(fd, bytes.data() + done, size - done, offset + static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

template <typename Struct>
std::optional<Struct> read_struct(std::span<const std::byte> bytes, std::size_t offset = 0) {
  if (bytes.size() < offset || bytes.size() - offset < sizeof(Struct)) return std::nullopt;
  Struct value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string machine_name(unsigned machine) {
  switch (machine) {
    case EM_386:
      return "32-bit x86";
    case EM_AARCH64:
      return "AArch64";
    case EM_ARM:
      return "32-bit ARM";
    case EM_RISCV:
      return "RISC-V";
    case EM_PPC64:
      return "64-bit PowerPC";
    case EM_S390:
      return "S/390";
    default:
      return fmt::format("a machine unknown here (ELF machine number {})", machine);
  }
}

// PT_INTERP's text, "" if there is none; nothing if the headers are damaged.
std::optional<std::string> elf_interpreter(int fd, const Elf64_Ehdr& header) {
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return std::nullopt;
  const std::size_t table_size = std::size_t{header.e_phnum} * sizeof(Elf64_Phdr);
  const auto table = read_at(fd, table_size, static_cast<off_t>(header.e_phoff));
  if (table.size() != table_size || table_size == 0) return std::nullopt;
  for (std::size_t offset = 0; offset < table_size; offset += sizeof(Elf64_Phdr)) {
    const auto segment = read_struct<Elf64_Phdr>(table, offset);
    if (segment->p_type != PT_INTERP) continue;
    if (segment->p_filesz < 2 || segment->p_filesz > PATH_MAX) return std::nullopt;
    const auto bytes = read_at(fd, segment->p_filesz, static_cast<off_t>(segment->p_offset));
    if (bytes.size() != segment->p_filesz || bytes.back() != std::byte{0}) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(bytes.data()));
  }
  return "";
}

ProgramForm check_elf(const std::string& path, int fd, std::span<const std::byte> head) {
  const auto ident = head.first(std::min<std::size_t>(head.size(), EI_NIDENT));
  const auto ident_byte = [&](std::size_t i) {
    return i < ident.size() ? std::to_integer<int>(ident[i]) : -1;
  };
  const auto header = read_struct<Elf64_Ehdr>(head);
  // Linux looks at the machine alone, and so do we where it is the right one.
  const bool for_this_machine = header && header->e_machine == EM_X86_64;
  if (!for_this_machine && ident_byte(EI_CLASS) == ELFCLASS32) {
    refuse(
        ExitStatus::kCannotRun,
        fmt::format("{} is a 32-bit program; Enclume emulates 64-bit SGX only. Build it for x86-64", path));
  }
  if (!header || (!for_this_machine && ident_byte(EI_CLASS) != ELFCLASS64)) {
    refuse(ExitStatus::kCannotRun, fmt::format("{} is a damaged ELF file: its header is cut short", path));
  }
  if (!for_this_machine) {
    refuse(ExitStatus::kCannotRun, fmt::format("{} is a program for {}; Enclume runs x86-64 programs only",
                                               path, machine_name(header->e_machine)));
  }
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN) {
    refuse(ExitStatus::kCannotRun,
           fmt::format("{} is an ELF file but not a program (an object file or a core dump?)", path));
  }
  const auto interpreter = elf_interpreter(fd, *header);
  if (!interpreter) {
    refuse(ExitStatus::kCannotRun, fmt::format("{} is a damaged ELF file: bad program headers", path));
  }
  if (interpreter->empty()) {
    if (header->e_type == ET_DYN && header->e_entry == 0) {
      refuse(ExitStatus::kCannotRun, fmt::format("{} is a shared library, not a program", path));
    }
    engine::ProgramFile file;
    const auto read = engine::read_program_file(fd, file);
    if (!read) {
      refuse(ExitStatus::kCannotRun, fmt::format("{} is a damaged ELF file: bad program headers", path));
    }
    return file.kind == engine::ProgramKind::Static ? ProgramForm::kStatic : ProgramForm::kDynamic;
  }
  if (const int error = execute_error(*interpreter); error == ENOENT || error == ENOTDIR) {
    refuse(ExitStatus::kNotFound,
           fmt::format("{} needs the dynamic loader {}, which is missing; install the C library that it was "
                       "built for",
                       path, *interpreter));
  } else if (error != 0) {
    refuse(ExitStatus::kCannotRun, why_not_executable(*interpreter, error));
  }
  if (interpreter->find("ld-musl") != std::string::npos) {
    refuse(
        ExitStatus::kCannotRun,
        fmt::format("{} is built for musl ({}); the engine needs glibc's loader. Build the program for glibc",
                    path, *interpreter));
  }
  return ProgramForm::kDynamic;
}

// What executing the file changes of the rights, in words; empty for nothing.
std::string_view raised_privileges(int fd) {
  struct stat status {};
  struct statfs mount {};
  if (::fstat(fd, &status) != 0 || ::fstatfs(fd, &mount) != 0) return "";
  return engine::name_of(engine::raised_privilege(fd, status, mount));
}

ProgramForm check(const std::string& path, int depth) {
  if (const int error = execute_error(path); error == ENOENT || error == ENOTDIR) {
    refuse(ExitStatus::kNotFound, fmt::format("{}: no such program", path));
  } else if (error != 0) {
    refuse(ExitStatus::kCannotRun, why_not_executable(path, error));
  }
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return ProgramForm::kDynamic;
  if (const auto reason = raised_privileges(file.get()); !reason.empty()) {
    refuse(
        ExitStatus::kCannotRun,
        fmt::format("{} gains privileges when it is executed ({}), so the dynamic loader ignores preloaded "
                    "libraries and the engine would be left out. Run a copy without the privilege",
                    path, reason));
  }

  const auto head = read_at(file.get(), std::tuple_size_v<engine::FileHead>, 0);
  if (head.empty()) refuse(ExitStatus::kCannotRun, fmt::format("{} is empty", path));
  if (head.size() >= SELFMAG && std::memcmp(head.data(), ELFMAG, SELFMAG) == 0) {
    return check_elf(path, file.get(), head);
  }
  if (head.size() >= 2 && std::memcmp(head.data(), "#!", 2) == 0) {
    engine::FileHead line{};
    std::memcpy(line.data(), head.data(), head.size());
    const auto parsed = engine::parse_script_line(line);
    if (!parsed) {
      refuse(ExitStatus::kCannotRun, fmt::format("{} is a script that names no interpreter after #!", path));
    }
    const std::string interpreter(parsed->interpreter);
    if (depth == 0) refuse(ExitStatus::kCannotRun, fmt::format("{}: too many interpreters in a row", path));
    if (const int error = execute_error(interpreter); error == ENOENT || error == ENOTDIR) {
      refuse(ExitStatus::kNotFound,
             fmt::format("{} is a script for {}, which is missing", path, interpreter));
    }
    return check(interpreter, depth - 1);
  }
  refuse(ExitStatus::kCannotRun,
         fmt::format("{} is neither an ELF program nor a script that begins with #!", path));
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.empty()) refuse(ExitStatus::kNotFound, "the name of the program is empty");
  if (name.find('/') != std::string::npos) return name;

  const char* variable = std::getenv("PATH");
  // Without PATH, execvp takes what confstr(_CS_PATH) gives.
  std::string_view rest = variable != nullptr ? variable : "/bin:/usr/bin";
  std::optional<std::string> denied;
  while (true) {
    const auto colon = rest.find(':');
    const auto directory = rest.substr(0, colon);
    // An empty element means the current directory; "./" keeps a leading dash from looking like an option.
    auto candidate = directory.empty() ? "./" + name : std::string(directory) + "/" + name;
    const int error = execute_error(candidate);
    if (error == 0) return candidate;
    if (error == EACCES && !denied) denied = std::move(candidate);
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  if (denied) refuse(ExitStatus::kCannotRun, why_not_executable(*denied, EACCES));
  refuse(ExitStatus::kNotFound, fmt::format("{}: no such program in PATH", name));
}

ProgramForm check_program(const std::string& path) {
  return check(path, engine::kMaxScriptDepth);
}

void check_engine(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    refuse(ExitStatus::kInternal, fmt::format("cannot read the engine {}: {}", path, std::strerror(errno)));
  }
  const auto header = read_struct<Elf64_Ehdr>(read_at(file.get(), sizeof(Elf64_Ehdr), 0));
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64 || header->e_type != ET_DYN) {
    refuse(ExitStatus::kInternal, fmt::format("the engine {} is not an x86-64 shared object", path));
  }
  // LD_PRELOAD is split at blanks and colons, and $ starts a loader variable; nothing escapes them.
  if (path.find_first_of(" \t\n:;$") != std::string::npos) {
    refuse(
        ExitStatus::kInternal,
        fmt::format("the path of the engine, {}, contains a character that LD_PRELOAD cannot carry; move it, "
                    "or let ENCLUME_ENGINE name a symbolic link with a plainer path",
                    path));
  }
}

}  // namespace enclume::cli
