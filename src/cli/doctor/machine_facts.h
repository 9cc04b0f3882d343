// SPDX-License-Identifier: Apache-2.0
// What this machine has, found by trying it wherever trying is possible: a CPUID bit says little inside a
// container or under a hypervisor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/doctor/probes.h"

namespace enclume::cli {

struct KernelVersion {
  unsigned major = 0;
  unsigned minor = 0;
  friend auto operator<=>(const KernelVersion&, const KernelVersion&) = default;
};

struct MachineFacts {
  // Processor, from CPUID.
  std::string processor;  // brand string
  bool cpu_sgx = false;
  bool cpu_pku = false;
  bool cpu_sha = false;
  bool cpu_aes = false;
  std::uint64_t xcr0 = 0;

  // Kernel.
  std::string kernel_release;
  KernelVersion kernel;
  bool sgx_device = false;             // /dev/sgx_enclave exists
  bool sgx_vdso = false;               // the vDSO has __vdso_sgx_enter_enclave
  bool fsgsbase = false;               // AT_HWCAP2 bit 1
  std::uint64_t min_signal_stack = 0;  // AT_MINSIGSTKSZ, bytes; 0 if the kernel does not say

  // Tried out, in a child process where a failure could hurt.
  bool protection_keys = false;  // a key that denies access is obeyed
  bool cpuid_faulting = false;   // CPUID faults after ARCH_SET_CPUID
  bool user_dispatch = false;    // a blocked system call gives SIGSYS
  std::optional<RawCallCosts> raw_call_costs;
  bool read_watch = false;  // a breakpoint event tells of a read
  bool executable_memfd = false;

  // Settings under /proc/sys; nothing if the kernel has no such file.
  std::optional<std::int64_t> max_map_count;
  std::optional<std::int64_t> overcommit_memory;
  std::optional<std::int64_t> memfd_noexec;
  std::optional<std::int64_t> perf_event_paranoid;
  std::optional<std::int64_t> ptrace_scope;

  // Userland.
  std::string glibc_version;
  std::string engine;          // path, "" if there is none that can be loaded
  std::string engine_problem;  // why not
  bool runs_emulated = false;  // this very process has the engine in it
};

// Signal context: unsafe. Forks for each of them.
[[nodiscard]] MachineFacts gather_facts();

}  // namespace enclume::cli
