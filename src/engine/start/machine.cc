// SPDX-License-Identifier: Apache-2.0
#include "engine/start/machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <csignal>

#include "arch/structs/attributes.h"
#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/signals/actions.h"
#include "engine/signals/frame.h"
#include "engine/signals/mask.h"
#include "engine/start/message.h"

namespace enclume::engine {

namespace {

// CPUID.12H shows the EPC as physical memory; where it would lie is as good as any other place above RAM.
constexpr std::uint64_t kEpcBase = 1ULL << 40;

constinit arch::MachineConfig config;
constinit arch::CpuidProfile profile{.attributes_supported = {}, .epc = {}};
constinit arch::EpcSection section;
constinit std::uint64_t xstate = 0;

void random_bytes(std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const long n =
        sys::raw(__NR_getrandom, sys::arg(out.data() + done), static_cast<long>(out.size() - done), 0);
    if (n <= 0 && n != -EINTR) {
      refuse("the kernel gives no random bytes (getrandom)");
    }
    done += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
}

std::uint64_t probed_features = 0;

void probe_handler(int signo, siginfo_t* info, void* context) {
  (void)signo;
  (void)info;
  const auto& uc = *static_cast<const UContext*>(context);
  if (uc.mcontext.fpstate != nullptr && (uc.flags & kUcFpXstate) != 0 &&
      fpx_sw(uc.mcontext.fpstate).magic1 == kFpXstateMagic1) {
    probed_features = fpx_sw(uc.mcontext.fpstate).xfeatures;
  }
}

__attribute__((naked)) void probe_restorer() {
  __asm__("movl $15, %eax\n\tsyscall");
}

}  // namespace

std::uint64_t probe_frame_features() {
  const Action probe{reinterpret_cast<std::uint64_t>(&probe_handler), SA_SIGINFO | kSaRestorer,
                     reinterpret_cast<std::uint64_t>(&probe_restorer), 0};
  Action before;
  // A signal that nothing else uses this early; but one that an exec has left pending is the program's.
  SignalSet pending = 0;
  sys::raw(__NR_rt_sigpending, sys::arg(&pending), sizeof(pending));
  int signo = SIGSYS;
  for (const int candidate : kOwnedSignals) {
    if ((pending & signal_bit(candidate)) == 0) {
      signo = candidate;
    }
  }
  sys::raw(__NR_rt_sigaction, signo, sys::arg(&probe), sys::arg(&before), sizeof(SignalSet));
  const SignalSet mask = kernel_mask();
  set_kernel_mask(mask & ~signal_bit(signo));
  sys::raw(__NR_tgkill, sys::getpid(), sys::gettid(), signo);
  set_kernel_mask(mask);
  sys::raw(__NR_rt_sigaction, signo, sys::arg(&before), 0, sizeof(SignalSet));
  return probed_features;
}

arch::MachineConfig& machine_config() {
  return config;
}
std::uint64_t machine_xstate() {
  return xstate;
}
const arch::CpuidProfile& cpuid_view() {
  return profile;
}

void configure_machine(const Settings& settings, const ProcessorFacts& processor) {
  config.sgx2 = settings.sgx2;
  config.misc_supported = 1;
  config.attributes_supported = arch::attribute::kDebug | arch::attribute::kMode64Bit |
                                arch::attribute::kProvisionKey | arch::attribute::kEinitTokenKey |
                                arch::attribute::kKss;
  if (settings.sgx2) {  // no processor with SGX1 alone has it
    config.attributes_supported |= arch::attribute::kAexNotify;
  }
  config.xcr0 = processor.xcr0;
  xstate = processor.xsave ? config.xcr0 : 0;
  config.xfrm_supported = arch::offered_xfrm(config.xcr0, processor.frame_features);
  config.max_size_log2_32 = 31;
  config.max_size_log2_64 = 46;
  config.xsave = processor.components;
  engine().xsave_layout = config.xsave;
  for (std::size_t i = 0; i < config.cpusvn.size(); ++i) {
    config.cpusvn[i] = static_cast<std::byte>(i == 0 ? 1 : 0);
  }
  section = {kEpcBase, settings.epc_size};
  profile = arch::cpuid_profile(config, processor.max_leaf, {&section, 1});
  load_secret(settings, config.secret);
}

void load_secret(const Settings& settings, std::array<std::byte, 32>& secret) {
  if (settings.has_secret) {
    secret = settings.secret;
    return;
  }
  if (!settings.secret_file.empty()) {
    const auto fd = sys::call(__NR_openat, AT_FDCWD, settings.secret_file.data(), O_RDONLY | O_CLOEXEC);
    if (!fd) {
      // `enclume run` could, so it is this program that has lost sight of it (chroot, other user). A
      // processor would be the same for it; but a user's secret is not ours to hand on to another one.
      engine().secret_lost = true;
      random_bytes(secret);
      return;
    }
    const long n = sys::raw(__NR_read, *fd, sys::arg(secret.data()), 32);
    sys::raw(__NR_close, *fd);
    if (n != static_cast<long>(secret.size())) {
      refuse("the machine secret's file is not 32 bytes long; remove it, and `enclume run` makes a new one");
    }
    return;
  }
  random_bytes(secret);
}

}  // namespace enclume::engine
