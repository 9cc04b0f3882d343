// SPDX-License-Identifier: Apache-2.0
//
// Prints all that a program can see of pages that are touched before they are there: by a read, a write, a
// fetch, by EACCEPT, EACCEPTCOPY and EMODPE. What differs from run to run (addresses of the host's) is left
// out, so that two runs print the same if the machine does the same.
//
//   touches PAGES      and then touches so many pages, each of which a handler accepts
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "conformance/support.h"

namespace {

using namespace enclume::test;

constexpr std::uint64_t kFresh = kPtReg | kR | kW | kPending;
constexpr std::uint64_t kState = 7;  // x87, SSE, AVX

struct alignas(64) StateImage {
  std::uint8_t bytes[4096];
};

const ProbeEnclave& probe() {
  static const ProbeEnclave enclave = [] {
    ProbeOptions options;
    options.minimum_size = 1 << 22;
    options.frames = 4;
    options.image.miscselect = kMiscselectExinfo;
    LoadOptions load;
    load.map_holes = true;
    return ProbeEnclave(options, load);
  }();
  return enclave;
}

std::uint64_t hole(std::uint64_t page) {
  return probe().base() + (1 << 21) + page * kPage;
}

// What is in the enclave as an offset, small numbers as they are, and of the host's only that they are.
void print_word(const char* name, std::uint64_t value) {
  const std::uint64_t offset = value - probe().base();
  if (offset < probe().image().size()) {
    std::printf(" %s=+%llx", name, static_cast<unsigned long long>(offset));
  } else if (value >> 32 == 0) {
    std::printf(" %s=%llx", name, static_cast<unsigned long long>(value));
  } else {
    std::printf(" %s=host", name);
  }
}

void print_bytes(const char* name, const void* bytes, std::size_t size) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < size; ++i) {
    hash = (hash ^ static_cast<const std::uint8_t*>(bytes)[i]) * 0x100000001b3;
  }
  std::printf(" %s#%016llx", name, static_cast<unsigned long long>(hash));
}

void print_run(const sgx_enclave_run& run) {
  print_word("function", run.function);
  print_word("vector", run.exception_vector);
  print_word("error", run.exception_error_code);
  print_word("addr", run.exception_addr);
}

// SSA frame 0, which the enclave looks at.
void print_frame(bool with_state) {
  const std::uint64_t size = probe().frame_size();
  std::vector<std::uint8_t> frame(size);
  probe().copy(address_of(frame.data()), probe().tcs() + PROBE_SSA, size);
  Gprsgx saved;
  Exinfo exinfo;
  std::memcpy(&saved, &frame[size - sizeof saved], sizeof saved);
  std::memcpy(&exinfo, &frame[size - sizeof saved - sizeof exinfo], sizeof exinfo);
  std::uint64_t words[sizeof saved / 8];
  std::memcpy(words, &saved, sizeof words);
  std::printf("  frame");
  for (const std::uint64_t word : words) print_word("", word);
  std::printf("\n  exinfo");
  std::uint64_t extra[sizeof exinfo / 8];
  std::memcpy(extra, &exinfo, sizeof extra);
  for (const std::uint64_t word : extra) print_word("", word);
  if (with_state) {
    print_bytes("legacy", frame.data(), 512);
    print_word("xstate_bv", frame[512]);
    print_bytes("header", &frame[520], 56);
    print_bytes("avx", &frame[576], 256);
  }
  std::printf("\n");
}

// The entry, with a state of its own and all registers known.
sgx_enclave_run enter(std::uint64_t operation, ProbeArgs& args, bool show) {
  static StateImage in, out;
  for (std::size_t i = 0; i < 256; ++i) in.bytes[160 + i] = static_cast<std::uint8_t>(i * 3 + 1);
  for (std::size_t i = 0; i < 256; ++i) in.bytes[576 + i] = static_cast<std::uint8_t>(i * 5 + 1);
  const std::uint16_t fcw = 0x27f;
  const std::uint32_t mxcsr = 0x9fc0;
  std::memcpy(&in.bytes[0], &fcw, sizeof fcw);
  std::memcpy(&in.bytes[24], &mxcsr, sizeof mxcsr);
  in.bytes[512] = machine_xcr0() & kState;
  RegisterFile registers{}, after{};
  registers.rdi = operation;
  registers.rsi = address_of(&args);
  registers.rcx = static_cast<std::uint64_t>(Leaf::kEenter);
  registers.r8 = 8;
  registers.r9 = 9;
  registers.r12 = 12;
  registers.r13 = 13;
  registers.r14 = 14;
  registers.r15 = 15;
  sgx_enclave_run run{};
  run.tcs = probe().tcs();
  const int status =
      enclume_test_call_vdso_xstate(&registers, &after, &run, vdso_function(), &in, &out, kState);
  if (show) {
    print_word("status", static_cast<std::uint64_t>(status));
    print_run(run);
    std::printf("\n  host");
    for (const std::uint64_t word :
         {after.rax, after.rbx, after.rcx, after.rdx, after.rsi, after.rdi, after.r8, after.r9, after.r10,
          after.r11, after.r12, after.r13, after.r14, after.r15, after.rflags}) {
      print_word("", word);
    }
    print_bytes("legacy", out.bytes, 512);
    print_word("xstate_bv", out.bytes[512]);
    std::printf("\n");
  }
  return run;
}

void touch(const char* what, std::uint64_t operation, std::uint64_t address) {
  ProbeArgs args{.in = {address, 5}, .out = {}};
  std::printf("%s", what);
  enter(operation, args, true);
  print_frame(true);
  probe().abandon();
  // It is there now, and still nobody's.
  ProbeArgs again{.in = {address}, .out = {}};
  std::printf("  again");
  print_run(enter(PROBE_OP_READ, again, false));
  std::printf("\n");
  probe().abandon();
  const auto accepted = probe().enclu_secinfo(Leaf::kEaccept, kFresh, address / kPage * kPage);
  std::printf("  accept");
  print_word("rax", accepted.rax);
  print_word("now", probe().read(address));
  std::printf("\n");
}

void leaf(const char* what, Leaf number, std::uint64_t flags, std::uint64_t address, std::uint64_t source,
          std::uint64_t secinfo_at = probe().scratch()) {
  const Secinfo secinfo{.flags = flags, .reserved = {}};
  probe().copy(probe().scratch(), address_of(&secinfo), sizeof secinfo);
  ProbeArgs args{.in = {static_cast<std::uint64_t>(number), secinfo_at, address, source}, .out = {}};
  std::printf("%s", what);
  const auto run = enter(PROBE_OP_ENCLU, args, true);
  print_word("  rax", args.out[0]);
  print_word("rflags", args.out[1]);
  std::printf("\n");
  print_frame(true);
  if (run.function != static_cast<std::uint32_t>(Leaf::kEexit)) probe().abandon();
}

unsigned long handled = 0;

int accept_on_fault(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function != static_cast<std::uint32_t>(Leaf::kEresume)) return 0;
  ++handled;
  const auto accepted = probe().call(
      PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEaccept), probe().scratch(), run->exception_addr});
  return accepted.exited() && accepted.args.out[0] == 0 ? static_cast<int>(Leaf::kEresume) : -1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t pages = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  probe().touch();
  // All code once, so that no page of it is missing later.
  for (int i = 0; i < 2; ++i) (void)probe().call(PROBE_OP_STRIDE, {probe().scratch(), 1, kPage});

  touch("read", PROBE_OP_READ, hole(1) + 8);
  touch("write", PROBE_OP_WRITE, hole(2) + 16);
  touch("fetch", PROBE_OP_JUMP, hole(3) + 32);
  touch("behind the one before", PROBE_OP_WRITE, hole(4) + 40);
  leaf("EACCEPT", Leaf::kEaccept, kFresh, hole(10), 0);
  leaf("EACCEPT as it is not", Leaf::kEaccept, kPtReg | kR | kPending, hole(11), 0);
  leaf("EACCEPTCOPY", Leaf::kEacceptcopy, kPtReg | kR | kW, hole(12), probe().scratch());
  leaf("EMODPE", Leaf::kEmodpe, kPtReg | kR | kW | kX, hole(13), 0);
  leaf("EACCEPT, SECINFO in no page", Leaf::kEaccept, kFresh, hole(14), 0, hole(15));

  const Secinfo secinfo{.flags = kFresh, .reserved = {}};
  probe().copy(probe().scratch(), address_of(&secinfo), sizeof secinfo);
  ProbeArgs args{.in = {hole(64), pages, kPage}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe().tcs();
  run.user_handler = reinterpret_cast<std::uint64_t>(&accept_on_fault);
  const int status =
      enclume_test_call_vdso(PROBE_OP_STRIDE, address_of(&args), 0, static_cast<std::uint32_t>(Leaf::kEenter),
                             0, 0, &run, vdso_function());
  std::printf("%d: %lu pages were accepted, sum %llu\n", status, handled,
              static_cast<unsigned long long>(args.out[0]));
  return 0;
}
