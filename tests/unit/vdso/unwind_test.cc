// SPDX-License-Identifier: Apache-2.0
// Two unwinders that share no code find the caller from every instruction of the enter function, with its
// registers. The code is single-stepped; what the processor would do at the ENCLU is looked at as well.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unwind.h>

#include <cstring>
#include <set>
#include <stdexcept>

#include "unit/vdso/probe.h"
#include "unit/vdso/unwinders.h"
#include "unit/vdso/vdso_images.h"
#include "unit/vdso/walk.h"

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

TEST(VdsoUnwinding, FindsTheCallerFromEveryInstruction) {
  const LoadedImage image;
  const std::uintptr_t fixup = image.address(image.layout().fixup);
  std::set<std::uintptr_t> seen;

  const auto step_through = [&](std::uint32_t function, SgxEnclaveRun run,
                                std::vector<FakeProcessor::Step> script) {
    ProbeCall call = probe_call(image.enter(), &run, function);
    FakeProcessor processor(image.address(image.layout().enclu));
    Walk walk(image, kernel::enter_enclave_code(), call);
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
  EXPECT_EQ(seen, instructions_of(kernel::enter_enclave_code()));

  // An enclave that moves RSP: RBX comes back wrong from the `pop` on, so only the way there is looked at.
  probe_hook = [] { return 0; };
  SgxEnclaveRun run = handled;
  ProbeCall call = probe_call(image.enter(), &run, 2);
  FakeProcessor processor(image.address(image.layout().enclu));
  Walk moved(image, kernel::enter_enclave_code(), call);
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
