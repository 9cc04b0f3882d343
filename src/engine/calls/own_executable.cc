// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/own_executable.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/openat2.h>

#include <algorithm>

#include "engine/calls/user_memory.h"
#include "engine/loaded_program.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kFaccessat2 = 439;

/// Which argument is the path of a call that follows a link at its end; nothing for other calls.
std::optional<std::size_t> followed_path(const Call& call) {
  switch (call.number) {
    case __NR_open:
      return (call.argument[1] & O_NOFOLLOW) == 0 ? std::optional<std::size_t>(0) : std::nullopt;
    case __NR_openat:
      return (call.argument[2] & O_NOFOLLOW) == 0 ? std::optional<std::size_t>(1) : std::nullopt;
    case __NR_openat2: {
      open_how how{};
      const bool follows = call.argument[3] >= sizeof(how) && read_user(how, call.argument[2]) &&
                           (how.flags & O_NOFOLLOW) == 0;
      return follows ? std::optional<std::size_t>(1) : std::nullopt;
    }
    case __NR_stat:
    case __NR_access:
    case __NR_execve:
      return 0;
    case __NR_newfstatat:
    case kFaccessat2:
      return (call.argument[3] & AT_SYMLINK_NOFOLLOW) == 0 ? std::optional<std::size_t>(1) : std::nullopt;
    case __NR_statx:
      return (call.argument[2] & AT_SYMLINK_NOFOLLOW) == 0 ? std::optional<std::size_t>(1) : std::nullopt;
    case __NR_execveat:
      return (call.argument[4] & AT_SYMLINK_NOFOLLOW) == 0 ? std::optional<std::size_t>(1) : std::nullopt;
    case __NR_faccessat:
      return 1;
    default:
      return std::nullopt;
  }
}

bool is_own_executable(const Call& call, std::size_t path) {
  const UserPath name(call.as_pointer<const char>(path));
  return name && names_loaded_program(name.text());
}

}  // namespace

Call lead_to_own_executable(const Call& call) {
  Call changed = call;
  if (!hides_loader()) {
    return changed;
  }
  if (const auto path = followed_path(call); path && is_own_executable(call, *path)) {
    changed.argument[*path] = reinterpret_cast<std::uint64_t>(loaded_program().data());
  }
  return changed;
}

std::optional<SysResult<long>> link_to_own_executable(const Call& call) {
  const bool at = call.number == __NR_readlinkat;
  if ((!at && call.number != __NR_readlink) || !hides_loader()) {
    return std::nullopt;
  }
  const std::size_t first = at ? 1 : 0;
  if (!is_own_executable(call, first)) {
    return std::nullopt;
  }
  const std::string_view text = loaded_program();
  const auto room = call.as_int(first + 2);
  if (room <= 0) {
    return fail(Errno::Invalid);
  }
  const std::size_t size = std::min(text.size(), static_cast<std::size_t>(room));
  if (enclume_guarded_copy(call.as_pointer<void>(first + 1), text.data(), size) != 0) {
    return fail(Errno::Fault);
  }
  return static_cast<long>(size);
}

}  // namespace enclume::engine
