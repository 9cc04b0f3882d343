// SPDX-License-Identifier: Apache-2.0
//
// A conformance program that is linked with this makes its system calls by SYSCALL instructions of its own,
// as runtimes without libc do: the names below stand before the engine's and libc's. The restorer is our own,
// too.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstring>

#include "conformance/raw_syscall.h"

namespace {

using enclume::test::raw;

template <typename Result>
Result finish(long value) {
  if (value < 0 && value >= -4095) {
    errno = static_cast<int>(-value);
    value = -1;
  }
  if constexpr (std::is_pointer_v<Result>) {
    return reinterpret_cast<Result>(value);
  } else {
    return static_cast<Result>(value);
  }
}

// The kernel's struct sigaction.
struct KernelAction {
  void* handler;
  std::uint64_t flags;
  void (*restorer)();
  std::uint64_t mask;
};
constexpr std::uint64_t kSaRestorer = 0x04000000;
constexpr std::size_t kMaskSize = 8;

[[gnu::naked]] void restorer() {
  asm("movl $15, %eax\n\tsyscall");
}

std::uint64_t first_word(const sigset_t& set) {
  std::uint64_t word;
  std::memcpy(&word, &set, sizeof word);
  return word;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = va_arg(arguments, unsigned);
  va_end(arguments);
  return finish<int>(raw(SYS_open, path, flags, mode));
}
int open64(const char* path, int flags, ...) __attribute__((alias("open")));
int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = va_arg(arguments, unsigned);
  va_end(arguments);
  return finish<int>(raw(SYS_openat, directory, path, flags, mode));
}
int close(int fd) {
  return finish<int>(raw(SYS_close, fd));
}
int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return finish<int>(raw(SYS_ioctl, fd, request, argument));
}
void* mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  return finish<void*>(raw(SYS_mmap, address, length, protection, flags, fd, offset));
}
void* mmap64(void* address, std::size_t length, int protection, int flags, int fd, off64_t offset) noexcept {
  return finish<void*>(raw(SYS_mmap, address, length, protection, flags, fd, offset));
}
int munmap(void* address, std::size_t length) noexcept {
  return finish<int>(raw(SYS_munmap, address, length));
}
int mprotect(void* address, std::size_t length, int protection) noexcept {
  return finish<int>(raw(SYS_mprotect, address, length, protection));
}
int pkey_mprotect(void* address, std::size_t length, int protection, int key) noexcept {
  return finish<int>(raw(SYS_pkey_mprotect, address, length, protection, key));
}
int pkey_alloc(unsigned flags, unsigned rights) noexcept {
  return finish<int>(raw(SYS_pkey_alloc, flags, rights));
}
int pkey_free(int key) noexcept {
  return finish<int>(raw(SYS_pkey_free, key));
}
void* mremap(void* address, std::size_t old_size, std::size_t new_size, int flags, ...) noexcept {
  va_list arguments;
  va_start(arguments, flags);
  void* to = va_arg(arguments, void*);
  va_end(arguments);
  return finish<void*>(raw(SYS_mremap, address, old_size, new_size, flags, to));
}
ssize_t read(int fd, void* data, std::size_t size) {
  return finish<ssize_t>(raw(SYS_read, fd, data, size));
}
ssize_t write(int fd, const void* data, std::size_t size) {
  return finish<ssize_t>(raw(SYS_write, fd, data, size));
}
ssize_t pread(int fd, void* data, std::size_t size, off_t offset) {
  return finish<ssize_t>(raw(SYS_pread64, fd, data, size, offset));
}
ssize_t pwrite(int fd, const void* data, std::size_t size, off_t offset) {
  return finish<ssize_t>(raw(SYS_pwrite64, fd, data, size, offset));
}
int stat(const char* path, struct stat* st) noexcept {
  return finish<int>(raw(SYS_newfstatat, AT_FDCWD, path, st, 0));
}
int lstat(const char* path, struct stat* st) noexcept {
  return finish<int>(raw(SYS_newfstatat, AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW));
}
int fstat(int fd, struct stat* st) noexcept {
  return finish<int>(raw(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH));
}
int access(const char* path, int mode) noexcept {
  return finish<int>(raw(SYS_access, path, mode));
}

int sigaction(int signal, const struct sigaction* next, struct sigaction* previous) noexcept {
  KernelAction wanted{};
  KernelAction before{};
  if (next != nullptr) {
    wanted = {reinterpret_cast<void*>(next->sa_handler), static_cast<unsigned>(next->sa_flags) | kSaRestorer,
              &restorer, first_word(next->sa_mask)};
  }
  const long result = raw(SYS_rt_sigaction, signal, next != nullptr ? &wanted : nullptr, &before, kMaskSize);
  if (result == 0 && previous != nullptr) {
    std::memset(previous, 0, sizeof *previous);
    previous->sa_handler = reinterpret_cast<void (*)(int)>(before.handler);
    previous->sa_flags = static_cast<int>(before.flags & ~kSaRestorer);
    std::memcpy(&previous->sa_mask, &before.mask, sizeof before.mask);
  }
  return finish<int>(result);
}
int sigprocmask(int how, const sigset_t* set, sigset_t* previous) noexcept {
  if (previous != nullptr) std::memset(previous, 0, sizeof *previous);
  return finish<int>(raw(SYS_rt_sigprocmask, how, set, previous, kMaskSize));
}
int pthread_sigmask(int how, const sigset_t* set, sigset_t* previous) noexcept {
  if (previous != nullptr) std::memset(previous, 0, sizeof *previous);
  return static_cast<int>(-raw(SYS_rt_sigprocmask, how, set, previous, kMaskSize));
}
int sigaltstack(const stack_t* next, stack_t* previous) noexcept {
  return finish<int>(raw(SYS_sigaltstack, next, previous));
}
int sigsuspend(const sigset_t* mask) {
  return finish<int>(raw(SYS_rt_sigsuspend, mask, kMaskSize));
}
int ppoll(struct pollfd* fds, nfds_t count, const struct timespec* timeout, const sigset_t* mask) {
  struct timespec copy {};
  if (timeout != nullptr) copy = *timeout;  // The kernel writes the rest of the time back.
  return finish<int>(raw(SYS_ppoll, fds, count, timeout != nullptr ? &copy : nullptr, mask, kMaskSize));
}
int kill(pid_t process, int signal) noexcept {
  return finish<int>(raw(SYS_kill, process, signal));
}
int raise(int signal) noexcept {
  return finish<int>(raw(SYS_tgkill, raw(SYS_getpid), raw(SYS_gettid), signal));
}
pid_t getpid() noexcept {
  return static_cast<pid_t>(raw(SYS_getpid));
}
pid_t gettid() noexcept {
  return static_cast<pid_t>(raw(SYS_gettid));
}
int nanosleep(const struct timespec* wanted, struct timespec* left) {
  return finish<int>(raw(SYS_nanosleep, wanted, left));
}
int usleep(unsigned microseconds) {
  const struct timespec wanted { microseconds / 1000000, static_cast<long>(microseconds % 1000000) * 1000 };
  return nanosleep(&wanted, nullptr);
}

pid_t wait4(pid_t pid, int* status, int options, struct rusage* usage) noexcept {
  return static_cast<pid_t>(finish<long>(raw(SYS_wait4, pid, status, options, usage)));
}
pid_t waitpid(pid_t pid, int* status, int options) {
  return wait4(pid, status, options, nullptr);
}
int waitid(idtype_t type, id_t id, siginfo_t* info, int options) {
  return finish<int>(raw(SYS_waitid, type, id, info, options, nullptr));
}
long ptrace(__ptrace_request request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  const auto tid = va_arg(arguments, pid_t);
  const auto address = va_arg(arguments, unsigned long);
  const auto data = va_arg(arguments, unsigned long);
  va_end(arguments);
  if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER) {
    return finish<long>(raw(SYS_ptrace, request, tid, address, data));
  }
  unsigned long word = 0;
  return finish<int>(raw(SYS_ptrace, request, tid, address, &word)) == 0 ? static_cast<long>(word) : -1;
}

}  // extern "C"
