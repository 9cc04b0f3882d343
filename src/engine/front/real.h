// SPDX-License-Identifier: Apache-2.0
// The front doors: libc functions that a program calls and the engine answers or passes on. Each interposed
// function is a thin forwarder; the next definition of its name is looked up once.
#pragma once

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>

#include "base/errno.h"
#include "engine/front/object_symbols.h"

#define ENCLUME_EXPORT extern "C" __attribute__((visibility("default")))

namespace enclume::engine {

/// The definition of a libc function behind ours.
template <typename F>
class Real {
 public:
  consteval explicit Real(const char* name) {
    for (std::size_t i = 0; name[i] != '\0'; ++i) {
      name_[i] = name[i];  // one that is too long does not compile
    }
  }
  F* get() {
    F* f = function_.load(std::memory_order_relaxed);
    if (f == nullptr) {
      f = reinterpret_cast<F*>(dlsym(RTLD_NEXT, name_.data()));
      function_.store(f, std::memory_order_relaxed);
    }
    return f;
  }
  /// At the engine's start, for what may be called where nothing can be looked up.
  void find_at_start() {
    function_.store(reinterpret_cast<F*>(next_function_at_start(name_.data())), std::memory_order_relaxed);
  }
  template <typename... Args>
  auto operator()(Args... args) {
    return get()(args...);
  }

 private:
  std::atomic<F*> function_{nullptr};
  std::array<char, 32>
      name_{};  // not a pointer: each is a relocation at a process's start, and makes a page its own
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
