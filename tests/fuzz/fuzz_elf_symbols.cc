// SPDX-License-Identifier: Apache-2.0
// The symbols of an instruction trace, from any bytes as a file: they are read in a signal handler.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/trace/elf_symbols.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const enclume::engine::ElfSymbols symbols(std::as_bytes(std::span(data, size)));
  for (std::uint64_t offset = 0; offset <= size; offset += 1 + size / 16) {
    const auto found = symbols.find(offset);
    if (found && !found->name.empty()) {
      const auto* begin = reinterpret_cast<const std::uint8_t*>(found->name.data());
      if (begin < data || begin + found->name.size() > data + size) std::abort();
    }
  }
  static_cast<void>(symbols.find(~std::uint64_t{0}));
  return 0;
}
