// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/devices.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>

#include "base/fd_path.h"
#include "base/format.h"
#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/pages/enclave_keys.h"
#include "engine/sgx.h"
#include "engine/shared_machine.h"
#include "engine/signals/mask.h"
#include "engine/start/machine.h"
#include "engine/start/message.h"
#include "kernel/layout.h"

namespace enclume::engine {

namespace {

/// The length tells the provisioning device's files apart from an enclave's and from everybody else's.
constexpr std::uint64_t kProvisionLength = kernel::kFileLength + kPageSize;

constexpr unsigned kReadOnlyFile = 0444;
constexpr unsigned kWriteOnlyFile = 0222;

std::atomic<bool> seen_enclave{false};

// One bit a descriptor number; numbers beyond share the last one.
constexpr std::size_t kHintedDescriptors = 65536;
std::array<std::atomic<std::uint64_t>, kHintedDescriptors / 64> device_hints{};

void hint_device(int fd) {
  const auto n = static_cast<std::size_t>(fd) < kHintedDescriptors ? static_cast<std::size_t>(fd)
                                                                   : kHintedDescriptors - 1;
  device_hints[n / 64].fetch_or(1ULL << (n % 64), std::memory_order_relaxed);
}

struct Name {
  std::string_view path;
  Device device;
};
constexpr std::array<Name, 4> kNames = {{{"/dev/sgx_enclave", Device::Enclave},
                                         {"/dev/sgx/enclave", Device::Enclave},
                                         {"/dev/sgx_provision", Device::Provision},
                                         {"/dev/sgx/provision", Device::Provision}}};

/// The path of a device, but for slashes and dots that lead nowhere else.
Device device_of_name(std::string_view path) {
  std::array<char, 32> storage;
  LineBuffer plain(storage);
  while (!path.empty()) {
    path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size());
    if (part == ".." || plain.truncated()) {
      return Device::None;
    }
    if (!part.empty() && part != ".") {
      plain.text("/").text(part);
    } else if (path.empty()) {
      return Device::None;  // it ends as a directory does
    }
  }
  for (const Name& name : kNames) {
    if (plain.view() == name.path) {
      return name.device;
    }
  }
  return Device::None;
}

bool file_status(int fd, struct stat& st) {
  return sys::raw(__NR_fstat, fd, sys::arg(&st)) == 0;
}

Device device_of_status(const struct stat& st) {
  if (!S_ISREG(st.st_mode)) {
    return Device::None;
  }
  switch (static_cast<std::uint64_t>(st.st_size)) {
    case kernel::kFileLength:
      return Device::Enclave;
    case kProvisionLength:
      return Device::Provision;
    default:
      return Device::None;
  }
}

kernel::FileIdentity identity_of(const struct stat& st) {
  return {st.st_dev, st.st_ino};
}

/// ftruncate(2), past RLIMIT_FSIZE as far as the hard limit allows it: the program has not asked for a file.
/// EFBIG where it doesn't, without the SIGXFSZ that comes with it.
SysResult<void> set_length(int fd, std::uint64_t length) {
  struct {
    std::uint64_t soft, hard;
  } limit{};
  const bool limited =
      sys::raw(__NR_prlimit64, 0, RLIMIT_FSIZE, 0, sys::arg(&limit)) == 0 && limit.soft < length;
  if (!limited) {
    const auto r = sys::call(__NR_ftruncate, fd, length);
    return r ? SysResult<void>{} : fail(r.error());
  }
  const SignalsBlocked blocked;
  const std::uint64_t wanted[2] = {limit.hard, limit.hard};
  sys::raw(__NR_prlimit64, 0, RLIMIT_FSIZE, sys::arg(&wanted[0]), 0);
  const auto r = sys::call(__NR_ftruncate, fd, length);
  sys::raw(__NR_prlimit64, 0, RLIMIT_FSIZE, sys::arg(&limit), 0);
  if (r) {
    return {};
  }
  const SignalSet too_big = signal_bit(SIGXFSZ);
  const struct timespec now {};
  sys::raw(__NR_rt_sigtimedwait, sys::arg(&too_big), 0, sys::arg(&now), sizeof(too_big));
  return fail(r.error());
}

/// Whether a descriptor of this process is open on the file. /proc may be missing: then it is said to be.
bool has_descriptor(kernel::FileIdentity identity) {
  const auto dir = sys::call(__NR_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!dir) {
    return true;
  }
  bool found = false;
  alignas(8) std::array<char, 2048> buffer;
  for (;;) {
    const long n = sys::raw(__NR_getdents64, *dir, sys::arg(buffer.data()), buffer.size());
    if (n <= 0 || found) {
      break;
    }
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
      at += entry->d_reclen;
      int fd = 0;
      bool number = entry->d_name[0] != '\0';
      for (const char* c = entry->d_name; *c != '\0'; ++c) {
        number = number && *c >= '0' && *c <= '9';
        fd = fd * 10 + (*c - '0');
      }
      struct stat st;
      if (number && file_status(fd, st) && identity_of(st) == identity) {
        found = true;
      }
    }
  }
  sys::raw(__NR_close, *dir);
  return found;
}

/// EnclaveTable::attach(), on the machine that the enclave belongs to: the one of this process's tree, or
/// that of whoever made it, if this process has no enclave of another yet.
SysResult<kernel::Enclave*> attach_enclave(int fd, kernel::FileIdentity identity) {
  kernel::Kernel& kernel = engine().sgx->kernel();
  // What a process needs that has an enclave, and no other.
  if (const auto r = join_shared_machine(kernel.shared, cpuid_view().epc[0].size / kPageSize); !r) {
    return fail(r.error());
  }
  if (!engine().expect_fork()) {
    return fail(Errno::NoMemory);
  }
  {
    const kernel::EnclaveTable::Kept kept(kernel.enclaves);
    take_first_keys();
  }
  auto enclave = kernel.enclaves.attach(identity, {fd});
  if (!enclave && enclave.error() == Errno::NoDevice) {
    {
      const kernel::EnclaveTable::Kept kept(kernel.enclaves);
      bool any = false;
      kernel.enclaves.for_each([&any](const kernel::Enclave&) { any = true; });
      if (any || !move_to_machine_of(fd, kernel.shared)) {
        return enclave;
      }
    }
    enclave = kernel.enclaves.attach(identity, {fd});
  }
  return enclave;
}

}  // namespace

std::string_view absolute_path(int dirfd, std::string_view path, std::span<char> storage) {
  std::size_t length;
  if (dirfd == AT_FDCWD) {
    const long n = sys::raw(__NR_getcwd, sys::arg(storage.data()), sys::arg(storage.size()));
    if (n <= 0) {
      return {};
    }
    length = static_cast<std::size_t>(n) - 1;  // without the zero that the kernel counts
  } else {
    const long n = sys::raw(__NR_readlink, sys::arg(FdPath(dirfd).c_str()), sys::arg(storage.data()),
                            sys::arg(storage.size()));
    if (n < 0) {
      return {};
    }
    length = static_cast<std::size_t>(n);
  }
  if (length == 1) {
    length = 0;  // the root's own slash
  }
  if (length + 1 + path.size() > storage.size()) {
    return {};
  }
  storage[length] = '/';
  path.copy(storage.data() + length + 1, path.size());
  return {storage.data(), length + 1 + path.size()};
}

Device device_of_path(int dirfd, const char* path) {
  if (path == nullptr || !engine().active) {
    return Device::None;
  }
  if (path[0] == '/') {
    // Most paths differ in the first bytes; only what begins like ours is looked at whole.
    const bool may_be = std::string_view(path).starts_with("/dev/") || path[1] == '/' || path[1] == '.';
    return may_be ? device_of_name(path) : Device::None;
  }
  std::string_view name(path);
  if (!name.ends_with("enclave") && !name.ends_with("provision")) {
    return Device::None;
  }
  std::array<char, 128> full;
  return device_of_name(absolute_path(dirfd, name, full));
}

Device device_of(int fd) {
  struct stat st;
  return fd >= 0 && file_status(fd, st) ? device_of_status(st) : Device::None;
}

Device device_of(int fd, kernel::FileIdentity& identity) {
  struct stat st;
  if (fd < 0 || !file_status(fd, st)) {
    return Device::None;
  }
  identity = identity_of(st);
  return device_of_status(st);
}

SysResult<int> open_device(Device device, int flags) {
  if ((flags & O_DIRECTORY) != 0) {
    return fail(static_cast<Errno>(ENOTDIR));
  }
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
    return fail(static_cast<Errno>(EEXIST));
  }
  if (engine().secret_lost) {
    engine().secret_lost = false;
    warn(
        "the machine secret can't be read here (another user, or chroot); this program has one of its own, "
        "and "
        "what its enclaves seal no other program can open");
  }
  const char* name = device == Device::Enclave ? "sgx_enclave" : "sgx_provision";
  const auto fd = sys::call(__NR_memfd_create, name, (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0U);
  if (!fd) {
    return fail(fd.error());
  }
  const std::uint64_t length = device == Device::Enclave ? kernel::kFileLength : kProvisionLength;
  if (const auto r = set_length(static_cast<int>(*fd), length); !r) {
    sys::raw(__NR_close, *fd);
    return fail(r.error());
  }
  if ((flags & O_ACCMODE) != O_RDWR) {
    // The engine's own mappings need a file that can be read and written; so what the program may do with the
    // descriptor stands in the file's mode, where other processes find it, too.
    sys::raw(__NR_fchmod, *fd, (flags & O_ACCMODE) == O_RDONLY ? kReadOnlyFile : kWriteOnlyFile);
  }
  if ((flags & (O_NONBLOCK | O_APPEND)) != 0) {
    sys::raw(__NR_fcntl, *fd, F_SETFL, flags & (O_NONBLOCK | O_APPEND));
  }
  if (device == Device::Enclave) {
    seen_enclave.store(true, std::memory_order_relaxed);
  }
  hint_device(static_cast<int>(*fd));
  return static_cast<int>(*fd);
}

OpenMode open_mode(int fd) {
  struct stat st;
  const unsigned mode = file_status(fd, st) ? st.st_mode & 0777U : 0U;
  return {mode != kWriteOnlyFile, mode != kReadOnlyFile};
}

bool may_be_device(int fd) {
  if (fd < 0) {
    return false;
  }
  const auto n = static_cast<std::size_t>(fd) < kHintedDescriptors ? static_cast<std::size_t>(fd)
                                                                   : kHintedDescriptors - 1;
  return (device_hints[n / 64].load(std::memory_order_relaxed) >> (n % 64) & 1) != 0;
}

bool any_enclave() {
  return seen_enclave.load(std::memory_order_relaxed);
}

SysResult<kernel::Enclave*> enclave_of(int fd) {
  struct stat st;
  if (!file_status(fd, st)) {
    return fail(Errno::BadFile);
  }
  return enclave_of(fd, identity_of(st));
}

SysResult<kernel::Enclave*> enclave_of(int fd, kernel::FileIdentity identity) {
  if (!any_enclave()) {
    seen_enclave.store(true, std::memory_order_relaxed);
  }
  if (!may_be_device(fd)) {
    hint_device(fd);
  }
  auto enclave = attach_enclave(fd, identity);
  if (enclave) {
    (*enclave)->use_file({fd});
  }
  return enclave;
}

void pose_as_device(Device device, struct stat& st) {
  // A misc device: major 10, minor assigned at boot. Its inode is none of those that devtmpfs has given.
  const unsigned minor_number = device == Device::Enclave ? 125 : 126;
  struct stat dev;
  if (sys::raw(__NR_stat, sys::arg("/dev"), sys::arg(&dev)) == 0) {
    st.st_dev = dev.st_dev;
  }
  st.st_ino = (1U << 30) + minor_number;
  st.st_mode = S_IFCHR | (device == Device::Enclave ? 0666 : 0660);
  st.st_rdev = 10U << 8 | minor_number;
  st.st_size = 0;
  st.st_blocks = 0;
}

bool pose_if_device(struct stat& st) {
  const Device device = engine().active ? device_of_status(st) : Device::None;
  if (device != Device::None) {
    pose_as_device(device, st);
  }
  return device != Device::None;
}

void release_unused_enclaves() {
  kernel::Kernel& kernel = engine().sgx->kernel();
  kernel.enclaves.for_each([&](kernel::Enclave& enclave) {
    const kernel::FileIdentity identity = enclave.identity();
    if (!kernel.vmas.maps(enclave) && !has_descriptor(identity)) {
      kernel.enclaves.release(enclave, identity);
    }
  });
}

}  // namespace enclume::engine
