// SPDX-License-Identifier: Apache-2.0
#include "engine/load/exec.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/fd_path.h"
#include "base/format.h"
#include "base/syscall.h"
#include "engine/load/exec_vectors.h"
#include "engine/load/initial_stack.h"
#include "engine/load/privileges.h"
#include "engine/load/program_file.h"
#include "engine/load/sanitizer_runtime.h"
#include "engine/load/script_line.h"

namespace enclume::engine {

namespace {

constexpr std::size_t kStackForVectors = 32U << 10;
constexpr long kStatfsNoExec = 8;  // ST_NOEXEC

/// An open descriptor, closed at the end of the scope.
class OpenFile {
 public:
  OpenFile() = default;
  ~OpenFile() { reset(-1); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  void reset(int fd) {
    if (fd_ >= 0) {
      sys::raw(__NR_close, fd_);
    }
    fd_ = fd;
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

/// Files that were looked into: a shell executes the same few again and again. By a hash of what changes with
/// the file; 0 is none. Children between vfork and exec share them.
class KnownPrograms {
 public:
  [[nodiscard]] bool has(std::uint64_t file) const {
    return file != 0 && slot(file).load(std::memory_order_relaxed) == file;
  }
  void add(std::uint64_t file) { slot(file).store(file, std::memory_order_relaxed); }

  /// 0 for a file that was changed so recently that it could change again and have the same times.
  [[nodiscard]] static std::uint64_t hash(const struct stat& status) {
    timespec now{};
    constexpr std::int64_t kSettled = 2;  // seconds
    if (sys::raw(__NR_clock_gettime, CLOCK_REALTIME_COARSE, sys::arg(&now)) != 0 ||
        now.tv_sec - status.st_ctim.tv_sec < kSettled) {
      return 0;
    }
    std::uint64_t value = 0xcbf2'9ce4'8422'2325;
    for (const std::uint64_t part :
         {std::uint64_t{status.st_dev}, std::uint64_t{status.st_ino},
          static_cast<std::uint64_t>(status.st_size), static_cast<std::uint64_t>(status.st_ctim.tv_sec),
          static_cast<std::uint64_t>(status.st_ctim.tv_nsec)}) {
      value = (value ^ part) * 0x9e37'79b9'7f4a'7c15;
      value ^= value >> 29;
    }
    return value;
  }

 private:
  using Slot = std::atomic<std::uint64_t>;
  [[nodiscard]] Slot& slot(std::uint64_t file) { return slots_[file % slots_.size()]; }
  [[nodiscard]] const Slot& slot(std::uint64_t file) const { return slots_[file % slots_.size()]; }

  std::array<Slot, 16> slots_{};
};

constinit KnownPrograms plain_programs;   ///< dynamic, and nothing special has to be done
constinit KnownPrograms static_programs;  ///< who may execute them, and with what rights, is asked each time

/// What plan_exec() finds out; large, so there is one for each call.
struct Inspection {
  ProgramFile file;
  OpenFile open;
  std::array<FileHead, kMaxScriptDepth> heads;  ///< of the scripts on the way, cut into strings
  std::array<ScriptLine, kMaxScriptDepth> lines;
  std::size_t depth = 0;
  std::uint64_t hash = 0;  ///< of the call's file: KnownPrograms::hash()
};

bool stat_file(const ExecCall& call, struct stat& status) {
  const int follow = call.flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
  return sys::call(__NR_newfstatat, call.dirfd, call.path, &status, follow) && S_ISREG(status.st_mode);
}

/// The file of a call, opened to be looked at. Never something whose opening could have an effect.
bool open_file(const ExecCall& call, OpenFile& file) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  const int no_follow = (call.flags & AT_SYMLINK_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
  auto fd = sys::call(__NR_openat, call.dirfd, call.path, kFlags | no_follow);
  if (!fd && (call.flags & AT_EMPTY_PATH) != 0) {
    fd = sys::call(__NR_openat, AT_FDCWD, FdPath(call.dirfd).c_str(), kFlags);
  }
  if (!fd) {
    return false;
  }
  file.reset(static_cast<int>(*fd));
  return true;
}

bool may_execute(int fd) {
  constexpr int kFaccessat2 = 439;
  long r = sys::raw(kFaccessat2, fd, sys::arg(""), X_OK, AT_EACCESS | AT_EMPTY_PATH);
  if (r == -ENOSYS || r == -EPERM) {  // before Linux 5.8; refused by older filters of containers
    r = sys::raw(__NR_faccessat, AT_FDCWD, sys::arg(FdPath(fd).c_str()), X_OK);
  }
  return r == 0;
}

bool is_same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_ctim.tv_sec == b.st_ctim.tv_sec &&
         a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

/// What one file is, scripts not yet followed. Nothing for what is not for the loader.
std::optional<ProgramKind> look_at(const ExecCall& call, Inspection& found) {
  struct stat status;
  struct statfs mount;
  if (!stat_file(call, status)) {
    return std::nullopt;
  }
  if (found.depth == 0) {
    found.hash = KnownPrograms::hash(status);
    if (plain_programs.has(found.hash)) {
      return std::nullopt;
    }
  }
  if (!open_file(call, found.open)) {
    return std::nullopt;
  }
  struct stat opened;
  if (found.depth == 0 && static_programs.has(found.hash) &&
      sys::call(__NR_fstat, found.open.get(), &opened) && is_same(opened, status)) {
    found.file.kind = ProgramKind::Static;
  } else if (!read_program_file(found.open.get(), found.file) || found.file.kind == ProgramKind::Dynamic ||
             found.file.kind == ProgramKind::Other) {
    return std::nullopt;
  } else if (found.depth == 0 && found.file.kind == ProgramKind::Static) {
    static_programs.add(found.hash);
  }
  if (!sys::call(__NR_fstatfs, found.open.get(), &mount) || (mount.f_flags & kStatfsNoExec) != 0 ||
      !may_execute(found.open.get()) ||
      raised_privilege(found.open.get(), status, mount) != Privilege::None) {
    return std::nullopt;
  }
  return found.file.kind;
}

/// True if it is the loader's: a static program, or a script that one interprets in the end.
bool is_for_loader(const ExecCall& call, Inspection& found) {
  auto kind = look_at(call, found);
  while (kind == ProgramKind::Script) {
    if (found.depth == found.heads.size()) {
      return false;
    }
    FileHead& head = found.heads[found.depth];
    head = found.file.head;
    const auto line = parse_script_line(head);
    if (!line) {
      return false;
    }
    found.lines[found.depth++] = *line;
    kind = look_at({AT_FDCWD, line->interpreter, nullptr, nullptr, 0}, found);
  }
  return kind == ProgramKind::Static;
}

/// The name of what is executed, as the kernel passes it on (bprm->filename): for a descriptor it is made up.
bool write_name(const ExecSetup& setup, const ExecCall& call, std::span<char> out) {
  LineBuffer line(out);
  std::size_t used = 0;
  const bool by_descriptor = call.dirfd != AT_FDCWD;
  const auto length = length_of_string(setup, call.path, out.size());
  if (!length) {
    return false;
  }
  char first = '\0';
  setup.copy(&first, call.path, 1);
  if (by_descriptor && first != '/') {
    line.text("/dev/fd/").dec(call.dirfd);
    if (*length != 0) {
      line.text("/");
    }
    used = line.view().size();
  }
  return used + *length + 1 <= out.size() && setup.copy(&out[used], call.path, *length + 1) == 0;
}

/// A descriptor for the loader, which closes it. A high number, so that the program's own come out as they
/// would.
int descriptor_for_loader(int fd) {
  constexpr int kFirst = 100;
  const auto copy = sys::call(__NR_fcntl, fd, F_DUPFD, kFirst);
  return static_cast<int>(copy ? *copy : sys::raw(__NR_fcntl, fd, F_DUPFD, 0));
}

struct Plan {
  const ExecSetup& setup;
  const ExecCall& call;
  ExecUse use;
  void* data;
};

/// With another environment than the program has given.
using Environment = char* const* (VectorWriter::*)(char* const* envp, const VectorNeeds& needs);

long with_environment(const Plan& plan, const VectorNeeds& needs, Environment environment) {
  const std::size_t bytes = needs.bytes();
  const VectorStorage storage(
      bytes <= kStackForVectors ? static_cast<std::byte*>(__builtin_alloca(bytes)) : nullptr, bytes);
  if (storage.bytes().size() < bytes) {
    return -ENOMEM;
  }
  VectorWriter writer(plan.setup, storage.bytes(), needs);
  ExecCall next = plan.call;
  next.envp = (writer.*environment)(plan.call.envp, needs);
  return writer.good() ? plan.use(plan.data, next) : -EFAULT;
}

/// The path of the loader that is to be executed, in `storage` if it has to be made.
const char* choose_loader(const ExecSetup& setup, std::span<char> storage) {
  if (setup.debugged == nullptr || !setup.debugged()) {
    return setup.loader;
  }
  LineBuffer line(storage);
  line.text(setup.loader).text(kLinkedSuffix).text(std::string_view("\0", 1));
  return line.truncated() ? setup.loader : storage.data();
}

long by_loader(const Plan& plan, Inspection& found, const VectorNeeds& given) {
  std::array<char, 4096 + 32> name;
  if (!write_name(plan.setup, plan.call, name)) {
    return plan.use(plan.data, plan.call);
  }
  std::array<char, 16> fd_text{};
  OpenFile copy;
  if (found.depth == 0) {
    // Not by name: that may lead elsewhere in the loader (/proc/self/exe, a descriptor), or soon.
    const int duplicate = descriptor_for_loader(found.open.get());
    if (duplicate >= 0) {
      copy.reset(duplicate);
      LineBuffer(fd_text).dec(copy.get()).text(std::string_view("\0", 1));
    } else if (plan.call.dirfd != AT_FDCWD || std::string_view(name.data()).starts_with("/proc/")) {
      return duplicate;
    }  // else by name after all: no descriptor is free, and the loader needs one at a time
  }
  found.open.reset(-1);
  const std::span<const ScriptLine> lines(found.lines.data(), found.depth);
  const LoaderOrder order{.name = name.data(),
                          .file = found.depth != 0 ? lines.back().interpreter : nullptr,
                          .fd = copy.get() >= 0 ? fd_text.data() : nullptr};
  const auto needs = measure_for_loader(plan.setup, plan.call, given, lines, order);
  if (!needs) {
    return plan.use(plan.data, plan.call);
  }
  const std::size_t bytes = needs->bytes();
  const VectorStorage storage(
      bytes <= kStackForVectors ? static_cast<std::byte*>(__builtin_alloca(bytes)) : nullptr, bytes);
  if (storage.bytes().size() < bytes) {
    return -ENOMEM;
  }
  VectorWriter writer(plan.setup, storage.bytes(), *needs);
  std::array<char, 4096 + 32> linked;
  ExecCall next{AT_FDCWD, choose_loader(plan.setup, linked), plan.call.argv, nullptr, 0, true};
  if (found.depth != 0) {
    next.argv = writer.script_arguments(plan.call.argv, lines, name.data());
  }
  next.envp = writer.loader_environment(plan.call.envp, *needs, order);
  if (!writer.good()) {
    return -EFAULT;
  }
  const long result = plan.use(plan.data, next);
  if (result != -ENOENT && result != -EACCES) {
    return result;
  }
  // It is not the program that can't be found, but the loader (chroot, a mount namespace). A dynamic program
  // goes without the engine there, since the dynamic linker does not find it.
  copy.reset(-1);
  return plan.use(plan.data, plan.call);
}

}  // namespace

long plan_exec(const ExecSetup& setup, const ExecCall& call, ExecUse use, void* data) {
  const Plan plan{setup, call, use, data};
  if (setup.preload == nullptr || setup.settings == nullptr || setup.copy == nullptr) {
    return use(data, call);
  }
  auto needs = measure_for_engine(setup, call.envp);
  if (!needs) {
    return use(data, call);  // EFAULT, says the kernel
  }
  Inspection found;
  if (is_for_loader(call, found) && setup.loader != nullptr) {
    return by_loader(plan, found, *needs);
  }
  if (found.open.get() >= 0 && found.file.kind == ProgramKind::Dynamic &&
      is_for_musl(found.open.get(), found.file)) {
    found.open.reset(-1);
    return needs->preload_has_engine
               ? with_environment(plan, *needs, &VectorWriter::environment_without_engine)
               : use(data, call);
  }
  LibraryName name;
  if (found.open.get() >= 0 && found.file.kind == ProgramKind::Dynamic) {
    const std::string_view runtime = sanitizer_runtime(found.open.get(), found.file, name);
    put_first(setup, runtime, *needs);
    if (found.depth == 0 && found.hash != 0 && runtime.empty()) {
      plain_programs.add(found.hash);
    }
  }
  found.open.reset(-1);
  return needs->changes ? with_environment(plan, *needs, &VectorWriter::environment) : use(data, call);
}

long execute_plainly(const ExecCall& call) {
  if (call.dirfd == AT_FDCWD && call.flags == 0) {
    return sys::raw(__NR_execve, sys::arg(call.path), sys::arg(call.argv), sys::arg(call.envp));
  }
  return sys::raw(__NR_execveat, call.dirfd, sys::arg(call.path), sys::arg(call.argv), sys::arg(call.envp),
                  call.flags);
}

}  // namespace enclume::engine
