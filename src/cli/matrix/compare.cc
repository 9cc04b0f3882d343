// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/compare.h"

#include <fmt/format.h>

#include <csignal>

namespace enclume::cli::matrix {
namespace {

using kernel::ExceptionDesign;
using nlohmann::json;

constexpr std::uint64_t kArithmeticFlags = 0x8d5;  // CF PF AF ZF SF OF
constexpr std::uint64_t kPageMask = 0xfff;
constexpr std::uint64_t kCallerSaved = 8;  // a return address
constexpr std::uint64_t kPageFault = 14;

class Comparison {
 public:
  Comparison(const Cell& cell, ExceptionDesign design, const json& facts)
      : cell_(cell), row_(*cell.row), design_(design), facts_(facts), at_(facts.at("at")) {}

  std::vector<std::string> run() {
    const std::string who(1, cell_.who(static_cast<std::size_t>(design_)));
    if (const auto by = facts_.at("who").get<std::string>(); by != who) {
      found_.push_back(fmt::format("{} got it, not {}", word(by), word(who)));
      return std::move(found_);
    }
    switch (who.front()) {
      case 'F':
      case 'H':
        fixup(who.front());
        break;
      case 'S':
        signal(facts_.at("signal"));
        equal("vector", facts_.at("vector"), static_cast<std::uint64_t>(row_.exception.vector));
        equal("error code", facts_.at("error"), row_.exception.error);
        if (row_.exception.vector == kPageFault) value("CR2", facts_.at("cr2"), row_.exception.address);
        break;
      case 'I':
        signal(facts_.at("interrupt"));
        equal("done", facts_.at("done"), std::uint64_t{1});
        break;
      default:
        if (facts_.contains("signal")) found_.emplace_back("a signal came as well");
        if (cell_.place != Place::kEenter) equal("done", facts_.at("done"), std::uint64_t{1});
        break;
    }
    saved();
    return std::move(found_);
  }

 private:
  static std::string word(const std::string& who) {
    if (who == "F") return "the vDSO function's caller";
    if (who == "H") return "the address space's handler";
    if (who == "S") return "a signal handler";
    if (who == "N") return "nobody";
    if (who == "I") return "the interrupting signal's handler, and then nobody,";
    if (who == "E") return "the caller, by an errno,";
    return who;
  }

  void equal(std::string_view name, const json& is, std::uint64_t expected) {
    const std::uint64_t value = is.is_boolean() ? (is.get<bool>() ? 1 : 0) : is.get<std::uint64_t>();
    if (value != expected) found_.push_back(fmt::format("{} is {:#x}, not {:#x}", name, value, expected));
  }
  void value(std::string_view name, const json& is, const Value& expected) {
    const auto number = is.get<std::uint64_t>();
    const auto at = [&](const char* key) { return at_.at(key).get<std::uint64_t>(); };
    switch (expected.ref) {
      case Ref::kNumber:
        return equal(name, is, expected.number);
      case Ref::kAep:
        return equal(name, is, at("aep"));
      case Ref::kEnclu:
        return equal(name, is, at("enclu"));
      case Ref::kAfterAep:
        return equal(name, is, at("aep") + 1);
      case Ref::kAfterEnclu:
        return equal(name, is, at("aep") + 3);
      case Ref::kSite:
        return equal(name, is, at("site"));
      case Ref::kAfterSite:
        return equal(name, is, at("after_site"));
      case Ref::kLoop:
        if (number < at("site") || number >= at("after_site")) {
          found_.push_back(fmt::format("{} is {:#x}, outside the loop at {:#x}", name, number, at("site")));
        }
        return;
      case Ref::kOperand:
        return equal(name, is, at("operand"));
      case Ref::kAfterOperand:
        return equal(name, is, at("operand") + 1);
      case Ref::kOperandPage:
        return equal(name, is, at("operand") & ~kPageMask);
      case Ref::kEntry:
        return equal(name, is, at("entry"));
      case Ref::kUnchecked:
        return;
    }
  }

  [[nodiscard]] std::uint64_t loaded(const char* name) const {
    return at_.at("loaded").at(name).get<std::uint64_t>();
  }

  void registers(const json& now, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      const bool zero = row_.state == State::kAex;
      equal(name, now.at(name), zero ? 0 : loaded(name));
    }
  }

  void fixup(char who) {
    const json& now = facts_.at("registers");
    const bool in_struct = who == 'F' && design_ == ExceptionDesign::Vdso;
    equal("vector", facts_.at("vector"), static_cast<std::uint64_t>(row_.exception.vector));
    equal("error code", facts_.at("error"), row_.exception.error);
    value("address", facts_.at("address"), row_.exception.address);
    equal("leaf", facts_.at("leaf"), expected_leaf());
    registers(now, {"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"});
    if (in_struct) {
      // vsgx.S: RBX and RBP are the caller's again, RSP is behind the return address, DI, SI and DX still
      // hold what the fixup loaded.
      equal("rax", now.at("rax"), 0);
      equal("rbx", now.at("rbx"), at_.at("caller_rbx").get<std::uint64_t>());
      equal("rbp", now.at("rbp"), at_.at("caller_rbp").get<std::uint64_t>());
      equal("rsp", now.at("rsp"), loaded("rsp") + 3 * kCallerSaved);
      equal("rdi", now.at("rdi"), static_cast<std::uint64_t>(row_.exception.vector));
      equal("rsi", now.at("rsi"), row_.exception.error);
      value("rdx", now.at("rdx"), row_.exception.address);
      handler(facts_.at("handler"));
    } else {
      equal("rbx", now.at("rbx"), loaded("rbx"));
      equal("rbp", now.at("rbp"), loaded("rbp"));
      equal("rsp", now.at("rsp"), loaded("rsp") + (who == 'F' ? kCallerSaved : 0));
      // vdso-registers: the AEP that the function loaded. per-mm: the ENCLU at which the exception is.
      value("rcx", now.at("rcx"), who == 'F' ? Value{Ref::kAep} : row_.rip);
      if (row_.state == State::kAex) arithmetic_flags(now);
    }
    fpu(facts_.at("fpu"));
  }

  // RAX as the kernel sees it.
  [[nodiscard]] std::uint64_t expected_leaf() const {
    return row_.leaf != 0 ? row_.leaf : at_.at("leaf").get<std::uint64_t>();
  }

  // The caller's handler: int h(rdi, rsi, rdx, ursp, r8, r9, run).
  void handler(const json& h) {
    const auto name = [](const char* what) { return fmt::format("in the caller's handler, {}", what); };
    const std::uint64_t vector = static_cast<std::uint64_t>(row_.exception.vector);
    const auto operand = h.at("operand").get<std::uint64_t>();
    const std::uint64_t address = row_.exception.address.ref == Ref::kOperandPage ? operand & ~kPageMask
                                  : row_.exception.address.ref == Ref::kOperand   ? operand
                                                                                  : 0;
    equal(name("calls"), h.at("count"), 1);
    equal(name("vector"), h.at("vector"), vector);
    equal(name("error code"), h.at("error"), row_.exception.error);
    equal(name("address"), h.at("address"), address);
    equal(name("leaf"), h.at("leaf"), expected_leaf());
    equal(name("rdi"), h.at("rdi"), vector);
    equal(name("rsi"), h.at("rsi"), row_.exception.error);
    equal(name("rdx"), h.at("rdx"), address);
    equal(name("ursp"), h.at("ursp"), h.at("rsp").get<std::uint64_t>());
    equal(name("r8"), h.at("r8"), row_.state == State::kAex ? 0 : loaded("r8"));
    equal(name("r9"), h.at("r9"), row_.state == State::kAex ? 0 : loaded("r9"));
  }

  void signal(const json& s) {
    const bool raised = facts_.at("who") == "S";
    equal("number of signals", s.at("count"), 1);
    equal("signal", s.at("number"), static_cast<std::uint64_t>(row_.signal.number));
    if (const auto code = s.at("code").get<int>(); code != row_.signal.code) {
      found_.push_back(fmt::format("si_code is {}, not {}", code, row_.signal.code));
    }
    value("si_addr", s.at("address"), row_.signal.address);
    value("rip", s.at("rip"), row_.rip);
    const json& now = s.at("registers");
    switch (row_.state) {
      case State::kAex:
        registers(now, {"rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"});
        enclu_registers(now, expected_leaf());
        arithmetic_flags(now);
        fpu(s.at("fpu"));
        break;
      case State::kEnclu:
        registers(now, {"rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"});
        enclu_registers(now, expected_leaf());
        break;
      case State::kExit:
        equal("rax", now.at("rax"), 4);
        break;
      case State::kHost:
        if (const auto changed = facts_.at("host_changed").get<std::string>(); !changed.empty()) {
          found_.push_back(fmt::format("not as the host code had them: {}", changed));
        }
        break;
    }
    if (!raised && s.at("rip") != at_.at("aep")) {
      found_.emplace_back("the interrupted context is not at the AEP");
    }
  }
  void enclu_registers(const json& now, std::uint64_t rax) {
    equal("rax", now.at("rax"), rax);
    equal("rbx", now.at("rbx"), loaded("rbx"));
    equal("rcx", now.at("rcx"), at_.at("aep").get<std::uint64_t>());
    equal("rsp", now.at("rsp"), loaded("rsp"));
    equal("rbp", now.at("rbp"), loaded("rbp"));
  }
  void arithmetic_flags(const json& now) {
    equal("arithmetic flags", now.at("rflags").get<std::uint64_t>() & kArithmeticFlags, 0);
  }
  void fpu(const json& now) {
    if (row_.state != State::kAex) return;
    equal("FCW", now.at("fcw"), row_.fpu.fcw);
    equal("FSW", now.at("fsw"), row_.fpu.fsw);
    equal("MXCSR", now.at("mxcsr"), row_.fpu.mxcsr);
  }

  // The SSA frame, and CSSA.
  void saved() {
    if (!facts_.contains("cssa")) {
      // Some EENTER and ERESUME cells leave an enclave that cannot be entered to ask it.
      if (cell_.place != Place::kEenter && cell_.place != Place::kEresume &&
          (row_.saved.is || row_.cssa != 0)) {
        found_.emplace_back("the enclave could not be asked for its frame");
      }
      return;
    }
    equal("CSSA", facts_.at("cssa"), static_cast<std::uint64_t>(cell_.cssa()));
    if (!row_.saved.is) return;
    const json& frame = facts_.at("saved");
    value("SSA.RIP", frame.at("rip"), row_.saved.rip);
    equal("SSA.EXITINFO", frame.at("exitinfo"), row_.saved.exitinfo);
    equal("SSA.RFLAGS.RF", frame.at("rf"), row_.saved.rf ? 1 : 0);
    if (row_.saved.has_exinfo) {
      value("EXINFO.MADDR", frame.at("maddr"), row_.saved.maddr);
      equal("EXINFO.ERRCD", frame.at("errcd"), row_.saved.errcd);
    }
    if (row_.saved.changed == "unrecorded") return;
    if (const auto changed = frame.at("changed").get<std::string>(); changed != row_.saved.changed) {
      found_.push_back(fmt::format("SSA registers not as before the instruction: '{}' instead of '{}'",
                                   changed, row_.saved.changed));
    }
  }

  const Cell& cell_;
  const Row& row_;
  ExceptionDesign design_;
  const json& facts_;
  const json& at_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> differences(const Cell& cell, ExceptionDesign design, const json& facts) {
  if (facts.contains("failed")) return {fmt::format("not tried: {}", facts["failed"].get<std::string>())};
  if (facts.contains("killed")) {
    return {fmt::format("the probe was killed by signal {}", facts["killed"].get<int>())};
  }
  try {
    return Comparison(cell, design, facts).run();
  } catch (const json::exception& error) {
    return {fmt::format("the facts are not complete: {}", error.what())};
  }
}

}  // namespace enclume::cli::matrix
