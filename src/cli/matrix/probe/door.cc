// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/probe/door.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "enclume/uapi/sgx_enclu_handler.h"
#include "enclume/uapi/sgx_vdso_enclu.h"

extern "C" {
enclume::cli::matrix::probe::Landing matrix_landing;
enclume::cli::matrix::probe::Registers matrix_at_site;
std::uint64_t matrix_anchor;
}

namespace enclume::cli::matrix::probe {
namespace {

constexpr std::uint64_t kEncluSize = 3;

Door* g_door = nullptr;
std::uint64_t g_aep = 0;  // of the entry under way
SignalFacts g_signal, g_interrupt;
HandlerFacts g_handler;

std::uint64_t address_of(const void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}

SignalFacts facts_of(int number, const siginfo_t& info, const ucontext_t& context) {
  const auto reg = [&](int index) { return static_cast<std::uint64_t>(context.uc_mcontext.gregs[index]); };
  SignalFacts facts;
  facts.number = number;
  facts.code = info.si_code;
  facts.address = address_of(info.si_addr);
  facts.trapno = reg(REG_TRAPNO);
  facts.error = reg(REG_ERR);
  facts.cr2 = reg(REG_CR2);
  facts.registers = {.rax = reg(REG_RAX),
                     .rbx = reg(REG_RBX),
                     .rcx = reg(REG_RCX),
                     .rdx = reg(REG_RDX),
                     .rsi = reg(REG_RSI),
                     .rdi = reg(REG_RDI),
                     .rbp = reg(REG_RBP),
                     .rsp = reg(REG_RSP),
                     .r8 = reg(REG_R8),
                     .r9 = reg(REG_R9),
                     .r10 = reg(REG_R10),
                     .r11 = reg(REG_R11),
                     .r12 = reg(REG_R12),
                     .r13 = reg(REG_R13),
                     .r14 = reg(REG_R14),
                     .r15 = reg(REG_R15),
                     .rflags = reg(REG_EFL),
                     .rip = reg(REG_RIP)};
  if (context.uc_mcontext.fpregs != nullptr) {
    facts.mxcsr = context.uc_mcontext.fpregs->mxcsr;
    facts.fcw = context.uc_mcontext.fpregs->cwd;
    facts.fsw = context.uc_mcontext.fpregs->swd;
  }
  return facts;
}

void on_signal(int number, siginfo_t* info, void* raw_context) {
  auto& context = *static_cast<ucontext_t*>(raw_context);
  SignalFacts facts = facts_of(number, *info, context);
  if (number == SIGUSR1) {
    if (facts.registers.rip != g_aep || g_interrupt.count != 0) return;
    facts.count = 1;
    g_interrupt = facts;
    // Once: what it does may take until the next signal.
    if (const auto hook = std::exchange(g_door->on_interrupt, nullptr)) {
      hook();
      g_interrupt = facts;
    }
    return;
  }
  if (number == SIGTRAP && g_door->stepping != Door::Stepping::kNo) {
    const Registers& now = facts.registers;
    const bool is_there = g_door->stepping == Door::Stepping::kToEnclu
                              ? now.rip == g_aep
                              : (now.rip == g_aep && now.rax == kEresume) ||
                                    (now.rip == g_aep + kEncluSize && now.rax == kEexit);
    if (!is_there) return;
  }
  facts.count = g_signal.count + 1;
  g_signal = facts;
  if (g_door->on_exception) {
    const auto hook = std::exchange(g_door->on_exception, nullptr);
    hook();
    g_signal = facts;
  }
  auto& registers = context.uc_mcontext.gregs;
  registers[REG_RIP] = static_cast<greg_t>(address_of(matrix_land_signal));
  registers[REG_RSP] = static_cast<greg_t>(matrix_anchor);
  registers[REG_EFL] = 0x202;
}

const void* vdso_symbol(const char* name) {
  void* vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
  const void* symbol = vdso != nullptr ? dlsym(vdso, name) : nullptr;
  if (symbol == nullptr) throw std::runtime_error(std::string("the vDSO has no ") + name);
  return symbol;
}

void register_handler() {
  const int device = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
  sgx_enclu_handler handler{.handler = address_of(matrix_land_handler), .flags = 0};
  const bool good = device >= 0 && ioctl(device, SGX_IOC_ENCLU_HANDLER_REGISTER, &handler) == 0;
  const int error = errno;
  if (device >= 0) close(device);
  if (!good) {
    throw std::system_error(error, std::generic_category(), "SGX_IOC_ENCLU_HANDLER_REGISTER");
  }
}

void catch_signals() {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGUSR1}) {
    if (sigaction(number, &action, nullptr) != 0) {
      throw std::system_error(errno, std::generic_category(), "sigaction");
    }
  }
}

}  // namespace

extern "C" [[gnu::visibility("hidden")]] int matrix_on_vdso_exit(long rdi, long rsi, long rdx, long ursp,
                                                                 long r8, long r9, sgx_enclave_run* run) {
  if (run->function == kEexit) return 0;
  const auto word = [](long value) { return static_cast<std::uint64_t>(value); };
  const HandlerFacts facts{.count = g_handler.count + 1,
                           .rdi = word(rdi),
                           .rsi = word(rsi),
                           .rdx = word(rdx),
                           .ursp = word(ursp),
                           .r8 = word(r8),
                           .r9 = word(r9),
                           .run = *run};
  g_handler = facts;
  if (g_door->on_exception) {
    const auto hook = std::exchange(g_door->on_exception, nullptr);
    hook();
    g_handler = facts;
  }
  return 0;
}

Registers registers_for(std::uint64_t leaf, std::uint64_t tcs, std::uint64_t aep) {
  return {.rax = leaf,
          .rbx = tcs,
          .rcx = aep,
          .rdx = PATTERN(3),
          .rsi = PATTERN(4),
          .rdi = PATTERN(5),
          .rbp = PATTERN(6),
          .rsp = 0,
          .r8 = PATTERN(8),
          .r9 = PATTERN(9),
          .r10 = PATTERN(10),
          .r11 = PATTERN(11),
          .r12 = PATTERN(12),
          .r13 = PATTERN(13),
          .r14 = PATTERN(14),
          .r15 = PATTERN(15),
          .rflags = PATTERN_FLAGS,
          .rip = 0};
}

Door::Door(Design design) : design_(design) {
  g_door = this;
  catch_signals();
  switch (design) {
    case Design::Vdso:
      function_ = vdso_symbol("__vdso_sgx_enter_enclave");
      break;
    case Design::VdsoRegisters:
      function_ = vdso_symbol(SGX_VDSO_ENCLU_NAME);
      break;
    case Design::PerMm:
      register_handler();
      break;
    case Design::Signals:
      break;
  }
}

void Door::learn_aep(std::uint64_t tcs) {
  std::array<std::uint64_t, DUMP_SIZE / 8> dump{};
  enter({.tcs = tcs,
         .rdi = static_cast<std::uint64_t>(matrix_enclave_dump - matrix_enclave_begin),
         .rsi = address_of(dump.data())});
  function_aep_ = dump[DUMP_HOST_RIP / 8] - kEncluSize;
}

Outcome Door::enter(const Entry& entry) {
  Outcome outcome;
  const bool raw = entry.raw || function_ == nullptr;
  const std::uint64_t enclu = entry.enclu != 0 ? entry.enclu : address_of(matrix_enclu);
  outcome.aep = !raw ? function_aep_ : entry.aep != 0 ? entry.aep : enclu;
  Registers in = registers_for(entry.leaf, entry.tcs, outcome.aep);
  in.rdi = entry.rdi;
  in.rsi = entry.rsi;
  in.rflags = entry.flags;
  in.rip = enclu;

  const std::uint64_t outer_aep = std::exchange(g_aep, outcome.aep);
  g_signal = g_interrupt = {};
  g_handler = {};
  if (raw) {
    matrix_jump(&in);
    in.rsp = matrix_landing.anchor;
  } else if (design_ == Design::Vdso) {
    in.rcx = entry.leaf;
    in.rbx = outcome.caller_rbx = PATTERN(1);
    outcome.caller_rbp = in.rbp;
    outcome.run.tcs = entry.tcs;
    if (entry.with_handler) outcome.run.user_handler = address_of(matrix_vdso_handler);
    matrix_call(&in, function_, &outcome.run);
    outcome.status = static_cast<int>(matrix_landing.registers.rax);
    // At the ENCLU (vsgx.S): below RUN are the return address, RBP, to which RBP points, and RBX.
    in.rsp = matrix_landing.anchor - 32;
    in.rbp = matrix_landing.anchor - 24;
    in.rbx = entry.tcs;
    in.rcx = outcome.aep;
    in.rip = outcome.aep;
  } else {
    matrix_call(&in, function_, nullptr);
    in.rsp = matrix_landing.anchor - 16;  // the argument that nobody reads, and the return address
    in.rcx = in.rip = outcome.aep;
  }
  g_aep = outer_aep;
  outcome.loaded = in;
  return finish(outcome);
}

Outcome Door::run_host_code(const std::uint8_t* code, std::uint64_t tcs, std::uint64_t rdx,
                            std::uint64_t flags) {
  Outcome outcome;
  outcome.aep = address_of(matrix_enclu);
  Registers in = registers_for(kEenter, tcs, outcome.aep);
  in.rdx = rdx;
  in.rflags = flags;
  in.rip = address_of(code);
  const std::uint64_t outer_aep = std::exchange(g_aep, outcome.aep);
  g_signal = g_interrupt = {};
  g_handler = {};
  matrix_jump(&in);
  in.rsp = matrix_landing.anchor;
  g_aep = outer_aep;
  outcome.loaded = in;
  return finish(outcome);
}

Outcome Door::finish(Outcome outcome) const {
  outcome.landing = matrix_landing;
  outcome.signal = g_signal;
  outcome.interrupt = g_interrupt;
  outcome.handler = g_handler;
  return outcome;
}

}  // namespace enclume::cli::matrix::probe
