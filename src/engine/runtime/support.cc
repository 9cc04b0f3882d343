// SPDX-License-Identifier: Apache-2.0
// What the compiler and the static libraries expect to find and the engine must not take from libc or
// libstdc++.
#include <cstddef>

#include "base/panic.h"

extern "C" {

// What crtbeginS.o would define: pthread_atfork() names the caller's object by its address. The compiler's
// files are left out, since all that they do is to touch pages at the process's end.
[[gnu::visibility("hidden")]] extern void* const __dso_handle;
void* const __dso_handle = const_cast<void**>(&__dso_handle);

// A virtual function that is only declared: unreachable by construction.
void __cxa_pure_virtual() {
  ENCLUME_PANIC("pure virtual call");
}

// libnettle is built with the stack protector; its canary is ours (start/start.cc).
[[noreturn]] void __stack_chk_fail() {
  ENCLUME_PANIC("stack smashed in a library of the engine");
}

[[noreturn]] void __assert_fail(const char* assertion, const char* file, unsigned line,
                                const char* function) {
  (void)function;
  enclume::panic(file, static_cast<int>(line), assertion);
}

// libnettle asks the environment which of its ways to take, and whether to tell: at the first use, which may
// be in a signal handler. The engine's own code looks into `environ`.
char* getenv(const char* name) {
  (void)name;
  return nullptr;
}
char* secure_getenv(const char* name) {
  (void)name;
  return nullptr;
}

// What libnettle and libgmp would tell on, which they never do here.
void* stderr = nullptr;
std::size_t fwrite(const void*, std::size_t, std::size_t count, void*) {
  return count;
}
int __fprintf_chk(void*, int, const char*, ...) {
  return 0;
}

[[noreturn]] void abort() {
  ENCLUME_PANIC("abort called in a library of the engine");
}

}  // extern "C"

namespace std {
// std::string_view::substr() behind the end.
[[noreturn]] void __throw_out_of_range_fmt(const char* format, ...) {
  ENCLUME_PANIC(format);
}
}  // namespace std
