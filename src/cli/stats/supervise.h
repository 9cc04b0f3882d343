// SPDX-License-Identifier: Apache-2.0
// Standing between the shell and the program, as little to be noticed as can be.
#pragma once

#include <signal.h>
#include <sys/types.h>

namespace enclume::cli {

// Blocks every signal, so that none is lost between fork() and the wait; the mask before is the child's to
// restore.
[[nodiscard]] sigset_t hold_signals();

// Waits until `child`, which was forked under hold_signals(), has ended; its status as of waitpid(). A signal
// that somebody sends to this process goes to the child; one of the terminal has reached it already. When the
// child stops, this process stops, and when it goes on, so does the child.
[[nodiscard]] int wait_for_program(pid_t child);

// Ends this process as the child has ended: with its exit status, or by the same signal (without a core of
// its own).
[[noreturn]] void end_alike(int status);

}  // namespace enclume::cli
