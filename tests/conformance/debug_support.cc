// SPDX-License-Identifier: Apache-2.0
#include "conformance/debug_support.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace enclume::test {
namespace {

constexpr std::size_t kFunctionSize = 256;
constexpr std::size_t kMostSteps = 20000;

// The handler allocates nothing: `steps` has its room before.
struct Stepping {
  const StepOptions* options;
  std::vector<Step> steps;
  bool over;
};
Stepping* g_stepping = nullptr;

void on_trap(int, siginfo_t* info, void* raw) {
  auto& context = *static_cast<ucontext_t*>(raw);
  auto& registers = context.uc_mcontext.gregs;
  Stepping& stepping = *g_stepping;
  const StepOptions& options = *stepping.options;
  const auto rip = static_cast<std::uint64_t>(registers[REG_RIP]);
  if (!stepping.over && options.watched(rip)) {
    Step step{};
    step.code = info->si_code;
    step.address = address_of(info->si_addr);
    for (std::size_t i = 0; i < step.registers.size(); ++i) {
      step.registers[i] = static_cast<std::uint64_t>(registers[i]);
    }
    const auto* at = reinterpret_cast<const std::uint8_t*>(rip);
    step.framed = options.probe != nullptr &&
                  step.reg(REG_RAX) == static_cast<std::uint64_t>(Leaf::kEresume) &&
                  std::memcmp(at, "\x0f\x01\xd7", 3) == 0;
    if (step.framed) {
      step.frame = options.probe->newest_frame();
      if (options.set_tf)
        registers[REG_EFL] |= static_cast<greg_t>(kFlagTf);  // A POPF inside may have cleared it.
    }
    options.act(step, context);
    stepping.over = options.last(step) || stepping.steps.size() == kMostSteps;
    if (stepping.steps.size() < kMostSteps) stepping.steps.push_back(step);
  }
  if (stepping.over) registers[REG_EFL] &= ~static_cast<greg_t>(kFlagTf);
}

void set_trap_flag() {
  asm volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "cc", "memory");
}

void clear_trap_flag() {
  asm volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "cc", "memory");
}

}  // namespace

ProbeOptions debug_options() {
  ProbeOptions options;
  options.image.attributes = kAttributeMode64 | kAttributeDebug;
  return options;
}

OwnMemory::OwnMemory() : fd_(open("/proc/self/mem", O_RDWR | O_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "/proc/self/mem");
}

OwnMemory::~OwnMemory() {
  close(fd_);
}

long OwnMemory::read(std::uint64_t address, void* to, std::size_t size) const {
  const ssize_t n = pread(fd_, to, size, static_cast<off_t>(address));
  return n < 0 ? -errno : n;
}

long OwnMemory::write(std::uint64_t address, const void* from, std::size_t size) const {
  const ssize_t n = pwrite(fd_, from, size, static_cast<off_t>(address));
  return n < 0 ? -errno : n;
}

std::uint64_t OwnMemory::word(std::uint64_t address) const {
  std::uint64_t value = 0;
  if (const long n = read(address, &value, sizeof value); n != sizeof value) {
    throw std::system_error(static_cast<int>(-n), std::generic_category(), "read of /proc/self/mem");
  }
  return value;
}

void OwnMemory::set_word(std::uint64_t address, std::uint64_t value) const {
  if (const long n = write(address, &value, sizeof value); n != sizeof value) {
    throw std::system_error(static_cast<int>(-n), std::generic_category(), "write to /proc/self/mem");
  }
}

DebuggedProbe::DebuggedProbe(bool opt_in) : ProbeEnclave(debug_options()) {
  set_opt_in(opt_in);
}

void DebuggedProbe::set_opt_in(bool on, unsigned thread) const {
  memory_.set_word(tcs(thread) + offsetof(Tcs, flags), on ? kTcsDbgOptIn : 0);
}

std::uint32_t DebuggedProbe::cssa(unsigned thread) const {
  return static_cast<std::uint32_t>(memory_.word(tcs(thread) + offsetof(Tcs, cssa)));
}

std::uint64_t DebuggedProbe::newest_frame_address(unsigned thread) const {
  return tcs(thread) + PROBE_SSA + cssa(thread) * frame_size() - sizeof(Gprsgx);
}

Gprsgx DebuggedProbe::newest_frame(unsigned thread) const {
  Gprsgx registers;
  if (memory_.read(newest_frame_address(thread), &registers, sizeof registers) != sizeof registers) {
    throw std::runtime_error("the SSA frame can't be read");
  }
  return registers;
}

void DebuggedProbe::set_newest_rip(std::uint64_t rip, unsigned thread) const {
  memory_.set_word(newest_frame_address(thread) + offsetof(Gprsgx, rip), rip);
}

std::uint64_t vdso_enclu() {
  const auto* code = reinterpret_cast<const std::uint8_t*>(vdso_function());
  for (std::size_t i = 0; i + 3 <= kFunctionSize; ++i) {
    if (std::memcmp(code + i, "\x0f\x01\xd7", 3) == 0) return address_of(code + i);
  }
  throw std::runtime_error("the vDSO function has no ENCLU");
}

bool in_vdso_function(std::uint64_t address) {
  static const auto begin = reinterpret_cast<std::uint64_t>(vdso_function());
  return address - begin < kFunctionSize;
}

std::vector<Step> step_through(const std::function<void()>& body, const StepOptions& options) {
  Stepping stepping{&options, {}, false};
  stepping.steps.reserve(kMostSteps);
  g_stepping = &stepping;
  vdso_enclu();  // Whatever is looked up once is looked up now.
  in_vdso_function(0);
  const ScopedSigaction handler(SIGTRAP, on_trap);
  if (options.set_tf) set_trap_flag();
  body();
  clear_trap_flag();
  return std::move(stepping.steps);
}

std::size_t find_step(std::span<const Step> steps, std::uint64_t rip, std::uint64_t rax, std::size_t begin) {
  for (std::size_t i = begin; i < steps.size(); ++i) {
    if (steps[i].rip() == rip && steps[i].reg(REG_RAX) == rax) return i;
  }
  return steps.size();
}

}  // namespace enclume::test
