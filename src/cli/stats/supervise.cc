// SPDX-License-Identifier: Apache-2.0
#include "cli/stats/supervise.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace enclume::cli {

sigset_t hold_signals() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  return before;
}

int wait_for_program(pid_t child) {
  sigset_t all;
  sigfillset(&all);
  for (;;) {
    int status = 0;
    while (const pid_t pid = ::waitpid(child, &status, WNOHANG | WUNTRACED)) {
      if (pid < 0) return status;
      if (!WIFSTOPPED(status)) return status;
      ::raise(SIGSTOP);  // for the shell to see; SIGCONT lets both go on
      ::kill(child, SIGCONT);
    }
    siginfo_t info;
    if (::sigwaitinfo(&all, &info) < 0 || info.si_signo == SIGCHLD) continue;
    // The terminal sends to the whole foreground group, and says so by a code that only the kernel has.
    const bool from_terminal = info.si_code == SI_KERNEL;
    if (!from_terminal) ::kill(child, info.si_signo);
  }
}

void end_alike(int status) {
  if (WIFEXITED(status)) std::_Exit(WEXITSTATUS(status));
  const int signo = WTERMSIG(status);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::signal(signo, SIG_DFL);
  sigset_t self;
  sigemptyset(&self);
  sigaddset(&self, signo);
  ::sigprocmask(SIG_UNBLOCK, &self, nullptr);
  ::raise(signo);
  std::_Exit(128 + signo);
}

}  // namespace enclume::cli
