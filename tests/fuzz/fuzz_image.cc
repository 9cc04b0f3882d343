// SPDX-License-Identifier: Apache-2.0
// The runtime's loader on any bytes as an image: taken as they are, or as changes to an image that is good.
// What it lets through must be pages in order, apart, inside the enclave, with the rights that it promises.
#include <elf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "runtime/edge/sgx.h"
#include "runtime/host/image.h"

namespace {

using namespace enclume;
using Bytes = std::vector<std::byte>;

void require(bool condition) {
  if (!condition) std::abort();
}

template <typename T>
void put(Bytes& file, std::size_t at, const T& value) {
  if (file.size() < at + sizeof value) file.resize(at + sizeof value);
  std::memcpy(file.data() + at, &value, sizeof value);
}

std::size_t put_note(Bytes& file, std::size_t at, std::uint32_t type, std::uint32_t size) {
  put(file, at, Elf64_Nhdr{8, size, type});
  put(file, at + sizeof(Elf64_Nhdr), edge::kNoteName);
  return at + 24;
}

// Headers, the two notes, a page of text and one of data, as the link script lays them out.
Bytes good_image() {
  constexpr std::size_t kConfig = 0x400, kText = 0x1000, kData = 0x2000, kSigstruct = 0x3000;
  Bytes file;
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_DYN;
  header.e_machine = EM_X86_64;
  header.e_entry = kText + 0x10;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  const Elf64_Phdr segments[] = {
      {PT_LOAD, PF_R, 0, 0, 0, 0x800, 0x800, 4096},
      {PT_LOAD, PF_R | PF_X, kText, kText, kText, 0x700, 0x700, 4096},
      {PT_LOAD, PF_R | PF_W, kData, kData, kData, 0x100, 0x2100, 4096},
      {PT_LOAD, 0, kSigstruct, 0x5000, 0x5000, 0x800, 0x800, 4096},
      {PT_TLS, PF_R, kData, kData, kData, 0x10, 0x90, 64},
      {PT_NOTE, PF_R, kConfig, kConfig, kConfig, 24 + sizeof(edge::EnclaveConfig),
       24 + sizeof(edge::EnclaveConfig), 8},
      {PT_NOTE, PF_R, kSigstruct, 0x5000, 0x5000, 24 + 1808, 24 + 1808, 8},
  };
  header.e_phnum = std::size(segments);
  put(file, 0, header);
  put(file, sizeof header, segments);
  const edge::EnclaveConfig config{.version = edge::kConfigVersion,
                                   .threads = 2,
                                   .heap = 0x4000,
                                   .stack = 0x2000,
                                   .frames = 3,
                                   .flags = 0,
                                   .xfrm = 3,
                                   .heap_max = 0x10000,
                                   .stack_max = 0x8000};
  put(file, put_note(file, kConfig, edge::kNoteConfig, sizeof config), config);
  put_note(file, kSigstruct, edge::kNoteSigstruct, edge::kSigstructSize);
  file.resize(kSigstruct + 24 + edge::kSigstructSize);
  return file;
}

void check(const host::Image& image, std::span<const std::byte> file) {
  const edge::EnclaveConfig& config = image.config();
  require(edge::is_valid(config));
  require(image.layout().size <= edge::kMaxSize);
  require(image.sigstruct_offset() <= file.size() &&
          file.size() - image.sigstruct_offset() >= edge::kSigstructSize);
  std::uint64_t end = 0, tcs_pages = 0;
  std::uint64_t sum = 0;
  for (const host::PageRun& run : image.runs()) {
    require(run.offset % edge::kPageSize == 0 && run.length % edge::kPageSize == 0 && run.length != 0);
    require(run.offset >= end);
    end = run.offset + run.length;
    const bool is_tcs = run.secinfo_flags == edge::kTcsPage;
    require(is_tcs || (run.secinfo_flags & ~std::uint64_t{7}) == edge::kRegularPage);
    require((run.secinfo_flags & (edge::kWrite | edge::kExecute)) != (edge::kWrite | edge::kExecute));
    require(run.bytes != nullptr || !run.measured);
    tcs_pages += is_tcs ? 1 : 0;
    // Each byte that will be measured can be read.
    if (run.bytes != nullptr) {
      for (std::uint64_t at = 0; at < run.length; at += edge::kPageSize) {
        sum += std::to_integer<std::uint64_t>(run.bytes[at]) +
               std::to_integer<std::uint64_t>(run.bytes[at + edge::kPageSize - 1]);
      }
    }
  }
  require(end <= image.layout().size && tcs_pages == config.threads);
  asm volatile("" : : "r"(sum));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Bytes good = good_image();
  static const bool is_good = [] {
    Error none;
    return host::Image::parse(good, none).has_value();
  }();
  require(is_good);
  Error error;
  Bytes file;
  if (size != 0 && data[0] % 8 == 0) {
    const auto all = std::as_bytes(std::span(data + 1, size - 1));
    file.assign(all.begin(), all.end());
  } else {
    // Changes of up to eight bytes at a place, most of them where headers and notes are.
    file = good;
    for (std::size_t at = 1; at + 11 <= size; at += 11) {
      const std::size_t place = (data[at] | std::size_t{data[at + 1]} << 8) % file.size();
      const std::size_t bytes = std::min<std::size_t>(1 + data[at + 2] % 8, file.size() - place);
      std::memcpy(file.data() + (data[at + 2] % 4 != 0 ? place % 0x440 : place), data + at + 3, bytes);
    }
    if (size > 2 && data[0] % 8 == 1) file.resize(file.size() * data[1] / 256);
  }
  if (const auto image = host::Image::parse(file, error)) {
    check(*image, file);
  } else {
    require(error.code == Code::kBadImage && error.system != 0);
  }
  return 0;
}
