// SPDX-License-Identifier: Apache-2.0
#include "cli/target/ask.h"

#include <fmt/format.h>
#include <grp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>

#include "cli/failure.h"

namespace enclume::cli {
namespace {

constexpr int kPatienceSeconds = 10;

// The first of the four numbers that /proc/PID/status has: the real one.
unsigned real_id(pid_t pid, const char* field) {
  const auto text = status_field(pid, field);
  unsigned id = 0;
  std::from_chars(text.data(), text.data() + text.size(), id);
  return id;
}

void become_user_of(pid_t pid) {
  const unsigned uid = real_id(pid, "Uid");
  if (::geteuid() != 0 || uid == 0) return;
  const unsigned gid = real_id(pid, "Gid");
  if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0) {
    throw Failure(ExitStatus::kNegative, fmt::format("cannot become user {}: {}", uid, std::strerror(errno)));
  }
}

[[noreturn]] void no_answer(pid_t pid) {
  const auto state = status_field(pid, "State");
  if (state.empty() || state.starts_with('Z')) {
    throw Failure(ExitStatus::kNegative, fmt::format("process {} has ended without an answer", pid));
  }
  if (state.starts_with('T') || state.starts_with('t')) {
    throw Failure(ExitStatus::kNegative,
                  fmt::format("process {} is stopped: it will do so when it goes on (kill -CONT {}, or the "
                              "debugger's continue)",
                              pid, pid));
  }
  throw Failure(
      ExitStatus::kNegative,
      fmt::format("process {} has not answered in {} seconds; its threads may all be in calls that no "
                  "signal ends, or a filter of system calls keeps it from answering",
                  pid, kPatienceSeconds));
}

}  // namespace

engine::ControlAnswer ask(const Target& target, engine::ControlRequest request) {
  become_user_of(target.pid);
  sigset_t answers;
  sigemptyset(&answers);
  sigaddset(&answers, SIGURG);
  sigprocmask(SIG_BLOCK, &answers, nullptr);

  siginfo_t info{};
  info.si_signo = SIGSYS;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(engine::control::pack(request));
  if (::syscall(SYS_pidfd_send_signal, target.handle.get(), SIGSYS, &info, 0) != 0) {
    throw Failure(ExitStatus::kNegative, fmt::format("process {}: {}", target.pid, std::strerror(errno)));
  }
  std::timespec patience{kPatienceSeconds, 0};
  for (;;) {
    siginfo_t answer;
    if (::sigtimedwait(&answers, &answer, &patience) < 0) {
      if (errno == EINTR) continue;
      no_answer(target.pid);
    }
    const auto value = reinterpret_cast<std::uint64_t>(answer.si_value.sival_ptr);
    if (const auto a = engine::control::answer(value); a && answer.si_pid == target.pid) return *a;
  }
}

}  // namespace enclume::cli
