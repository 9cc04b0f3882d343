// SPDX-License-Identifier: Apache-2.0
// The search for CPUID and SYSCALL instructions in an object of which nothing but the extent of its one
// segment holds: code, unwinder's tables, and the file with sections and symbols are the same bytes.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

#include "engine/cpuid/scan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace engine = enclume::engine;
  if (size < 8) return 0;
  std::uint32_t index_at = 0, index_size = 0;
  std::memcpy(&index_at, data, 4);
  std::memcpy(&index_size, data + 4, 4);
  const std::span<const std::uint8_t> image(data, size);

  static const int file = memfd_create("object", MFD_CLOEXEC);
  if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  const std::string path = "/proc/self/fd/" + std::to_string(file);

  std::array<Elf64_Phdr, 2> headers{};
  headers[0].p_type = PT_LOAD;
  headers[0].p_flags = PF_R | PF_X;
  headers[0].p_filesz = headers[0].p_memsz = size;
  headers[1].p_type = PT_GNU_EH_FRAME;
  headers[1].p_vaddr = index_at % (2 * size);
  headers[1].p_memsz = index_size % (2 * size);
  const auto bias = reinterpret_cast<std::uint64_t>(image.data());
  const engine::ObjectImage object(bias, headers, path.c_str());

  engine::MappedArray<engine::HostSite> sites;
  engine::MappedArray<std::uint64_t> unproven;
  const auto counts = engine::scan_object(
      object,
      {.untrapped_max_leaf = 0x10, .traps_call = [](std::uint32_t number) { return number % 2 == 0; }}, sites,
      unproven);
  if (counts.proven != sites.size() ||
      counts.proven + counts.let_be + counts.plain + counts.interior + counts.unproven != counts.candidates) {
    std::abort();
  }
  for (const engine::HostSite& site : sites.view()) {
    if (!object.readable(site.address, site.length) || data[site.last_byte() - bias] != site.opcode())
      std::abort();
  }
  return 0;
}
