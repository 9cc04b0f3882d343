// SPDX-License-Identifier: Apache-2.0
//
// A program for `enclume run --stats`, of which it is known how often it enters and leaves its enclave.
//
//   transitions THREADS CALLS FAULTS [fork | odd | writable | key | raw]
//
// Each thread makes CALLS calls, and FAULTS more in which the enclave divides by zero and handles that
// itself: the host enters it a second time (EENTER, EEXIT), and then resumes. `fork`: a child does the same
// work once more by one thread. `odd`: the calls leave by an EEXIT that no `mov $4` stands in front of;
// `writable`: by one in a writable page. `key`: the TCSs are under a protection key of the program's. `raw`:
// the threads are made by system calls of the program's own, and share one TLS block.
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string_view>
#include <thread>
#include <vector>

#include "conformance/raw_clone.h"
#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace {

using enclume::test::address_of;
using enclume::test::Leaf;
using enclume::test::ProbeArgs;
using enclume::test::ProbeEnclave;
using enclume::test::ProbeOptions;
using enclume::test::RegisterFile;

struct Work {
  Work(const ProbeEnclave* which, unsigned tcs, long how_often, long how_many)
      : probe(which), thread(tcs), calls(how_often), faults(how_many) {}
  const ProbeEnclave* probe;
  unsigned thread;
  long calls, faults;
  std::atomic<std::uint32_t> tid = 0;
};

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

// No allocation in here: the threads may have one TLS block.
int enter(const Work& work, std::uint64_t operation, ProbeArgs& args, sgx_enclave_run& run) {
  run.tcs = work.probe->tcs(work.thread);
  return enclume_test_call_vdso(operation, address_of(&args), 0, static_cast<std::uint32_t>(Leaf::kEenter), 0,
                                0, &run, enclume::test::entry_function());
}

bool has_left(const sgx_enclave_run& run) {
  return run.function == static_cast<std::uint32_t>(Leaf::kEexit);
}

// The enclave is entered once more, to move RIP behind the division.
int handle(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (has_left(*run)) return 0;
  const Work& work = *reinterpret_cast<const Work*>(run->user_data);
  const std::uint64_t rip = work.probe->base() + enclume::test::raise_site(PROBE_RAISE_DIVIDE).next;
  const std::uint64_t place =
      work.probe->frame_size() - sizeof(enclume::test::Gprsgx) + offsetof(enclume::test::Gprsgx, rip);
  ProbeArgs args{.in = {place, sizeof rip, address_of(&rip)}, .out = {}};
  sgx_enclave_run inner{};
  if (enter(work, PROBE_OP_SSA_WRITE, args, inner) != 0 || !has_left(inner)) return -1;
  return static_cast<int>(Leaf::kEresume);
}

long do_work(void* argument) {
  const Work& work = *static_cast<const Work*>(argument);
  const bool own_code = !work.probe->options().code.empty();
  for (long i = 0; i < work.calls; ++i) {
    ProbeArgs args{.in = {own_code ? work.probe->code() : static_cast<std::uint64_t>(i), 2}, .out = {}};
    sgx_enclave_run run{};
    if (enter(work, own_code ? PROBE_OP_JUMP : PROBE_OP_SUM, args, run) != 0 || !has_left(run) ||
        (!own_code && args.out[0] != static_cast<std::uint64_t>(i) + 2))
      fail("a call went wrong");
  }
  for (long i = 0; i < work.faults; ++i) {
    ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
    sgx_enclave_run run{};
    run.user_handler = reinterpret_cast<std::uint64_t>(&handle);
    run.user_data = address_of(&work);
    if (enter(work, PROBE_OP_RAISE, args, run) != 0 || !has_left(run)) fail("a fault went wrong");
  }
  return 0;
}

void make_raw_thread(Work& work) {
  constexpr std::size_t kStack = 65536;
  auto* const stack =
      static_cast<char*>(mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  work.tid = 1;
  if (enclume_test_clone(enclume::test::kRawThread | CLONE_CHILD_CLEARTID, stack + kStack, &do_work, &work,
                         &work.tid, nullptr) < 0)
    fail("no thread");
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
  (void)enclume::test::entry_function();  // looks it up once, which threads with one TLS block can't
  for (unsigned i = 0; how == "key" && i < threads; ++i) {
    auto* const tcs = reinterpret_cast<void*>(probe.tcs(i));
    if (pkey_mprotect(tcs, 4096, PROT_READ | PROT_WRITE, pkey_alloc(0, 0)) != 0) fail("no protection keys");
  }
  std::deque<Work> works;
  for (unsigned i = 0; i < threads; ++i) works.emplace_back(&probe, i, calls, faults);
  std::vector<std::thread> all;
  for (Work& work : works) {
    if (how == "raw") {
      make_raw_thread(work);
    } else {
      all.emplace_back(&do_work, &work);
    }
  }
  for (std::thread& thread : all) thread.join();
  for (Work& work : works) {
    while (const std::uint32_t tid = work.tid)
      enclume::test::raw(SYS_futex, &work.tid, FUTEX_WAIT, tid, nullptr);
  }
  if (how != "fork") return 0;
  const pid_t child = fork();
  if (child == 0) {
    do_work(&works[0]);
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}
