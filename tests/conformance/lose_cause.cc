// SPDX-License-Identifier: Apache-2.0
//
// lose_cause N PROGRAM ARGUMENTS...: traces the program and makes each N-th step of it, as the kernel tells
// it, one whose cause is not known, as hypervisors do that lose DR6.BS. Exits as the program does.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  const long each = argc > 2 ? std::strtol(argv[1], nullptr, 10) : 0;
  if (each <= 0) return 2;
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execv(argv[2], argv + 2);
    _exit(127);
  }
  long steps = 0, lost = 0;
  for (bool executed = false;;) {
    int status = 0;
    if (waitpid(child, &status, 0) != child) return 3;
    if (!WIFSTOPPED(status)) {
      if (lost == 0) std::fputs("lose_cause: the program was never stepped\n", stderr);
      return WIFEXITED(status) && lost != 0 ? WEXITSTATUS(status) : 4;
    }
    long signal = WSTOPSIG(status);
    siginfo_t info;
    if (signal == SIGTRAP && ptrace(PTRACE_GETSIGINFO, child, nullptr, &info) == 0) {
      if (!executed || info.si_code == SI_USER) {
        signal = 0;  // of execve()
        executed = true;
      } else if (info.si_code == TRAP_TRACE && ++steps % each == 0) {
        ++lost;
        info.si_code = TRAP_BRKPT;
        if (ptrace(PTRACE_SETSIGINFO, child, nullptr, &info) != 0) return 5;
      }
    }
    if (ptrace(PTRACE_CONT, child, nullptr, signal) != 0) return 6;
  }
}
