// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/probe/attempt.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "cli/matrix/probe/enclave.h"
#include "cli/matrix/probe/report.h"

namespace enclume::cli::matrix::probe {
namespace {

std::uint64_t address_of(const void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}
std::uint64_t offset_of(const std::uint8_t* code) {
  return static_cast<std::uint64_t>(code - matrix_enclave_begin);
}

const Trigger& find(const Trigger* begin, const Trigger* end, std::string_view name) {
  const auto* found = std::find_if(begin, end, [&](const Trigger& t) { return t.name == name; });
  if (found == end) throw std::runtime_error("no code for trigger " + std::string(name));
  return *found;
}
const Trigger& enclave_trigger(std::string_view name) {
  return find(__start_matrix_enclave_triggers, __stop_matrix_enclave_triggers, name);
}
const Trigger& host_trigger(std::string_view name) {
  return find(__start_matrix_host_triggers, __stop_matrix_host_triggers, name);
}

// A page where nothing is mapped, nor comes to be: it lies below vm.mmap_min_addr.
std::uint64_t unmapped_page() {
  return 8 * kPage;
}

// A page of zeros. Not by mmap(), which may well choose an address in ELRANGE, where there is a hole.
std::uint64_t host_page(int protection) {
  alignas(kPage) static std::array<std::array<std::uint8_t, kPage>, 4> pages;
  static std::size_t used = 0;
  auto& page = pages.at(used++);
  page.fill(0);  // so that it is present
  mprotect(page.data(), kPage, protection);
  return address_of(page.data());
}

EnclaveOptions options_of(const Cell& cell) {
  const std::string_view trigger = cell.row->trigger;
  return {.debug = cell.place == Place::kOptIn,
          .exinfo = cell.row->enclave != matrix::Enclave::kWithoutExinfo,
          .mode64 = trigger != "mode32",
          .avx = cell.row->enclave != matrix::Enclave::kWithoutAvx,
          .initialise = trigger != "not-initialised",
          .map_hole = trigger == "write-hole" || trigger == "tcs-pending"};
}

// The host's two words for the enclave's loop "spin".
struct Spin {
  std::uint64_t stop = 0;
  std::uint64_t turning = 0;  // the loop has begun
};

// Sends SIGUSR1 to the thread that makes it until told to stop; not before the loop turns.
class Interrupter {
 public:
  explicit Interrupter(Spin& spin)
      : thread_([this, &spin, target = pthread_self()] {
          while (!stop_) {
            usleep(1000);
            if (std::atomic_ref(spin.turning) != 0) pthread_kill(target, SIGUSR1);
          }
        }) {}
  ~Interrupter() {
    stop_ = true;
    thread_.join();
  }
  Interrupter(const Interrupter&) = delete;
  Interrupter& operator=(const Interrupter&) = delete;

 private:
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class Attempt {
 public:
  Attempt(const Cell& cell, Door& door, bool with_handler)
      : cell_(cell),
        trigger_(cell.row->trigger),
        door_(door),
        with_handler_(with_handler),
        enclave_(options_of(cell)),
        tcs_(enclave_.tcs()) {}

  Report run() {
    switch (cell_.place) {
      case Place::kOptIn:
        enclave_.opt_in(tcs_);
        inside();
        break;
      case Place::kHandler:
        raise_inside();
        inside();
        break;
      case Place::kOptOut:
        inside();
        break;
      case Place::kEenter:
      case Place::kEresume:
        at_enclu();
        break;
      case Place::kAep:
        at_aep();
        break;
      case Place::kBeforeEnclu:
        if (trigger_ == "step" || trigger_ == "step-function") {
          step_to_enclu();
        } else {
          host(std::string(trigger_) + "-enclu");
        }
        break;
      case Place::kNearBy:
        host(std::string(trigger_));
        break;
      case Place::kUserHandler:
        in_handler();
        break;
    }
    report_.tcs = tcs_;
    report_.entry = enclave_.at(offset_of(matrix_enclave_entry));
    return std::move(report_);
  }

 private:
  Entry entry(std::string_view routine, std::uint64_t argument = 0) const {
    return {.tcs = tcs_,
            .rdi = offset_of(enclave_trigger(routine).code),
            .rsi = argument,
            .with_handler = with_handler_};
  }
  // An exception that shall be there, so that CSSA counts.
  void raise_inside() { door_.enter(entry("ud2")); }

  // What the enclave says of itself, by the good TCS.
  void dump() {
    report_.dump.fill(0);
    const Outcome outcome =
        door_.enter({.tcs = enclave_.tcs(),
                     .rdi = static_cast<std::uint64_t>(matrix_enclave_dump - matrix_enclave_begin),
                     .rsi = address_of(report_.dump.data())});
    report_.has_dump = has_left(outcome);
  }
  [[nodiscard]] bool has_left(const Outcome& outcome) const {
    if (outcome.landing.how == LANDED_EXIT) return true;
    if (outcome.landing.how != LANDED_RETURN) return false;
    return door_.design() == Design::Vdso ? outcome.status == 0 && outcome.run.function == kEexit
                                          : outcome.landing.registers.rax == kEexit;
  }
  void poke(std::uint64_t offset, std::uint64_t value) {
    // The entry's RDX and R8 are not of the pattern: by an ENCLU of our own, whose registers are ours.
    Registers in = registers_for(kEenter, tcs_, address_of(matrix_enclu));
    in.rdi = static_cast<std::uint64_t>(matrix_enclave_poke - matrix_enclave_begin);
    in.rdx = offset;
    in.r8 = value;
    in.rip = address_of(matrix_enclu);
    matrix_jump(&in);
  }

  void sites(const Trigger& trigger, bool in_enclave) {
    const auto place = [&](const std::uint8_t* code) {
      return in_enclave ? enclave_.at(offset_of(code)) : address_of(code);
    };
    report_.site = place(trigger.site);
    report_.after_site = place(trigger.after);
  }

  void inside();
  void interrupt(Entry what);
  void at_enclu();
  void make_wrong(Entry& what);
  void at_aep();
  void host(const std::string& name);
  void step_to_enclu();
  void in_handler();

  const Cell& cell_;
  std::string_view trigger_;
  Door& door_;
  bool with_handler_;
  probe::Enclave enclave_;
  std::uint64_t tcs_;
  Spin spin_;
  Report report_;
};

void Attempt::inside() {
  if (trigger_ == "interrupt") {
    interrupt(entry("spin", address_of(&spin_)));
    return;
  }
  const auto touch = [&](std::uint64_t address) { door_.enter(entry("write", address)); };
  std::string_view routine = trigger_;
  std::uint64_t operand = 0;
  if (trigger_ == "jump-hole") {
    routine = "jump";
    operand = unmapped_page() + 0x123;
  } else if (trigger_ == "jump-host") {
    routine = "jump";
    operand = address_of(matrix_nop_ud2);
  } else if (trigger_ == "read-hole") {
    routine = "read";
    operand = unmapped_page() + 0x123;
  } else if (trigger_ == "write-code") {
    routine = "write";
    operand = enclave_.at(0x123);
  } else if (trigger_ == "read-none") {
    routine = "read";
    operand = enclave_.at(ENCLAVE_DATA + 0x28);
    enclave_.protect(ENCLAVE_DATA, PROT_NONE);
  } else if (trigger_ == "jump-data") {
    routine = "jump";
    operand = enclave_.at(ENCLAVE_DATA + 0x10);
    touch(operand);
  } else if (trigger_ == "read-tcs") {
    routine = "read";
    operand = tcs_ + 16;
  } else if (trigger_ == "write-restricted") {
    routine = "write";
    operand = enclave_.at(ENCLAVE_DATA + 0x18);
    touch(operand);
    enclave_.restrict_to_read(ENCLAVE_DATA);
  } else if (trigger_ == "write-hole") {
    routine = "write";
    operand = enclave_.at(ENCLAVE_HOLE + 0x40);
  } else if (trigger_ == "rep-movs-none") {
    routine = "rep-movs";
    operand = enclave_.at(ENCLAVE_DATA + kPage);
    enclave_.protect(ENCLAVE_DATA + kPage, PROT_NONE);
  } else if (trigger_ == "read-untouched") {
    routine = "read";
    operand = enclave_.at(ENCLAVE_BUFFER + 2 * kPage);
  } else if (trigger_ == "step") {
    routine = "nothing";
  }
  Entry what = entry(routine, routine == "rep-movs" ? host_page(PROT_READ) : operand);
  if (trigger_ == "step") {
    what.flags |= kFlagTf;
    door_.stepping = Door::Stepping::kThroughEnclu;
  }
  report_.operand = operand;
  sites(enclave_trigger(routine), true);
  report_.outcome = door_.enter(what);
  door_.stepping = Door::Stepping::kNo;
  dump();
}

void Attempt::interrupt(Entry what) {
  sites(enclave_trigger("spin"), true);
  const bool goes_on = cell_.place != Place::kAep;
  door_.on_interrupt = [&] {
    if (goes_on) {
      dump();
      spin_.stop = 1;
    }
  };
  {
    const Interrupter interrupter(spin_);
    report_.outcome = door_.enter(what);
  }
  door_.on_interrupt = nullptr;
  if (goes_on) {
    std::array<std::uint8_t, DUMP_SIZE> inside = report_.dump;
    dump();
    // The frame as it was in the signal handler; CSSA, and whether it is done, as they are now.
    std::copy_n(report_.dump.begin(), DUMP_SITE, inside.begin());
    report_.dump = inside;
  } else {
    dump();
  }
}

// Leaves `what` such that the ENCLU refuses it, by the cell's trigger.
void Attempt::make_wrong(Entry& what) {
  const auto odd = [&](OddTcs which) { what.tcs = enclave_.at(probe::offset_of(which)); };
  const std::uint64_t spare = probe::offset_of(OddTcs::kSpare);
  const auto raw = [&](std::uint64_t leaf) {
    what.raw = true;
    what.leaf = leaf;
  };
  constexpr std::uint64_t kGprsgx = kPage - DUMP_GPRSGX_SIZE;
  constexpr std::uint64_t kNonCanonical = 0x0000'8000'0000'0000;
  report_.operand = 0;
  if (trigger_ == "lock") {
    what.raw = true;
    what.enclu = address_of(matrix_lock_enclu);
    what.aep = address_of(matrix_enclu);
    report_.site = what.enclu;
  } else if (trigger_ == "leaf-unknown") {
    raw(0x7fff);
  } else if (trigger_ == "leaf-ereport") {
    raw(0);
  } else if (trigger_ == "tcs-unaligned") {
    what.tcs += 8;
  } else if (trigger_ == "tcs-hole") {
    what.tcs = report_.operand = unmapped_page();
  } else if (trigger_ == "tcs-protected") {
    what.tcs = report_.operand = enclave_.at(spare);
    enclave_.protect(spare, PROT_NONE);
  } else if (trigger_ == "tcs-host") {
    what.tcs = report_.operand = host_page(PROT_READ | PROT_WRITE);
  } else if (trigger_ == "aep-non-canonical") {
    what.raw = true;
    what.aep = kNonCanonical;
  } else if (trigger_ == "tcs-is-data") {
    what.tcs = report_.operand = enclave_.at(ENCLAVE_DATA);
  } else if (trigger_ == "tcs-pending") {
    what.tcs = report_.operand = enclave_.at(ENCLAVE_HOLE);
  } else if (trigger_ == "tcs-trimmed") {
    what.tcs = report_.operand = enclave_.at(spare);
    enclave_.trim(spare);
  } else if (trigger_ == "ossa-unaligned") {
    odd(OddTcs::kOssaUnaligned);
  } else if (trigger_ == "ofsbase-unaligned") {
    odd(OddTcs::kOfsbaseUnaligned);
  } else if (trigger_ == "ogsbase-unaligned") {
    odd(OddTcs::kOgsbaseUnaligned);
  } else if (trigger_ == "flags-reserved") {
    odd(OddTcs::kFlagsReserved);
  } else if (trigger_ == "aex-notify") {
    odd(OddTcs::kFlagsAexNotify);
  } else if (trigger_ == "no-frames") {
    odd(OddTcs::kNoFrames);
  } else if (trigger_ == "frames-used-up") {
    odd(OddTcs::kOneFrame);
    Entry first = what;
    first.rdi = offset_of(enclave_trigger("ud2").code);
    door_.enter(first);
  } else if (trigger_ == "ssa-hole") {
    odd(OddTcs::kSsaInHole);
    report_.operand = enclave_.at(ENCLAVE_HOLE);
  } else if (trigger_ == "ssa-read-only") {
    odd(OddTcs::kSsaReadOnly);
    door_.enter(entry("read", enclave_.at(ENCLAVE_READ_ONLY)));
    report_.operand = enclave_.at(ENCLAVE_READ_ONLY);
  } else if (trigger_ == "ssa-is-tcs") {
    odd(OddTcs::kSsaIsTcs);
    report_.operand = enclave_.at(ENCLAVE_TCS);
  } else if (trigger_ == "ssa-protected" || trigger_ == "frame-protected") {
    report_.operand = enclave_.at(ENCLAVE_SSA);
    enclave_.protect(ENCLAVE_SSA, PROT_NONE);
  } else if (trigger_ == "ssa-restricted" || trigger_ == "frame-restricted") {
    report_.operand = enclave_.at(ENCLAVE_SSA);
    enclave_.restrict_to_read(ENCLAVE_SSA);
  } else if (trigger_ == "entry-non-canonical") {
    odd(OddTcs::kEntryNonCanonical);
  } else if (trigger_ == "fs-non-canonical") {
    odd(OddTcs::kFsBaseNonCanonical);
  } else if (trigger_ == "gs-non-canonical") {
    odd(OddTcs::kGsBaseNonCanonical);
  } else if (trigger_ == "rip-non-canonical") {
    poke(kGprsgx + 136, kNonCanonical);
  } else if (trigger_ == "fsbase-non-canonical") {
    poke(kGprsgx + 168, kNonCanonical);
  } else if (trigger_ == "gsbase-non-canonical") {
    poke(kGprsgx + 176, kNonCanonical);
  } else if (trigger_ == "xstate-bv") {
    poke(512, std::uint64_t{1} << 62 | 3);
  } else if (trigger_ == "xsave-header") {
    poke(528, 1);
  } else if (trigger_ == "mxcsr") {
    poke(24, 0xffff'0001'1f80);
  } else if (trigger_ == "rip-outside") {
    report_.operand = unmapped_page() + 0x123;
    poke(kGprsgx + 136, report_.operand);
  }
}

void Attempt::at_enclu() {
  Entry what = entry("nothing");
  if (cell_.place == Place::kEresume) {
    // From this very frame: ERESUME does not write URSP and URBP, so a later AEX gives back the RSP and RBP
    // of this entry, and the vDSO function finds its own frame by them.
    if (trigger_ != "cssa-0") door_.enter(entry("ud2"));
    what.leaf = kEresume;
  }
  if (trigger_ == "tcs-busy") {
    // A second thread stays inside by the spare TCS until the flag is set.
    what.tcs = enclave_.at(probe::offset_of(OddTcs::kSpare));
    std::atomic_ref flag(spin_.stop);
    std::thread other([&] {
      matrix_plain_enter(what.tcs, offset_of(enclave_trigger("announce").code), address_of(&spin_));
    });
    while (flag.load() != 1) usleep(100);
    report_.outcome = door_.enter(what);
    flag = 2;
    other.join();
  } else {
    make_wrong(what);
    report_.outcome = door_.enter(what);
  }
  if (trigger_.ends_with("-protected")) enclave_.protect(ENCLAVE_SSA, PROT_READ | PROT_WRITE);
  if (trigger_ != "not-initialised" && trigger_ != "mode32" && !trigger_.ends_with("-restricted")) dump();
}

void Attempt::at_aep() {
  // Each first touch of a page is an AEX too, and this AEP does not resume: touch them with one that does.
  spin_.stop = 1;
  door_.enter(entry("spin", address_of(&spin_)));
  spin_ = {};
  Entry what = entry(trigger_.starts_with("interrupt-") ? "spin" : "ud2", address_of(&spin_));
  what.raw = true;
  if (trigger_.ends_with("-enclu")) {
    what.aep = address_of(matrix_aep_enclu);
  } else if (trigger_.ends_with("-nop")) {
    what.aep = address_of(matrix_aep_nop);
  } else if (trigger_.ends_with("-ud2")) {
    what.aep = address_of(matrix_aep_ud2);
  } else if (trigger_.ends_with("-int3")) {
    what.aep = address_of(matrix_aep_int3);
  } else if (trigger_.ends_with("-load")) {
    what.aep = address_of(matrix_aep_load);
    report_.operand = 0x18;
  } else {
    what.aep = unmapped_page() + 0x120;
  }
  if (trigger_.starts_with("interrupt-")) {
    interrupt(what);
  } else {
    sites(enclave_trigger("ud2"), true);
    report_.outcome = door_.enter(what);
    dump();
  }
}

void Attempt::host(const std::string& name) {
  const Trigger& trigger = host_trigger(name);
  if (trigger_ == "read") report_.operand = unmapped_page() + 0x123;
  if (trigger_ == "write") report_.operand = host_page(PROT_READ) + 0x128;
  sites(trigger, false);
  report_.outcome = door_.run_host_code(trigger.code, tcs_, report_.operand, PATTERN_FLAGS);
  report_.host_site = matrix_at_site;
  report_.is_host = true;
}

void Attempt::step_to_enclu() {
  Entry what = entry("nothing");
  what.raw = trigger_ == "step";
  what.flags |= kFlagTf;
  door_.stepping = Door::Stepping::kToEnclu;
  report_.outcome = door_.enter(what);
  door_.stepping = Door::Stepping::kNo;
}

void Attempt::in_handler() {
  Report inner;
  const auto nested = [&] {
    if (trigger_ == "enter-again") {
      sites(enclave_trigger("ud2"), true);
      report_.outcome = door_.enter(entry("ud2"));
      dump();
    } else {
      host(std::string(trigger_));
    }
    inner = report_;
  };
  door_.on_exception = nested;
  Entry outer = entry("ud2");
  outer.with_handler = true;
  const Outcome outcome = door_.enter(outer);
  if (outcome.landing.how == LANDED_HANDLER) {
    door_.on_exception = nullptr;
    nested();
  }
  if (door_.on_exception) throw std::runtime_error("the design's handler was not called");
  report_ = inner;
}

}  // namespace

nlohmann::json attempt(const Cell& cell, Design design) {
  Door door(design);
  {
    const probe::Enclave any({});
    door.learn_aep(any.tcs());
  }
  nlohmann::json facts = to_json(Attempt(cell, door, false).run(), design);
  if (design == Design::Vdso && facts.value("who", "") == "F") {
    facts["handler"] = handler_to_json(Attempt(cell, door, true).run());
  }
  return facts;
}

}  // namespace enclume::cli::matrix::probe
