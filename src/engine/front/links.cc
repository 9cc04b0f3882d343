// SPDX-License-Identifier: Apache-2.0
// Names of the SGX devices: they are no symbolic links, and have a canonical form.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>

#include "engine/calls/devices.h"
#include "engine/calls/status.h"
#include "engine/front/real.h"

namespace enclume::engine {

namespace {

/// realpath(3) of a device; null if it is none.
char* canonical(const char* path, char* resolved) {
  const Device device = device_of_path(AT_FDCWD, path);
  if (device == Device::None) {
    return nullptr;
  }
  const char* const name = device == Device::Enclave ? "/dev/sgx_enclave" : "/dev/sgx_provision";
  return resolved != nullptr ? strcpy(resolved, name) : strdup(name);
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT ssize_t readlink(const char* path, char* buffer, size_t size) noexcept {
  static Real<ssize_t(const char*, char*, size_t)> real{"readlink"};
  const auto own = status_of_device(make_call(__NR_readlink, path, buffer, size));
  return own ? libc_result(*own) : real(path, buffer, size);
}
ENCLUME_EXPORT ssize_t readlinkat(int dirfd, const char* path, char* buffer, size_t size) noexcept {
  static Real<ssize_t(int, const char*, char*, size_t)> real{"readlinkat"};
  const auto own = status_of_device(make_call(__NR_readlinkat, dirfd, path, buffer, size));
  return own ? libc_result(*own) : real(dirfd, path, buffer, size);
}
ENCLUME_EXPORT char* realpath(const char* path, char* resolved) noexcept {
  static Real<char*(const char*, char*)> real{"realpath"};
  char* const own = canonical(path, resolved);
  return own != nullptr ? own : real(path, resolved);
}
ENCLUME_EXPORT char* canonicalize_file_name(const char* path) noexcept {
  static Real<char*(const char*)> real{"canonicalize_file_name"};
  char* const own = canonical(path, nullptr);
  return own != nullptr ? own : real(path);
}
// What programs built with _FORTIFY_SOURCE call.
ENCLUME_EXPORT char* __realpath_chk(const char* path, char* resolved, size_t size) {
  static Real<char*(const char*, char*, size_t)> real{"__realpath_chk"};
  char* const own = canonical(path, resolved);
  return own != nullptr ? own : real(path, resolved, size);
}
