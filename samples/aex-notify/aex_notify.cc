// SPDX-License-Identifier: Apache-2.0
//
// AEX-Notify: an enclave that hears of its own interruptions. First it counts them. Then it hides, from a
// host that takes its pages away, which of two tables it reads.
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

#include <atomic>
#include <cstdio>
#include <string>

#include "common/enclave.h"
#include "layout.h"

extern "C" const std::uint8_t enclave_page[samples::kPage];

namespace {

using samples::check;

// What the enclave finds at RSI.
struct HostWords {
  std::atomic<std::uint64_t> stop{0};
  std::atomic<std::uint64_t> inside{0};
  std::uint64_t out[5]{};
};
static_assert(offsetof(HostWords, out) == HOST_OUT);

HostWords words;
std::uint64_t base;
int ticks_in_enclave;
bool attacking;

std::uint64_t address_of(const void* p) {
  return reinterpret_cast<std::uint64_t>(p);
}

void protect(std::uint64_t offset, int protection) {
  check(mprotect(reinterpret_cast<void*>(base + offset), samples::kPage, protection) == 0, "mprotect");
}

// The timer's signal: an interrupt first, so the enclave has been left, and RIP is the AEP with RAX =
// ERESUME.
void on_tick(int, siginfo_t*, void* context) {
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (registers[REG_RAX] != samples::kEresume || registers[REG_RBX] != static_cast<greg_t>(base + AT_TCS))
    return;
  if (!attacking) {
    if (++ticks_in_enclave == 50) words.stop = 1;
  } else if (words.inside.exchange(0) != 0) {
    protect(AT_TABLE_A, PROT_NONE);
    protect(AT_TABLE_B, PROT_NONE);
    words.stop = 1;
  }
}

void tick_every(int microseconds) {
  const itimerval timer{{0, microseconds}, {0, microseconds}};
  check(setitimer(ITIMER_REAL, &timer, nullptr) == 0, "setitimer");
}

// Goes on after each page fault, as a curious host does: the pages that were missed, in order.
std::string run(std::uint64_t operation, std::uint64_t secret, bool notify) {
  words.stop = words.inside = 0;
  protect(AT_TABLE_A, PROT_READ | PROT_WRITE);
  protect(AT_TABLE_B, PROT_READ | PROT_WRITE);
  std::string missed;
  sgx_enclave_run run{};
  run.tcs = base + AT_TCS;
  int status = samples::enter(samples::kEenter, run, operation, address_of(&words), secret, notify ? 1 : 0,
                              notify && operation == OP_LOOK_UP ? 1 : 0);
  while (status == 0 && run.function != samples::kEexit && run.exception_vector == 14) {
    const std::uint64_t offset = run.exception_addr - base;
    if (offset != AT_TABLE_A && offset != AT_TABLE_B) break;
    missed += offset == AT_TABLE_A ? " A" : " B";
    protect(offset, PROT_READ | PROT_WRITE);
    status = samples::enter(samples::kEresume, run);
  }
  check(status == 0 && run.function == samples::kEexit, "the enclave");
  return missed;
}

void count_interruptions() {
  run(OP_COUNT, 0, false);  // touches the pages once
  ticks_in_enclave = 0;
  const std::string missed = run(OP_COUNT, 0, true);
  check(missed.empty(), "counting");

  std::uint64_t a = 1, b = 2;
  for (std::uint64_t i = 0; i < words.out[0]; ++i) {
    a = 3 * a + 1;
    const bool carry = __builtin_add_overflow(b, a, &b);
    b += carry ? 1 : 0;
  }
  check(words.out[1] == words.out[0] && words.out[2] == a && words.out[3] == b,
        "the enclave's registers after its interruptions");
  std::printf("interrupted %lu times by its own count, the host saw %d; its registers came back each time\n",
              words.out[4], ticks_in_enclave);
  // The handler is not told when it is interrupted itself. Other interrupts come on top, on hardware.
  check(words.out[4] >= static_cast<std::uint64_t>(ticks_in_enclave) / 2, "the count");
}

}  // namespace

int main() {
  const auto tcs = samples::tcs_page(AT_CODE, AT_SSA, AT_DATA, samples::kTcsAexNotify);
  constexpr std::uint64_t kData = samples::kReg | samples::kR | samples::kW;
  const samples::Page pages[] = {
      {AT_TCS, samples::kTcs, tcs.data()},
      {AT_CODE, samples::kReg | samples::kR | samples::kX, enclave_page},
      {AT_SSA, kData, nullptr},
      {AT_SSA + samples::kPage, kData, nullptr},
      {AT_DATA, kData, nullptr},
      {AT_STACK, kData, nullptr},
      {AT_STACK + samples::kPage, kData, nullptr},
      {AT_TABLE_A, kData, nullptr},
      {AT_TABLE_B, kData, nullptr},
  };
  const samples::Enclave enclave(ENCLAVE_SIZE, samples::kMode64 | samples::kAexNotify, pages);
  base = enclave.base();

  struct sigaction action {};
  action.sa_sigaction = on_tick;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  check(sigaction(SIGALRM, &action, nullptr) == 0, "sigaction");
  tick_every(1000);

  count_interruptions();

  attacking = true;
  for (const bool notify : {false, true}) {
    for (const std::uint64_t secret : {0UL, 1UL}) {
      std::printf("%s, secret %lu: the host sees page faults at%s\n", notify ? "notified" : "not notified",
                  secret, run(OP_LOOK_UP, secret, notify).c_str());
    }
  }
  return 0;
}
