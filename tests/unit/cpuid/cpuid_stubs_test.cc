// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/cpuid_stubs.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <vector>

namespace enclume::engine {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kTextSize = 300;  // of the object below

/// Saves RBX and RDI, which is where the answer goes, and asks.
constexpr std::array<std::uint8_t, 4> kPrologue = {0x53, 0x57, 0xf9, 0x90};  // PUSH, PUSH, STC, NOP
/// Flags to R8D, MOV of the four registers to where RDI says, RET.
constexpr std::array<std::uint8_t, 20> kEpilogue = {0x9c, 0x41, 0x58, 0x5f, 0x89, 0x07, 0x89,
                                                    0x5f, 0x04, 0x89, 0x4f, 0x08, 0x89, 0x57,
                                                    0x0c, 0x5b, 0x44, 0x89, 0x47, 0x10};

struct Answer {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
  std::uint32_t flags = 0;
};

std::optional<arch::CpuidResult> answer(std::uint32_t leaf, std::optional<std::uint32_t> subleaf) {
  if (leaf == 0xbad) {
    return std::nullopt;
  }
  return arch::CpuidResult{leaf + 1, 0x2222'2222, subleaf ? *subleaf + 0x3333 : 0x3000'0000, 0xffff'ffff};
}

// An object of one segment, whose last page has zeros behind the code.
class CpuidStubsTest : public testing::Test {
 protected:
  CpuidStubsTest()
      : text_(static_cast<std::byte*>(
            mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    header_ = {.p_type = PT_LOAD,
               .p_flags = PF_R | PF_X,
               .p_offset = 0,
               .p_vaddr = 0,
               .p_paddr = 0,
               .p_filesz = kTextSize,
               .p_memsz = kTextSize,
               .p_align = kPage};
  }
  ~CpuidStubsTest() override { munmap(text_, kPage); }

  [[nodiscard]] ObjectImage image() const {
    return {reinterpret_cast<std::uint64_t>(text_), std::span(&header_, 1), ""};
  }

  /// A function that loads what `loading` says and asks; the site that the scan would report.
  HostSite add(std::initializer_list<std::uint8_t> loading) {
    const std::size_t begin = used_;
    functions_.push_back(begin);
    put(kPrologue);
    const std::size_t site = used_;
    put(std::vector<std::uint8_t>(loading));
    put(std::array<std::uint8_t, 2>{0x0f, 0xa2});
    const HostSite found{.address = reinterpret_cast<std::uint64_t>(text_ + site),
                         .length = static_cast<std::uint8_t>(used_ - site),
                         .kind = SiteKind::ConstantCpuid};
    put(kEpilogue);
    put(std::array<std::uint8_t, 1>{0xc3});
    sites_.push_back(found);
    return found;
  }

  void lay() {
    mprotect(text_, kPage, PROT_READ | PROT_EXEC);
    TextWriter writer(true);
    stubs_.lay(image(), sites_, &answer, writer);
  }

  [[nodiscard]] Answer call(std::size_t function) const {
    Answer result;
    reinterpret_cast<void (*)(Answer*)>(text_ + functions_[function])(&result);
    return result;
  }
  [[nodiscard]] bool jumps(const HostSite& site) const {
    return *reinterpret_cast<const std::uint8_t*>(site.address) == 0xe9;
  }

  template <typename T>
  void put(const T& bytes) {
    std::memcpy(text_ + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }

  std::byte* text_;
  Elf64_Phdr header_{};
  std::size_t used_ = 0;
  std::vector<std::size_t> functions_;
  std::vector<HostSite> sites_;
  CpuidStubs stubs_;
};

constexpr std::uint32_t kCarry = 1;
constexpr std::uint32_t kCarryAndZero = 0x41;

TEST_F(CpuidStubsTest, AnswerAndLeaveTheFlagsAsTheCodeWould) {
  add({0xb8, 0x08, 0x00, 0x00, 0x80});
  add({0xb8, 0x0d, 0, 0, 0, 0xb9, 0x01, 0, 0, 0});
  add({0xb8, 0x14, 0, 0, 0, 0x31, 0xc9});
  add({0xb8, 0x19, 0, 0, 0, 0x33, 0xc9});
  lay();
  const Answer leaf = call(0);
  EXPECT_EQ(leaf.eax, 0x8000'0009U);
  EXPECT_EQ(leaf.ebx, 0x2222'2222U);
  EXPECT_EQ(leaf.ecx, 0x3000'0000U);
  EXPECT_EQ(leaf.edx, 0xffff'ffffU);
  EXPECT_EQ(leaf.flags & kCarry, kCarry) << "carry was set before, and MOV changes nothing";
  EXPECT_EQ(call(1).ecx, 0x3334U);
  EXPECT_EQ(call(1).flags & kCarry, kCarry);
  EXPECT_EQ(call(2).ecx, 0x3333U);
  EXPECT_EQ(call(2).flags & kCarryAndZero, 0x40U) << "as XOR leaves them";
  EXPECT_EQ(call(3).eax, 0x1aU);
  EXPECT_EQ(call(3).flags & kCarryAndZero, 0x40U);
}

TEST_F(CpuidStubsTest, EachInstructionOfOneIsCompleted) {
  const HostSite plain = add({0xb8, 0x08, 0x00, 0x00, 0x80});
  const HostSite cleared = add({0xb8, 0x14, 0, 0, 0, 0x31, 0xc9});
  lay();
  const auto first = reinterpret_cast<std::uint64_t>(text_ + kTextSize);
  EXPECT_EQ(stubs_.stub_at(first - 1), std::nullopt);
  EXPECT_EQ(stubs_.stub_at(first + 2 * kStubSize), std::nullopt);
  for (std::size_t i = 0; i < 2 * kStubSize; ++i) {
    const std::uint64_t stub = first + i / kStubSize * kStubSize;
    ASSERT_EQ(stubs_.stub_at(first + i), stub);
    StubBytes bytes;
    std::memcpy(bytes.data(), reinterpret_cast<const void*>(stub), sizeof(bytes));
    const auto end = CpuidStubs::complete(stub, bytes, first + i);
    ASSERT_TRUE(end);
    const HostSite& site = i < kStubSize ? plain : cleared;
    EXPECT_EQ(end->rip, site.address + site.length);
    EXPECT_EQ(end->result, i < kStubSize ? *answer(0x8000'0008, {}) : *answer(0x14, 0));
    EXPECT_EQ(end->sets_flags, i == kStubSize) << "only in front of the XOR";
  }
}

TEST_F(CpuidStubsTest, OnlyForWhatIsKnownAndAsTheScanHasSeenIt) {
  const HostSite unknown = add({0xb8, 0xad, 0x0b, 0, 0});
  const HostSite other = add({0xb9, 0x08, 0x00, 0x00, 0x80});
  const HostSite between = add({0xb8, 0x0d, 0, 0, 0, 0x89, 0xf1});
  const HostSite last = add({0xb8, 0x0d, 0, 0, 0});
  lay();
  EXPECT_FALSE(jumps(unknown));
  EXPECT_FALSE(jumps(other));
  EXPECT_FALSE(jumps(between));
  EXPECT_TRUE(jumps(last));
}

TEST_F(CpuidStubsTest, NoneWhereTheRoomBehindTheCodeIsUsed) {
  const HostSite site = add({0xb8, 0x0d, 0, 0, 0});
  text_[kPage - 1] = std::byte{1};
  lay();
  EXPECT_FALSE(jumps(site));
  EXPECT_EQ(stubs_.stub_at(reinterpret_cast<std::uint64_t>(text_ + kTextSize)), std::nullopt);
}

TEST_F(CpuidStubsTest, NoneWhereItIsTheProgramsZeros) {
  const HostSite site = add({0xb8, 0x0d, 0, 0, 0});
  header_.p_memsz = kTextSize + 8;
  lay();
  EXPECT_FALSE(jumps(site));
}

TEST_F(CpuidStubsTest, AsManyAsThereIsRoomFor) {
  header_.p_filesz = header_.p_memsz = kPage - kStubSize - 5;
  const HostSite first = add({0xb8, 0x0d, 0, 0, 0});
  const HostSite second = add({0xb8, 0x0d, 0, 0, 0});
  lay();
  EXPECT_TRUE(jumps(first));
  EXPECT_FALSE(jumps(second));
  EXPECT_EQ(call(0).eax, 0xeU);
}

}  // namespace
}  // namespace enclume::engine
