// SPDX-License-Identifier: Apache-2.0
// dlopen("linux-vdso.so.1"): the loaded vDSO is ours. Every other name must reach libc's dlopen with the
// caller's return address, which decides about namespaces, RUNPATH and $ORIGIN. RTLD_DEEPBIND: see
// deep_binding.h.
#include <dlfcn.h>

#include <cstring>

#include "engine/front/deep_binding.h"
#include "engine/front/real.h"
#include "engine/start/vdso.h"

namespace enclume::engine {

namespace {

void* (*real_dlopen)(const char*, int) = nullptr;

}  // namespace

extern "C" __attribute__((visibility("hidden"))) void* enclume_dlopen_own(const char* path, int flags) {
  if (real_dlopen == nullptr) {
    real_dlopen = reinterpret_cast<void* (*)(const char*, int)>(dlsym(RTLD_NEXT, "dlopen"));
  }
  if ((flags & RTLD_DEEPBIND) != 0) {
    expect_deep_binding();
  }
  return path != nullptr && std::strcmp(path, "linux-vdso.so.1") == 0 ? vdso_handle() : nullptr;
}

}  // namespace enclume::engine

extern "C" __attribute__((visibility("default"), naked)) void* dlopen(const char*, int) noexcept {
  __asm__(
      "pushq %%rdi\n\t"
      "pushq %%rsi\n\t"
      "subq $8, %%rsp\n\t"
      "call enclume_dlopen_own\n\t"
      "addq $8, %%rsp\n\t"
      "popq %%rsi\n\t"
      "popq %%rdi\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "jmpq *%0\n"
      "1:\tret"
      :
      : "m"(enclume::engine::real_dlopen));
}
