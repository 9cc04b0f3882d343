// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace enclume::cli {
namespace {

std::string value_or_absent(const std::optional<std::int64_t>& value) {
  return value ? fmt::format("{}", *value) : "not there";
}

Finding sgx(const MachineFacts& facts) {
  Finding finding{.id = "sgx", .title = "SGX hardware", .presence = Presence::kNo};
  finding.detail = fmt::format("CPUID {}, {} /dev/sgx_enclave, {} vDSO function",
                               facts.cpu_sgx ? "offers it" : "does not offer it",
                               facts.sgx_device ? "has" : "no", facts.sgx_vdso ? "has the" : "no");
  if (facts.cpu_sgx && facts.sgx_device) {
    finding.presence = Presence::kYes;
    finding.what_to_do = "programs run on the hardware without enclume; enclume run emulates all the same";
    return finding;
  }
  finding.made_up_for_by = "the emulated machine: this is what Enclume is for";
  finding.less_faithful = "see docs/fidelity.md; nothing in an emulated enclave is protected";
  if (facts.cpu_sgx) {
    finding.presence = Presence::kPartly;
    finding.what_to_do =
        "for the hardware: switch SGX on in the firmware, and use a kernel with CONFIG_X86_SGX";
  }
  return finding;
}

Finding protection_keys(const MachineFacts& facts) {
  Finding finding{.id = "protection-keys", .title = "protection keys", .presence = Presence::kYes};
  finding.detail = "a page under a closed key cannot be read";
  if (facts.protection_keys) return finding;
  finding.presence = Presence::kNo;
  finding.detail =
      facts.cpu_pku ? "CPUID offers them, but the kernel does not give one out" : "CPUID does not offer them";
  finding.made_up_for_by = "nothing: EPC pages stay open to host code";
  finding.less_faithful =
      "host code can read and write EPC pages directly, where hardware gives the abort page: reads of all "
      "ones, writes that vanish";
  finding.what_to_do =
      facts.cpu_pku ? "boot without nopku; in a container, allow pkey_alloc"
                    : "use a processor that has them (AMD since Zen 3, Intel Xeon since Skylake), or a "
                      "hypervisor that passes them on (QEMU: -cpu host)";
  return finding;
}

Finding fsgsbase(const MachineFacts& facts) {
  Finding finding{.id = "fsgsbase", .title = "FSGSBASE", .presence = Presence::kYes};
  finding.detail = "programs may load FS and GS bases themselves";
  if (facts.fsgsbase) return finding;
  finding.presence = Presence::kNo;
  finding.detail = "the kernel does not let programs load FS and GS bases";
  finding.made_up_for_by = "nothing";
  finding.less_faithful = "no enclave can be entered: both bases change between two instructions";
  finding.what_to_do = "use a kernel since 5.9, without nofsgsbase";
  finding.is_blocker = true;
  return finding;
}

Finding cpuid_faulting(const MachineFacts& facts) {
  Finding finding{.id = "cpuid-faulting", .title = "CPUID faulting", .presence = Presence::kYes};
  finding.detail = "every CPUID instruction can be made to fault";
  if (facts.cpuid_faulting) return finding;
  finding.presence = Presence::kNo;
  finding.detail = "ARCH_SET_CPUID has no effect here";
  finding.made_up_for_by =
      "patching the CPUID instructions that decoding finds, in libraries and in enclave pages";
  finding.less_faithful =
      "a CPUID in code that is made while the program runs (JIT) shows the real processor, without SGX";
  finding.what_to_do =
      "use a processor and a hypervisor that offer it (Intel since Ivy Bridge), if a program needs it";
  return finding;
}

Finding data_breakpoints(const MachineFacts& facts) {
  Finding finding{.id = "data-breakpoints", .title = "data breakpoints", .presence = Presence::kYes};
  finding.detail = "a thread is told of its reads by perf_event_open";
  if (facts.read_watch) return finding;
  finding.detail = "perf_event_open gives no breakpoint event";
  // Keys keep enclave code from reading what the breakpoints would tell of.
  if (facts.protection_keys) return finding;
  finding.presence = Presence::kNo;
  finding.made_up_for_by = "a trap for each EEXIT";
  finding.less_faithful =
      "only speed; or, with --fast=unwatched, an enclave that reads its EEXIT sees a jump";
  finding.what_to_do =
      "sysctl kernel.perf_event_paranoid=2; in a container, allow perf_event_open; use a kernel since 5.13";
  return finding;
}

Finding user_dispatch(const MachineFacts& facts) {
  Finding finding{
      .id = "syscall-user-dispatch", .title = "syscall user dispatch", .presence = Presence::kYes};
  finding.detail = "a blocked system call raises SIGSYS";
  if (const auto& costs = facts.raw_call_costs) {
    finding.detail += fmt::format(
        "; without libc, a call that traps costs {:.1f} us more with --front auto, {:.1f} us with --front "
        "raw, and "
        "every other call takes {:.1f} times as long with that",
        costs->patched / 1000, costs->dispatched / 1000, costs->armed / costs->plain);
  }
  if (facts.user_dispatch) return finding;
  finding.presence = Presence::kNo;
  finding.detail = "the kernel does not stop blocked system calls";
  finding.made_up_for_by = "nothing";
  finding.less_faithful = "SYSCALL and INT 0x80 inside an enclave run instead of raising #UD";
  finding.what_to_do =
      "use a kernel since 5.11; in a container or sandbox, allow prctl(PR_SET_SYSCALL_USER_DISPATCH)";
  return finding;
}

Finding kernel(const MachineFacts& facts) {
  constexpr KernelVersion kTested{6, 1};
  Finding finding{
      .id = "kernel", .title = "kernel", .presence = Presence::kYes, .detail = facts.kernel_release};
  if (facts.kernel >= kTested) return finding;
  finding.presence = Presence::kPartly;
  finding.less_faithful = "Enclume is tested on 6.1 and later";
  finding.what_to_do = "use a newer kernel if something fails";
  return finding;
}

Finding executable_memory(const MachineFacts& facts) {
  Finding finding{.id = "executable-memfd", .title = "executable memfd", .presence = Presence::kYes};
  finding.detail = fmt::format("vm.memfd_noexec is {}", value_or_absent(facts.memfd_noexec));
  if (facts.executable_memfd) return finding;
  finding.presence = Presence::kNo;
  finding.is_blocker = true;
  finding.less_faithful = "enclave code cannot be mapped for execution, so no enclave can run";
  finding.what_to_do =
      "sysctl vm.memfd_noexec=0 (or 1); look at SELinux's execmem and at the sandbox's rules";
  return finding;
}

Finding map_count(const MachineFacts& facts) {
  constexpr std::int64_t kKernelDefault = 65530;
  Finding finding{.id = "max-map-count", .title = "vm.max_map_count", .presence = Presence::kYes};
  finding.detail = value_or_absent(facts.max_map_count);
  if (!facts.max_map_count || *facts.max_map_count >= kKernelDefault) return finding;
  finding.presence = Presence::kPartly;
  finding.less_faithful =
      "an enclave whose neighbouring pages differ in permissions needs a mapping for each; beyond the limit "
      "the kernel refuses to change permissions";
  finding.what_to_do = fmt::format("sysctl vm.max_map_count={}", kKernelDefault);
  return finding;
}

Finding overcommit(const MachineFacts& facts) {
  constexpr std::int64_t kNever = 2;
  Finding finding{.id = "overcommit", .title = "vm.overcommit_memory", .presence = Presence::kYes};
  finding.detail = value_or_absent(facts.overcommit_memory);
  if (facts.overcommit_memory != kNever) return finding;
  finding.presence = Presence::kPartly;
  finding.less_faithful = "the kernel may refuse the address space of a big, mostly empty enclave (ENOMEM)";
  finding.what_to_do = "sysctl vm.overcommit_memory=0, or use a smaller --epc-size";
  return finding;
}

Finding vector_state(const MachineFacts& facts) {
  constexpr std::uint64_t kAvx512 = 7ULL << 5;
  constexpr std::uint64_t kAmx = 3ULL << 17;
  std::string names = "x87, SSE";
  if ((facts.xcr0 >> 2 & 1) != 0) names += ", AVX";
  if ((facts.xcr0 & kAvx512) == kAvx512) names += ", AVX-512";
  if ((facts.xcr0 >> 9 & 1) != 0) names += ", PKRU";
  if ((facts.xcr0 & kAmx) == kAmx) names += ", AMX";
  const auto frame =
      facts.min_signal_stack == 0 ? "of unknown size" : fmt::format("up to {} bytes", facts.min_signal_stack);
  return {.id = "xsave",
          .title = "XSAVE state",
          .presence = Presence::kYes,
          .detail = fmt::format("XCR0 {:#x} ({}); signal frames {}", facts.xcr0, names, frame),
          .less_faithful =
              "XCR0 cannot be narrowed to an enclave's XFRM: XGETBV and all-ones XSAVE inside see the "
              "machine's components"};
}

Finding crypto_instructions(const MachineFacts& facts) {
  Finding finding{.id = "crypto-instructions", .title = "SHA-NI and AES-NI", .presence = Presence::kYes};
  finding.detail = fmt::format("SHA {}, AES {}", facts.cpu_sha ? "yes" : "no", facts.cpu_aes ? "yes" : "no");
  if (facts.cpu_sha && facts.cpu_aes) return finding;
  finding.presence = facts.cpu_sha || facts.cpu_aes ? Presence::kPartly : Presence::kNo;
  finding.made_up_for_by = "plain code";
  finding.less_faithful = "only speed: measuring pages and evicting them takes longer";
  return finding;
}

Finding glibc(const MachineFacts& facts) {
  Finding finding{.id = "glibc", .title = "glibc", .presence = Presence::kYes, .detail = facts.glibc_version};
  unsigned major = 0, minor = 0;
  std::sscanf(facts.glibc_version.c_str(), "%u.%u", &major, &minor);
  if (major > 2 || (major == 2 && minor >= 35)) return finding;
  finding.presence = Presence::kPartly;
  finding.less_faithful = "Enclume is tested with 2.35 and later";
  finding.what_to_do = "use a newer distribution if the engine does not load";
  return finding;
}

Finding debugging(const MachineFacts& facts) {
  constexpr std::int64_t kOwnChildrenOnly = 1;
  Finding finding{.id = "ptrace", .title = "ptrace", .presence = Presence::kYes};
  finding.detail = fmt::format("kernel.yama.ptrace_scope is {}", value_or_absent(facts.ptrace_scope));
  if (facts.ptrace_scope.value_or(0) <= kOwnChildrenOnly) return finding;
  finding.presence = Presence::kPartly;
  finding.less_faithful = "nothing; but a debugger needs privileges";
  finding.what_to_do = "sysctl kernel.yama.ptrace_scope=1 to debug programs";
  return finding;
}

Finding profiling(const MachineFacts& facts) {
  constexpr std::int64_t kUserOnly = 2;
  Finding finding{.id = "perf", .title = "perf events", .presence = Presence::kYes};
  finding.detail =
      fmt::format("kernel.perf_event_paranoid is {}", value_or_absent(facts.perf_event_paranoid));
  if (facts.perf_event_paranoid.value_or(kUserOnly + 1) <= kUserOnly) return finding;
  finding.presence = Presence::kPartly;
  finding.less_faithful = "nothing; but perf cannot count or sample";
  finding.what_to_do = "sysctl kernel.perf_event_paranoid=2 to profile programs";
  return finding;
}

Finding engine(const MachineFacts& facts) {
  Finding finding{.id = "engine", .title = "engine", .presence = Presence::kYes, .detail = facts.engine};
  if (!facts.engine.empty()) return finding;
  finding.presence = Presence::kNo;
  finding.is_blocker = true;
  finding.detail = facts.engine_problem;
  finding.less_faithful = "without the engine nothing is emulated";
  finding.what_to_do = "build or install it, or let ENCLUME_ENGINE name it";
  return finding;
}

}  // namespace

bool Diagnosis::can_run() const {
  return std::ranges::none_of(findings, &Finding::is_blocker);
}

Diagnosis diagnose(const MachineFacts& facts) {
  Diagnosis diagnosis;
  diagnosis.runs_emulated = facts.runs_emulated;
  auto& findings = diagnosis.findings;
  findings.push_back(
      {.id = "processor", .title = "processor", .presence = Presence::kYes, .detail = facts.processor});
  for (const auto examine : {sgx, protection_keys, fsgsbase, cpuid_faulting, data_breakpoints, user_dispatch,
                             kernel, executable_memory, map_count, overcommit, vector_state,
                             crypto_instructions, glibc, debugging, profiling, engine}) {
    findings.push_back(examine(facts));
  }
  return diagnosis;
}

}  // namespace enclume::cli
