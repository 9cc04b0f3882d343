// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/cpuid_stubs.h"

#include <linux/mman.h>

#include <algorithm>
#include <cstring>

#include "base/types.h"

namespace enclume::engine {
namespace {

constexpr std::byte kMovEax{0xb8};
constexpr std::byte kMovEcx{0xb9};
constexpr std::byte kMovEdx{0xba};
constexpr std::byte kMovEbx{0xbb};
constexpr std::byte kJump{0xe9};
constexpr std::array<std::byte, 2> kXorEcx = {std::byte{0x31}, std::byte{0xc9}};
constexpr std::array<std::byte, 2> kXorEcxToo = {std::byte{0x33}, std::byte{0xc9}};
constexpr std::array<std::byte, 2> kNop = {std::byte{0x66}, std::byte{0x90}};
constexpr std::array<std::byte, 2> kCpuid = {std::byte{0x0f}, std::byte{0xa2}};
constexpr std::size_t kWithImmediate = 5;  // bytes of MOV and JMP

using Bytes = std::span<const std::byte>;

std::uint32_t word_at(Bytes bytes) noexcept {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof(word));
  return word;
}

struct Question {
  std::uint32_t leaf = 0;
  std::optional<std::uint32_t> subleaf;
  bool sets_flags = false;
};

// What the instructions at a site ask for; nothing if they are not those that the scan has seen.
std::optional<Question> question_at(Bytes code) noexcept {
  if (code.size() < kWithImmediate + kCpuid.size() || code[0] != kMovEax ||
      !std::ranges::equal(code.last(kCpuid.size()), kCpuid)) {
    return std::nullopt;
  }
  Question question{.leaf = word_at(code.subspan(1)), .subleaf = {}, .sets_flags = false};
  const Bytes between = code.subspan(kWithImmediate, code.size() - kWithImmediate - kCpuid.size());
  if (between.empty()) {
    return question;
  }
  if (std::ranges::equal(between, kXorEcx) || std::ranges::equal(between, kXorEcxToo)) {
    question.subleaf = 0;
    question.sets_flags = true;
    return question;
  }
  if (between.size() == kWithImmediate && between[0] == kMovEcx) {
    question.subleaf = word_at(between.subspan(1));
    return question;
  }
  return std::nullopt;
}

// A jump from `from`, or nothing if that is too far.
std::optional<std::array<std::byte, kWithImmediate>> jump(std::uint64_t from, std::uint64_t to) noexcept {
  const auto distance = static_cast<std::int64_t>(to - (from + kWithImmediate));
  const auto distance32 = static_cast<std::int32_t>(distance);
  if (distance32 != distance) {
    return std::nullopt;
  }
  std::array<std::byte, kWithImmediate> bytes{kJump};
  std::memcpy(&bytes[1], &distance32, sizeof(distance32));
  return bytes;
}

void put_move(std::byte* at, std::byte opcode, std::uint32_t value) noexcept {
  *at = opcode;
  std::memcpy(at + 1, &value, sizeof(value));
}

// A page that will be written is written to first: else there is a page fault for the reading, too.
void touch(std::uint64_t address) noexcept {
  std::atomic_ref(*reinterpret_cast<std::uint8_t*>(address)).fetch_add(0, std::memory_order_relaxed);
}

// The free bytes behind the code in its last page: zeros, as linkers leave them.
bool is_free(const CodeRange& room) noexcept {
  return std::ranges::all_of(ObjectImage::bytes(room), [](std::byte b) { return b == std::byte{0}; });
}

bool write(TextWriter& writer, std::uint64_t at, Bytes bytes) noexcept {
  return std::ranges::all_of(bytes, [&](std::byte b) {
    return writer.write(at++, std::to_integer<std::uint8_t>(b), PROT_READ | PROT_EXEC);
  });
}

}  // namespace

void CpuidStubs::lay(const ObjectImage& image, std::span<const HostSite> sites, ConstantCpuid answer,
                     TextWriter& writer) noexcept {
  const auto first = std::ranges::find(sites, SiteKind::ConstantCpuid, &HostSite::kind);
  const auto segment = first != sites.end() ? image.executable_around(first->address) : std::nullopt;
  if (!segment || size_.load(std::memory_order_relaxed) != 0) {
    return;
  }
  const CodeRange room{segment->end, align_up(segment->end, kPageSize)};
  if (room.size() < kStubSize || image.contains(room.begin) || image.contains(room.end - 1)) {
    return;
  }
  writer.announce(first->address, room.end - 1, PROT_READ | PROT_EXEC);
  if (!writer.is_announced(first->address)) {
    return;  // half a jump would be worse than none
  }
  touch(room.begin);
  if (!is_free(room)) {
    return;
  }
  begin_.store(room.begin, std::memory_order_relaxed);
  std::uint64_t stub = room.begin;
  std::uint64_t touched = 0;
  for (const HostSite& site : std::span(first, sites.end())) {
    if (site.kind != SiteKind::ConstantCpuid || !segment->contains(site.address) ||
        segment->end - site.address < site.length || room.end - stub < kStubSize) {
      continue;
    }
    if (align_down(site.address, kPageSize) != touched) {
      touched = align_down(site.address, kPageSize);
      touch(site.address);
    }
    const std::uint64_t behind = site.address + site.length;
    const auto question = question_at(ObjectImage::bytes({site.address, behind}));
    const auto result = question ? answer(question->leaf, question->subleaf) : std::nullopt;
    const auto there = jump(site.address, stub);
    const auto back = jump(stub + kStubSize - kWithImmediate, behind);
    if (!result || !there || !back) {
      continue;
    }
    StubBytes bytes;
    std::ranges::copy(question->sets_flags ? kXorEcx : kNop, bytes.begin());
    put_move(&bytes[2], kMovEax, result->eax);
    put_move(&bytes[7], kMovEbx, result->ebx);
    put_move(&bytes[12], kMovEcx, result->ecx);
    put_move(&bytes[17], kMovEdx, result->edx);
    std::ranges::copy(*back, bytes.end() - kWithImmediate);
    if (!write(writer, stub, bytes)) {
      return;
    }
    stub += kStubSize;
    size_.store(stub - room.begin, std::memory_order_relaxed);
    if (!write(writer, site.address, *there)) {
      return;
    }
  }
}

std::optional<StubEnd> CpuidStubs::complete(std::uint64_t stub, const StubBytes& bytes,
                                            std::uint64_t rip) noexcept {
  const Bytes all = bytes;
  if (bytes[2] != kMovEax || bytes[7] != kMovEbx || bytes[12] != kMovEcx || bytes[17] != kMovEdx ||
      bytes[22] != kJump) {
    return std::nullopt;
  }
  StubEnd end;
  end.result = {.eax = word_at(all.subspan(3)),
                .ebx = word_at(all.subspan(8)),
                .ecx = word_at(all.subspan(13)),
                .edx = word_at(all.subspan(18))};
  const auto distance = static_cast<std::int32_t>(word_at(all.subspan(23)));
  end.rip = stub + kStubSize + static_cast<std::uint64_t>(std::int64_t{distance});
  end.sets_flags = rip == stub && std::ranges::equal(all.first(2), kXorEcx);
  return end;
}

}  // namespace enclume::engine
