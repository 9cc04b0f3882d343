// SPDX-License-Identifier: Apache-2.0
#include "unit/vdso/probe.h"

#include <gtest/gtest.h>

#include <csignal>

// ThreadSanitizer would object to any allocation in a handler. Ours run at instructions that the test chose.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() {
  return "report_signal_unsafe=0";
}

namespace enclume::test {

std::function<int()> probe_hook;

extern "C" {
[[gnu::visibility("hidden")]] ProbeRegisters vdso_probe_at_handler;
[[gnu::visibility("hidden")]] ProbeRegisters vdso_probe_from_handler;
[[gnu::visibility("hidden")]] kernel::SgxEnclaveRun* vdso_probe_handler_run;

[[gnu::visibility("hidden")]] int vdso_probe_hook() {
  return probe_hook();
}
}

namespace {

FakeProcessor* active_processor = nullptr;

constexpr std::array kFaults = {SIGILL, SIGSEGV};

}  // namespace

ProbeCall probe_call(kernel::SgxEnterEnclave enter, kernel::SgxEnclaveRun* run, std::uint32_t function) {
  ProbeCall call = {};
  call.in = {.rax = 0xa0a0,
             .rbx = 0xb0b0b0b0b0b0,
             .rcx = 0xccccccff00000000 | function,
             .rdx = 0xd0d0,
             .rsi = 0x5151,
             .rdi = 0xd1d1,
             .rbp = 0xb9b9b9b9b9b9,
             .rsp = 0,
             .r8 = 0x0808,
             .r9 = 0x0909,
             .r10 = 0x1010,
             .r11 = 0x1111,
             .r12 = 0x1212,
             .r13 = 0x1313,
             .r14 = 0x1414,
             .r15 = 0x1515,
             .rflags = kFlagsAtRest};
  call.function = enter;
  call.run = run;
  return call;
}

FakeProcessor::FakeProcessor(std::uintptr_t enclu) : enclu_(enclu) {
  EXPECT_EQ(active_processor, nullptr);
  active_processor = this;
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  for (std::size_t i = 0; i < kFaults.size(); i++) {
    sigaction(kFaults[i], &action, &before_[i]);
  }
}

FakeProcessor::~FakeProcessor() {
  for (std::size_t i = 0; i < kFaults.size(); i++) {
    sigaction(kFaults[i], &before_[i], nullptr);
  }
  active_processor = nullptr;
}

void FakeProcessor::on_fault(int signal_number, siginfo_t*, void* context) {
  auto& frame = *static_cast<ucontext_t*>(context);
  FakeProcessor& self = *active_processor;
  Registers& registers = frame.uc_mcontext.gregs;
  if (static_cast<std::uintptr_t>(registers[REG_RIP]) != self.enclu_ ||
      self.entries_ == self.script_.size()) {
    signal(signal_number, SIG_DFL);  // not ours, or more ENCLUs than the test expects: die of it
    return;
  }
  if (self.observer) {
    self.observer(frame);
  }
  self.script_[self.entries_++](registers);
  if (self.observer) {
    self.observer(frame);
  }
}

void eexit(FakeProcessor::Registers& registers) {
  constexpr int kEncluSize = 3;
  registers[REG_RIP] += kEncluSize;
  registers[REG_RAX] = 4;
  registers[REG_RBX] = registers[REG_RIP];
  registers[REG_RDI] = 0xe0d1;
  registers[REG_RSI] = 0xe051;
  registers[REG_RDX] = 0xe0d0;
  registers[REG_R8] = 0xe008;
  registers[REG_R9] = 0xe009;
  registers[REG_R10] = 0xe010;
  registers[REG_R11] = 0xe011;
}

void fix_up(FakeProcessor::Registers& registers, std::uintptr_t fixup, unsigned leaf, std::uint64_t vector,
            std::uint64_t error_code, std::uint64_t address) {
  registers[REG_RAX] = leaf;
  for (const int synthetic : {REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15}) {
    registers[synthetic] = 0;
  }
  registers[REG_RDI] = static_cast<greg_t>(vector);
  registers[REG_RSI] = static_cast<greg_t>(error_code);
  registers[REG_RDX] = static_cast<greg_t>(address);
  registers[REG_RIP] = static_cast<greg_t>(fixup);
}

}  // namespace enclume::test
