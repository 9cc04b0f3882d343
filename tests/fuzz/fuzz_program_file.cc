// SPDX-License-Identifier: Apache-2.0
// What `exec` makes of any file: headers of ELF programs and first lines of scripts.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "engine/load/program_file.h"
#include "engine/load/script_line.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace engine = enclume::engine;
  static const int file = memfd_create("program", MFD_CLOEXEC);
  if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  static engine::ProgramFile program;
  if (engine::read_program_file(file, program)) {
    const bool elf =
        program.kind == engine::ProgramKind::Static || program.kind == engine::ProgramKind::Dynamic;
    if (elf && program.header.e_phnum > engine::ProgramFile::kMaxSegments) std::abort();
    if (elf) static_cast<void>(engine::file_offset(program, program.header.e_entry));
    if (program.kind == engine::ProgramKind::Script) {
      const auto line = engine::parse_script_line(program.head);
      const char* end = program.head.data() + program.head.size();
      if (line && line->interpreter + std::strlen(line->interpreter) >= end) std::abort();
      if (line && line->argument != nullptr && line->argument + std::strlen(line->argument) >= end)
        std::abort();
    }
  }
  return 0;
}
