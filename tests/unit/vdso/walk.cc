// SPDX-License-Identifier: Apache-2.0
#include "unit/vdso/walk.h"

#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <cstring>

namespace enclume::test {
namespace {

Walk* active = nullptr;

}  // namespace

Walk::Walk(const LoadedImage& image, const kernel::EntryCode& code, ProbeCall& call)
    : code_(image.address(image.layout().enter)),
      size_(code.code.size()),
      saves_rbx_(!code.cfi.empty()),
      call_(call) {
  active = this;
  struct sigaction action = {};
  action.sa_sigaction = on_sigtrap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before_);
}

Walk::~Walk() {
  sigaction(SIGTRAP, &before_, nullptr);
  active = nullptr;
}

void Walk::run() {
  call_.in.rflags |= kTrapFlag;
  vdso_probe_call(&call_);
}

void Walk::look(ucontext_t& context) {
  const auto& registers = context.uc_mcontext.gregs;
  const auto place = static_cast<std::uintptr_t>(registers[REG_RIP]);
  if (place - code_ >= size_) {
    return;
  }
  seen_.insert(place - code_);
  // The function keeps nothing below RSP, so no rule may lead there.
  constexpr std::size_t kRedZone = 128;
  std::memset(reinterpret_cast<void*>(registers[REG_RSP] - greg_t{kRedZone}), 0x99, kRedZone);
  const std::uint64_t rbx = saves_rbx_ ? call_.in.rbx : static_cast<std::uint64_t>(registers[REG_RBX]);
  expect_caller(unwind_with_libgcc(place), "libgcc", place - code_, rbx);
  expect_caller(unwind_with_libunwind(context), "libunwind", place - code_, rbx);
}

void Walk::on_sigtrap(int /*signal*/, siginfo_t* /*info*/, void* context) {
  active->look(*static_cast<ucontext_t*>(context));
}

void Walk::expect_caller(const CallerFrame& caller, const char* unwinder, std::uintptr_t place,
                         std::uint64_t rbx) const {
  EXPECT_EQ(caller.rip, reinterpret_cast<std::uintptr_t>(&vdso_probe_return)) << unwinder << " at " << place;
  EXPECT_EQ(caller.rsp, call_.in.rsp) << unwinder << " at " << place;
  EXPECT_EQ(caller.rbx, rbx) << unwinder << " at " << place;
  EXPECT_EQ(caller.rbp, call_.in.rbp) << unwinder << " at " << place;
}

std::set<std::uintptr_t> instructions_of(const kernel::EntryCode& entry) {
  const auto code = entry.code;
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

}  // namespace enclume::test
