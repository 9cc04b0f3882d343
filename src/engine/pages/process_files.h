// SPDX-License-Identifier: Apache-2.0
// What /proc says of other processes.
#pragma once

#include <optional>

namespace enclume::engine {

/// The process of a thread; 0 if it is gone. Signal context: safe, both of these.
[[nodiscard]] int process_of_thread(int tid) noexcept;

/// A field of /proc/PID/stat, by proc(5)'s number, 3 at least; nothing if nobody knows.
[[nodiscard]] std::optional<long> process_stat_field(int pid, int number) noexcept;

}  // namespace enclume::engine
