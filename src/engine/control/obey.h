// SPDX-License-Identifier: Apache-2.0
// The engine's side of control/request.h.
#pragma once

#include <csignal>

namespace enclume::engine {

struct ThreadBlock;

/// Whether a signal is a request. Signal context: safe.
[[nodiscard]] bool is_request(int signo, const siginfo_t& info);

/// Does what it asks for, and answers. Signal context: safe, on a thread that is outside of enclaves and has
/// interrupted neither the engine nor a front door.
void obey(const siginfo_t& request);

/// It came in the midst of one of those: obeyed when the thread is done with it. Of several that wait only
/// the last one is; who has sent the others gets no answer. Signal context: safe.
void keep_request(ThreadBlock& block, const siginfo_t& request);
/// Obeys one that was kept in the engine itself, which is done. `in_front_door`: it was at work for a front
/// door.
void obey_kept_request(ThreadBlock& block, bool in_front_door);

}  // namespace enclume::engine
