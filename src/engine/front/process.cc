// SPDX-License-Identifier: Apache-2.0
#include "engine/front/process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/syscall.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/front/handed_mask.h"
#include "engine/front/real.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

extern char** environ;

namespace enclume::engine {

namespace {

const char* preload = nullptr;   // "LD_PRELOAD=..." as this process was started
const char* settings = nullptr;  // "ENCLUME_SETTINGS=..."
std::string_view engine_path;    // the first entry of LD_PRELOAD

constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kSettings = "ENCLUME_SETTINGS=";

/// An environment for a child in which the engine is loaded: the program's own if it still names it, else a
/// copy with the variables added. Between vfork and exec too, so nothing but the stack and malloc is used.
class ChildEnvironment {
 public:
  explicit ChildEnvironment(char* const* given) : result_(given) {
    if (settings == nullptr || preload == nullptr || given == nullptr) {
      return;
    }
    std::size_t count = 0;
    const char* old_preload = nullptr;
    bool has_settings = false;
    for (; given[count] != nullptr; ++count) {
      const std::string_view entry(given[count]);
      if (entry.starts_with(kPreload)) {
        old_preload = given[count];
      }
      has_settings = has_settings || entry.starts_with(kSettings);
    }
    const bool loaded =
        old_preload != nullptr && std::string_view(old_preload).find(engine_path) != std::string_view::npos;
    if (loaded && has_settings) {
      return;
    }
    const char* new_preload = old_preload;
    if (!loaded) {
      if (old_preload == nullptr || old_preload[kPreload.size()] == '\0') {
        new_preload = preload;
      } else {
        const std::string_view rest = std::string_view(old_preload).substr(kPreload.size());
        joined_ = static_cast<char*>(std::malloc(kPreload.size() + engine_path.size() + 1 + rest.size() + 1));
        if (joined_ == nullptr) {
          return;
        }
        char* out = joined_;
        for (const std::string_view part : {kPreload, engine_path, std::string_view(":"), rest}) {
          std::memcpy(out, part.data(), part.size());
          out += part.size();
        }
        *out = '\0';
        new_preload = joined_;
      }
    }
    copy_ = static_cast<char**>(std::malloc((count + 3) * sizeof(char*)));
    if (copy_ == nullptr) {
      return;
    }
    std::size_t used = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (given[i] != old_preload) {
        copy_[used++] = given[i];
      }
    }
    copy_[used++] = const_cast<char*>(new_preload);
    if (!has_settings) {
      copy_[used++] = const_cast<char*>(settings);
    }
    copy_[used] = nullptr;
    result_ = copy_;
  }
  ~ChildEnvironment() {
    std::free(copy_);
    std::free(joined_);
  }
  ChildEnvironment(const ChildEnvironment&) = delete;
  ChildEnvironment& operator=(const ChildEnvironment&) = delete;

  [[nodiscard]] char* const* get() const { return result_; }

 private:
  char* const* result_;
  char** copy_ = nullptr;
  char* joined_ = nullptr;
};

/// What the kernel must know before an exec and not after a failed one: ignored and blocked signals are
/// inherited, and of the owned ones only the engine knows.
class ExecState {
 public:
  ExecState() {
    if (!engine().active) {
      return;
    }
    Engine& e = engine();
    e.sync_after_fork();
    ThreadBlock* block = e.this_thread();
    if (block != nullptr && !(e.in_vfork_child() && block->vfork_child == sys::gettid())) {
      owned_ = unpack_owned(block->virtual_mask);
    }
    ignored_ = e.actions.prepare_exec();
    if (owned_ != 0) {
      sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&owned_), 0, sizeof(owned_));
      if (!e.in_vfork_child()) {
        hand_held_to_kernel(block);
      }
    }
  }
  ~ExecState() {
    if (!engine().active) {
      return;
    }
    engine().actions.undo_exec(ignored_);
    if (owned_ != 0) {
      sys::raw(__NR_rt_sigprocmask, SIG_UNBLOCK, sys::arg(&owned_), 0, sizeof(owned_));
    }
  }
  ExecState(const ExecState&) = delete;
  ExecState& operator=(const ExecState&) = delete;

 private:
  SignalSet owned_ = 0;
  std::uint8_t ignored_ = 0;
};

Real<int(const char*, char* const*, char* const*)> real_execve{"execve"};
Real<int(const char*, char* const*, char* const*)> real_execvpe{"execvpe"};
Real<int(int, char* const*, char* const*)> real_fexecve{"fexecve"};
Real<int(int, const char*, char* const*, char* const*, int)> real_execveat{"execveat"};
using Spawn = int(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*,
                  char* const*, char* const*);
Real<Spawn> real_posix_spawn{"posix_spawn"};
Real<Spawn> real_posix_spawnp{"posix_spawnp"};

int exec_path(const char* path, char* const* argv, char* const* envp) {
  const ChildEnvironment environment(envp);
  const ExecState state;
  return real_execve(path, argv, environment.get());
}

int exec_search(const char* file, char* const* argv, char* const* envp) {
  const ChildEnvironment environment(envp);
  const ExecState state;
  return real_execvpe(file, argv, environment.get());
}

/// The arguments of execl() and its kin, as a vector on the caller's stack.
std::size_t count_arguments(va_list arguments) {
  std::size_t count = 1;
  while (va_arg(arguments, char*) != nullptr) {
    ++count;
  }
  return count;
}

}  // namespace

void remember_environment(char** environment) {
  for (; *environment != nullptr; ++environment) {
    const std::string_view entry(*environment);
    if (entry.starts_with(kPreload)) {
      preload = strdup(*environment);
      // What stands before the engine is for this program alone (a sanitizer's runtime).
      Dl_info self{};
      if (preload != nullptr && dladdr(&enclume_debugger, &self) != 0) {
        const std::string_view list = entry.substr(kPreload.size());
        const std::size_t place = list.find(self.dli_fname);
        if (place != std::string_view::npos && place != 0) {
          char* const out = const_cast<char*>(preload) + kPreload.size();
          std::memmove(out, out + place, list.size() - place + 1);
          *environment = const_cast<char*>(preload);
        }
      }
    } else if (entry.starts_with(kSettings)) {
      settings = strdup(*environment);
    }
  }
  if (preload != nullptr) {
    const std::string_view list = std::string_view(preload).substr(kPreload.size());
    engine_path = list.substr(0, list.find_first_of(": "));
  }
}

/// Before libc's vfork(), whose address it gives: jumps.S goes on there. A child that shares our memory must
/// not be the first to notice that we are a forked child.
extern "C" [[gnu::visibility("hidden")]] void* enclume_before_vfork() {
  static Real<pid_t()> real{"vfork"};
  if (engine().active) {
    engine().sync_after_fork();
  }
  return reinterpret_cast<void*>(real.get());
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

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
  const ChildEnvironment environment(envp);
  const ExecState state;
  return real_fexecve(fd, argv, environment.get());
}
ENCLUME_EXPORT int execveat(int fd, const char* path, char* const argv[], char* const envp[],
                            int flags) noexcept {
  const ChildEnvironment environment(envp);
  const ExecState state;
  return real_execveat(fd, path, argv, environment.get(), flags);
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
  const ChildEnvironment environment(envp);
  const HandedMask mask(virtual_mask_of_thread());
  return real_posix_spawn(pid, path, actions, attributes, argv, environment.get());
}
ENCLUME_EXPORT int posix_spawnp(pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
                                const posix_spawnattr_t* attributes, char* const argv[], char* const envp[]) {
  const ChildEnvironment environment(envp);
  const HandedMask mask(virtual_mask_of_thread());
  return real_posix_spawnp(pid, file, actions, attributes, argv, environment.get());
}
ENCLUME_EXPORT int system(const char* command) {
  static Real<int(const char*)> real{"system"};
  const HandedMask mask(virtual_mask_of_thread());
  return real(command);
}
ENCLUME_EXPORT FILE* popen(const char* command, const char* mode) {
  static Real<FILE*(const char*, const char*)> real{"popen"};
  const HandedMask mask(virtual_mask_of_thread());
  return real(command, mode);
}
