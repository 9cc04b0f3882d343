// SPDX-License-Identifier: Apache-2.0
//
// The traced program: an ordinary user of an enclave that stops itself (SIGSTOP) around each iteration. An
// iteration enters, takes an exception, looks at it, resumes, and takes a signal of its own; all registers
// and bases are compared with what they must be, and each signal that the tracer sent must have come once.
#include <asm/prctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>

#include "enclaves/probe_enclave.h"
#include "interrupt/victim_abi.h"
#include "support/pkru.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kHostGs = 0x0000'1234'5678'9000;
constexpr std::uint64_t kStatusFlags = 0x8d5;
constexpr std::uint64_t kThreadMagic = 0x5449'4d41'4749'4300;

VictimPage* g_page;
const ProbeEnclave* g_probe;
std::uint32_t g_seen[kSentKinds];
std::uint32_t g_own;
int g_last_payload;
pid_t g_tracer;
bool g_has_keys;
std::uint32_t g_rights;  // PKRU of this thread
thread_local volatile std::uint64_t t_magic = kThreadMagic;

[[noreturn]] void fail(const char* what, std::uint64_t is, std::uint64_t should) {
  std::snprintf(g_page->failure, sizeof g_page->failure, "%s: %#llx, not %#llx", what,
                static_cast<unsigned long long>(is), static_cast<unsigned long long>(should));
  _exit(1);
}

void expect(const char* what, std::uint64_t is, std::uint64_t should) {
  if (is != should) fail(what, is, should);
}

// Not libc's syscall(): the engine stands in for that, and a signal that comes there would show its code.
long system_call(long number, std::uint64_t first, std::uint64_t second, std::uint64_t third = 0) {
  long result = 0;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(first), "S"(second), "d"(third)
               : "rcx", "r11", "memory");
  return result;
}

std::uint64_t gs_base() {
  std::uint64_t value = 0;
  system_call(SYS_arch_prctl, ARCH_GET_GS, reinterpret_cast<std::uint64_t>(&value));
  return value;
}

void check_host(const char* where) {
  expect(where, t_magic, kThreadMagic);  // through FS
  expect(where, gs_base(), kHostGs);
}

void check_rights(const char* where) {
  if (g_has_keys) expect(where, rdpkru(), g_rights);
}

// Rights that only this thread has.
void take_key() {
  const int key = pkey_alloc(0, PKEY_DISABLE_WRITE);
  g_has_keys = key >= 0;
  if (!g_has_keys) return;
  g_rights = rdpkru();
  pkru_offset();  // by a CPUID, which may be trapped: not in a handler
}

// What a program may see of itself in a handler: neither the engine nor the enclave, and at the AEP the state
// that an AEX leaves.
void check_context(const ucontext_t& context) {
  const auto reg = [&](int number) { return static_cast<std::uint64_t>(context.uc_mcontext.gregs[number]); };
  const std::uint64_t rip = reg(REG_RIP);
  const bool in_engine = rip >= g_page->engine_begin && rip < g_page->engine_end;
  if (in_engine && !g_page->may_see_engine) {
    fail("a handler sees the engine's code at offset", rip - g_page->engine_begin, 0);
  }
  if (g_probe != nullptr) {
    const auto& enclave = const_cast<ProbeEnclave*>(g_probe)->enclave();
    if (rip >= enclave.base() && rip < enclave.base() + enclave.size())
      fail("a handler sees the enclave", rip, 0);
  }
  check_host("bases in a handler");
  if (std::memcmp(reinterpret_cast<const void*>(rip), "\x0f\x01\xd7", 3) == 0 &&
      reg(REG_RAX) == static_cast<std::uint64_t>(Leaf::kEresume)) {
    expect("RBX at the AEP", reg(REG_RBX), g_probe->tcs());
    expect("RCX at the AEP", reg(REG_RCX), rip);
  }
  expect("TF in a handler's context", reg(REG_EFL) & 0x100, 0);
  if (g_has_keys && !in_engine) {
    // Its own, or another handler's, which is interrupted at its first instruction.
    const std::uint32_t pkru = pkru_of(reinterpret_cast<const std::uint8_t*>(context.uc_mcontext.fpregs));
    if (pkru != rdpkru()) expect("PKRU in a handler's context", pkru, g_rights);
  }
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  check_context(*static_cast<const ucontext_t*>(context));
  Sent kind = Sent::kUser;
  if (signal == SIGUSR2) {
    ++g_own;
    errno = saved;
    return;
  }
  if (signal == SIGTRAP) kind = Sent::kTrap;
  if (signal == SIGFPE) kind = Sent::kFloat;
  if (signal == SIGRTMIN) {
    kind = Sent::kRealTime;
    expect("order of the real-time signals", static_cast<unsigned>(info->si_value.sival_int),
           static_cast<unsigned>(g_last_payload + 1));
    g_last_payload = info->si_value.sival_int;
  } else if (signal == SIGTRAP && info->si_code == TRAP_TRACE) {
    kind = Sent::kStep;
    const auto rip = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
    expect("si_addr of a step", reinterpret_cast<std::uint64_t>(info->si_addr),
           static_cast<std::uint64_t>(rip));
    ++g_seen[static_cast<unsigned>(kind)];
    errno = saved;
    return;
  } else {
    expect("si_code", static_cast<unsigned>(info->si_code), static_cast<unsigned>(SI_TKILL));
  }
  expect("si_pid", static_cast<unsigned>(info->si_pid), static_cast<unsigned>(g_tracer));
  ++g_seen[static_cast<unsigned>(kind)];
  errno = saved;
}

RegisterFile pattern(std::uint64_t seed) {
  RegisterFile file{};
  std::uint64_t* words = &file.rax;
  for (std::uint64_t i = 0; i < 16; ++i) words[i] = 0x0123'4567'89ab'0000 * (i % 7 + 1) + (seed << 8) + i;
  file.rflags = kStatusFlags | 0x202;
  return file;
}

// x87, SSE, AVX and AVX-512 state, as far as the machine has it. In the standard format.
constexpr std::uint64_t kStates = 0xe7;
using XsaveArea = unsigned char[4096];
alignas(64) XsaveArea g_state, g_expected, g_inside, g_after, g_own_state;

std::uint64_t states_of_machine() {
  std::uint32_t low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low & kStates;
}

// What an enclave is to show: PKRU besides.
std::uint64_t states_inside() {
  return states_of_machine() | (g_has_keys ? kPkruFeature : 0);
}

// A state in which each register has another value, and what XSAVE makes of it.
void make_state(std::uint64_t seed) {
  std::memset(g_state, 0, sizeof g_state);
  asm volatile("xsave64 %0" : "+m"(g_state) : "a"(states_of_machine()), "d"(0));
  for (std::size_t i = 32; i < sizeof g_state; ++i) {
    // ST0 to ST7 take ten bytes of sixteen each; behind the XMM registers nothing is restored, then the
    // header.
    const bool x87 = i < 160 && (i - 32) % 16 < 10;
    if (x87 || (i >= 160 && i < 416) || i >= 576) g_state[i] = static_cast<unsigned char>(i * 7 + seed);
  }
  g_state[4] = 0xff;  // all of the x87 stack in use
  const std::uint64_t states = states_of_machine();
  std::memcpy(g_state + 512, &states, sizeof states);
  std::memset(g_expected, 0, sizeof g_expected);
  asm volatile(
      "xsave64 %[own]\n\t"
      "xrstor64 %[state]\n\t"
      "xsave64 %[expected]\n\t"
      "xrstor64 %[own]"
      : [own] "+m"(g_own_state), [expected] "+m"(g_expected)
      : [state] "m"(g_state), "a"(states), "d"(0));
}

void expect_state(const char* where, const XsaveArea& is) {
  for (std::size_t i = 0; i < sizeof g_expected; ++i) {
    if (is[i] != g_expected[i]) fail(where, is[i], i << 16 | g_expected[i]);
  }
}

// PKRU as the enclave has found it, the same in each call. In `area` it is set back, so that the rest can be
// compared.
void check_rights_inside(const char* where, XsaveArea& area) {
  static std::uint32_t first = 0;
  if (!g_has_keys) return;
  const std::uint32_t pkru = pkru_of(area);
  if (first == 0) first = pkru;
  expect(where, pkru, first);
  set_pkru(area, 0);
  area[512 + 1] &= static_cast<unsigned char>(~(kPkruFeature >> 8));
}

// A call by the vDSO function with all that state loaded, and registers of its own: the enclave finds both,
// and behind the exit the state is there still.
void check_entry_state(const ProbeEnclave& probe, std::uint64_t number) {
  make_state(number);
  RegisterFile seen{};
  const std::uint64_t states = states_of_machine();
  ProbeArgs args{.in = {reinterpret_cast<std::uint64_t>(&seen), reinterpret_cast<std::uint64_t>(&g_inside),
                        states_inside()},
                 .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe.tcs();
  const auto function = vdso_function();
  std::memset(g_inside, 0, sizeof g_inside);
  std::memset(g_after, 0, sizeof g_after);
  std::uint64_t status = static_cast<std::uint64_t>(Leaf::kEenter);
  asm volatile(
      "xsave64 %[own]\n\t"
      "xrstor64 %[state]\n\t"
      "push %%rax\n\t"
      "push %[run]\n\t"
      "lea 0x1111(%%rdi), %%rdx\n\t"
      "lea 0x2222(%%rdi), %%r8\n\t"
      "lea 0x3333(%%rdi), %%r9\n\t"
      "call *%[function]\n\t"
      "add $8, %%rsp\n\t"
      "mov %%rax, %%rcx\n\t"
      "pop %%rax\n\t"
      "xor %%edx, %%edx\n\t"
      "xsave64 %[after]\n\t"
      "xrstor64 %[own]"
      : "+c"(status), [own] "+m"(g_own_state), [after] "+m"(g_after)
      : [state] "m"(g_state), "a"(states), "d"(0), [run] "r"(&run), [function] "r"(function),
        "D"(PROBE_OP_ENTRY_STATE), "S"(&args)
      : "r8", "r9", "r10", "r11", "memory", "cc");
  expect("status", static_cast<std::uint32_t>(status), 0);
  check_rights("PKRU behind an exit");
  check_rights_inside("PKRU behind EENTER", g_inside);
  expect_state("vector state at an entry (offset << 16)", g_inside);
  expect_state("vector state behind an exit (offset << 16)", g_after);
  expect("RAX at an entry", seen.rax, 0);
  expect("RBX at an entry", seen.rbx, probe.tcs());
  expect("RDI at an entry", seen.rdi, PROBE_OP_ENTRY_STATE);
  expect("RSI at an entry", seen.rsi, reinterpret_cast<std::uint64_t>(&args));
  expect("RDX at an entry", seen.rdx, PROBE_OP_ENTRY_STATE + 0x1111);
  expect("R8 at an entry", seen.r8, PROBE_OP_ENTRY_STATE + 0x2222);
  expect("R9 at an entry", seen.r9, PROBE_OP_ENTRY_STATE + 0x3333);
}

sgx_enclave_run g_exception;
ProbeArgs* g_call;

// Called by the vDSO function on the program's stack, which is still as the interrupted code will want it.
int on_exit(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function == static_cast<std::uint32_t>(Leaf::kEexit)) return 0;
  g_exception = *run;
  check_host("bases after an exception");
  check_rights("PKRU after an exception");
  g_probe->set_ssa_rip(g_probe->base() + probe_labels().tail_dump);
  g_call->in[3] = states_inside();  // which its XRSTOR was not to load all
  return static_cast<int>(Leaf::kEresume);
}

void signal_itself() {
  g_own = 0;
  system_call(SYS_tgkill, static_cast<std::uint64_t>(getpid()), static_cast<std::uint64_t>(gettid()),
              SIGUSR2);
  expect("signals to itself", g_own, 1);
  check_host("bases after a signal");
}

// A child in this address space, on this very stack, that ends at once.
void clone_by_itself() {
  long child = SYS_clone;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%edi, %%edi\n\t"
      "mov $60, %%eax\n\t"  // exit
      "syscall\n"
      "1:"
      : "+a"(child)
      : "D"(static_cast<long>(CLONE_VM | CLONE_VFORK)), "S"(0L), "d"(0L)
      : "rcx", "r11", "memory");
  if (child <= 0) fail("clone", static_cast<std::uint64_t>(child), 1);
  int status = -1;
  expect("the child", static_cast<std::uint64_t>(waitpid(static_cast<pid_t>(child), &status, __WALL)),
         static_cast<std::uint64_t>(child));
  expect("the child's status", static_cast<unsigned>(status), 0);
  check_host("bases after a clone");
}

void expect_signals() {
  static const char* const kNames[] = {"SIGUSR1 seen", "SIGTRAP seen", "SIGFPE seen", "SIGRTMIN seen",
                                       "steps seen"};
  for (unsigned kind = 0; kind < kSentKinds; ++kind)
    expect(kNames[kind], g_seen[kind], g_page->expected[kind]);
}

// A child with a copy of this memory, in which alone it is to be seen what came to it.
void fork_by_itself() {
  const long child = system_call(SYS_clone, SIGCHLD, 0);
  if (child == 0) {
    expect_signals();
    check_host("bases in a forked child");
    system_call(SYS_exit_group, 0, 0);
  }
  if (child < 0) fail("clone", static_cast<std::uint64_t>(child), 1);
  int status = -1;
  expect("the child", static_cast<std::uint64_t>(waitpid(static_cast<pid_t>(child), &status, 0)),
         static_cast<std::uint64_t>(child));
  expect("the child's status", static_cast<unsigned>(status), 0);
  check_host("bases after a fork");
}

alignas(64) unsigned char g_thread_stack[1 << 17];
volatile std::uint32_t g_thread_registers_bad;
volatile int g_thread_there;  // its id while it lives: the kernel clears it

// A thread that shares all with this one, FS too, and ends at once.
void make_thread_by_itself() {
  constexpr long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                          CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  register volatile int* child_tid asm("r10") = &g_thread_there;
  long child = SYS_clone;
  asm volatile(
      "mov $0x1357, %%r12d\n\t"
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "cmp $0x1357, %%r12d\n\t"
      "setne %[bad]\n\t"
      "xor %%edi, %%edi\n\t"
      "mov $60, %%eax\n\t"  // exit
      "syscall\n"
      "1:"
      : "+a"(child), [bad] "=m"(*const_cast<unsigned char*>(
                         reinterpret_cast<volatile unsigned char*>(&g_thread_registers_bad)))
      : "D"(kFlags), "S"(g_thread_stack + sizeof g_thread_stack), "d"(&g_thread_there), "r"(child_tid)
      : "rcx", "r11", "r12", "memory");
  if (child <= 0) fail("clone", static_cast<std::uint64_t>(child), 1);
  while (g_thread_there != 0) system_call(SYS_sched_yield, 0, 0);
  expect("registers of a thread", g_thread_registers_bad, 0);
  check_host("bases after a thread was made");
}

void iterate(const ProbeEnclave& probe, std::uint64_t number) {
  // Registers go into the enclave, through an exception and out again.
  const RegisterFile set = pattern(number);
  RegisterFile dumped{};
  make_state(number + 1);
  std::memset(g_inside, 0, sizeof g_inside);
  ProbeArgs args{.in = {reinterpret_cast<std::uint64_t>(&g_state), reinterpret_cast<std::uint64_t>(&set),
                        PROBE_TAIL_UD2, states_of_machine(), reinterpret_cast<std::uint64_t>(&g_inside), 0,
                        reinterpret_cast<std::uint64_t>(&dumped)},
                 .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe.tcs();
  run.user_handler = reinterpret_cast<std::uint64_t>(&on_exit);
  g_exception = {};
  g_call = &args;
  const int status =
      enclume_test_call_vdso(PROBE_OP_LOAD_STATE, reinterpret_cast<std::uint64_t>(&args), 0,
                             static_cast<std::uint32_t>(Leaf::kEenter), 0, 0, &run, vdso_function());
  expect("status", static_cast<std::uint64_t>(status), 0);
  expect("leaf of the fault", g_exception.function, static_cast<std::uint64_t>(Leaf::kEresume));
  expect("vector", g_exception.exception_vector, kVectorUd);
  expect("leaf at the end", run.function, static_cast<std::uint64_t>(Leaf::kEexit));
  const std::uint64_t* was = &set.rax;
  const std::uint64_t* is = &dumped.rax;
  for (std::size_t i = 0; i < 16; ++i) {
    if (&was[i] != &set.rsp) expect("a register of the enclave", is[i], was[i]);
  }
  check_rights_inside("PKRU behind ERESUME", g_inside);
  expect_state("vector state behind ERESUME (offset << 16)", g_inside);
  expect("the enclave's flags", dumped.rflags & kStatusFlags, kStatusFlags);
  check_host("bases after an exit");
  check_rights("PKRU after an exit");

  // Its segments, which an entry sets.
  CallResult result = probe.call(PROBE_OP_SEGMENTS);
  expect("FS of the enclave", result.args.out[0], PROBE_FS_MAGIC);
  expect("GS of the enclave", result.args.out[1], PROBE_GS_MAGIC);

  check_entry_state(probe, number);

  signal_itself();

  result = probe.call(PROBE_OP_SUM, {number, 5});
  expect("the enclave's sum", result.args.out[0], number + 5);
  if (g_page->mode == Mode::kEnclaveClone) clone_by_itself();
}

void handle(int signal) {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  if (g_page->mode == Mode::kMaskedHandler) sigaddset(&action.sa_mask, SIGILL);
  if (sigaction(signal, &action, nullptr) != 0) fail("sigaction", static_cast<unsigned>(errno), 0);
}

void run() {
  ProbeOptions options;
  options.frames = 4;
  options.image.xfrm = states_of_machine();
  std::optional<ProbeEnclave> probe;
  if (g_page->mode == Mode::kEnclave || g_page->mode == Mode::kEnclaveClone) {
    g_probe = &probe.emplace(options);
  }
  take_key();
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTRAP, SIGFPE, SIGRTMIN}) handle(signal);
  system_call(SYS_arch_prctl, ARCH_SET_GS, kHostGs);
  for (std::uint64_t i = 0;; ++i) {
    std::memset(g_seen, 0, sizeof g_seen);
    g_last_payload = 0;
    g_page->iterations = static_cast<std::uint32_t>(i);
    raise(SIGSTOP);
    if (g_page->quit) return;
    if (probe) {
      iterate(*probe, i);
    } else if (g_page->mode == Mode::kFork) {
      fork_by_itself();
    } else if (g_page->mode == Mode::kThread) {
      make_thread_by_itself();
    } else {
      signal_itself();
    }
    raise(SIGSTOP);
    if (g_page->mode != Mode::kFork || !g_page->in_child) expect_signals();
  }
}

}  // namespace
}  // namespace enclume::test

int main() {
  using namespace enclume::test;
  void* page = mmap(nullptr, sizeof(VictimPage), PROT_READ | PROT_WRITE, MAP_SHARED, kVictimFd, 0);
  if (page == MAP_FAILED) return 2;
  g_page = static_cast<VictimPage*>(page);
  g_tracer = getppid();
  try {
    run();
  } catch (const std::exception& error) {
    std::snprintf(g_page->failure, sizeof g_page->failure, "%s", error.what());
    return 1;
  }
  return 0;
}
