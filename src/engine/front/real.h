// SPDX-License-Identifier: Apache-2.0
// The front doors: libc functions that a program calls and the engine answers or passes on. Each interposed
// function is a thin forwarder; the next definition of its name is looked up once.
#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cerrno>

#include "base/errno.h"

#define ENCLUME_EXPORT extern "C" __attribute__((visibility("default")))

namespace enclume::engine {

/// The definition of a libc function behind ours.
template <typename F>
class Real {
 public:
  constexpr explicit Real(const char* name) : name_(name) {}
  F* get() {
    F* f = function_.load(std::memory_order_relaxed);
    if (f == nullptr) {
      f = reinterpret_cast<F*>(dlsym(RTLD_NEXT, name_));
      function_.store(f, std::memory_order_relaxed);
    }
    return f;
  }
  template <typename... Args>
  auto operator()(Args... args) {
    return get()(args...);
  }

 private:
  const char* name_;
  std::atomic<F*> function_{nullptr};
};

/// libc's way to fail: errno and -1. A front door is an ordinary libc call, so errno is the program's to
/// lose.
inline int libc_result(const SysResult<void>& r) {
  if (r) {
    return 0;
  }
  errno = r.error() == Errno::Restart ? EINTR : static_cast<int>(r.error());
  return -1;
}

inline long libc_result(const SysResult<long>& r) {
  if (r) {
    return *r;
  }
  errno = r.error() == Errno::Restart ? EINTR : static_cast<int>(r.error());
  return -1;
}

}  // namespace enclume::engine
