// SPDX-License-Identifier: Apache-2.0
// The emulated machine as the settings and the processor underneath make it.
#pragma once

#include "arch/cpuid/sgx_leaves.h"
#include "arch/machine.h"
#include "engine/start/processor.h"
#include "engine/start/settings.h"
#include "kernel/shared.h"

namespace enclume::engine {

/// Fills the configuration: XFRM and frame layout from the processor, attributes from the settings. Once.
void configure_machine(const Settings& settings, const ProcessorFacts& processor);

[[nodiscard]] arch::MachineConfig& machine_config();

/// XCR0, or 0 if the machine has no XSAVE (or the kernel does not use it).
[[nodiscard]] std::uint64_t machine_xstate();

/// What CPUID says to host code. Signal context: safe.
[[nodiscard]] const arch::CpuidProfile& cpuid_view();

/// The machine secret: from the settings, from the file that they name, or random.
void load_secret(const Settings& settings, std::array<std::byte, 32>& secret);

/// Asks the kernel for a signal frame and returns its xfeatures (0 without XSAVE).
[[nodiscard]] std::uint64_t probe_frame_features();

}  // namespace enclume::engine
