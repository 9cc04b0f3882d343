// SPDX-License-Identifier: Apache-2.0
#include "engine/start/direct_paths.h"

#include <optional>

#include "engine/bases.h"
#include "engine/engine.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/fast/layout.h"
#include "engine/fast/thread_descriptor.h"
#include "engine/sgx.h"
#include "engine/start/alone.h"

namespace enclume::engine {

namespace {

/// Each thread's own block, once it has entered by a trap: null in a new thread, whatever became of the one
/// that had its memory before.
[[gnu::tls_model("initial-exec")]] thread_local constinit ThreadBlock* own_block = nullptr;

/// Why not, if not. A trace tells of each leaf, strict mode of each instruction, and what is to be injected
/// at entries is counted where they trap: all see the trapped ones only.
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
  return std::nullopt;
}

/// FS leads to the engine's variable where libc has set it. Elsewhere the kernel has to tell threads apart,
/// which needs each clone to be seen.
std::uint8_t way_to_know_threads() {
  if (has_libc() && !Engine::sees_raw_calls()) {
    return FAST_BY_LIBC;
  }
  if (!engine().features.user_dispatch) {
    return FAST_OFF;
  }
  if (!has_libc()) {
    return FAST_BY_DESCRIPTOR;  // the first entry finds out whether there are any
  }
  if (!has_thread_descriptors(engine().this_thread())) {
    return FAST_OFF;
  }
  // libc makes threads within itself, too (timer_create), which are not seen.
  return FAST_BY_DESCRIPTOR_AND_STACK;
}

}  // namespace

void start_direct_paths(const Settings& settings) {
  if (const auto why = obstacle(settings)) {
    turn_off_direct_paths(*why);
    return;
  }
  const std::uint8_t way = way_to_know_threads();
  if (way == FAST_OFF) {
    turn_off_direct_paths(Slow::NoDescriptor);
    return;
  }
  if (way == FAST_BY_LIBC) {
    keep_blocks_at(&own_block, fs_base());
  }
  enclume_vmas_version = &engine().sgx->kernel().vmas.version_word();
  if (!settings.unwatched) {
    engine().sgx->native().watch_reads();
  }
  enclume_fast_on = way;
}

}  // namespace enclume::engine
