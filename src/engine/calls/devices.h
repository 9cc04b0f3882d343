// SPDX-License-Identifier: Apache-2.0
// The device files that a machine with SGX has: their names, and descriptors of them.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "base/errno.h"
#include "kernel/enclave.h"

namespace enclume::engine {

enum class Device : std::uint8_t {
  None,
  Enclave,
  Provision
};

/// Which device a path names: /dev/sgx_enclave, /dev/sgx/enclave, /dev/sgx_provision, /dev/sgx/provision;
/// also as `name` relative to directory `dirfd`. Signal context: safe.
[[nodiscard]] Device device_of_path(int dirfd, const char* path);

/// `path`, which is relative to directory `dirfd`, behind the name of that. Empty if that has none or
/// `storage` is too small. Signal context: safe.
[[nodiscard]] std::string_view absolute_path(int dirfd, std::string_view path, std::span<char> storage);

/// Which device a descriptor is open on; the second also tells what file it is. Signal context: safe.
[[nodiscard]] Device device_of(int fd);
[[nodiscard]] Device device_of(int fd, kernel::FileIdentity& identity);

/// Whether a descriptor of this number was ever open on a device: a hint that costs a load.
[[nodiscard]] bool may_be_device(int fd);

/// open(2) of a device: a new descriptor, with the flags that were asked for. Errors: as memfd_create(2).
[[nodiscard]] SysResult<int> open_device(Device device, int flags);

/// What a device descriptor was opened for (Linux: FMODE_READ, FMODE_WRITE).
struct OpenMode {
  bool readable;
  bool writable;
};
[[nodiscard]] OpenMode open_mode(int fd);

/// The enclave behind a descriptor of Device::Enclave, attached to this process if it is new here.
/// Signals are blocked by the caller.
[[nodiscard]] SysResult<kernel::Enclave*> enclave_of(int fd);
/// The same where device_of() has just said which file it is.
[[nodiscard]] SysResult<kernel::Enclave*> enclave_of(int fd, kernel::FileIdentity identity);

/// Makes a file's attributes those of the device.
void pose_as_device(Device device, struct stat& st);

/// The same if they are a device descriptor's. False if not. Signal context: safe.
bool pose_if_device(struct stat& st);

/// Enclaves that no descriptor and no mapping of this process refers to any more are let go.
/// Signals are blocked by the caller.
void release_unused_enclaves();

/// Whether this process has an enclave at all: if not, most front doors have nothing to look at.
[[nodiscard]] bool any_enclave();

}  // namespace enclume::engine
