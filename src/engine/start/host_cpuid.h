// SPDX-License-Identifier: Apache-2.0
// CPUID of host code on machines where it does not fault: found, patched, and recognised again.
#pragma once

#include <cstdint>

#include "engine/cpuid/host_patch.h"

namespace enclume::engine {

/// Patches all objects that are loaded now, and hooks the dynamic linker, so that the ones to come are
/// patched before their constructors run. Addresses are those of the auxiliary vector. Once, at start. False
/// if the hook found no place (docs/fidelity.md): then refresh_host_cpuid() has to be called.
bool start_host_cpuid(std::uint64_t linker_address, std::uint64_t vdso_address);

/// The same for objects that came since. Does nothing where CPUID faults.
void refresh_host_cpuid();

[[nodiscard]] HostCpuidPatcher& host_cpuid();

}  // namespace enclume::engine
