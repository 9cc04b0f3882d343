// SPDX-License-Identifier: Apache-2.0
// The judgement on candidates that nothing leads to, on real programs: their pages hold plenty of 0F A2, 0F
// 01 and the like as operands and constants, and next to none as instructions.
#include "engine/cpuid/site_vote.h"

#include <Zydis/Zydis.h>
#include <elf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/cpuid/candidates.h"
#include "engine/cpuid/page_sites.h"

namespace enclume::engine {
namespace {

constexpr ClassSet kWanted = kSilentTwoByte | kSilentOnSgx1;
using Bytes = std::vector<std::byte>;

struct Section {
  Bytes bytes;
  std::uint64_t address = 0;
};

struct ElfFile {
  Section text;
  Bytes constants;
  /// Offsets in the text where functions begin, from the symbol tables that are left.
  std::set<std::size_t> functions;

  explicit ElfFile(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
    if (file.size() < sizeof(Elf64_Ehdr)) {
      return;
    }
    const auto read = [&]<typename T>(T, std::uint64_t offset) {
      T value;
      std::memcpy(&value, file.data() + offset, sizeof(value));
      return value;
    };
    const auto header = read(Elf64_Ehdr{}, 0);
    const auto sections = [&](unsigned i) {
      return read(Elf64_Shdr{}, header.e_shoff + i * sizeof(Elf64_Shdr));
    };
    const auto names = sections(header.e_shstrndx);
    const auto contents = [&](const Elf64_Shdr& s) {
      const auto* begin = reinterpret_cast<const std::byte*>(file.data() + s.sh_offset);
      return Bytes(begin, begin + s.sh_size);
    };
    for (unsigned i = 0; i < header.e_shnum; ++i) {
      const auto s = sections(i);
      const std::string name = file.data() + names.sh_offset + s.sh_name;
      if (name == ".text") {
        text = {contents(s), s.sh_addr};
      } else if (name == ".rodata") {
        constants = contents(s);
      }
    }
    for (unsigned i = 0; i < header.e_shnum; ++i) {
      const auto s = sections(i);
      if (s.sh_type != SHT_DYNSYM && s.sh_type != SHT_SYMTAB) {
        continue;
      }
      for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= s.sh_size; at += sizeof(Elf64_Sym)) {
        const auto symbol = read(Elf64_Sym{}, s.sh_offset + at);
        const std::uint64_t offset = symbol.st_value - text.address;
        if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && offset < text.bytes.size()) {
          functions.insert(offset);
        }
      }
    }
  }
};

/// The offsets at which a linear disassembly has an instruction; it begins anew at each function. Independent
/// of our decoder.
std::vector<bool> disassemble(const ElfFile& file) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  std::vector<bool> starts(file.text.bytes.size() + 1);
  for (std::size_t at = 0; at < file.text.bytes.size();) {
    ZydisDecodedInstruction in;
    const ZyanStatus status = ZydisDecoderDecodeInstruction(&decoder, nullptr, file.text.bytes.data() + at,
                                                            file.text.bytes.size() - at, &in);
    std::size_t next = at + 1;
    if (ZYAN_SUCCESS(status)) {
      starts[at] = true;
      next = at + in.length;
    }
    const auto function = file.functions.upper_bound(at);
    at = function != file.functions.end() && *function < next ? *function : next;
  }
  return starts;
}

/// Whether an instruction of the class begins there, or its prefixes do right before.
bool disassembled_as(const Bytes& text, const std::vector<bool>& starts, std::size_t opcode,
                     decode::InstructionClass cls) {
  for (std::size_t back = 0; back < 5 && back <= opcode; ++back) {
    if (starts[opcode - back]) {
      const auto in = decode::decode(std::span(text).subspan(opcode - back));
      return in && in->opcode_offset == back && in->cls == cls;
    }
  }
  return false;
}

struct Counts {
  int candidates = 0;
  int sites = 0;
  int false_sites = 0;
  int missed = 0;  // by the disassembler's account, in which constants count as code
  std::vector<std::size_t> cpuids;
};

Counts vote_on_all(const Bytes& text, const std::vector<bool>* truth) {
  Counts counts;
  for_each_candidate(text, text.size(), kWanted, decode::BranchRule::Intel,
                     [&](std::size_t at, const decode::Instruction& bare) {
                       ++counts.candidates;
                       const bool site =
                           vote_on_site(text, at, bare.cls, decode::BranchRule::Intel) == Vote::Site;
                       const bool real = truth != nullptr && disassembled_as(text, *truth, at, bare.cls);
                       counts.sites += site ? 1 : 0;
                       counts.false_sites += site && !real ? 1 : 0;
                       counts.missed += real && !site ? 1 : 0;
                       if (site && bare.cls == decode::InstructionClass::Cpuid) {
                         counts.cpuids.push_back(at);
                       }
                     });
  return counts;
}

class RealProgram : public ::testing::TestWithParam<const char*> {};

TEST_P(RealProgram, HasNoFalseSiteInItsCode) {
  const ElfFile file(GetParam());
  if (file.text.bytes.empty()) {
    GTEST_SKIP() << GetParam() << " is not here";
  }
  const auto truth = disassemble(file);
  const Counts counts = vote_on_all(file.text.bytes, &truth);
  EXPECT_EQ(counts.false_sites, 0);
  EXPECT_GT(counts.candidates, 50) << "the test has nothing to judge";
  RecordProperty("candidates", counts.candidates);
  RecordProperty("sites", counts.sites);
  RecordProperty("missed", counts.missed);
}

TEST_P(RealProgram, HasNoSiteInItsConstants) {
  const ElfFile file(GetParam());
  if (file.text.bytes.empty()) {
    GTEST_SKIP() << GetParam() << " is not here";
  }
  EXPECT_EQ(vote_on_all(file.constants, nullptr).sites, 0);
}

INSTANTIATE_TEST_SUITE_P(SiteVote, RealProgram,
                         ::testing::Values("/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
                                           "/usr/lib/x86_64-linux-gnu/libc.so.6",
                                           "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/bin/python3",
                                           "/usr/bin/git"),
                         [](const ::testing::TestParamInfo<const char*>& tested) {
                           std::string name = std::strrchr(tested.param, '/') + 1;
                           std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
                           return name;
                         });

TEST(SiteVote, FindsTheCpuidsOfLibcrypto) {
  // Eight, by its source (crypto/x86_64cpuid.pl); libcrypto 3.0 has two more 0F A2 in tables that a
  // disassembler takes for code.
  const ElfFile file("/usr/lib/x86_64-linux-gnu/libcrypto.so.3");
  if (file.text.bytes.empty()) {
    GTEST_SKIP() << "libcrypto 3 is not here";
  }
  EXPECT_EQ(vote_on_all(file.text.bytes, nullptr).cpuids.size(), 8u);
}

TEST(SiteVote, FindsNothingInNoise) {
  std::mt19937 random(7);
  Bytes noise(4U << 20);
  std::ranges::generate(noise, [&] { return static_cast<std::byte>(random()); });
  const Counts counts = vote_on_all(noise, nullptr);
  EXPECT_GT(counts.candidates, 300);
  EXPECT_EQ(counts.sites, 0);
}

Bytes bytes(std::initializer_list<unsigned> list) {
  Bytes out;
  for (const unsigned b : list) {
    out.push_back(static_cast<std::byte>(b));
  }
  return out;
}

// push %rbx; mov %rdi,%r8; mov %rsi,%r9; mov $1,%eax; xor %ecx,%ecx; cpuid; mov %eax,(%r8); mov %ebx,(%r9);
// mov %rdx,%rdi; pop %rbx; ret
const Bytes kFunction =
    bytes({0x53, 0x49, 0x89, 0xf8, 0x49, 0x89, 0xf1, 0xb8, 0x01, 0x00, 0x00, 0x00, 0x31, 0xc9,
           0x0f, 0xa2, 0x41, 0x89, 0x00, 0x41, 0x89, 0x19, 0x48, 0x89, 0xd7, 0x5b, 0xc3});
constexpr std::size_t kCpuidInFunction = 14;

Vote vote_in(const Bytes& text, std::size_t at) {
  return vote_on_site(text, at, decode::InstructionClass::Cpuid, decode::BranchRule::Intel);
}

TEST(SiteVote, DecidesOnOneSmallFunction) {
  EXPECT_EQ(vote_in(kFunction, kCpuidInFunction), Vote::Site);
}

TEST(SiteVote, DecidesOnAFunctionBehindConstants) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    Bytes text(200);
    std::ranges::generate(text, [&] { return static_cast<std::byte>(random()); });
    text.insert(text.end(), kFunction.begin(), kFunction.end());
    text.insert(text.end(), 80, std::byte{0});
    EXPECT_EQ(vote_in(text, 200 + kCpuidInFunction), Vote::Site) << round;
  }
}

TEST(SiteVote, OperandsAreInterior) {
  Bytes text;
  for (int i = 0; i < 6; ++i) {
    text.insert(text.end(), kFunction.begin(), kFunction.begin() + kCpuidInFunction);
  }
  const std::size_t at = text.size() + 1;
  const Bytes load = bytes({0xb8, 0x0f, 0xa2, 0x00, 0x00});  // mov $0xa20f, %eax
  text.insert(text.end(), load.begin(), load.end());
  text.insert(text.end(), kFunction.begin() + 16, kFunction.end());
  EXPECT_EQ(vote_in(text, at), Vote::Interior);
}

TEST(SiteVote, ATableAmongCodeIsNoSite) {
  Bytes text;
  for (int i = 0; i < 4; ++i) {
    text.insert(text.end(), kFunction.begin(), kFunction.end());
  }
  const std::size_t table = text.size();
  for (unsigned i = 0; i < 64; ++i) {  // 32-bit words, small
    const Bytes word = bytes({i == 31 ? 0x0f : i * 7 & 0xff, i == 31 ? 0xa2 : i & 3, 0, 0});
    text.insert(text.end(), word.begin(), word.end());
  }
  EXPECT_NE(vote_in(text, table + 4 * 31), Vote::Site);
}

// ---- find_page_sites() ----

PageText page_of(const Bytes& code, std::size_t offset, std::byte fill = std::byte{0xc3}) {
  PageText text;
  text.bytes.fill(fill);
  std::ranges::copy(code, text.bytes.begin() + PageText::kBefore + static_cast<std::ptrdiff_t>(offset));
  return text;
}

PageSites sites_of(const PageText& text, std::initializer_list<std::uint16_t> starts) {
  return find_page_sites(text, std::vector<std::uint16_t>(starts), kWanted, decode::BranchRule::Intel);
}

TEST(PageSites, TheFirstFetchDecidesWhereTheVoteCannot) {
  const PageText text = page_of(bytes({0x0f, 0xa2, 0xc3}), 100, std::byte{0});
  EXPECT_TRUE(sites_of(text, {}).opcodes.empty());
  EXPECT_EQ(sites_of(text, {}).unclear, 1u);
  const PageSites found = sites_of(text, {100});
  EXPECT_TRUE(found.opcodes.contains(100));
  EXPECT_EQ(found.sites, 1u);
  EXPECT_EQ(found.unclear, 0u);
}

TEST(PageSites, TheVoteDecidesWhereNothingLeads) {
  EXPECT_TRUE(sites_of(page_of(kFunction, 512), {0}).opcodes.contains(512 + kCpuidInFunction));
}

TEST(PageSites, CodeOnBothSidesOfThePageBoundaryCounts) {
  // The function begins 14 bytes before the page: without these bytes there is no telling.
  PageText text = page_of({}, 0, std::byte{0});
  std::ranges::copy(kFunction,
                    text.bytes.begin() + PageText::kBefore - static_cast<std::ptrdiff_t>(kCpuidInFunction));
  EXPECT_TRUE(sites_of(text, {}).opcodes.empty());
  text.before = PageText::kBefore;
  EXPECT_TRUE(sites_of(text, {}).opcodes.contains(0));
}

TEST(PageSites, PatchIsAnUndefinedOpcodeAndNothingElse) {
  const PageText text = page_of(kFunction, 512);
  PageOffsets opcodes;
  opcodes.add(512 + kCpuidInFunction);
  opcodes.add(4095);
  std::array<std::byte, kPageSize> out;
  write_patched_page(text.from_page(), opcodes, out.data());
  std::vector<std::size_t> changed;
  for (std::size_t i = 0; i < kPageSize; ++i) {
    if (out[i] != text.from_page()[i]) {
      changed.push_back(i);
    }
  }
  EXPECT_EQ(changed, (std::vector<std::size_t>{512 + kCpuidInFunction + 1, 4095}));
  const auto in = decode::decode(std::span(out).subspan(512 + kCpuidInFunction));
  ASSERT_TRUE(in.has_value());
  EXPECT_EQ(in->cls, decode::InstructionClass::Ud);
  EXPECT_FALSE(decode::decode(std::span(out).subspan(4095)).has_value());
}

TEST(PageSites, ManySitesOfOnePageAreAllFound) {
  Bytes code;
  for (int i = 0; i < 500; ++i) {
    const Bytes two = bytes({0x31, 0xc0, 0x0f, 0xa2, 0x89, 0xc1});
    code.insert(code.end(), two.begin(), two.end());
  }
  code.push_back(std::byte{0xc3});
  EXPECT_EQ(sites_of(page_of(code, 64), {64}).sites, 500u);
}

}  // namespace
}  // namespace enclume::engine
