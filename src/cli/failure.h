// SPDX-License-Identifier: Apache-2.0
// How the command line gives up: one exception type, turned into a message and an exit status by main().
#pragma once

#include <stdexcept>
#include <string>

namespace enclume::cli {

// Exit statuses of enclume itself. 125 to 127 follow env(1), timeout(1) and the shells, so that a script can
// tell our failure from the program's.
enum class ExitStatus : int {
  kSuccess = 0,
  kNegative = 1,     // the answer of `doctor` or `inspect` is no
  kUsage = 2,        // bad command line, environment variable or configuration file
  kInternal = 125,   // enclume could not do its part: no engine, no secret, no trace file
  kCannotRun = 126,  // the program is there but cannot be run (under the engine)
  kNotFound = 127,   // no such program, or its interpreter is missing
};

class Failure : public std::runtime_error {
 public:
  Failure(ExitStatus status, const std::string& message) : std::runtime_error(message), status_(status) {}
  [[nodiscard]] ExitStatus status() const noexcept { return status_; }

 private:
  ExitStatus status_;
};

}  // namespace enclume::cli
