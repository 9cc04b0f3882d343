// SPDX-License-Identifier: Apache-2.0
//
// A program for `enclume run --stats`, of which it is known how often it enters and leaves its enclave.
//
//   transitions THREADS CALLS FAULTS [fork | odd | writable | key]
//
// Each thread makes CALLS calls, and FAULTS more in which the enclave divides by zero and handles that
// itself: the host enters it a second time (EENTER, EEXIT), and then resumes. `fork`: a child does the same
// work once more by one thread. `odd`: the calls leave by an EEXIT that no `mov $4` stands in front of;
// `writable`: by one in a writable page. `key`: the TCSs are under a protection key of the program's.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace {

using enclume::test::address_of;
using enclume::test::CallResult;
using enclume::test::Leaf;
using enclume::test::ProbeArgs;
using enclume::test::ProbeEnclave;
using enclume::test::ProbeOptions;
using enclume::test::RegisterFile;

thread_local const ProbeEnclave* t_probe;
thread_local unsigned t_thread;

[[noreturn]] void fail(const char* what) {
  std::puts(what);
  std::exit(1);
}

// The enclave's exit, as PROBE_OP_JUMP comes to it: R12 leads to the host's registers.
std::vector<std::uint8_t> exit_code(bool with_mov) {
  std::vector<std::uint8_t> code(64, 0x90);
  const auto put = [&](std::initializer_list<std::size_t> bytes) {
    for (const std::size_t byte : bytes) code.push_back(static_cast<std::uint8_t>(byte));
  };
  put({0x49, 0x8b, 0x5c, 0x24, offsetof(RegisterFile, rcx)});  // mov rcx(%r12), %rbx
  put({0x49, 0x8b, 0x6c, 0x24, offsetof(RegisterFile, rbp)});  // mov rbp(%r12), %rbp
  put({0x49, 0x8b, 0x64, 0x24, offsetof(RegisterFile, rsp)});  // mov rsp(%r12), %rsp
  if (with_mov) {
    put({0xb8, 4, 0, 0, 0});  // mov $4, %eax
  } else {
    put({0x31, 0xc0, 0x0c, 4});  // xor %eax, %eax; or $4, %al
  }
  put({0x0f, 0x01, 0xd7});
  return code;
}

int handle(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function == static_cast<std::uint32_t>(Leaf::kEexit)) return 0;
  t_probe->set_ssa_rip(t_probe->base() + enclume::test::raise_site(PROBE_RAISE_DIVIDE).next, t_thread);
  return static_cast<int>(Leaf::kEresume);
}

void work(const ProbeEnclave& probe, unsigned thread, long calls, long faults) {
  t_probe = &probe;
  t_thread = thread;
  const bool own_code = !probe.options().code.empty();
  for (long i = 0; i < calls; ++i) {
    const CallResult result = own_code ? probe.call(PROBE_OP_JUMP, {probe.code()}, thread)
                                       : probe.call(PROBE_OP_SUM, {static_cast<std::uint64_t>(i), 2}, thread);
    if (!result.exited() || (!own_code && result.args.out[0] != static_cast<std::uint64_t>(i) + 2))
      fail("a call went wrong");
  }
  for (long i = 0; i < faults; ++i) {
    ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
    sgx_enclave_run run{};
    run.tcs = probe.tcs(thread);
    run.user_handler = reinterpret_cast<std::uint64_t>(&handle);
    const int status = enclume_test_call_vdso(PROBE_OP_RAISE, address_of(&args), 0,
                                              static_cast<std::uint32_t>(Leaf::kEenter), 0, 0, &run,
                                              enclume::test::vdso_function());
    if (status != 0 || run.function != static_cast<std::uint32_t>(Leaf::kEexit)) fail("a fault went wrong");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const auto threads = static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10));
  const long calls = std::strtol(argv[2], nullptr, 10), faults = std::strtol(argv[3], nullptr, 10);
  const std::string_view how = argc > 4 ? argv[4] : "";
  ProbeOptions options;
  options.threads = threads;
  if (how == "odd" || how == "writable") {
    options.code = exit_code(how == "writable");
    options.code_permissions |= how == "writable" ? enclume::test::kW : 0;
  }
  const ProbeEnclave probe(options);
  for (unsigned i = 0; how == "key" && i < threads; ++i) {
    auto* const tcs = reinterpret_cast<void*>(probe.tcs(i));
    if (pkey_mprotect(tcs, 4096, PROT_READ | PROT_WRITE, pkey_alloc(0, 0)) != 0) fail("no protection keys");
  }
  std::vector<std::thread> all;
  for (unsigned i = 0; i < threads; ++i) all.emplace_back([&, i] { work(probe, i, calls, faults); });
  for (std::thread& thread : all) thread.join();
  if (how != "fork") return 0;
  const pid_t child = fork();
  if (child == 0) {
    work(probe, 0, calls, faults);
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}
