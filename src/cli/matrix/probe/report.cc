// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/probe/report.h"

#include <cstring>
#include <string>
#include <utility>

namespace enclume::cli::matrix::probe {
namespace {

using nlohmann::json;

constexpr std::uint64_t kRf = 0x10000;

constexpr std::pair<const char*, std::uint64_t Registers::*> kNames[] = {
    {"rax", &Registers::rax}, {"rbx", &Registers::rbx}, {"rcx", &Registers::rcx}, {"rdx", &Registers::rdx},
    {"rsi", &Registers::rsi}, {"rdi", &Registers::rdi}, {"rbp", &Registers::rbp}, {"rsp", &Registers::rsp},
    {"r8", &Registers::r8},   {"r9", &Registers::r9},   {"r10", &Registers::r10}, {"r11", &Registers::r11},
    {"r12", &Registers::r12}, {"r13", &Registers::r13}, {"r14", &Registers::r14}, {"r15", &Registers::r15}};

json registers_to_json(const Registers& registers) {
  json object;
  for (const auto& [name, member] : kNames) object[name] = registers.*member;
  object["rflags"] = registers.rflags;
  return object;
}

// The names of those that differ, RFLAGS without RF among them.
std::string changed(const Registers& before, const Registers& now) {
  std::string names;
  for (const auto& [name, member] : kNames) {
    if (before.*member != now.*member) names += (names.empty() ? "" : " ") + std::string(name);
  }
  if (((before.rflags ^ now.rflags) & ~kRf) != 0) names += names.empty() ? "rflags" : " rflags";
  return names;
}

template <typename T>
T read(const std::array<std::uint8_t, DUMP_SIZE>& dump, std::size_t offset) {
  T value;
  std::memcpy(&value, dump.data() + offset, sizeof value);
  return value;
}

// GPRSGX (SDM Vol. 3D, table 38-8) in the order of Registers.
Registers frame_registers(const std::array<std::uint8_t, DUMP_SIZE>& dump) {
  const auto word = [&](std::size_t n) { return read<std::uint64_t>(dump, DUMP_GPRSGX + 8 * n); };
  return {.rax = word(0),
          .rbx = word(3),
          .rcx = word(1),
          .rdx = word(2),
          .rsi = word(6),
          .rdi = word(7),
          .rbp = word(5),
          .rsp = word(4),
          .r8 = word(8),
          .r9 = word(9),
          .r10 = word(10),
          .r11 = word(11),
          .r12 = word(12),
          .r13 = word(13),
          .r14 = word(14),
          .r15 = word(15),
          .rflags = word(16),
          .rip = word(17)};
}

json saved_to_json(const Report& report) {
  const Registers frame = frame_registers(report.dump);
  return {{"rip", frame.rip},
          {"rf", (frame.rflags & kRf) != 0},
          {"exitinfo", read<std::uint32_t>(report.dump, DUMP_GPRSGX + 160)},
          {"maddr", read<std::uint64_t>(report.dump, DUMP_EXINFO)},
          {"errcd", read<std::uint32_t>(report.dump, DUMP_EXINFO + 8)},
          {"ursp", read<std::uint64_t>(report.dump, DUMP_GPRSGX + 144)},
          {"urbp", read<std::uint64_t>(report.dump, DUMP_GPRSGX + 152)},
          {"changed", changed(read<Registers>(report.dump, DUMP_SITE), frame)}};
}

json signal_to_json(const SignalFacts& signal) {
  return {{"count", signal.count},
          {"number", signal.number},
          {"code", signal.code},
          {"address", signal.address},
          {"rip", signal.registers.rip},
          {"registers", registers_to_json(signal.registers)},
          {"fpu", {{"fcw", signal.fcw}, {"fsw", signal.fsw}, {"mxcsr", signal.mxcsr}}}};
}

// Who it was that learned of the exception, as a letter of Row::who; E: the function refused the call.
std::string who(const Report& report, Design design) {
  const Outcome& outcome = report.outcome;
  switch (outcome.landing.how) {
    case LANDED_SIGNAL:
      return "S";
    case LANDED_HANDLER:
      return "H";
    case LANDED_RETURN: {
      if (outcome.status < 0) return "E";
      const auto leaf =
          design == Design::Vdso ? outcome.run.function : outcome.landing.registers.rax & 0xffffffff;
      if (leaf != kEexit) return "F";
      break;
    }
    default:
      break;
  }
  return outcome.interrupt.count != 0 ? "I" : "N";
}

}  // namespace

json to_json(const Report& report, Design design) {
  const Outcome& outcome = report.outcome;
  const Registers& landed = outcome.landing.registers;
  const std::string by = who(report, design);
  json facts = {{"who", by}};
  if (by == "S") {
    facts["vector"] = outcome.signal.trapno;
    facts["error"] = outcome.signal.error;
    facts["cr2"] = outcome.signal.cr2;
    facts["signal"] = signal_to_json(outcome.signal);
  } else {
    facts["registers"] = registers_to_json(landed);
    facts["fpu"] = {
        {"fcw", outcome.landing.fcw}, {"fsw", outcome.landing.fsw}, {"mxcsr", outcome.landing.mxcsr}};
    if (outcome.signal.count != 0) facts["signal"] = signal_to_json(outcome.signal);
  }
  if (by == "F" && design == Design::Vdso) {
    facts["vector"] = outcome.run.exception_vector;
    facts["error"] = outcome.run.exception_error_code;
    facts["address"] = outcome.run.exception_addr;
    facts["leaf"] = outcome.run.function;
  } else if (by == "F" || by == "H") {
    facts["vector"] = landed.rdi;
    facts["error"] = landed.rsi;
    facts["address"] = landed.rdx;
    facts["leaf"] = landed.rax;
  } else if (by == "E") {
    facts["status"] = outcome.status;
  }
  if (outcome.interrupt.count != 0) facts["interrupt"] = signal_to_json(outcome.interrupt);
  if (report.is_host && by == "S")
    facts["host_changed"] = changed(report.host_site, outcome.signal.registers);
  if (report.has_dump) {
    facts["cssa"] = read<std::uint64_t>(report.dump, DUMP_CSSA);
    facts["done"] = read<std::uint64_t>(report.dump, DUMP_DONE) != 0;
    facts["saved"] = saved_to_json(report);
  }
  facts["at"] = {{"aep", outcome.aep},
                 {"enclu", outcome.loaded.rip},
                 {"site", report.site},
                 {"after_site", report.after_site},
                 {"operand", report.operand},
                 {"entry", report.entry},
                 {"tcs", report.tcs},
                 {"leaf", outcome.loaded.rax},
                 {"caller_rbx", outcome.caller_rbx},
                 {"caller_rbp", outcome.caller_rbp},
                 {"loaded", registers_to_json(outcome.loaded)}};
  return facts;
}

json handler_to_json(const Report& report) {
  const HandlerFacts& handler = report.outcome.handler;
  return {{"count", handler.count},
          {"rdi", handler.rdi},
          {"rsi", handler.rsi},
          {"rdx", handler.rdx},
          {"r8", handler.r8},
          {"r9", handler.r9},
          {"ursp", handler.ursp},
          {"rsp", report.outcome.loaded.rsp},
          {"operand", report.operand},
          {"leaf", handler.run.function},
          {"vector", handler.run.exception_vector},
          {"error", handler.run.exception_error_code},
          {"address", handler.run.exception_addr}};
}

}  // namespace enclume::cli::matrix::probe
