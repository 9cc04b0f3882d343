// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/entry/entry.h"
#include "engine/signals/pkru.h"

namespace enclume::engine {

/// The program's rights for a scope of a signal handler: what the engine does for one of the program's
/// instructions must not reach memory that the instruction could not. `own` is the part of the EPC that is
/// open to it, if it is enclave code. Key 0 stays open: it is the engine's own memory's. Signal context:
/// safe.
class ProgramRights {
 public:
  explicit ProgramRights(Pkru program, Pkru own = 0) {
    if (enclume_has_pkeys != 0) {
      write_pkru(inside_fence(program, enclume_epc_fence, own) & ~kKeyZero);
    }
  }
  ~ProgramRights() {
    if (enclume_has_pkeys != 0) {
      write_pkru(enclume_epc_fence);
    }
  }
  ProgramRights(const ProgramRights&) = delete;
  ProgramRights& operator=(const ProgramRights&) = delete;
};

}  // namespace enclume::engine
