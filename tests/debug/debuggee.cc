// SPDX-License-Identifier: Apache-2.0
//
// A small program for gdb to look at: an enclave with symbols, entered by the vDSO function or by an ENCLU of
// its own, and faults of the host. Without optimisation, so that the tests can name its functions.
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "debug/layout.h"
#include "enclaves/call_enclave.h"
#include "enclaves/enclave_image.h"
#include "enclaves/sgx_loader.h"

extern "C" {
extern const std::uint8_t debug_enclave_code[];
extern const std::uint8_t debug_enclave_code_end[];
void debuggee_loaded();
void debuggee_done(long result);
int debuggee_exit_handler(long rdi, long rsi, long rdx, long ursp, long r8, long r9, sgx_enclave_run* run);
void debuggee_call_enclave(long operation, volatile long* word);
void debuggee_touch_nothing();
}

using namespace enclume::test;

namespace {

LoadedEnclave* g_enclave = nullptr;
sigjmp_buf g_back;
bool g_with_handler = false;

EnclaveImage debug_image() {
  ImageOptions options;
  options.attributes = kAttributeMode64 | kAttributeDebug;
  EnclaveImage image(0x8000, options);
  std::vector<std::uint8_t> code(debug_enclave_code, debug_enclave_code_end);
  code.resize(DEBUG_CODE_SIZE);
  image.add_pages(0, kR | kX, code);
  Tcs tcs{};
  tcs.ossa = DEBUG_TCS + DEBUG_SSA;
  tcs.nssa = DEBUG_SSA_FRAMES;
  tcs.oentry = 0;
  tcs.ofsbase = tcs.ogsbase = DEBUG_TCS + DEBUG_STACK;
  tcs.fslimit = tcs.gslimit = 0xffffffff;
  image.add_tcs(DEBUG_TCS, tcs);
  image.add_pages(DEBUG_TCS + DEBUG_STACK, kR | kW,
                  std::vector<std::uint8_t>(DEBUG_SSA - DEBUG_STACK + DEBUG_SSA_FRAMES * kPage));
  return image;
}

void on_signal(int signal, siginfo_t*, void*) {
  // Not stdio: the signal may have come anywhere.
  char text[] = "handled signal 00\n";
  text[15] = static_cast<char>('0' + signal / 10);
  text[16] = static_cast<char>('0' + signal % 10);
  (void)!write(STDOUT_FILENO, text, sizeof text - 1);
  siglongjmp(g_back, 1);
}

void handle(int signal) {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  sigaction(signal, &action, nullptr);
}

}  // namespace

extern "C" {

__attribute__((noinline)) void debuggee_loaded() {
  asm volatile("");
}

__attribute__((noinline)) void debuggee_done(long result) {
  std::printf("result %#lx\n", result);
  std::fflush(stdout);
}

__attribute__((noinline)) int debuggee_exit_handler(long, long, long, long, long, long,
                                                    sgx_enclave_run* run) {
  return run->function == 4 ? 0 : -1;
}

__attribute__((noinline)) void debuggee_call_enclave(long operation, volatile long* word) {
  sgx_enclave_run run{};
  run.tcs = g_enclave->base() + DEBUG_TCS;
  if (g_with_handler) run.user_handler = reinterpret_cast<std::uint64_t>(&debuggee_exit_handler);
  const int status =
      enclume_test_call_vdso(static_cast<std::uint64_t>(operation), reinterpret_cast<std::uint64_t>(word), 0,
                             2, 0, 0, &run, find_vdso_function());
  if (run.function != 4) {
    std::printf("status %d, leaf %u, vector %u\n", status, run.function, run.exception_vector);
    std::fflush(stdout);
  }
}

__attribute__((noinline)) void debuggee_touch_nothing() {
  *reinterpret_cast<volatile long*>(std::uintptr_t{8}) = 1;
}
}

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "compute";
  LoadedEnclave enclave(debug_image());
  g_enclave = &enclave;
  volatile long word = 0x100;
  debuggee_loaded();
  if (what == "compute") {
    debuggee_call_enclave(DEBUG_OP_COMPUTE, &word);
  } else if (what == "many") {
    for (int i = 0; i < 1000; ++i) {
      word = 0x100;
      debuggee_call_enclave(DEBUG_OP_COMPUTE, &word);
    }
  } else if (what == "trap") {
    g_with_handler = true;
    debuggee_call_enclave(DEBUG_OP_UD2, &word);
  } else if (what == "wait") {
    word = 0;
    debuggee_call_enclave(DEBUG_OP_WAIT, &word);
  } else if (what == "own-enclu") {
    RegisterFile in{}, out{};
    in.rax = 2;
    in.rbx = enclave.base() + DEBUG_TCS;
    in.rdi = argc > 2 ? static_cast<std::uint64_t>(std::atol(argv[2])) : DEBUG_OP_COMPUTE;
    in.rsi = reinterpret_cast<std::uint64_t>(&word);
    handle(SIGILL);
    if (sigsetjmp(g_back, 1) == 0) enclume_test_raw_enclu(&in, &out);
  } else if (what == "segv") {
    handle(SIGSEGV);
    if (sigsetjmp(g_back, 1) == 0) debuggee_touch_nothing();
  } else if (what == "crash") {
    debuggee_touch_nothing();
  } else if (what == "int3") {
    asm volatile("int3");
  } else if (what == "attach") {
    std::printf("pid %d\n", getpid());
    std::fflush(stdout);
    volatile bool go_on = true;
    while (go_on) {
      word = 0x100;
      debuggee_call_enclave(DEBUG_OP_COMPUTE, &word);
      usleep(1000);
    }
  }
  debuggee_done(word);
  return 0;
}
