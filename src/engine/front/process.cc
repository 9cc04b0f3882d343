// SPDX-License-Identifier: Apache-2.0
#include "engine/front/process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <pty.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/syscall.h"
#include "engine/calls/tracer.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/exec_program.h"
#include "engine/front/directories.h"
#include "engine/front/handed_mask.h"
#include "engine/front/real.h"
#include "engine/load/exec_vectors.h"
#include "engine/load/initial_stack.h"
#include "engine/start/alone.h"

extern char** environ;

namespace enclume::engine {

namespace {

constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kSettings = "ENCLUME_SETTINGS=";

using Spawn = int(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*,
                  char* const*, char* const*);
Real<Spawn> real_posix_spawn{"posix_spawn"};
Real<Spawn> real_posix_spawnp{"posix_spawnp"};

int finish(long result) {
  errno = static_cast<int>(-result);
  return -1;
}

int exec_path(const char* path, char* const* argv, char* const* envp) {
  return finish(exec_program({AT_FDCWD, path, argv, envp, 0}));
}

/// What execvp() does with a file that the kernel knows no loader for.
long exec_or_shell(const char* path, char* const* argv, char* const* envp) {
  const long result = exec_program({AT_FDCWD, path, argv, envp, 0});
  if (result != -ENOEXEC) {
    return result;
  }
  std::size_t count = 0;
  while (argv[count] != nullptr) {
    ++count;
  }
  auto** shell = static_cast<char**>(__builtin_alloca((count + 3) * sizeof(char*)));
  shell[0] = const_cast<char*>("/bin/sh");
  shell[1] = const_cast<char*>(path);
  for (std::size_t i = 1; i <= count; ++i) {
    shell[i + 1] = argv[i];
  }
  shell[count > 0 ? count + 1 : 2] = nullptr;
  return exec_program({AT_FDCWD, shell[0], shell, envp, 0});
}

/// The search path in the program's environment. (getenv() within the engine is libnettle's:
/// runtime/support.cc.)
const char* search_path() {
  constexpr std::string_view kName = "PATH=";
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, kName.data(), kName.size()) == 0) {
      return *entry + kName.size();
    }
  }
  return nullptr;
}

/// Calls try_it(path) for each place where the shell would look for `file`, until it returns true.
template <typename F>
void for_each_place(const char* file, F&& try_it) {
  const std::size_t length = std::strlen(file);
  const char* variable = search_path();
  std::string_view rest = variable != nullptr ? variable : "/bin:/usr/bin";
  char path[PATH_MAX];
  while (true) {
    const std::string_view directory = rest.substr(0, rest.find(':'));
    if (directory.size() + 1 + length < sizeof(path)) {
      std::memcpy(path, directory.data(), directory.size());
      std::size_t used = directory.size();
      if (used != 0) {
        path[used++] = '/';
      }
      std::memcpy(path + used, file, length + 1);
      if (try_it(static_cast<const char*>(path))) {
        return;
      }
    }
    if (directory.size() == rest.size()) {
      return;
    }
    rest.remove_prefix(directory.size() + 1);
  }
}

/// As execvpe(3) of glibc searches; its own calls of execve() can't be interposed.
int exec_search(const char* file, char* const* argv, char* const* envp) {
  if (*file == '\0') {
    return finish(-ENOENT);
  }
  if (std::strchr(file, '/') != nullptr) {
    return finish(exec_or_shell(file, argv, envp));
  }
  bool denied = false;
  bool decided = false;
  long result = -ENOENT;
  for_each_place(file, [&](const char* path) {
    result = exec_or_shell(path, argv, envp);
    denied = denied || result == -EACCES;
    switch (-result) {
      case EACCES:
      case ENOENT:
      case ESTALE:
      case ENOTDIR:
      case ENODEV:
      case ETIMEDOUT:
        return false;
      default:
        decided = true;
        return true;
    }
  });
  return finish(denied && !decided ? -EACCES : result);
}

/// A copy that stays, whatever becomes of the environment. Not from malloc(): the heap is the program's, and
/// there need not be a libc.
char* keep(const char* text) {
  static constinit std::array<char, 1024> storage{};  // more is rare, and this is written at each start
  static constinit std::size_t used = 0;
  const std::size_t size = std::strlen(text) + 1;
  char* place = nullptr;
  if (size <= storage.size() - used) {
    place = &storage[used];
    used += size;
  } else if (const auto r =
                 sys::call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    place = reinterpret_cast<char*>(*r);
  } else {
    return nullptr;
  }
  std::memcpy(place, text, size);
  return place;
}

/// The script of enclume-gdb.py, or a tracer with the engine in it.
bool is_debugged() {
  return enclume_debugger.announce != static_cast<std::uint32_t>(Announce::Off);
}

struct SpawnCall {
  pid_t* pid;
  const posix_spawn_file_actions_t* actions;
  const posix_spawnattr_t* attributes;
  const char*
      searched;  ///< the name that posix_spawnp() was given, to be searched in the child; null: a path
};

long spawn(void* data, const ExecCall& call) {
  const auto& s = *static_cast<const SpawnCall*>(data);
  const HandedMask mask(virtual_mask_of_thread());
  if (s.searched != nullptr && !call.by_loader) {
    return -real_posix_spawnp(s.pid, s.searched, s.actions, s.attributes, call.argv, call.envp);
  }
  return -real_posix_spawn(s.pid, call.path, s.actions, s.attributes, call.argv, call.envp);
}

/// The child of posix_spawn() calls the kernel by itself, so what it is to execute is decided here.
int spawn_path(const SpawnCall& s, const char* path, char* const* argv, char* const* envp) {
  SpawnCall call = s;
  return -static_cast<int>(plan_exec(exec_setup(), {AT_FDCWD, path, argv, envp, 0}, &spawn, &call));
}

/// The arguments of execl() and its kin, as a vector on the caller's stack.
std::size_t count_arguments(va_list arguments) {
  std::size_t count = 1;
  while (va_arg(arguments, char*) != nullptr) {
    ++count;
  }
  return count;
}

void prepare_fork() {
  if (engine().active) {
    (void)engine().before_fork();
  }
}

/// By libc's list, since its functions fork within, too; but not before one of them is called: most processes
/// do not fork, and the list is in pages of libc's that they do not need.
void expect_fork() {
  static constinit std::atomic<bool> registered{false};
  if (engine().active && !registered.exchange(true, std::memory_order_relaxed)) {
    pthread_atfork(&prepare_fork, nullptr, &after_fork_in_child);
  }
}

}  // namespace

void after_fork_in_child() {
  engine().sync_after_fork();
  directories_after_fork();
  tracer_after_fork();
}

void remember_environment(char** environment) {
  ExecSetup& setup = exec_setup();
  setup.debugged = &is_debugged;
  for (; *environment != nullptr; ++environment) {
    if (starts_with(*environment, kPreload)) {
      setup.preload = keep(*environment);
      // What stands before the engine is for this program alone (a sanitizer's runtime).
      const std::string_view list(*environment + kPreload.size());
      Dl_info self{};
      if (list.find_first_of(": ") != std::string_view::npos && setup.preload != nullptr && has_libc() &&
          dladdr(&enclume_debugger, &self) != 0) {
        const std::size_t place = list.find(self.dli_fname);
        if (place != std::string_view::npos && place != 0) {
          char* const out = const_cast<char*>(setup.preload) + kPreload.size();
          std::memmove(out, out + place, list.size() - place + 1);
          *environment = const_cast<char*>(setup.preload);
        }
      }
    } else if (starts_with(*environment, kSettings)) {
      setup.settings = keep(*environment);
    }
  }
  if (setup.preload != nullptr) {
    const std::string_view list = std::string_view(setup.preload).substr(kPreload.size());
    setup.engine = list.substr(0, list.find_first_of(": "));
  }
}

void remember_loader(const char* path) {
  if (*path != '\0') {
    exec_setup().loader = path;
  }
}

/// Before libc's vfork(), whose address it gives: jumps.S goes on there. A child that shares our memory must
/// not be the first to notice that we are a forked child.
extern "C" [[gnu::visibility("hidden")]] void* enclume_before_vfork() {
  static Real<pid_t()> real{"vfork"};
  if (engine().active) {
    engine().sync_after_fork();
    (void)engine().expect_fork();
  }
  return reinterpret_cast<void*>(real.get());
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT pid_t fork() noexcept {
  static Real<pid_t()> real{"fork"};
  expect_fork();
  return real();
}
ENCLUME_EXPORT pid_t __fork() noexcept {
  return fork();
}
ENCLUME_EXPORT pid_t _Fork() noexcept {
  static Real<pid_t()> real{"_Fork"};
  prepare_fork();  // the list is not for it
  return real();
}
ENCLUME_EXPORT int daemon(int nochdir, int noclose) noexcept {
  static Real<int(int, int)> real{"daemon"};
  expect_fork();
  return real(nochdir, noclose);
}
ENCLUME_EXPORT int forkpty(int* controller, char* name, const termios* attributes,
                           const winsize* size) noexcept {
  static Real<int(int*, char*, const termios*, const winsize*)> real{"forkpty"};
  expect_fork();
  return real(controller, name, attributes, size);
}
ENCLUME_EXPORT int execve(const char* path, char* const argv[], char* const envp[]) noexcept {
  return exec_path(path, argv, envp);
}
ENCLUME_EXPORT int execv(const char* path, char* const argv[]) noexcept {
  return exec_path(path, argv, environ);
}
ENCLUME_EXPORT int execvp(const char* file, char* const argv[]) noexcept {
  return exec_search(file, argv, environ);
}
ENCLUME_EXPORT int execvpe(const char* file, char* const argv[], char* const envp[]) noexcept {
  return exec_search(file, argv, envp);
}
ENCLUME_EXPORT int fexecve(int fd, char* const argv[], char* const envp[]) noexcept {
  if (fd < 0) {
    return finish(-EINVAL);
  }
  return finish(exec_program({fd, "", argv, envp, AT_EMPTY_PATH}));
}
ENCLUME_EXPORT int execveat(int fd, const char* path, char* const argv[], char* const envp[],
                            int flags) noexcept {
  return finish(exec_program({fd, path, argv, envp, flags}));
}

// The variadic ones gather their arguments on the stack: they may run between vfork and exec.
#define ENCLUME_GATHER(first)                                                       \
  va_list counted;                                                                  \
  va_start(counted, first);                                                         \
  const std::size_t count = count_arguments(counted);                               \
  va_end(counted);                                                                  \
  auto** argv = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*))); \
  va_list arguments;                                                                \
  va_start(arguments, first);                                                       \
  argv[0] = const_cast<char*>(first);                                               \
  for (std::size_t i = 1; i <= count; ++i) {                                        \
    argv[i] = va_arg(arguments, char*);                                             \
  }

ENCLUME_EXPORT int execl(const char* path, const char* first, ...) noexcept {
  ENCLUME_GATHER(first)
  va_end(arguments);
  return exec_path(path, argv, environ);
}
ENCLUME_EXPORT int execlp(const char* file, const char* first, ...) noexcept {
  ENCLUME_GATHER(first)
  va_end(arguments);
  return exec_search(file, argv, environ);
}
ENCLUME_EXPORT int execle(const char* path, const char* first, ...) noexcept {
  ENCLUME_GATHER(first)
  char** envp = va_arg(arguments, char**);
  va_end(arguments);
  return exec_path(path, argv, envp);
}

ENCLUME_EXPORT int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                               const posix_spawnattr_t* attributes, char* const argv[], char* const envp[]) {
  return spawn_path({pid, actions, attributes, nullptr}, path, argv, envp);
}
ENCLUME_EXPORT int posix_spawnp(pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
                                const posix_spawnattr_t* attributes, char* const argv[], char* const envp[]) {
  const SpawnCall call{pid, actions, attributes, file};
  if (*file == '\0' || std::strchr(file, '/') != nullptr) {
    return spawn_path(call, file, argv, envp);
  }
  std::optional<int> result;
  for_each_place(file, [&](const char* path) {
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0) {
      result = spawn_path(call, path, argv, envp);
    }
    return result.has_value();
  });
  return result ? *result : spawn_path(call, file, argv, envp);
}
