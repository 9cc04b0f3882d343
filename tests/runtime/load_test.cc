// SPDX-License-Identifier: Apache-2.0
// Images that are damaged, unsigned, tampered with, or of another program: each is its own error value.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "runtime/calls_host.h"
#include "runtime/host/image.h"

namespace {

using enclume::Code;
using enclume::host::Image;
using Bytes = std::vector<char>;

Bytes read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

enclume::Error error_of_parse;
std::optional<Image> parse(const Bytes& bytes) {
  error_of_parse = {};
  return Image::parse(std::as_bytes(std::span(bytes)), error_of_parse);
}

// Loads an image of these bytes.
enclume::Error load_error(const Bytes& bytes) {
  char path[] = "/tmp/enclume-load-XXXXXX";
  const int fd = mkstemp(path);
  EXPECT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  close(fd);
  const auto enclave = enclume::Enclave<Calls>::load(path);
  unlink(path);
  return enclave ? enclume::Error() : enclave.error();
}

TEST(Image, OfTheTestsIsGood) {
  const auto image = parse(read(ENCLUME_TEST_IMAGE));
  ASSERT_TRUE(image);
  EXPECT_EQ(image->config().threads, 3U);
  EXPECT_EQ(image->config().heap, 1U << 20);
}

TEST(Image, RunsAreInOrderAndDoNotOverlap) {
  const auto image = parse(read(ENCLUME_TEST_IMAGE));
  ASSERT_TRUE(image);
  std::uint64_t end = 0;
  for (const auto& run : image->runs()) {
    EXPECT_GE(run.offset, end);
    end = run.offset + run.length;
  }
  EXPECT_LE(end, image->layout().size);
}

TEST(Image, EveryTruncationIsRefused) {
  const Bytes whole = read(ENCLUME_TEST_IMAGE);
  const auto image = parse(whole);
  ASSERT_TRUE(image);
  // What stands behind the signature are the section headers, which nobody needs.
  const std::size_t needed = image->sigstruct_offset() + enclume::edge::kSigstructSize;
  for (std::size_t size = 0; size < needed; size += size < 1024 ? 1 : 97) {
    const auto result = parse(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    ASSERT_FALSE(result) << size;
    ASSERT_EQ(error_of_parse.code, Code::kBadImage);
  }
}

TEST(Image, RandomDamageIsRefusedOrHarmless) {
  const Bytes whole = read(ENCLUME_TEST_IMAGE);
  std::mt19937 random(7);
  for (int i = 0; i < 3000; ++i) {
    Bytes damaged = whole;
    for (int n = 0; n < 3; ++n) damaged[random() % 1024] = static_cast<char>(random());
    const auto result = parse(damaged);
    if (!result) {
      ASSERT_EQ(error_of_parse.code, Code::kBadImage);
      ASSERT_NE(error_of_parse.system, 0);
    }
  }
}

TEST(Image, AWritableAndExecutableSegmentIsRefused) {
  Bytes bytes = read(ENCLUME_TEST_IMAGE);
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    char* const at = bytes.data() + header.e_phoff + i * sizeof segment;
    std::memcpy(&segment, at, sizeof segment);
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0) segment.p_flags |= PF_W;
    std::memcpy(at, &segment, sizeof segment);
  }
  const auto result = parse(bytes);
  ASSERT_FALSE(result);
  EXPECT_EQ(error_of_parse, enclume::Error(Code::kBadImage, 4));
}

// 32 segments of zeros that no file is big enough for.
TEST(Image, ThatWantsGigabytesIsRefused) {
  Bytes bytes = read(ENCLUME_TEST_IMAGE);
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  std::memcpy(segments.data(), bytes.data() + header.e_phoff, segments.size() * sizeof(Elf64_Phdr));
  const auto last = std::ranges::find_if(
      segments, [](const Elf64_Phdr& s) { return s.p_type == PT_LOAD && s.p_flags == (PF_R | PF_W); });
  ASSERT_NE(last, segments.end());
  Elf64_Phdr zeros = *last;
  zeros.p_filesz = 0;
  zeros.p_memsz = std::uint64_t{60} << 20;
  for (std::uint64_t i = 1; segments.size() < 32; ++i) {
    zeros.p_vaddr = i << 26;
    segments.push_back(zeros);
  }
  header.e_phnum = 32;
  header.e_phoff = bytes.size();
  std::memcpy(bytes.data(), &header, sizeof header);
  const auto* const table = reinterpret_cast<const char*>(segments.data());
  bytes.insert(bytes.end(), table, table + segments.size() * sizeof(Elf64_Phdr));
  EXPECT_FALSE(parse(bytes));
  EXPECT_EQ(error_of_parse, enclume::Error(Code::kBadImage, 3));
}

// The enclave would write outside of its variables as it starts, or leave something as it is.
TEST(Image, WithAForeignRelocationIsRefused) {
  const Bytes good = read(ENCLUME_TEST_IMAGE);
  Elf64_Ehdr header;
  std::memcpy(&header, good.data(), sizeof header);
  Elf64_Rela first{};
  std::size_t at = 0;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, good.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type != PT_DYNAMIC) continue;
    for (std::size_t n = 0; n < segment.p_filesz; n += sizeof(Elf64_Dyn)) {
      Elf64_Dyn entry;
      std::memcpy(&entry, good.data() + segment.p_offset + n, sizeof entry);
      if (entry.d_tag == DT_RELA) at = entry.d_un.d_ptr;  // in the first segment, at the same offset
    }
  }
  ASSERT_NE(at, 0U);
  std::memcpy(&first, good.data() + at, sizeof first);
  ASSERT_EQ(ELF64_R_TYPE(first.r_info), R_X86_64_RELATIVE);
  const auto with = [&](std::uint64_t offset, std::uint64_t info) {
    Bytes bytes = good;
    const Elf64_Rela bad{offset, info, first.r_addend};
    std::memcpy(bytes.data() + at, &bad, sizeof bad);
    return parse(bytes) ? enclume::Error() : error_of_parse;
  };
  const enclume::Error refused(Code::kBadImage,
                               static_cast<std::int32_t>(enclume::ImageProblem::kRelocations));
  EXPECT_EQ(with(first.r_offset, first.r_info), enclume::Error());
  EXPECT_EQ(with(std::uint64_t{1} << 40, first.r_info), refused);
  EXPECT_EQ(with(~std::uint64_t{0}, first.r_info), refused);
  EXPECT_EQ(with(0x1000, first.r_info), refused);  // code
  EXPECT_EQ(with(first.r_offset, ELF64_R_INFO(1, R_X86_64_GLOB_DAT)), refused);
}

TEST(Load, OfAFileWithoutEndSaysSo) {
  const auto enclave = enclume::Enclave<Calls>::load("/dev/zero");
  ASSERT_FALSE(enclave);
  EXPECT_EQ(enclave.error(), enclume::Error(Code::kCannotRead, EFBIG));
}

TEST(Load, OfAFileThatIsNotThereSaysWhy) {
  const auto enclave = enclume::Enclave<Calls>::load("/nonexistent/file");
  ASSERT_FALSE(enclave);
  EXPECT_EQ(enclave.error(), enclume::Error(Code::kCannotRead, ENOENT));
}

TEST(Load, ADirectoryCannotBeRead) {
  const auto enclave = enclume::Enclave<Calls>::load("/");
  ASSERT_FALSE(enclave);
  EXPECT_EQ(enclave.error(), enclume::Error(Code::kCannotRead, EISDIR));
}

TEST(Load, ReadsAPipe) {
  const Bytes whole = read(ENCLUME_TEST_IMAGE);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::thread writer([&] {
    EXPECT_EQ(write(ends[1], whole.data(), whole.size()), static_cast<ssize_t>(whole.size()));
    close(ends[1]);
  });
  EXPECT_TRUE(enclume::Enclave<Calls>::load(("/dev/fd/" + std::to_string(ends[0])).c_str()));
  writer.join();
  close(ends[0]);
}

TEST(Load, OfSomethingElseIsABadImage) {
  EXPECT_EQ(load_error({'h', 'e', 'l', 'l', 'o'}).code, Code::kBadImage);
}

TEST(Load, OfAnUnsignedImageSaysSo) {
  Bytes bytes = read(ENCLUME_TEST_IMAGE);
  const auto image = parse(bytes);
  ASSERT_TRUE(image);
  std::memset(bytes.data() + image->sigstruct_offset(), 0, enclume::edge::kSigstructSize);
  EXPECT_EQ(load_error(bytes).code, Code::kNotSigned);
}

TEST(Load, OfAnImageThatWasTamperedWithFailsAtInit) {
  Bytes bytes = read(ENCLUME_TEST_IMAGE);
  // Somewhere in the code, whose segment begins at a page.
  bytes[0x1400] = static_cast<char>(bytes[0x1400] ^ 1);
  EXPECT_EQ(load_error(bytes).code, Code::kInitFailed);
}

TEST(Load, WithADamagedSignatureFailsAtInit) {
  Bytes bytes = read(ENCLUME_TEST_IMAGE);
  const auto image = parse(bytes);
  ASSERT_TRUE(image);
  bytes[image->sigstruct_offset() + 600] = static_cast<char>(bytes[image->sigstruct_offset() + 600] ^ 1);
  EXPECT_EQ(load_error(bytes).code, Code::kInitFailed);
}

TEST(Load, WithAnotherInterfaceIsRefused) {
  using Less = enclume::Interface<enclume::Ecalls<calls::add>, enclume::Ocalls<>>;
  const auto enclave = enclume::Enclave<Less>::load(ENCLUME_TEST_IMAGE);
  ASSERT_FALSE(enclave);
  EXPECT_EQ(enclave.error().code, Code::kWrongInterface);
}

TEST(Load, AFailedOneLeavesNothingMapped) {
  Bytes bytes = read(ENCLUME_TEST_IMAGE);
  bytes[0x1400] = static_cast<char>(bytes[0x1400] ^ 1);
  const auto lines = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n');
  };
  load_error(bytes);
  const auto before = lines();
  for (int i = 0; i < 5; ++i) load_error(bytes);
  EXPECT_EQ(lines(), before);
}

}  // namespace
