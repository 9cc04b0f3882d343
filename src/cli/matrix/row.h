// SPDX-License-Identifier: Apache-2.0
// One row of the exception matrix: an exception at a place, and what is to be seen of it in each design. The
// rows (rows_*.cc) are the only place where expectations are written down: `enclume matrix`, the tests and
// docs/exception-matrix.md all read them. They come from the architecture and from Linux's source, which each
// row cites; nothing in them is computed.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace enclume::cli::matrix {

enum class Place : std::uint8_t {
  kOptOut,       // in an enclave, as production code runs
  kOptIn,        // in a debug enclave whose TCS has DBGOPTIN
  kHandler,      // in the enclave's own exception handler: opt-out, CSSA 1
  kEenter,       // ENCLU[EENTER] itself faults
  kEresume,      // ENCLU[ERESUME] itself faults
  kAep,          // raw entry, and what is at the AEP is not what the vDSO has there
  kBeforeEnclu,  // the instruction before an ENCLU
  kNearBy,       // host code with no ENCLU at hand
  kUserHandler,  // the design's handler, while it handles an exception of the enclave
};
inline constexpr std::array kPlaces = {Place::kOptOut,      Place::kOptIn,   Place::kHandler,
                                       Place::kEenter,      Place::kEresume, Place::kAep,
                                       Place::kBeforeEnclu, Place::kNearBy,  Place::kUserHandler};

// A name for the command line, and a title.
[[nodiscard]] std::string_view name_of(Place place);
[[nodiscard]] std::string_view title_of(Place place);

// A set of places in which one row holds.
using Places = std::uint16_t;
[[nodiscard]] constexpr Places places(std::same_as<Place> auto... place) {
  return static_cast<Places>((0U | ... | (1U << static_cast<unsigned>(place))));
}
[[nodiscard]] constexpr bool contains(Places set, Place place) {
  return (set >> static_cast<unsigned>(place) & 1) != 0;
}

// A number, or what the probe knows an address by.
enum class Ref : std::uint8_t {
  kNumber,
  kAep,
  kEnclu,         // the ENCLU that was executed
  kAfterAep,      // behind a one-byte instruction there
  kAfterEnclu,    // where EEXIT goes to: behind the ENCLU that entered
  kSite,          // the instruction in question
  kAfterSite,     // behind it
  kLoop,          // somewhere in the loop that begins at the site
  kOperand,       // the address that the row is about
  kOperandPage,   // the same without its low 12 bits
  kAfterOperand,  // behind a one-byte instruction there
  kEntry,         // BASEADDR + OENTRY
  kUnchecked,     // documents leave it open
};
struct Value {
  Ref ref = Ref::kNumber;
  std::uint64_t number = 0;
};

// siginfo and, where the exception was in an enclave, the interrupted context of a signal.
struct Signal {
  int number = 0;
  int code = 0;
  Value address = {};
};

// The exception as the processor delivers it to the kernel, and as a fixup hands it on.
struct Exception {
  int vector = -1;
  std::uint32_t error = 0;
  Value address = {};  // CR2, for #PF
};

// The general registers when the kernel gets the exception.
enum class State : std::uint8_t {
  kAex,    // synthetic: RAX 3, RBX TCS, RCX AEP, RSP and RBP of the entry, zeros, arithmetic flags clear
  kEnclu,  // ENCLU has faulted: as the host loaded them
  kHost,   // as the host code had them
  kExit,   // the enclave has left by EEXIT: RAX 4, RBX its target
};

// What the AEX has left in the SSA frame.
struct Saved {
  bool is = false;
  Value rip = {};
  std::uint32_t exitinfo = 0;
  bool rf = true;  // SSA.RFLAGS.RF
  bool has_exinfo = false;
  Value maddr = {};
  std::uint32_t errcd = 0;
  std::string_view changed = "";  // registers that are not as they were before the instruction
};

struct Fpu {
  std::uint16_t fcw = 0x037f, fsw = 0;
  std::uint32_t mxcsr = 0x1fb0;
};

enum class Enclave : std::uint8_t {
  kUsual,
  kWithoutExinfo,
  kWithoutAvx
};

// What an engine without silicon needs of the machine to reproduce a row.
enum class Needs : std::uint8_t {
  kNothing,
  kStrict,        // single-stepping: natively it is as `natively` says, or as on hardware
  kSgx2,          // a machine with SGX1 only cannot do it
  kNoHypervisor,  // one may do it in its own way, which `natively` says
  kNobody,        // no program can bring it about; not executed
};

struct Row {
  std::string_view id;  // unique in its place
  Places where = 0;
  std::string_view vector;        // "#DE", "interrupt", "none"
  std::string_view what;          // for people
  std::string_view trigger = "";  // for the probe

  // One letter a design, in the order of kernel::kExceptionDesigns. F: the vDSO function returns, and if the
  // caller gave a handler, calls that. H: the address space's handler. S: a signal. N: nobody, the program
  // goes on. I: the signal that interrupted, and then the enclave goes on. -: there is no such place.
  std::string_view who = "FFHS";
  Exception exception = {};
  Signal signal = {};
  State state = State::kAex;
  std::uint32_t leaf = 3;  // RAX
  Value rip = {Ref::kAep};
  Saved saved = {};
  int cssa = 0;  // afterwards, above what it was before
  Fpu fpu = {};
  Enclave enclave = Enclave::kUsual;
  Needs needs = Needs::kNothing;
  const Row* natively =
      nullptr;                // what is to be seen without that; its own `natively` is another possibility
  std::string_view why = "";  // it cannot be reproduced: what happens instead, and the reason
  std::string_view source = "";
};

// All rows, by place.
[[nodiscard]] std::span<const Row> inside_rows();
[[nodiscard]] std::span<const Row> illegal_rows();
[[nodiscard]] std::span<const Row> legal_rows();
[[nodiscard]] std::span<const Row> eenter_rows();
[[nodiscard]] std::span<const Row> eresume_rows();
[[nodiscard]] std::span<const Row> host_rows();

// A row in one of its places.
struct Cell {
  const Row* row;
  Place place;

  [[nodiscard]] std::string name() const;  // "place/id"
  // Of Row::who, the letter for the design with that index; vdso-registers has no handler to be in.
  [[nodiscard]] char who(std::size_t design) const;
  // CSSA afterwards.
  [[nodiscard]] int cssa() const;
};
[[nodiscard]] std::span<const Cell> all_cells();

}  // namespace enclume::cli::matrix
