// SPDX-License-Identifier: Apache-2.0
#include "engine/start/direct_paths.h"

#include <optional>

#include "engine/bases.h"
#include "engine/engine.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/sgx.h"
#include "engine/start/alone.h"

namespace enclume::engine {

namespace {

/// Each thread's own block, once it has entered by a trap: null in a new thread, whatever became of the one
/// that had its memory before.
[[gnu::tls_model("initial-exec")]] thread_local constinit ThreadBlock* own_block = nullptr;

/// Why not, if not. A trace tells of each leaf, strict mode of each instruction, and what is to be injected
/// at entries is counted where they trap: all see the trapped ones only. Without libc FS does not lead to the
/// engine's variable.
std::optional<Slow> obstacle(const Settings& settings) {
  if (!settings.fast) {
    return Slow::FastOff;
  }
  if (settings.strict) {
    return Slow::Strict;
  }
  if (engine().events.on()) {
    return Slow::Traced;
  }
  if (engine().injector.counts_entries()) {
    return Slow::Injected;
  }
  if (!has_libc() || Engine::sees_raw_calls()) {
    return Slow::RawCalls;
  }
  return std::nullopt;
}

}  // namespace

void start_direct_paths(const Settings& settings) {
  if (const auto why = obstacle(settings)) {
    turn_off_direct_paths(*why);
    return;
  }
  keep_blocks_at(&own_block, fs_base());
  enclume_vmas_version = &engine().sgx->kernel().vmas.version_word();
  if (!settings.unwatched && engine().features.execute_only_pkey < 0) {
    engine().sgx->native().watch_reads();
  }
  enclume_fast_on = 1;
}

}  // namespace enclume::engine
