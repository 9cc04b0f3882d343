// SPDX-License-Identifier: Apache-2.0
#include "engine/load/privileges.h"

#include <asm/unistd.h>
#include <sys/prctl.h>

#include "base/syscall.h"

namespace enclume::engine {

Privilege raised_privilege(int fd, const struct stat& status, const struct statfs& mount) {
  constexpr long kNoSuid = 2;  // ST_NOSUID
  if ((mount.f_flags & kNoSuid) != 0 || sys::raw(__NR_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
    return Privilege::None;
  }
  if ((status.st_mode & S_ISUID) != 0 && static_cast<long>(status.st_uid) != sys::raw(__NR_getuid)) {
    return Privilege::SetUid;
  }
  constexpr mode_t kSetgid = S_ISGID | S_IXGRP;
  if ((status.st_mode & kSetgid) == kSetgid && static_cast<long>(status.st_gid) != sys::raw(__NR_getgid)) {
    return Privilege::SetGid;
  }
  const bool capable =
      sys::raw(__NR_getuid) != 0 && sys::raw(__NR_fgetxattr, fd, sys::arg("security.capability"), 0, 0) > 0;
  return capable ? Privilege::Capabilities : Privilege::None;
}

}  // namespace enclume::engine
