// SPDX-License-Identifier: Apache-2.0
// The engine's side of control/request.h.
#pragma once

#include <csignal>

#include "engine/control/request.h"

namespace enclume::engine {

struct ThreadBlock;

/// Sends another process of the machine one of the engine's own, unless it has nobody to take it: by now it
/// may have executed a program without the engine, which the signal would end. Signal context: safe.
bool send_request(int process, ControlRequest request) noexcept;

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
