// SPDX-License-Identifier: Apache-2.0
// Two unwinders that share no code find the caller from every instruction of the enter function, with its
// registers. The code is single-stepped; what the processor would do at the ENCLU is looked at as well.
#include <Zydis/Zydis.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unwind.h>

#include <csignal>
#include <cstring>
#include <set>
#include <stdexcept>

#include "unit/vdso/probe.h"
#include "unit/vdso/unwinders.h"
#include "unit/vdso/vdso_images.h"

// libgcc's, not in its public header.
extern "C" {
struct dwarf_eh_bases {
  void* tbase;
  void* dbase;
  void* func;
};
const void* _Unwind_Find_FDE(void* pc, dwarf_eh_bases* bases);
}

namespace enclume::test {
namespace {

using kernel::SgxEnclaveRun;
using Registers = FakeProcessor::Registers;

/// Single-steps one call and unwinds at each instruction of the function.
class Walk {
 public:
  Walk(const LoadedImage& image, ProbeCall& call)
      : code_(image.address(image.layout().enter)),
        size_(kernel::enter_enclave_code().code.size()),
        call_(call) {
    active = this;
    struct sigaction action = {};
    action.sa_sigaction = on_sigtrap;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &before_);
  }
  ~Walk() {
    sigaction(SIGTRAP, &before_, nullptr);
    active = nullptr;
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  void run() {
    call_.in.rflags |= kTrapFlag;
    vdso_probe_call(&call_);
  }

  /// Unwinds from `context` and from here, if it is inside the function.
  void look(ucontext_t& context) {
    const auto place = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
    if (place - code_ >= size_) {
      return;
    }
    seen_.insert(place - code_);
    // The function keeps nothing below RSP, so no rule may lead there.
    constexpr std::size_t kRedZone = 128;
    std::memset(reinterpret_cast<void*>(context.uc_mcontext.gregs[REG_RSP] - greg_t{kRedZone}), 0x99,
                kRedZone);
    expect_caller(unwind_with_libgcc(place), "libgcc", place - code_);
    expect_caller(unwind_with_libunwind(context), "libunwind", place - code_);
  }

  const std::set<std::uintptr_t>& seen() const { return seen_; }

 private:
  static void on_sigtrap(int, siginfo_t*, void* context) { active->look(*static_cast<ucontext_t*>(context)); }

  void expect_caller(const CallerFrame& caller, const char* unwinder, std::uintptr_t place) const {
    EXPECT_EQ(caller.rip, reinterpret_cast<std::uintptr_t>(&vdso_probe_return))
        << unwinder << " at " << place;
    EXPECT_EQ(caller.rsp, call_.in.rsp) << unwinder << " at " << place;
    EXPECT_EQ(caller.rbx, call_.in.rbx) << unwinder << " at " << place;
    EXPECT_EQ(caller.rbp, call_.in.rbp) << unwinder << " at " << place;
  }

  static Walk* active;
  std::uintptr_t code_;
  std::size_t size_;
  ProbeCall& call_;
  std::set<std::uintptr_t> seen_;
  struct sigaction before_ = {};
};

Walk* Walk::active = nullptr;

/// Offsets of the instructions of the function, by an independent decoder.
std::set<std::uintptr_t> instructions() {
  const auto code = kernel::enter_enclave_code().code;
  std::set<std::uintptr_t> places;
  for (std::size_t place = 0; place < code.size();) {
    places.insert(place);
    ZydisDisassembledInstruction instruction;
    const auto status = ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, place, code.data() + place,
                                              code.size() - place, &instruction);
    EXPECT_TRUE(ZYAN_SUCCESS(status)) << place;
    if (!ZYAN_SUCCESS(status)) {
      break;
    }
    place += instruction.info.length;
  }
  return places;
}

TEST(VdsoUnwinding, FindsTheCallerFromEveryInstruction) {
  const LoadedImage image;
  const std::uintptr_t fixup = image.address(image.layout().fixup);
  std::set<std::uintptr_t> seen;

  const auto step_through = [&](std::uint32_t function, SgxEnclaveRun run,
                                std::vector<FakeProcessor::Step> script) {
    ProbeCall call = probe_call(image.enter(), &run, function);
    FakeProcessor processor(image.address(image.layout().enclu));
    Walk walk(image, call);
    processor.observer = [&](ucontext_t& context) { walk.look(context); };
    for (const auto& step : script) {
      processor.then(step);
    }
    walk.run();
    EXPECT_EQ(processor.entries(), script.size());
    seen.insert(walk.seen().begin(), walk.seen().end());
  };

  const SgxEnclaveRun plain = {};
  SgxEnclaveRun dirty = {};
  dirty.reserved[100] = 1;
  SgxEnclaveRun handled = {};
  handled.user_handler = reinterpret_cast<std::uintptr_t>(&vdso_probe_handler);

  const auto page_fault = [&](Registers& registers) { fix_up(registers, fixup, 3, 14, 7, 0x1000); };
  const auto push_and_exit = [](Registers& registers) {
    eexit(registers);
    registers[REG_RSP] -= 100;
  };

  step_through(7, plain, {});
  step_through(2, dirty, {});
  step_through(2, plain, {eexit});
  step_through(3, plain, {page_fault});
  for (const int last : {0, 99}) {
    std::vector<int> results = {3, 2, last};
    std::size_t calls = 0;
    probe_hook = [&] { return results[calls++]; };
    step_through(2, handled, {page_fault, eexit, eexit});
  }
  EXPECT_EQ(seen, instructions());

  // An enclave that moves RSP: RBX comes back wrong from the `pop` on, so only the way there is looked at.
  probe_hook = [] { return 0; };
  SgxEnclaveRun run = handled;
  ProbeCall call = probe_call(image.enter(), &run, 2);
  FakeProcessor processor(image.address(image.layout().enclu));
  Walk moved(image, call);
  processor.observer = [&](ucontext_t& context) { moved.look(context); };
  processor.then(push_and_exit);
  probe_hook = [&] {
    const CallerFrame caller = unwind_with_libgcc(0);
    EXPECT_EQ(caller.rip, reinterpret_cast<std::uintptr_t>(&vdso_probe_return));
    EXPECT_EQ(caller.rsp, call.in.rsp);
    EXPECT_EQ(caller.rbx, call.in.rbx);
    return 0;
  };
  vdso_probe_call(&call);
}

TEST(VdsoUnwinding, GoesThroughTheStubs) {
  const LoadedImage image;
  for (const char* name : {"__vdso_time", "__vdso_getcpu", "__vdso_gettimeofday"}) {
    const auto stub = reinterpret_cast<std::uintptr_t>(dlsym(image.handle(), name));
    ASSERT_NE(stub, 0U);
    dwarf_eh_bases bases = {};
    for (const std::uintptr_t place : {stub, stub + 4, stub + 9}) {
      EXPECT_NE(_Unwind_Find_FDE(reinterpret_cast<void*>(place), &bases), nullptr) << name;
      EXPECT_EQ(bases.func, reinterpret_cast<void*>(stub)) << name;
    }
    EXPECT_EQ(_Unwind_Find_FDE(reinterpret_cast<void*>(stub + 10), &bases), nullptr) << name;
  }
}

int throwing_handler(long, long, long, long, long, long, SgxEnclaveRun* run) {
  throw std::runtime_error("vector " + std::to_string(run->exception_vector));
}

/// Something that has to be cleaned up on the way.
struct Counted {
  explicit Counted(int& count) : count_(count) { count_++; }
  ~Counted() { count_--; }
  int& count_;
};

TEST(VdsoUnwinding, CarriesExceptionsOutOfTheUserHandler) {
  const LoadedImage image;
  FakeProcessor processor(image.address(image.layout().enclu));
  SgxEnclaveRun run = {};
  run.user_handler = reinterpret_cast<std::uintptr_t>(&throwing_handler);
  int alive = 0;
  for (int i = 0; i < 3; i++) {
    processor.then([&](Registers& registers) {
      fix_up(registers, image.address(image.layout().fixup), 3, 6, 0, 0);
      registers[REG_RSP] -= 24;  // and data pushed by the enclave does not matter
    });
    try {
      const Counted counted(alive);
      // An AEX takes R12 to R15, so that no compiled function could be the caller.
      ProbeCall call = probe_call(image.enter(), &run, 2);
      vdso_probe_call(&call);
      ADD_FAILURE() << "the function returned";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "vector 6");
    }
    EXPECT_EQ(alive, 0);
  }
  EXPECT_EQ(processor.entries(), 3U);
}

}  // namespace
}  // namespace enclume::test
