// SPDX-License-Identifier: Apache-2.0
// Started by auxv_test.cc with AT_SYSINFO_EHDR pointing to an image: looks at its vDSO as programs do. Prints
// one line for each finding.
#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>

#include <cstdint>
#include <cstdio>
#include <ctime>

extern "C" {
[[gnu::weak]] int __vdso_sgx_enter_enclave();
[[gnu::weak]] int __vdso_getcpu();
}

// libgcc's, not in its public header.
extern "C" {
struct dwarf_eh_bases {
  void* tbase;
  void* dbase;
  void* func;
};
const void* _Unwind_Find_FDE(void* pc, dwarf_eh_bases* bases);
}

namespace {

std::uintptr_t base() {
  return getauxval(AT_SYSINFO_EHDR);
}

void print(const char* what, const void* place) {
  const auto value = reinterpret_cast<std::uintptr_t>(place);
  std::printf("%s %zd\n", what, place == nullptr ? -1 : static_cast<std::ptrdiff_t>(value - base()));
}

int find_vdso(dl_phdr_info* info, std::size_t, void* found) {
  if (info->dlpi_addr == base()) {
    *static_cast<void**>(found) = reinterpret_cast<void*>(base());
  }
  return 0;
}

}  // namespace

int main() {
  std::printf("base %zu\n", base());
  void* vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
  print("dlsym", vdso == nullptr ? nullptr : dlsym(vdso, "__vdso_sgx_enter_enclave"));
  print("dlvsym", vdso == nullptr ? nullptr : dlvsym(vdso, "__vdso_sgx_enter_enclave", "LINUX_2.6"));
  // glibc 2.36 resolves weak symbols against no vDSO at all; what it does with one must hold for the other.
  std::printf("weak %d\nweak_of_machine %d\n", &__vdso_sgx_enter_enclave != nullptr,
              &__vdso_getcpu != nullptr);
  void* listed = nullptr;
  dl_iterate_phdr(find_vdso, &listed);
  print("listed", listed);
  dwarf_eh_bases bases = {};
  if (vdso != nullptr) {
    _Unwind_Find_FDE(dlsym(vdso, "__vdso_sgx_enter_enclave"), &bases);
  }
  print("fde", bases.func);
  timespec now = {};
  std::printf("clock %d\n", clock_gettime(CLOCK_MONOTONIC, &now) == 0 && now.tv_sec + now.tv_nsec > 0);
  std::printf("time %d\n", time(nullptr) > 1'000'000'000);
  return 0;
}
