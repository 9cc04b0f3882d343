// SPDX-License-Identifier: Apache-2.0
// Instructions in enclave pages that must be #UD and that the machine would simply run.
//
// A pure judgement over one page's bytes. What the engine does with it is described in the README here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "base/types.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {

class CodeMap;

/// A set of instruction classes.
class ClassSet {
 public:
  constexpr ClassSet() = default;
  constexpr ClassSet(std::initializer_list<decode::InstructionClass> classes) {
    for (const decode::InstructionClass cls : classes) {
      bits_ |= bit(cls);
    }
  }
  [[nodiscard]] constexpr bool contains(decode::InstructionClass cls) const {
    return (bits_ & bit(cls)) != 0;
  }
  [[nodiscard]] constexpr bool intersects(ClassSet other) const { return (bits_ & other.bits_) != 0; }
  friend constexpr ClassSet operator|(ClassSet a, ClassSet b) {
    a.bits_ |= b.bits_;
    return a;
  }
  [[nodiscard]] constexpr ClassSet without(ClassSet other) const {
    ClassSet rest = *this;
    rest.bits_ &= ~other.bits_;
    return rest;
  }

 private:
  static constexpr std::uint64_t bit(decode::InstructionClass cls) {
    return 1ULL << static_cast<unsigned>(cls);
  }
  std::uint64_t bits_ = 0;
};

/// #UD in an enclave (SDM Vol. 3D, "Illegal Instructions Inside an Enclave"), and run or emulated by a
/// machine and its kernel outside one. The two groups differ in what looking for them costs: the opcodes of
/// the first have two bytes and are rare by chance; those of the second have one, so that most pages hold
/// some as data.
///
/// VMCALL and VMMCALL are here because a hypervisor may answer them; so does KVM, with -EPERM. So is
/// SYSENTER: on an Intel processor it enters the kernel, as a 32-bit call that comes back to another place
/// and stack.
///
/// Not here is what faults by itself (IN, OUT, INT n, RDPMC, ...; decoded at the fault) and SYSCALL, which
/// syscall user dispatch stops.
inline constexpr ClassSet kSilentTwoByte = {
    decode::InstructionClass::Cpuid,      decode::InstructionClass::Sgdt,
    decode::InstructionClass::Sidt,       decode::InstructionClass::Sldt,
    decode::InstructionClass::Str,        decode::InstructionClass::Smsw,
    decode::InstructionClass::PopSegment, decode::InstructionClass::LoadFarPointer,
    decode::InstructionClass::Vmcall,     decode::InstructionClass::Vmmcall,
    decode::InstructionClass::Sysenter};
inline constexpr ClassSet kSilentOneByte = {
    decode::InstructionClass::MovToSegment, decode::InstructionClass::FarCall,
    decode::InstructionClass::FarJmp, decode::InstructionClass::FarRet, decode::InstructionClass::Iret};
/// Illegal in enclaves of a processor with SGX1 only.
inline constexpr ClassSet kSilentOnSgx1 = {decode::InstructionClass::Rdtsc, decode::InstructionClass::Rdtscp};

enum class CandidateVerdict : std::uint8_t {
  Instruction,  // it begins an instruction that is executed, if the starts given are
  Interior,     // it lies inside such an instruction
  Contested,    // both: the code overlaps itself
  Undecided,    // nothing that is known to be executed touches it
};

/// A place in the page whose bytes would be an instruction of the set.
struct Candidate {
  std::uint16_t opcode = 0;  // offset of the opcode's first byte
  std::uint16_t start =
      0;  // with verdict Instruction: offset of its first byte, prefixes included; else `opcode`
  std::uint8_t length = 0;  // from `start`
  decode::InstructionClass cls = decode::InstructionClass::Other;
  CandidateVerdict verdict = CandidateVerdict::Undecided;

  friend constexpr bool operator==(const Candidate&, const Candidate&) = default;
};

/// What the map says of the bytes at `opcode`, which without prefixes decode as `bare`.
[[nodiscard]] Candidate judge_candidate(const CodeMap& map, std::size_t opcode,
                                        const decode::Instruction& bare) noexcept;

/// How many there are, of which the caller's arrays hold as many as fit.
struct PageScan {
  std::size_t candidates = 0;
  std::size_t leads = 0;
};

/// Bytes of the following page that complete an instruction which crosses into it.
inline constexpr std::size_t kFollowingBytes = decode::kMaxInstructionLength - 1;

/// Judges the page whose bytes begin `text`; behind its 4096 bytes stand up to kFollowingBytes of the next
/// page, or nothing if that is not there. `starts` are offsets in the page where instructions are known to
/// begin: the address of the first fetch, and what earlier scans of other pages led to. From these all that
/// falls through or is branched to directly is followed; a call is taken to return.
///
/// `candidates` receives them in ascending order. `leads` receives the places outside the page that are
/// reached too, from the page's first byte, each possibly several times: starts for scans of their own pages.
/// Without room for them, pages that have no candidate cost little: nothing is followed there.
/// An opcode that the missing next page would have to complete is judged as if zeros followed.
/// Signal context: safe. Takes 2 KiB of stack.
PageScan scan_enclave_page(std::span<const std::byte> text, std::span<const std::uint16_t> starts,
                           ClassSet wanted, decode::BranchRule branches, std::span<Candidate> candidates,
                           std::span<std::int64_t> leads) noexcept;

}  // namespace enclume::engine
