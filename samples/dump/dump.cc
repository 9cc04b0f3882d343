// SPDX-License-Identifier: Apache-2.0
//
// An enclave that reports its own crashes. The processor hides registers and stack of an enclave from whoever
// handles its exceptions; so the host calls the enclave once more, on top of the failure, and it tells.
#include <cstdio>
#include <iterator>
#include <string>

#include "common/enclave.h"
#include "layout.h"

extern "C" const std::uint8_t enclave_page[samples::kPage], enclave_run_job[], enclave_parse[],
    enclave_checksum[], enclave_end[];

namespace {

using samples::check;

struct Report {
  std::uint64_t registers[16];  // RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15
  std::uint64_t rflags, rip, ursp, urbp;
  std::uint32_t exitinfo;
  std::uint8_t reserved[3], aexnotify;
  std::uint64_t fsbase, gsbase;
  std::uint64_t maddr;
  std::uint32_t errcd, reserved2;
  std::uint64_t depth, frames[REPORT_MAX_DEPTH];
};
static_assert(offsetof(Report, rip) == GPRSGX_RIP && offsetof(Report, maddr) == REPORT_EXINFO &&
              offsetof(Report, frames) == REPORT_FRAMES);

// The function that an address of the enclave lies in. The image is ours, the addresses are the enclave's.
std::string place(std::uint64_t address, std::uint64_t base) {
  const struct {
    const char* name;
    const std::uint8_t* start;
  } functions[] = {{"checksum", enclave_checksum},
                   {"parse", enclave_parse},
                   {"run_job", enclave_run_job},
                   {"entry", enclave_page}};
  const std::uint64_t offset = address - base - AT_CODE;
  if (offset >= static_cast<std::uint64_t>(enclave_end - enclave_page)) return "?";
  for (const auto& [name, start] : functions) {
    const auto begin = static_cast<std::uint64_t>(start - enclave_page);
    if (offset >= begin) return std::string(name) + "+" + std::to_string(offset - begin);
  }
  return "?";
}

void print(const Report& report, std::uint64_t base) {
  static constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  const unsigned vector = report.exitinfo & 0xff;
  std::printf("  vector %u at %s", vector, place(report.rip, base).c_str());
  if (vector == 14) std::printf(", address enclave+%#lx, error code %#x", report.maddr - base, report.errcd);
  std::printf("\n");
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    std::printf("  %3s %016lx%s", kNames[i], report.registers[i], i % 4 == 3 ? "\n" : "");
  }
  std::printf("  called from");
  for (std::uint64_t i = 0; i < report.depth; ++i) std::printf(" %s", place(report.frames[i], base).c_str());
  std::printf("\n");
}

}  // namespace

int main() {
  const auto tcs = samples::tcs_page(AT_CODE, AT_SSA, AT_DATA, 0);
  constexpr std::uint64_t kData = samples::kReg | samples::kR | samples::kW;
  const samples::Page pages[] = {
      {AT_TCS, samples::kTcs, tcs.data()},
      {AT_CODE, samples::kReg | samples::kR | samples::kX, enclave_page},
      {AT_SSA, kData, nullptr},
      {AT_SSA + samples::kPage, kData, nullptr},
      {AT_DATA, kData, nullptr},
      {AT_STACK, kData, nullptr},
  };
  const samples::Enclave enclave(ENCLAVE_SIZE, samples::kMode64, pages, samples::kExinfo);

  for (const int operation : {OP_DIVIDE, OP_UD2, OP_STORE}) {
    sgx_enclave_run run{};
    run.tcs = enclave.base() + AT_TCS;
    check(samples::enter(samples::kEenter, run, static_cast<std::uint64_t>(operation)) == 0 &&
              run.function == samples::kEresume,
          "a call that should have failed");
    std::printf("the kernel says: vector %u\nthe enclave says:\n", run.exception_vector);

    Report report{};
    sgx_enclave_run dump{};
    dump.tcs = run.tcs;
    check(samples::enter(samples::kEenter, dump, 0, reinterpret_cast<std::uint64_t>(&report)) == 0 &&
              dump.function == samples::kEexit,
          "the dump");
    print(report, enclave.base());
    check(samples::enter(samples::kEresume, run) == 0 && run.function == samples::kEexit, "leaving");
  }
  return 0;
}
