// SPDX-License-Identifier: Apache-2.0
// Maps a static program as load_elf_binary() does, into a process in which other things live.
#pragma once

#include <cstdint>
#include <expected>

#include "engine/load/program_file.h"

namespace enclume::engine {

/// Where a program lies. All addresses are absolute; the names are those of struct mm_struct.
struct StaticImage {
  std::uint64_t bias = 0;
  std::uint64_t entry = 0;
  std::uint64_t headers = 0;  ///< AT_PHDR
  std::uint64_t start_code = 0;
  std::uint64_t end_code = 0;
  std::uint64_t start_data = 0;
  std::uint64_t end_data = 0;
  std::uint64_t end = 0;  ///< behind the bss, where the heap begins
  bool executable_stack = false;
};

struct ImageFailure {
  Errno error;  ///< what the kernel would have failed with, the old program being gone; it kills then
  LinearRange
      taken;  ///< not empty: somewhere in here is something of ours, and the kernel would have had room
};

/// What of ours may come to lie within a megabyte of a program without an address of its own.
enum class Neighbours : std::uint8_t {
  None,
  Any
};

/// After a failure what was mapped so far stays: end the process. Signal context: safe.
[[nodiscard]] std::expected<StaticImage, ImageFailure> map_static_image(
    int fd, const ProgramFile& file, Neighbours neighbours = Neighbours::None);

}  // namespace enclume::engine
