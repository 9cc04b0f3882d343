// SPDX-License-Identifier: Apache-2.0
// Programs that have other rights than who executes them. The kernel sets AT_SECURE for these, and the
// dynamic linker ignores LD_PRELOAD then, so the engine is not in them.
#pragma once

#include <sys/stat.h>
#include <sys/statfs.h>

#include <string_view>

namespace enclume::engine {

enum class Privilege {
  None,
  SetUid,
  SetGid,
  Capabilities,  ///< of the file; root gains nothing by them
};

/// What executing the file would raise. Nobody gains anything on a nosuid mount or under no_new_privs.
/// `status` and `mount` are those of `fd`. Signal context: safe.
[[nodiscard]] Privilege raised_privilege(int fd, const struct stat& status, const struct statfs& mount);

[[nodiscard]] constexpr std::string_view name_of(Privilege privilege) {
  switch (privilege) {
    case Privilege::SetUid:
      return "setuid";
    case Privilege::SetGid:
      return "setgid";
    case Privilege::Capabilities:
      return "file capabilities";
    case Privilege::None:
      break;
  }
  return "";
}

}  // namespace enclume::engine
