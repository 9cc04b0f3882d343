// SPDX-License-Identifier: Apache-2.0
// Listing /dev: behind what is really there come the SGX devices, as a machine with SGX has them.
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/lock.h"
#include "base/syscall.h"
#include "engine/calls/devices.h"
#include "engine/calls/listing.h"
#include "engine/engine.h"
#include "engine/front/directories.h"
#include "engine/front/real.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

static_assert(sizeof(dirent) == sizeof(dirent64) && offsetof(dirent, d_name) == offsetof(dirent64, d_name));

Real<DIR*(const char*)> real_opendir{"opendir"};
Real<DIR*(int)> real_fdopendir{"fdopendir"};
Real<int(DIR*)> real_closedir{"closedir"};
Real<dirent*(DIR*)> real_readdir{"readdir"};
Real<int(DIR*, dirent*, dirent**)> real_readdir_r{"readdir_r"};
Real<void(DIR*)> real_rewinddir{"rewinddir"};
Real<void(DIR*, long)> real_seekdir{"seekdir"};

/// A stream on /dev.
struct Listing {
  DIR* stream = nullptr;  ///< null: a free entry
  std::size_t next = 0;   ///< of kDeviceNodes
  dirent entry{};
};

OwnerLock lock;
std::array<Listing, 64> listings;
std::atomic<unsigned> used{0};  // of these, so that other directories cost a load

Listing* find(const DIR* stream) {
  const auto at = std::find_if(listings.begin(), listings.end(),
                               [&](const Listing& listing) { return listing.stream == stream; });
  return at != listings.end() ? &*at : nullptr;
}

/// Calls f(Listing&) if the stream is on /dev.
template <typename F>
void with_listing(const DIR* stream, F&& f) {
  if (used.load(std::memory_order_acquire) == 0 || stream == nullptr) {
    return;
  }
  const SignalsBlocked blocked;
  const OwnerLockGuard guard(lock, sys::gettid());
  if (Listing* listing = find(stream); listing != nullptr) {
    f(*listing);
  }
}

DIR* opened(DIR* stream) {
  if (stream != nullptr && engine().active && is_dev(dirfd(stream))) {
    const SignalsBlocked blocked;
    const OwnerLockGuard guard(lock, sys::gettid());
    if (Listing* listing = find(nullptr); listing != nullptr) {
      *listing = {stream, 0, {}};
      used.fetch_add(1, std::memory_order_release);
    }
  }
  return stream;
}

/// What comes behind the end of the real directory; null at the end of that, too.
dirent* next_node(Listing& listing) {
  while (listing.next < kDeviceNodes.size() && is_real(kDeviceNodes[listing.next])) {
    ++listing.next;
  }
  if (listing.next == kDeviceNodes.size()) {
    return nullptr;
  }
  const DeviceNode& node = kDeviceNodes[listing.next++];
  struct stat st {};
  pose_as_device(node.device, st);
  dirent& entry = listing.entry;
  entry = {};
  entry.d_ino = st.st_ino;
  entry.d_off = telldir(listing.stream);
  entry.d_reclen = sizeof(dirent);
  entry.d_type = DT_CHR;
  std::memcpy(static_cast<char*>(entry.d_name), node.name.data(), node.name.size());
  return &entry;
}

dirent* read_next(DIR* stream) {
  dirent* entry = real_readdir(stream);
  if (entry == nullptr) {
    const int error = errno;
    with_listing(stream, [&](Listing& listing) { entry = next_node(listing); });
    errno = error;
  }
  return entry;
}

int read_next_to(DIR* stream, dirent* storage, dirent** result) {
  const int status = real_readdir_r(stream, storage, result);
  if (status == 0 && *result == nullptr) {
    with_listing(stream, [&](Listing& listing) {
      if (const dirent* entry = next_node(listing); entry != nullptr) {
        *storage = *entry;
        *result = storage;
      }
    });
  }
  return status;
}

void start_over(const DIR* stream) {
  with_listing(stream, [](Listing& listing) { listing.next = 0; });
}

// -- scandir() and glob(), whose own calls stay inside libc

using Filter = int (*)(const dirent*);
using Order = int (*)(const dirent**, const dirent**);

int scan(DIR* stream, dirent*** list, Filter filter, Order order) {
  if (stream == nullptr) {
    return -1;
  }
  dirent** entries = nullptr;
  std::size_t count = 0;
  std::size_t room = 0;
  const int before = errno;
  errno = 0;
  while (const dirent* entry = read_next(stream)) {
    // The filter may have set errno, which is none of ours.
    const bool wanted = filter == nullptr || filter(entry) != 0;
    errno = 0;
    if (!wanted) {
      continue;
    }
    if (count == room) {
      room = room == 0 ? 16 : 2 * room;
      auto* const more =
          static_cast<dirent**>(std::realloc(static_cast<void*>(entries), room * sizeof(dirent*)));
      if (more == nullptr) {
        break;
      }
      entries = more;
    }
    auto* const copy = static_cast<dirent*>(std::malloc(entry->d_reclen));
    if (copy == nullptr) {
      break;
    }
    std::memcpy(copy, entry, entry->d_reclen);
    entries[count++] = copy;
  }
  const int error = errno;
  closedir(stream);
  if (error != 0) {
    while (count != 0) {
      std::free(entries[--count]);
    }
    std::free(static_cast<void*>(entries));
    errno = error;
    return -1;
  }
  if (order != nullptr && count != 0) {
    std::qsort(static_cast<void*>(entries), count, sizeof(dirent*),
               reinterpret_cast<int (*)(const void*, const void*)>(order));
  }
  errno = before;
  *list = entries;
  return static_cast<int>(count);
}

DIR* open_at(int dirfd, const char* path) {
  const int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
  DIR* const stream = fd >= 0 ? opened(real_fdopendir(fd)) : nullptr;
  if (fd >= 0 && stream == nullptr) {
    sys::raw(__NR_close, fd);
  }
  return stream;
}

int glob_with(Real<int(const char*, int, int (*)(const char*, int), glob_t*)>& real, const char* pattern,
              int flags, int (*on_error)(const char*, int), glob_t* result) {
  if (!engine().active || result == nullptr || (flags & GLOB_ALTDIRFUNC) != 0) {
    return real(pattern, flags, on_error, result);
  }
  result->gl_opendir = [](const char* path) -> void* { return opendir(path); };
  result->gl_readdir = [](void* stream) { return readdir(static_cast<DIR*>(stream)); };
  result->gl_closedir = [](void* stream) { closedir(static_cast<DIR*>(stream)); };
  result->gl_stat = [](const char* __restrict path, struct stat* __restrict st) { return stat(path, st); };
  result->gl_lstat = [](const char* __restrict path, struct stat* __restrict st) { return lstat(path, st); };
  const int status = real(pattern, flags | GLOB_ALTDIRFUNC, on_error, result);
  result->gl_flags &= ~GLOB_ALTDIRFUNC;
  return status;
}

}  // namespace

void directories_after_fork() {
  lock.reset_in_child();
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT DIR* opendir(const char* path) {
  return opened(real_opendir(path));
}
ENCLUME_EXPORT DIR* fdopendir(int fd) {
  return opened(real_fdopendir(fd));
}
ENCLUME_EXPORT int closedir(DIR* stream) {
  with_listing(stream, [](Listing& listing) {
    listing.stream = nullptr;
    used.fetch_sub(1, std::memory_order_release);
  });
  return real_closedir(stream);
}
ENCLUME_EXPORT struct dirent* readdir(DIR* stream) {
  return read_next(stream);
}
ENCLUME_EXPORT struct dirent64* readdir64(DIR* stream) {
  return reinterpret_cast<dirent64*>(read_next(stream));
}
ENCLUME_EXPORT int readdir_r(DIR* stream, struct dirent* storage, struct dirent** result) {
  return read_next_to(stream, storage, result);
}
ENCLUME_EXPORT int readdir64_r(DIR* stream, struct dirent64* storage, struct dirent64** result) {
  return read_next_to(stream, reinterpret_cast<dirent*>(storage), reinterpret_cast<dirent**>(result));
}
ENCLUME_EXPORT void rewinddir(DIR* stream) noexcept {
  real_rewinddir(stream);
  start_over(stream);
}
ENCLUME_EXPORT void seekdir(DIR* stream, long position) noexcept {
  real_seekdir(stream, position);
  start_over(stream);
}

ENCLUME_EXPORT int scandir(const char* path, struct dirent*** list, Filter filter, Order order) {
  return scan(opendir(path), list, filter, order);
}
ENCLUME_EXPORT int scandir64(const char* path, struct dirent64*** list, int (*filter)(const struct dirent64*),
                             int (*order)(const struct dirent64**, const struct dirent64**)) {
  return scan(opendir(path), reinterpret_cast<dirent***>(list), reinterpret_cast<Filter>(filter),
              reinterpret_cast<Order>(order));
}
ENCLUME_EXPORT int scandirat(int dirfd, const char* path, struct dirent*** list, Filter filter, Order order) {
  return scan(open_at(dirfd, path), list, filter, order);
}
ENCLUME_EXPORT int scandirat64(int dirfd, const char* path, struct dirent64*** list,
                               int (*filter)(const struct dirent64*),
                               int (*order)(const struct dirent64**, const struct dirent64**)) {
  return scan(open_at(dirfd, path), reinterpret_cast<dirent***>(list), reinterpret_cast<Filter>(filter),
              reinterpret_cast<Order>(order));
}

ENCLUME_EXPORT int glob(const char* pattern, int flags, int (*on_error)(const char*, int), glob_t* result) {
  static Real<int(const char*, int, int (*)(const char*, int), glob_t*)> real{"glob"};
  return glob_with(real, pattern, flags, on_error, result);
}
ENCLUME_EXPORT int glob64(const char* pattern, int flags, int (*on_error)(const char*, int),
                          glob64_t* result) {
  static Real<int(const char*, int, int (*)(const char*, int), glob_t*)> real{"glob64"};
  return glob_with(real, pattern, flags, on_error, reinterpret_cast<glob_t*>(result));
}
