// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/words.h"

#include <fmt/format.h>

#include <csignal>

namespace enclume::cli::matrix {
namespace {

std::string_view code_word(const Signal& signal) {
  if (signal.code == SI_KERNEL) return "SI_KERNEL";
  if (signal.code == SI_TKILL) return "SI_TKILL";
  switch (signal.number) {
    case SIGILL:
      return "ILL_ILLOPN";
    case SIGFPE:
      return signal.code == FPE_INTDIV   ? "FPE_INTDIV"
             : signal.code == FPE_FLTDIV ? "FPE_FLTDIV"
                                         : "FPE_FLTINV";
    case SIGBUS:
      return "BUS_ADRALN";
    case SIGSEGV:
      return signal.code == SEGV_MAPERR ? "SEGV_MAPERR" : "SEGV_ACCERR";
    case SIGTRAP:
      return signal.code == TRAP_TRACE ? "TRAP_TRACE" : "TRAP_BRKPT";
    default:
      return "?";
  }
}

std::string_view signal_name(int number) {
  switch (number) {
    case SIGILL:
      return "SIGILL";
    case SIGFPE:
      return "SIGFPE";
    case SIGBUS:
      return "SIGBUS";
    case SIGSEGV:
      return "SIGSEGV";
    case SIGTRAP:
      return "SIGTRAP";
    case SIGUSR1:
      return "SIGUSR1";
    default:
      return "?";
  }
}

}  // namespace

std::string_view who_word(char who) {
  switch (who) {
    case 'F':
      return "function";
    case 'H':
      return "handler";
    case 'S':
      return "signal";
    case 'N':
      return "nobody";
    case 'I':
      return "interrupter";
    default:
      return "-";
  }
}

std::string value_words(const Value& value) {
  switch (value.ref) {
    case Ref::kNumber:
      return value.number == 0 ? "0" : fmt::format("{:#x}", value.number);
    case Ref::kAep:
      return "AEP";
    case Ref::kEnclu:
      return "ENCLU";
    case Ref::kAfterAep:
      return "behind the AEP's instruction";
    case Ref::kAfterEnclu:
      return "behind ENCLU";
    case Ref::kSite:
      return "instruction";
    case Ref::kAfterSite:
      return "behind the instruction";
    case Ref::kLoop:
      return "in the loop";
    case Ref::kOperand:
      return "address";
    case Ref::kAfterOperand:
      return "behind the address";
    case Ref::kOperandPage:
      return "page of the address";
    case Ref::kEntry:
      return "OENTRY";
    case Ref::kUnchecked:
      return "any";
  }
  return "";
}

std::string vector_words(const Row& row) {
  if (row.exception.vector < 0) return "-";
  std::string words = fmt::format("{}, {:#x}", row.exception.vector, row.exception.error);
  if (row.exception.vector == 14) words += fmt::format(", {}", value_words(row.exception.address));
  return words;
}

std::string signal_words(const Signal& signal) {
  if (signal.number == 0) return "-";
  return fmt::format("{} {} {}", signal_name(signal.number), code_word(signal), value_words(signal.address));
}

std::string registers_words(const Row& row) {
  if (row.exception.vector < 0 && row.signal.number == 0) return "-";
  switch (row.state) {
    case State::kAex:
      return row.rip.ref == Ref::kAep ? "AEX, AEP" : fmt::format("AEX, {}", value_words(row.rip));
    case State::kEnclu:
      return fmt::format("ENCLU, {}", value_words(row.rip));
    case State::kHost:
      return fmt::format("host, {}", value_words(row.rip));
    case State::kExit:
      return fmt::format("EEXIT, {}", value_words(row.rip));
  }
  return "";
}

std::string saved_words(const Row& row) {
  if (!row.saved.is) return "-";
  std::string words = fmt::format("{}, {:#x}", value_words(row.saved.rip), row.saved.exitinfo);
  if (row.saved.has_exinfo) {
    words += fmt::format(", {}, {:#x}", value_words(row.saved.maddr), row.saved.errcd);
  }
  if (!row.saved.changed.empty() && row.saved.changed != "unrecorded") {
    words += fmt::format(" ({} have moved on)", row.saved.changed);
  }
  return words;
}

std::string cssa_words(const Cell& cell) {
  if (cell.row->needs == Needs::kNobody) return "-";
  return fmt::format("{}", cell.cssa());
}

std::string remark_words(const Row& row) {
  switch (row.needs) {
    case Needs::kNothing:
    case Needs::kSgx2:
      return std::string(row.why);
    case Needs::kNoHypervisor:
      return fmt::format("Not under every hypervisor: {}.", row.why);
    case Needs::kStrict:
      return fmt::format("Natively {}; with --strict as here.", row.why);
    case Needs::kNobody:
      return fmt::format("Not tried: {}.", row.why);
  }
  return "";
}

}  // namespace enclume::cli::matrix
