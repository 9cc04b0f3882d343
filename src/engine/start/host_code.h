// SPDX-License-Identifier: Apache-2.0
// Instructions of host code that have to trap and do not by themselves: found, patched, and recognised again.
// CPUID on machines where it does not fault; SYSCALL outside libc, unless syscall user dispatch sees them
// all.
#pragma once

#include <elf.h>

#include <cstdint>
#include <span>

#include "engine/cpuid/host_patch.h"
#include "engine/cpuid/site_cache.h"

namespace enclume::engine {

struct HostCodeRequest {
  std::uint64_t linker_address = 0;  ///< AT_BASE
  std::uint64_t vdso_address = 0;    ///< AT_SYSINFO_EHDR of the machine
  std::uint64_t image_address = 0;   ///< and ours
  bool cpuid = true;
  std::uint32_t untrapped_max_leaf = 0;  ///< see ScanRequest
  bool calls = false;
  const SiteCache* cache = nullptr;  ///< for the objects that are there at the start; must stay
};

/// Patches all objects that are loaded now, and hooks the dynamic linker, so that the ones to come are
/// patched before their constructors run. Once, at start. False if the hook found no place
/// (docs/fidelity.md): then refresh_host_code() has to be called.
bool start_host_code(const HostCodeRequest& request);

/// The same for objects that came since. Does nothing if nothing is to be patched.
void refresh_host_code();

/// A static program that the engine has mapped: patches its CPUIDs (its SYSCALLs are seen by dispatch), and
/// is done with looking for objects. `fd` is its file.
void adopt_static_program(std::uint64_t bias, std::span<const Elf64_Phdr> headers, int fd);

[[nodiscard]] HostPatcher& host_patcher();

}  // namespace enclume::engine
