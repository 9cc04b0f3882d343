// SPDX-License-Identifier: Apache-2.0
// After fs/binfmt_elf.c of Linux 6.12: load_elf_binary(), elf_load(), elf_map().
#include "engine/load/static_image.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/syscall.h"

namespace enclume::engine {

namespace {

using Failure = std::unexpected<ImageFailure>;

constexpr std::uint64_t kTaskSize = (1ULL << 47) - kPageSize;

Failure failure(Errno error) {
  return Failure({error, {}});
}

constexpr std::uint64_t page_start(std::uint64_t address) {
  return align_down(address, kPageSize);
}
constexpr std::uint64_t page_end(std::uint64_t address) {
  return align_up(address, kPageSize);
}

bool is_loaded(const Elf64_Phdr& segment) {
  return segment.p_type == PT_LOAD && segment.p_memsz != 0;
}

/// The pages of a segment, relative to the bias.
LinearRange pages_of(const Elf64_Phdr& segment) {
  return {LinearAddress(page_start(segment.p_vaddr)),
          LinearAddress(page_end(segment.p_vaddr + segment.p_memsz))};
}

/// "Check to see if the section's size will overflow the allowed task size."
bool fits_address_space(const Elf64_Phdr& segment) {
  return segment.p_vaddr < kTaskSize && segment.p_filesz <= segment.p_memsz && segment.p_memsz <= kTaskSize &&
         kTaskSize - segment.p_memsz >= segment.p_vaddr;
}

int protection_of(const Elf64_Phdr& segment) {
  return ((segment.p_flags & PF_R) != 0 ? PROT_READ : 0) | ((segment.p_flags & PF_W) != 0 ? PROT_WRITE : 0) |
         ((segment.p_flags & PF_X) != 0 ? PROT_EXEC : 0);
}

SysResult<long> map_anonymous(std::uint64_t at, std::uint64_t size, int protection, int flags) {
  return sys::call(__NR_mmap, at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

/// Calls f(range) for each part of `range` that no segment before `count` covers.
template <typename F>
bool for_each_uncovered(LinearRange range, std::span<const Elf64_Phdr> segments, F&& f) {
  while (range.begin < range.end) {
    LinearAddress next = range.end;
    bool covered = false;
    for (const Elf64_Phdr& segment : segments) {
      if (!is_loaded(segment)) {
        continue;
      }
      const LinearRange pages = pages_of(segment);
      if (pages.contains(range.begin)) {
        next = std::min(range.end, pages.end);
        covered = true;
        break;
      }
      if (pages.begin > range.begin) {
        next = std::min(next, pages.begin);
      }
    }
    if (!covered && !f(LinearRange{range.begin, next})) {
      return false;
    }
    range.begin = next;
  }
  return true;
}

/// Takes the addresses of an ET_EXEC program, so that none of its segments can land on something of ours.
std::expected<void, ImageFailure> reserve_fixed(const ProgramFile& file) {
  ImageFailure problem{Errno::NoMemory, {}};
  LinearRange run{};  // still to be reserved: of segments that follow one another
  const auto reserve_run = [&problem, &run] {
    const LinearRange part = run;
    run = {};
    if (part.size() == 0) {
      return true;
    }
    const auto r =
        map_anonymous(part.begin.value(), part.size(), PROT_NONE, MAP_FIXED_NOREPLACE | MAP_NORESERVE);
    if (r && static_cast<std::uint64_t>(*r) == part.begin.value()) {
      return true;
    }
    // A kernel that doesn't know the flag (before 4.17) has taken the address as a hint.
    if (r || r.error() == Errno::Exists) {
      problem = {Errno::Exists, part};
    } else {
      problem = {r.error(), {}};
    }
    return false;
  };
  const auto segments = file.segments();
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (!is_loaded(segments[i])) {
      continue;
    }
    const bool reserved = for_each_uncovered(pages_of(segments[i]), segments.first(i), [&](LinearRange part) {
      if (run.size() != 0 && run.end == part.begin) {
        run.end = part.end;
        return true;
      }
      const bool done = reserve_run();
      run = part;
      return done;
    });
    if (!reserved) {
      return std::unexpected(problem);
    }
  }
  if (!reserve_run()) {
    return std::unexpected(problem);
  }
  return {};
}

/// Whether each segment begins in a page behind those of the one before, as linkers make them.
bool are_in_order(std::span<const Elf64_Phdr> segments) {
  LinearAddress end(0);
  for (const Elf64_Phdr& segment : segments) {
    if (is_loaded(segment)) {
      if (pages_of(segment).begin < end) {
        return false;
      }
      end = pages_of(segment).end;
    }
  }
  return true;
}

/// The largest alignment that a segment asks for; what is no power of two doesn't count.
std::uint64_t maximum_alignment(std::span<const Elf64_Phdr> segments) {
  std::uint64_t alignment = kPageSize;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_LOAD && is_power_of_two(segment.p_align)) {
      alignment = std::max<std::uint64_t>(alignment, segment.p_align);
    }
  }
  return alignment;
}

/// On Linux nothing writable is near a static PIE: above are the stack and the vDSO alone, and below is what
/// the program maps later. Here the engine lies around it, which accesses of a damaged program must not meet.
constexpr std::uint64_t kKeptFree = 1 << 20;

/// Reserves memory at an aligned address, the highest that is free, and as much as `apart` on both sides of
/// it.
SysResult<std::uint64_t> find_room(std::uint64_t size, std::uint64_t alignment, std::uint64_t apart) {
  const std::uint64_t more = alignment - kPageSize + 2 * apart;
  if (const auto r = size + more >= more ? map_anonymous(0, size + more, PROT_NONE, MAP_NORESERVE)
                                         : SysResult<long>(fail(Errno::NoMemory))) {
    const auto found = static_cast<std::uint64_t>(*r);
    const std::uint64_t base = align_down(found + more - apart, alignment);
    if (const std::uint64_t below = base - apart - found; below != 0) {
      sys::raw(__NR_munmap, static_cast<long>(found), static_cast<long>(below));
    }
    if (const std::uint64_t above = found + more - apart - base; above != 0) {
      sys::raw(__NR_munmap, static_cast<long>(base + size + apart), static_cast<long>(above));
    }
    return base;
  }
  // An absurd alignment. Linux takes what there is and aligns it downwards, to address 0 perhaps.
  const auto r = map_anonymous(0, size, PROT_NONE, MAP_NORESERVE);
  if (!r) {
    return fail(r.error());
  }
  sys::raw(__NR_munmap, *r, static_cast<long>(size));
  const std::uint64_t base = align_down(static_cast<std::uint64_t>(*r), alignment);
  const auto fixed = map_anonymous(base, size, PROT_NONE, MAP_FIXED_NOREPLACE | MAP_NORESERVE);
  if (!fixed) {
    return fail(fixed.error());
  }
  return base;
}

/// Takes addresses for an ET_DYN program where the kernel puts mappings that don't care, as it does for
/// static PIEs. The result is the bias.
std::expected<std::uint64_t, ImageFailure> reserve_anywhere(const ProgramFile& file, Neighbours neighbours) {
  LinearRange whole{LinearAddress(~0ULL), LinearAddress(0)};
  for (const Elf64_Phdr& segment : file.segments()) {
    if (is_loaded(segment)) {
      whole.begin = std::min(whole.begin, pages_of(segment).begin);
      whole.end = std::max(whole.end, pages_of(segment).end);
    }
  }
  if (whole.begin >= whole.end) {
    return failure(Errno::Invalid);
  }
  const auto found = find_room(whole.size(), maximum_alignment(file.segments()),
                               neighbours == Neighbours::None ? kKeptFree : 0);
  if (!found) {
    return failure(found.error());
  }
  const std::uint64_t bias = *found - whole.begin.value();
  // Between the segments nothing is mapped.
  for_each_uncovered(whole, file.segments(), [bias](LinearRange hole) {
    return sys::call(__NR_munmap, hole.begin.value() + bias, hole.size()).has_value();
  });
  return bias;
}

/// mmap(2) at an address. `placing` is MAP_FIXED where it is reserved, else MAP_FIXED_NOREPLACE, which a
/// kernel that doesn't know it (before 4.17) takes for a hint.
SysResult<void> map_at(std::uint64_t at, std::uint64_t size, int protection, int placing, int fd,
                       std::uint64_t offset) {
  const int kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_PRIVATE;
  const auto mapped = sys::call(__NR_mmap, at, size, protection, kind | placing, fd, offset);
  if (!mapped) {
    return fail(mapped.error());
  }
  if (static_cast<std::uint64_t>(*mapped) != at) {
    return fail(Errno::Exists);
  }
  return {};
}

/// elf_load(). `placing` as for map_at().
SysResult<void> load_segment(int fd, const Elf64_Phdr& segment, std::uint64_t bias, int placing) {
  const int protection = protection_of(segment);
  const std::uint64_t address = segment.p_vaddr + bias;
  const std::uint64_t in_page = segment.p_vaddr % kPageSize;
  const std::uint64_t begin = page_start(address);
  std::uint64_t zero_begin = begin;
  if (segment.p_filesz != 0) {
    const auto mapped = map_at(begin, page_end(segment.p_filesz + in_page), protection, placing, fd,
                               segment.p_offset - in_page);
    if (!mapped) {
      return mapped;
    }
    if (segment.p_memsz > segment.p_filesz) {
      // padzero(). Where the segment isn't writable what follows in the file stays to be seen.
      zero_begin = address + segment.p_filesz;
      const std::uint64_t in_last_page = page_end(zero_begin) - zero_begin;
      if ((protection & PROT_WRITE) != 0 && in_last_page != 0) {
        const auto file_size = sys::call(__NR_lseek, fd, 0, SEEK_END);
        if (!file_size ||
            page_start(segment.p_offset + segment.p_filesz - 1) >= static_cast<std::uint64_t>(*file_size)) {
          return fail(Errno::Fault);
        }
        std::memset(reinterpret_cast<void*>(zero_begin), 0, in_last_page);
      }
    }
  }
  if (segment.p_memsz > segment.p_filesz) {
    zero_begin = page_end(zero_begin);
    const std::uint64_t zero_end = page_end(address + segment.p_memsz);
    if (zero_end > zero_begin) {
      // vm_brk_flags(): readable and writable whatever the segment says.
      return map_at(zero_begin, zero_end - zero_begin, PROT_READ | PROT_WRITE | (protection & PROT_EXEC),
                    placing, -1, 0);
    }
  }
  return {};
}

/// Adds what the kernel remembers of a segment, without the bias.
void note_segment(StaticImage& image, const Elf64_Ehdr& header, const Elf64_Phdr& segment) {
  const bool code = (segment.p_flags & PF_X) != 0;
  if (segment.p_offset <= header.e_phoff && header.e_phoff < segment.p_offset + segment.p_filesz) {
    image.headers = header.e_phoff - segment.p_offset + segment.p_vaddr;
  }
  if (code) {
    image.start_code = std::min<std::uint64_t>(image.start_code, segment.p_vaddr);
    image.end_code = std::max<std::uint64_t>(image.end_code, segment.p_vaddr + segment.p_filesz);
  }
  image.start_data = std::max<std::uint64_t>(image.start_data, segment.p_vaddr);
  image.end_data = std::max<std::uint64_t>(image.end_data, segment.p_vaddr + segment.p_filesz);
  image.end = std::max<std::uint64_t>(image.end, segment.p_vaddr + segment.p_memsz);
}

}  // namespace

std::expected<StaticImage, ImageFailure> map_static_image(int fd, const ProgramFile& file,
                                                          Neighbours neighbours) {
  StaticImage image;
  image.start_code = ~0ULL;
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type == PT_GNU_STACK) {
      image.executable_stack = (segment.p_flags & PF_X) != 0;
    }
    if (segment.p_type != PT_LOAD) {
      continue;
    }
    if (!fits_address_space(segment)) {
      return failure(Errno::Invalid);
    }
    note_segment(image, file.header, segment);
  }
  int placing = MAP_FIXED;
  if (file.header.e_type == ET_EXEC && are_in_order(file.segments())) {
    placing = MAP_FIXED_NOREPLACE;  // no segment needs the room of another
  } else if (file.header.e_type == ET_EXEC) {
    if (const auto reserved = reserve_fixed(file); !reserved) {
      return Failure(reserved.error());
    }
  } else {
    const auto bias = reserve_anywhere(file, neighbours);
    if (!bias) {
      return Failure(bias.error());
    }
    image.bias = *bias;
  }
  for (const Elf64_Phdr& segment : file.segments()) {
    if (!is_loaded(segment)) {
      continue;
    }
    const auto loaded = load_segment(fd, segment, image.bias, placing);
    if (!loaded) {
      const bool taken = placing == MAP_FIXED_NOREPLACE && loaded.error() == Errno::Exists;
      return Failure({loaded.error(), taken ? pages_of(segment) : LinearRange{}});
    }
  }
  image.entry = file.header.e_entry + image.bias;
  if (image.entry >= kTaskSize) {
    return failure(Errno::Invalid);
  }
  for (std::uint64_t* address :
       {&image.headers, &image.start_code, &image.end_code, &image.start_data, &image.end_data, &image.end}) {
    *address += image.bias;
  }
  return image;
}

}  // namespace enclume::engine
