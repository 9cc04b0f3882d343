// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/scan.h"

#include <emmintrin.h>

#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "arch/cpuid/sgx_leaves.h"
#include "engine/cpuid/code_map.h"
#include "engine/cpuid/eax_constant.h"
#include "engine/cpuid/function_bounds.h"
#include "engine/cpuid/site_vote.h"

namespace enclume::engine {
namespace {

// A function longer than this is a broken table.
constexpr std::uint64_t kMaxFunctionSize = 16U << 20;

constexpr std::byte kEscape{0x0f};
constexpr std::uint8_t kPlainSyscall = 2;  // bytes, without prefixes

constexpr SiteKind kind_of(std::byte second) {
  return second == std::byte{0xa2} ? SiteKind::Cpuid : SiteKind::Syscall;
}

constexpr decode::InstructionClass class_of(SiteKind kind) {
  return kind == SiteKind::Cpuid ? decode::InstructionClass::Cpuid : decode::InstructionClass::Syscall;
}

// Calls visit(offset) wherever 0F and one of the two bytes stand (which may be the same). Most of a process's
// text is read here, and most of the time of a scan spent, so sixteen places are compared at once.
template <typename Visitor>
void for_each_candidate(std::span<const std::byte> text, std::byte one, std::byte other, Visitor&& visit) {
  const auto* data = reinterpret_cast<const char*>(text.data());
  const __m128i first = _mm_set1_epi8(static_cast<char>(kEscape));
  const __m128i second = _mm_set1_epi8(static_cast<char>(one));
  const __m128i or_this = _mm_set1_epi8(static_cast<char>(other));
  std::size_t at = 0;
  for (; at + 17 <= text.size(); at += 16) {
    const __m128i here = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + at));
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + at + 1));
    const __m128i either = _mm_or_si128(_mm_cmpeq_epi8(next, second), _mm_cmpeq_epi8(next, or_this));
    auto hits = static_cast<unsigned>(_mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(here, first), either)));
    for (; hits != 0; hits &= hits - 1) {
      visit(at + static_cast<std::size_t>(std::countr_zero(hits)));
    }
  }
  for (; at + 2 <= text.size(); ++at) {
    if (text[at] == kEscape && (text[at + 1] == one || text[at + 1] == other)) {
      visit(at);
    }
  }
}

enum class Verdict : std::uint8_t {
  Site,
  LetBe,
  Plain,
  Interior,
  Unknown,
};

// `mov $__NR_rt_sigreturn, %rax` and SYSCALL at `offset`: what unwinders and debuggers know the end of a
// signal handler by. Too short for a vote.
bool is_restorer(std::span<const std::byte> text, std::size_t offset) {
  constexpr std::array<unsigned char, 9> kRestorer = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
  const std::size_t before = kRestorer.size() - kPlainSyscall;
  return offset >= before && text.size() - offset >= kPlainSyscall &&
         std::memcmp(&text[offset - before], kRestorer.data(), kRestorer.size()) == 0;
}

// Decodes functions and judges candidates in them. Candidates come in ascending order, so one function's map
// is kept until the next is needed.
class Judge {
 public:
  Judge(const ObjectImage& image, const ScanRequest& request) noexcept
      : image_(image), request_(request), branches_(request.branches) {}

  struct Judgement {
    Verdict verdict = Verdict::Unknown;
    HostSite site;
    std::optional<HostSite> constant;
  };

  /// For an object that should have been described but is not; see scan.h.
  [[nodiscard]] bool describes_nothing() const noexcept {
    return descriptions_ && descriptions_->empty() && symbols_ && symbols_->known_to_be_stripped();
  }

  [[nodiscard]] Judgement judge(std::uint64_t candidate, SiteKind kind) noexcept {
    if (!function_.contains(candidate) && !enter_function(candidate)) {
      return describes_nothing() ? judge_by_vote(candidate, kind) : Judgement{};
    }
    if (!map_) {
      return {};
    }
    const auto placed = map_->instruction_at(candidate - function_.begin);
    if (!placed) {
      return {};
    }
    const decode::Instruction& in = placed->instruction;
    const std::uint64_t address = function_.begin + placed->offset;
    if (in.cls != class_of(kind) || address + in.opcode_offset != candidate) {
      return {.verdict = Verdict::Interior, .site = {}, .constant = {}};
    }
    if (kind == SiteKind::Syscall && in.length != kPlainSyscall) {
      return {};  // a call that is made again is made from its last two bytes on
    }
    const HostSite site{.address = address, .length = in.length, .kind = kind};
    if (kind == SiteKind::Cpuid) {
      return {.verdict = is_plain(placed->offset) ? Verdict::Plain : Verdict::Site,
              .site = site,
              .constant = request_.constants ? with_constants(*placed) : std::nullopt};
    }
    return {
        .verdict = is_trapped(placed->offset) ? Verdict::Site : Verdict::LetBe, .site = site, .constant = {}};
  }

 private:
  [[nodiscard]] std::optional<std::uint32_t> constant_in_eax(std::size_t offset) const noexcept {
    return constant_in_eax_at(*map_, offset, JumpTables(*map_, image_, function_));
  }

  [[nodiscard]] bool is_trapped(std::size_t offset) const noexcept {
    const auto number = constant_in_eax(offset);
    return !number || request_.traps_call(*number);
  }

  [[nodiscard]] bool is_plain(std::size_t offset) const noexcept {
    if (request_.untrapped_max_leaf == 0) {
      return false;
    }
    const auto leaf = constant_in_eax(offset);
    return leaf && !arch::sgx_changes_leaf(request_.untrapped_max_leaf, *leaf);
  }

  // The instructions before a CPUID that load constants for it, and it; see SiteKind.
  [[nodiscard]] std::optional<HostSite> with_constants(const PlacedInstruction& cpuid) const noexcept {
    constexpr std::uint8_t kMove = 5;
    const auto is_move_to = [](const decode::Instruction& in, std::uint8_t opcode) {
      return in.encoding == decode::Encoding::Legacy && in.map == decode::OpcodeMap::OneByte &&
             in.opcode == opcode && in.length == kMove;
    };
    const auto clears_ecx = [](const decode::Instruction& in) {
      return in.encoding == decode::Encoding::Legacy && in.map == decode::OpcodeMap::OneByte &&
             (in.opcode == 0x31 || in.opcode == 0x33) && in.length == 2 && !in.has_memory_operand &&
             in.modrm_reg() == 1 && in.modrm_rm() == 1;
    };
    auto before = map_->instruction_before(cpuid.offset);
    if (before && (is_move_to(before->instruction, 0xb9) || clears_ecx(before->instruction))) {
      before = map_->instruction_before(before->offset);
    }
    if (cpuid.instruction.length != 2 || !before || !is_move_to(before->instruction, 0xb8)) {
      return std::nullopt;
    }
    return HostSite{.address = function_.begin + before->offset,
                    .length = static_cast<std::uint8_t>(cpuid.offset + 2 - before->offset),
                    .kind = SiteKind::ConstantCpuid};
  }

  // Where nothing describes the object (stripped, without unwind information), what the bytes around it say.
  // The vote was measured on code and data, and doubt counts as no.
  // Which system call it would be is not asked.
  [[nodiscard]] Judgement judge_by_vote(std::uint64_t candidate, SiteKind kind) const noexcept {
    const auto segment = image_.executable_around(candidate);
    if (!segment) {
      return {};
    }
    const auto text = ObjectImage::bytes(*segment);
    const std::size_t offset = candidate - segment->begin;
    if (!is_restorer(text, offset) && vote_on_site(text, offset, class_of(kind), branches_) != Vote::Site) {
      return {};
    }
    return {
        .verdict = Verdict::Site, .site = {.address = candidate, .length = 2, .kind = kind}, .constant = {}};
  }

  // Makes `function_` and `map_` those around the candidate. False if no function is known there.
  bool enter_function(std::uint64_t candidate) noexcept {
    map_.reset();
    function_ = {};
    if (!frames_) {
      frames_.emplace(image_);
    }
    auto range = frames_->function_around(candidate);
    if (!range && frames_->empty()) {
      if (!descriptions_) {
        descriptions_.emplace(image_);
      }
      range = descriptions_->function_around(candidate);
    }
    if (!range) {
      if (!symbols_) {
        symbols_.emplace(image_);
      }
      range = symbols_->function_around(candidate);
    }
    if (!range || range->size() > kMaxFunctionSize) {
      return false;
    }
    const auto segment = image_.executable_around(candidate);
    if (!segment || range->begin < segment->begin || range->end > segment->end) {
      return false;
    }
    function_ = *range;
    build_map();
    return true;
  }

  void build_map() noexcept {
    const auto text = ObjectImage::bytes(function_);
    if (!zero_storage(text.size())) {
      return;
    }
    map_.emplace(text, text.size(), storage_.view(), branches_);
    if (map_->sweep()) {
      return;
    }
    // Data between the instructions: then only what is reached counts, and must not contradict itself.
    map_.reset();
    if (!zero_storage(text.size())) {
      return;
    }
    map_.emplace(text, text.size(), storage_.view(), branches_);
    map_->follow(0, [](std::int64_t) {});
    if (map_->has_overlap()) {
      map_.reset();
    }
  }

  bool zero_storage(std::size_t size) noexcept {
    return storage_.assign_zeroed(CodeMap::storage_words(size));
  }

  const ObjectImage& image_;
  std::optional<FrameIndex> frames_;               // none is looked at without a candidate
  std::optional<FrameDescriptions> descriptions_;  // read only if there is no index
  std::optional<FileSymbols> symbols_;             // read only if nothing else covers a candidate
  const ScanRequest& request_;
  decode::BranchRule branches_;
  CodeRange function_;
  MappedArray<std::uint64_t> storage_;
  std::optional<CodeMap> map_;
};

}  // namespace

ScanCounts scan_object(const ObjectImage& image, const ScanRequest& request, MappedArray<HostSite>& sites,
                       MappedArray<std::uint64_t>& unproven) noexcept {
  ScanCounts counts;
  if (!request.cpuid && request.traps_call == nullptr) {
    return counts;
  }
  constexpr std::byte kCpuid{0xa2};
  constexpr std::byte kSyscall{0x05};
  const std::byte one = request.cpuid ? kCpuid : kSyscall;
  const std::byte other = request.traps_call != nullptr ? kSyscall : kCpuid;
  Judge judge(image, request);
  image.for_each_executable([&](const CodeRange& segment) {
    const auto text = ObjectImage::bytes(segment);
    for_each_candidate(text, one, other, [&](std::size_t offset) {
      ++counts.candidates;
      const auto [verdict, site, constant] = judge.judge(segment.begin + offset, kind_of(text[offset + 1]));
      if (constant && sites.push_back(*constant)) {
        ++counts.constants;
      }
      if (verdict == Verdict::Site && sites.push_back(site)) {
        ++counts.proven;
      } else if (verdict == Verdict::LetBe) {
        ++counts.let_be;
      } else if (verdict == Verdict::Plain) {
        ++counts.plain;
      } else if (verdict == Verdict::Interior) {
        ++counts.interior;
      } else {
        ++counts.unproven;
        static_cast<void>(unproven.push_back(segment.begin + offset));
      }
    });
  });
  return counts;
}

}  // namespace enclume::engine
