// SPDX-License-Identifier: Apache-2.0
#include "engine/abort_page.h"

namespace enclume::engine {

bool emulate_abort_page(arch::CpuState& cpu) {
  (void)cpu;
  return false;
}

}  // namespace enclume::engine
