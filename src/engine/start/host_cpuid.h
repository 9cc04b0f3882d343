// SPDX-License-Identifier: Apache-2.0
// CPUID of host code on machines where it does not fault: found, patched, and recognised again.
#pragma once

#include <elf.h>

#include <cstdint>
#include <span>

#include "engine/cpuid/host_patch.h"

namespace enclume::engine {

/// Patches all objects that are loaded now, and hooks the dynamic linker, so that the ones to come are
/// patched before their constructors run. Addresses are those of the auxiliary vector. Once, at start. False
/// if the hook found no place (docs/fidelity.md): then refresh_host_cpuid() has to be called.
bool start_host_cpuid(std::uint64_t linker_address, std::uint64_t vdso_address);

/// The same for objects that came since. Does nothing where CPUID faults.
void refresh_host_cpuid();

/// A static program that the engine has mapped: patches it, and is done with looking for objects. `fd` is its
/// file; the headers must stay.
void adopt_static_program(std::uint64_t bias, std::span<const Elf64_Phdr> headers, int fd);

[[nodiscard]] HostCpuidPatcher& host_cpuid();

}  // namespace enclume::engine
