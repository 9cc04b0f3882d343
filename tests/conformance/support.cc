// SPDX-License-Identifier: Apache-2.0
#include "conformance/support.h"

#include <cpuid.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <system_error>

namespace enclume::test {
namespace {

CaughtSignal g_caught;
std::uint64_t g_resume_at = 0;

extern "C" [[gnu::used, gnu::visibility("hidden")]] void enclume_test_record(int signal, siginfo_t* info,
                                                                             void* raw_context) {
  auto* context = static_cast<ucontext_t*>(raw_context);
  g_caught.signal = signal;
  g_caught.code = info->si_code;
  g_caught.address = address_of(info->si_addr);
  for (std::size_t i = 0; i < g_caught.registers.size(); ++i) {
    g_caught.registers[i] = static_cast<std::uint64_t>(context->uc_mcontext.gregs[i]);
  }
  if (const fpregset_t fp = context->uc_mcontext.fpregs; fp != nullptr) {
    g_caught.fcw = fp->cwd;
    g_caught.fsw = fp->swd;
    g_caught.mxcsr = fp->mxcsr;
    std::memcpy(g_caught.xmm.data(), fp->_xmm, sizeof g_caught.xmm);
  }
  g_caught.count = g_caught.count + 1;
  if (g_resume_at != 0) context->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(g_resume_at);
}

// The kernel leaves AC as it was, and an AEX leaves it as the enclave had it: no compiled code may run with
// it.
[[gnu::naked]] void record(int /*signal*/, siginfo_t* /*info*/, void* /*raw_context*/) {
  asm("pushfq\n\t"
      "andl $~0x40000, (%rsp)\n\t"
      "popfq\n\t"
      "jmp enclume_test_record");
}

void must(bool good, const char* what) {
  if (!good) throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

bool works(const ProbeEnclave& probe) {
  return probe.call(PROBE_OP_SUM, {40, 2}).args.out[0] == 42;
}

bool faults(const ProbeEnclave& probe) {
  const CallResult result = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2});
  const bool is_ud = result.faulted() && result.run.exception_vector == 6;
  probe.abandon();
  return is_ud;
}

ScopedSigaction::ScopedSigaction(int signal, Handler handler, unsigned flags, std::initializer_list<int> mask)
    : signal_(signal) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = static_cast<int>(flags | SA_SIGINFO);
  sigemptyset(&action.sa_mask);
  for (const int masked : mask) sigaddset(&action.sa_mask, masked);
  must(sigaction(signal, &action, &old_) == 0, "sigaction");
}

ScopedSigaction::~ScopedSigaction() {
  sigaction(signal_, &old_, nullptr);
}

ScopedSignalMask::ScopedSignalMask(int how, std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  must(pthread_sigmask(how, &set, &old_) == 0, "pthread_sigmask");
}

ScopedSignalMask::~ScopedSignalMask() {
  pthread_sigmask(SIG_SETMASK, &old_, nullptr);
}

SignalCatcher::SignalCatcher(std::initializer_list<int> signals, const void* resume_at, int flags) {
  g_caught = {};
  g_resume_at = address_of(resume_at);
  for (const int signal : signals) {
    struct sigaction action {};
    action.sa_sigaction = record;
    action.sa_flags = SA_SIGINFO | flags;
    sigemptyset(&action.sa_mask);
    must(sigaction(signal, &action, &old_[static_cast<std::size_t>(signal)]) == 0, "sigaction");
    installed_ |= std::uint64_t{1} << signal;
  }
}

SignalCatcher::~SignalCatcher() {
  for (int signal = 1; signal < 64; ++signal) {
    if ((installed_ >> signal & 1) != 0) sigaction(signal, &old_[static_cast<std::size_t>(signal)], nullptr);
  }
}

const CaughtSignal& SignalCatcher::caught() const {
  return g_caught;
}

int in_child(const std::function<int()>& body) {
  return in_child(body, 50);
}

int in_child(const std::function<int()>& body, unsigned seconds) {
  const pid_t child = fork();
  must(child >= 0, "fork");
  if (child == 0) {
    alarm(seconds);
    try {
      _exit(body());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in a child of the test: %s\n", error.what());
      _exit(250);
    }
  }
  int status = 0;
  pid_t waited;
  do {
    waited = waitpid(child, &status, 0);
  } while (waited < 0 && errno == EINTR);
  must(waited == child, "waitpid");
  return status;
}

bool deny_write_exec() {
  constexpr int kSetMdwe = 65;
  constexpr unsigned long kRefuseExecGain = 1;
  return prctl(kSetMdwe, kRefuseExecGain, 0, 0, 0) == 0;
}

XsaveArea::XsaveArea() {
  std::memset(bytes_, 0, sizeof bytes_);
}

std::uint64_t XsaveArea::xstate_bv() const {
  std::uint64_t value;
  std::memcpy(&value, bytes_ + 512, sizeof value);
  return value;
}

std::uint32_t XsaveArea::mxcsr() const {
  std::uint32_t value;
  std::memcpy(&value, bytes_ + 24, sizeof value);
  return value;
}

std::uint16_t XsaveArea::fcw() const {
  std::uint16_t value;
  std::memcpy(&value, bytes_, sizeof value);
  return value;
}

XsaveComponent xsave_component(unsigned number) {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid_count(0xd, number, eax, ebx, ecx, edx);
  return {.offset = ebx, .size = eax};
}

std::uint64_t testable_xfrm() {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid_count(0x12, 1, eax, ebx, ecx, edx);
  return machine_xcr0() & (std::uint64_t{edx} << 32 | ecx) & 0xe7;
}

void XsaveArea::fill_pattern(std::uint64_t mask, std::uint8_t seed) {
  std::memset(bytes_, 0, sizeof bytes_);
  const auto fill = [&](std::size_t offset, std::size_t size, unsigned component) {
    for (std::size_t i = 0; i < size; ++i) {
      bytes_[offset + i] = static_cast<std::uint8_t>(seed + 31 * component + 7 * i + i / 64);
    }
  };
  if ((mask & 1) != 0) {
    const std::uint16_t control = 0x027f;  // Double precision: not the initial value.
    std::memcpy(bytes_, &control, sizeof control);
    bytes_[4] = 0xff;  // All registers in use.
    for (unsigned i = 0; i < 8; ++i) {
      fill(32 + 16 * i, 8, i);
      bytes_[32 + 16 * i + 7] |= 0x80;  // Normal numbers: integer bit set, exponent 3FFFh.
      bytes_[32 + 16 * i + 8] = 0xff;
      bytes_[32 + 16 * i + 9] = 0x3f;
    }
  }
  const std::uint32_t mxcsr = 0x3f80;  // Round down: not the initial value.
  std::memcpy(bytes_ + 24, &mxcsr, sizeof mxcsr);
  if ((mask & 2) != 0) fill(160, 256, 1);
  for (const unsigned number : {2u, 5u, 6u, 7u}) {
    if ((mask >> number & 1) == 0) continue;
    const XsaveComponent component = xsave_component(number);
    fill(component.offset, component.size, number);
  }
  std::memcpy(bytes_ + 512, &mask, sizeof mask);
}

int XsaveArea::first_difference(const XsaveArea& other, std::uint64_t mask) const {
  const auto differs = [&](unsigned number, std::size_t offset, std::size_t size) {
    const bool here = (xstate_bv() >> number & 1) != 0, there = (other.xstate_bv() >> number & 1) != 0;
    for (std::size_t i = offset; i < offset + size; ++i) {
      if ((here ? bytes_[i] : 0) != (there ? other.bytes_[i] : 0)) return true;
    }
    return false;
  };
  if ((mask & 1) != 0) {
    // The instruction and data pointers of x87 are not part of the claim: processors differ in keeping them.
    const auto control = [](const XsaveArea& area) {
      return (area.xstate_bv() & 1) != 0 ? area.fcw() : 0x037f;
    };
    if (control(*this) != control(other)) return 0;
    for (unsigned i = 0; i < 8; ++i) {
      if (differs(0, 32 + 16 * i, 10)) return 0;
    }
  }
  if ((mask & 2) != 0 && (mxcsr() != other.mxcsr() || differs(1, 160, 256))) return 1;
  for (const unsigned number : {2u, 5u, 6u, 7u}) {
    if ((mask >> number & 1) == 0) continue;
    const XsaveComponent component = xsave_component(number);
    if (differs(number, component.offset, component.size)) return static_cast<int>(number);
  }
  return -1;
}

RegisterFile register_pattern() {
  RegisterFile file{};
  std::uint64_t* words = &file.rax;
  for (std::uint64_t i = 0; i < 16; ++i) words[i] = 0x1111'2222'3333'0000 * (i % 7 + 1) + 0xa5'0000 + i;
  file.rflags = kStatusFlags | 0x202;
  return file;
}

}  // namespace enclume::test
