// SPDX-License-Identifier: Apache-2.0
#include "engine/start/direct_paths.h"

#include "engine/bases.h"
#include "engine/engine.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/sgx.h"

namespace enclume::engine {

namespace {

/// Each thread's own block, once it has entered by a trap: null in a new thread, whatever became of the one
/// that had its memory before.
[[gnu::tls_model("initial-exec")]] thread_local constinit ThreadBlock* own_block = nullptr;

}  // namespace

void start_direct_paths(const Settings& settings) {
  const Features& features = engine().features;
  // A trace tells of each leaf, strict mode of each instruction, and what is counted, for --stats or
  // --inject, is counted where it traps: all see the trapped ones only. With protection keys the way in would
  // have to load PKRU. Without libc FS does not lead to the engine's variable.
  if (!settings.fast || settings.strict || engine().events.on() || engine().stats.on() ||
      engine().injector.on() || features.pkeys || !features.fsgsbase || Engine::sees_raw_calls()) {
    return;
  }
  keep_blocks_at(&own_block, fs_base());
  enclume_vmas_version = &engine().sgx->kernel().vmas.version_word();
  enclume_fast_on = 1;
}

}  // namespace enclume::engine
