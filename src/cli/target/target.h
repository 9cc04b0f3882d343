// SPDX-License-Identifier: Apache-2.0
// Another process, which runs under Enclume: for the verbs that look at one or ask something of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "cli/file_descriptor.h"

namespace enclume::cli {

struct Target {
  pid_t pid = 0;
  FileDescriptor handle;          // pidfd: it stays this process when the number is used again
  std::string engine;             // the file that the engine was mapped from
  std::uint64_t engine_base = 0;  // where its first byte is mapped
};

// "1234" as a process. Throws Failure: kUsage if that is no number; kNegative with the reason and a remedy if
// there is no such process, it may not be looked at, it does not run under Enclume, or it has numbers of its
// own for processes (a container).
[[nodiscard]] Target find_target(const std::string& pid);

// Whether it has ended. The number may be another process's by now.
[[nodiscard]] bool has_ended(const Target& target);

// A line of /proc/PID/status, without its name; empty if there is none. `field` is "State", "Uid", …
[[nodiscard]] std::string status_field(pid_t pid, const std::string& field);

}  // namespace enclume::cli
