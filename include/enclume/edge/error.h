// SPDX-License-Identifier: Apache-2.0
// What can go wrong between a host and its enclave, as a value. Shared by both sides.
#pragma once

#include <cstdint>
#include <string_view>

namespace enclume {

/// What has gone wrong. 0 is success.
enum class Code : std::uint32_t {
  kOk = 0,

  // Loading.
  kCannotRead,      ///< The image file; `system` has errno.
  kBadImage,        ///< No ELF file of the form that enclume_add_enclave() makes; `system`: ImageProblem.
  kNotSigned,       ///< The image has room for a SIGSTRUCT, but none in it.
  kNoDevice,        ///< No /dev/sgx_enclave, or not for this user; `system` has errno.
  kNoVdso,          ///< The kernel's vDSO has no __vdso_sgx_enter_enclave.
  kNoAddressSpace,  ///< ELRANGE could not be reserved or mapped; `system` has errno.
  kCreateFailed,    ///< SGX_IOC_ENCLAVE_CREATE; `system` has errno.
  kAddPagesFailed,  ///< SGX_IOC_ENCLAVE_ADD_PAGES; `system` has errno. ENOMEM: no EPC left.
  kInitFailed,      ///< SGX_IOC_ENCLAVE_INIT; `system` has errno, or EINIT's own code if that is positive.
  kWrongInterface,  ///< Host and enclave were built from different declarations of the calls.
  kWrongPlatform,   ///< The processor lacks something that the enclave asks for (XFRM, MISCSELECT).

  // Calling.
  kNoThread,       ///< Every TCS is in use, and the caller did not want to wait; or all are unusable.
  kBadPointer,     ///< A range that does not lie wholly outside the enclave, or wraps around.
  kOutOfMemory,    ///< The enclave's heap, or the host's, has no room for the data of the call.
  kOutOfStack,     ///< Calls within calls have used the enclave thread's stack up.
  kNoSuchCall,     ///< The other side has no call of this number.
  kRefused,        ///< The enclave did not take the entry: it comes out of turn.
  kFault,          ///< The enclave's code raised an exception that nobody handled; see `fault`.
  kEnclaveLost,    ///< The enclave is gone with the EPC (power state, another machine): Enclave::rebuild().
  kCrashed,        ///< An earlier fault ended the enclave for good: it refuses all calls.
  kHostException,  ///< To the enclave: the host's function threw. The host sees it again after the call.
  kBadResult,      ///< The other side's answer makes no sense.
  kDeadline,       ///< The call has had its time (Enclave::with_deadline), and was ended.

  // Sealing and attestation.
  kBadRange,            ///< Memory that must be the enclave's own is not, or input and output overlap.
  kTooBig,              ///< More data than can be sealed at once.
  kNoRoom,              ///< The output is too small.
  kNoCryptography,      ///< The processor's AES-NI or PCLMULQDQ is missing or does not work.
  kNoRandomness,        ///< RDRAND gives nothing, or the same again and again.
  kNoKey,               ///< EGETKEY refuses; `system` has its code.
  kNotSealed,           ///< Nothing that seal() has made.
  kWrongSize,           ///< Sealed data that were cut short, or with something behind them.
  kNewerFormat,         ///< Sealed by a runtime whose format this one does not know.
  kWrongEnclave,        ///< Another enclave's (MRENCLAVE).
  kWrongSigner,         ///< Another signer's (MRSIGNER).
  kWrongProduct,        ///< Another product's (ISVPRODID).
  kWrongMode,           ///< A debug enclave's and this is none, or the other way round.
  kNewerEnclave,        ///< A later version's (ISVSVN) than this enclave's.
  kNewerConfiguration,  ///< Of a later configuration (CONFIGSVN).
  kNewerProcessor,      ///< Of later microcode (CPUSVN) than this processor's.
  kOlderEnclave,        ///< An earlier version's (ISVSVN) than the caller accepts.
  kAltered,             ///< Sealed data or additional data were changed, or come from another machine.
  kBadTarget,           ///< A TARGETINFO with reserved bits set.
  kBadReport,           ///< A REPORT that was altered, or not made for this enclave on this machine.
  kBadHandshake,        ///< A message that is out of turn, of another handshake, or one's own sent back.
  kLast = kBadHandshake,
};

/// What is wrong with an image: Error::system with Code::kBadImage.
enum class ImageProblem : std::int32_t {
  kNoElf = 1,          ///< No 64-bit little-endian x86-64 position-independent executable.
  kSegments = 2,       ///< Program headers outside the file, or too many.
  kSegmentPlace = 3,   ///< A segment that is outside the file, out of order, not at a page, or far too big.
  kSegmentRights = 4,  ///< A segment that is writable and executable.
  kNoConfig = 5,       ///< No note of enclume_add_enclave(), or one with numbers that make no sense.
  kNoSigstruct = 6,    ///< No room for the SIGSTRUCT.
  kEntry = 7,          ///< The entry point is in no executable segment.
  kTls = 8,            ///< Thread-local data of a strange size or alignment.
  kTooBig = 9,         ///< More addresses than an enclave can have.
  kRelocations = 10,   ///< A relocation of another kind than R_X86_64_RELATIVE, or outside of writable data.
};

/// An exception of the processor's, as the host saw it.
struct Fault {
  std::uint16_t vector = 0;      ///< Of the exception: 0 #DE, 6 #UD, 13 #GP, 14 #PF…
  std::uint16_t error_code = 0;  ///< The low 16 bits, as Linux reports them.
  std::uint64_t address = 0;  ///< For a page fault; without the low 12 bits if it is the enclave's. Else 0.
  bool operator==(const Fault&) const = default;  ///< Field by field.
};

/// A failure with what is known of it: 24 bytes, a value without resources.
struct Error {
  Code code = Code::kOk;    ///< Which kind.
  std::int32_t system = 0;  ///< errno, or what `code` says. 0: none.
  Fault fault{};            ///< With Code::kFault only.

  constexpr Error() = default;
  /// `s`: errno, or what `c` says.
  constexpr Error(Code c, std::int32_t s = 0) : code(c), system(s) {}  // NOLINT: a code is an error
  /// Of an exception.
  constexpr Error(Code c, const Fault& f) : code(c), fault(f) {}
  bool operator==(const Error&) const = default;  ///< Field by field.
};

/// One line in English, without the numbers.
[[nodiscard]] constexpr std::string_view describe(Code code) {
  switch (code) {
    case Code::kOk:
      return "no error";
    case Code::kCannotRead:
      return "the enclave's file cannot be read";
    case Code::kBadImage:
      return "the file is no enclave image, or a damaged one";
    case Code::kNotSigned:
      return "the enclave is not signed";
    case Code::kNoDevice:
      return "/dev/sgx_enclave cannot be opened";
    case Code::kNoVdso:
      return "the kernel offers no __vdso_sgx_enter_enclave";
    case Code::kNoAddressSpace:
      return "the enclave's addresses cannot be reserved or mapped";
    case Code::kCreateFailed:
      return "the kernel refuses to create the enclave";
    case Code::kAddPagesFailed:
      return "the kernel refuses to add a page";
    case Code::kInitFailed:
      return "the enclave's signature is refused";
    case Code::kWrongInterface:
      return "host and enclave disagree about the calls between them";
    case Code::kWrongPlatform:
      return "the processor lacks a feature that the enclave asks for";
    case Code::kNoThread:
      return "all of the enclave's threads are in use";
    case Code::kBadPointer:
      return "a range of memory does not lie outside the enclave";
    case Code::kOutOfMemory:
      return "out of memory";
    case Code::kOutOfStack:
      return "the enclave thread's stack is used up";
    case Code::kNoSuchCall:
      return "no such call";
    case Code::kRefused:
      return "the enclave refuses the entry";
    case Code::kFault:
      return "an exception in the enclave was not handled";
    case Code::kEnclaveLost:
      return "the enclave is lost";
    case Code::kCrashed:
      return "the enclave has crashed before";
    case Code::kHostException:
      return "the host's function has thrown an exception";
    case Code::kDeadline:
      return "the call has had its time";
    case Code::kBadResult:
      return "the result makes no sense";
    case Code::kBadRange:
      return "memory is not the enclave's own, or input and output overlap";
    case Code::kTooBig:
      return "too much data to be sealed at once";
    case Code::kNoRoom:
      return "the output is too small";
    case Code::kNoCryptography:
      return "the processor has no working AES instructions";
    case Code::kNoRandomness:
      return "the processor gives no random numbers";
    case Code::kNoKey:
      return "the processor gives no key";
    case Code::kNotSealed:
      return "these are no sealed data";
    case Code::kWrongSize:
      return "the sealed data have been cut short or added to";
    case Code::kNewerFormat:
      return "the sealed data have a format that is not known yet";
    case Code::kWrongEnclave:
      return "it belongs to another enclave";
    case Code::kWrongSigner:
      return "it belongs to enclaves of another signer";
    case Code::kWrongProduct:
      return "it belongs to another product of the signer";
    case Code::kWrongMode:
      return "it belongs to a debug enclave and this is none, or the other way round";
    case Code::kNewerEnclave:
      return "it belongs to a later version of the enclave";
    case Code::kNewerConfiguration:
      return "it belongs to a later configuration of the enclave";
    case Code::kNewerProcessor:
      return "it belongs to a processor with later microcode";
    case Code::kOlderEnclave:
      return "it belongs to a version of the enclave that is too old";
    case Code::kAltered:
      return "the sealed data were altered, or sealed on another machine";
    case Code::kBadTarget:
      return "the target of a report makes no sense";
    case Code::kBadReport:
      return "the report was not made for this enclave on this machine";
    case Code::kBadHandshake:
      return "the message does not belong to this handshake";
  }
  return "unknown error";
}

/// The same of an image.
[[nodiscard]] constexpr std::string_view describe(ImageProblem problem) {
  switch (problem) {
    case ImageProblem::kNoElf:
      return "no 64-bit x86-64 ELF file that is position-independent";
    case ImageProblem::kSegments:
      return "its program headers are outside the file, or too many";
    case ImageProblem::kSegmentPlace:
      return "a segment is outside the file, overlaps another, is not at a page, or is far too big";
    case ImageProblem::kSegmentRights:
      return "a segment is writable and executable";
    case ImageProblem::kNoConfig:
      return "no note of enclume_add_enclave(), or numbers in it that make no sense";
    case ImageProblem::kNoSigstruct:
      return "no room for the SIGSTRUCT";
    case ImageProblem::kEntry:
      return "the entry point is not in executable code";
    case ImageProblem::kTls:
      return "thread-local data of a strange size or alignment";
    case ImageProblem::kTooBig:
      return "more addresses than an enclave can have";
    case ImageProblem::kRelocations:
      return "a relocation that an enclave cannot do itself, or outside of its writable data";
  }
  return "unknown problem";
}

}  // namespace enclume
