// SPDX-License-Identifier: Apache-2.0
#include "trace/output.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <cstring>

#include "base/syscall.h"

namespace enclume::trace {

namespace {

using SignalMask = std::uint64_t;

constexpr SignalMask bit(int signo) {
  return SignalMask{1} << (signo - 1);
}

/// All but what an instruction can raise: those stay open whatever happens.
constexpr SignalMask kAsynchronous =
    ~(bit(SIGILL) | bit(SIGTRAP) | bit(SIGBUS) | bit(SIGFPE) | bit(SIGSEGV) | bit(SIGSYS));

long write_once(int fd, std::string_view text) {
  long n;
  do {
    n = sys::raw(__NR_write, fd, sys::arg(text.data()), sys::arg(text.size()));
  } while (n == -EINTR);
  return n;
}

bool sigpipe_pending() {
  SignalMask pending = 0;
  sys::raw(__NR_rt_sigpending, sys::arg(&pending), sizeof(pending));
  return (pending & bit(SIGPIPE)) != 0;
}

void take_sigpipe() {
  const SignalMask only = bit(SIGPIPE);
  const struct { long seconds, nanoseconds; } at_once{};
  sys::raw(__NR_rt_sigtimedwait, sys::arg(&only), 0, sys::arg(&at_once), sizeof(only));
}

}  // namespace

SysResult<void> Output::open(std::string_view path) noexcept {
  if (path.size() >= kMaxPath) {
    return fail(Errno::NoSpace);
  }
  path_[0] = '\0';
  if (path != "-") {
    std::memcpy(path_.data(), path.data(), path.size());
    path_[path.size()] = '\0';
  }
  const auto fd = open_high();
  if (!fd) {
    return fail(fd.error());
  }
  const auto status = status_of(*fd);
  if (!status) {
    sys::raw(__NR_close, *fd);
    return fail(status.error());
  }
  status_ = *status;
  broken_.store(false, std::memory_order_relaxed);
  fd_.store(*fd, std::memory_order_relaxed);
  return {};
}

SysResult<Output::Status> Output::status_of(int fd) noexcept {
  struct stat st;
  const auto r = sys::call(__NR_fstat, fd, &st);
  if (!r) {
    return fail(r.error());
  }
  return Status{{st.st_dev, st.st_ino}, S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)};
}

SysResult<int> Output::open_high() const noexcept {
  const bool standard_error = path_[0] == '\0';
  int low = 2;
  if (!standard_error) {
    const auto fd =
        sys::call(__NR_openat, AT_FDCWD, path_.data(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (!fd) {
      return fail(fd.error());
    }
    low = static_cast<int>(*fd);
  }
  auto high = sys::call(__NR_fcntl, low, F_DUPFD_CLOEXEC, kLowestDescriptor);
  if (!high && high.error() == Errno::Invalid) {
    high = sys::call(__NR_fcntl, low, F_DUPFD_CLOEXEC, 3);  // RLIMIT_NOFILE is low
  }
  if (!standard_error) {
    sys::raw(__NR_close, low);
  }
  if (!high) {
    return fail(high.error());
  }
  return static_cast<int>(*high);
}

/// A descriptor that is the trace file for sure: a program that closes all and opens its own gets the
/// numbers.
int Output::usable_descriptor() noexcept {
  int fd = fd_.load(std::memory_order_relaxed);
  if (const auto status = status_of(fd); status && status->identity == status_.identity) {
    return fd;
  }
  const auto again = open_high();
  if (!again) {
    return -1;
  }
  const auto status = status_of(*again);
  const bool same = status && status->identity == status_.identity;
  if (same && fd_.compare_exchange_strong(fd, *again, std::memory_order_relaxed)) {
    return *again;
  }
  sys::raw(__NR_close, *again);
  return same ? fd : -1;  // another thread was faster
}

void Output::write(std::string_view text) noexcept {
  if (broken_.load(std::memory_order_relaxed)) {
    return;
  }
  const int fd = usable_descriptor();
  if (fd < 0) {
    return;
  }
  if (status_.pipe) {
    write_to_pipe(fd, text);
  } else {
    write_once(fd, text);
  }
}

/// With everything blocked, not SIGPIPE alone: no handler may see, or return to, a mask that is not its own.
void Output::write_to_pipe(int fd, std::string_view text) noexcept {
  SignalMask old = 0;
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&kAsynchronous), sys::arg(&old), sizeof(old));
  const bool pending_before = sigpipe_pending();
  if (write_once(fd, text) == -EPIPE) {
    broken_.store(true, std::memory_order_relaxed);
    if (!pending_before) {
      take_sigpipe();
    }
  }
  sys::raw(__NR_rt_sigprocmask, SIG_SETMASK, sys::arg(&old), 0, sizeof(old));
}

}  // namespace enclume::trace
