// SPDX-License-Identifier: Apache-2.0
#include "engine/start/host_cpuid.h"

#include <link.h>

#include "engine/engine.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {
constinit HostCpuidPatcher patcher;
constinit bool patching = false;
}  // namespace

HostCpuidPatcher& host_cpuid() { return patcher; }

void start_host_cpuid(std::uint64_t linker_address, std::uint64_t vdso_address) {
  HostPatchConfig config;
  config.iterate = &dl_iterate_phdr;
  config.engine_address = reinterpret_cast<std::uint64_t>(&enclume_signal_entry);
  config.linker_address = linker_address;
  config.vdso_address = vdso_address;
  patcher.configure(config);
  patching = true;
  patcher.refresh();
}

void refresh_host_cpuid() {
  if (patching) {
    patcher.refresh();
  }
}

}  // namespace enclume::engine
