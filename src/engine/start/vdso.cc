// SPDX-License-Identifier: Apache-2.0
#include "engine/start/vdso.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include <span>

#include "base/format.h"
#include "base/syscall.h"
#include "base/types.h"
#include "engine/debugger.h"
#include "engine/fast/entry.h"
#include "engine/front/real.h"
#include "engine/start/message.h"
#include "engine/start/withdraw_symbol.h"
#include "kernel/vdso/image.h"
#include "kernel/vdso/machine_vdso.h"

namespace enclume::engine {

namespace {

std::uint64_t address = 0;
void* enter_function = nullptr;
void* image_handle = nullptr;

/// The auxiliary vector lies behind the environment's terminating null pointer.
Elf64_auxv_t* auxiliary_vector(char** environment) {
  while (*environment != nullptr) {
    ++environment;
  }
  return reinterpret_cast<Elf64_auxv_t*>(environment + 1);
}

Elf64_auxv_t* find_vdso_entry(char** environment) {
  for (Elf64_auxv_t* entry = auxiliary_vector(environment); entry->a_type != AT_NULL; ++entry) {
    if (entry->a_type == AT_SYSINFO_EHDR) {
      return entry;
    }
  }
  return nullptr;
}

/// ld.so loads the image from a file in memory, so that dlsym(), dl_iterate_phdr(), unwinders and debuggers
/// know it as they know any library.
const link_map* load(std::span<const std::byte> image) {
  const auto fd = sys::call(__NR_memfd_create, "linux-vdso.so.1", MFD_CLOEXEC);
  if (!fd) {
    return nullptr;
  }
  sys::write_all(static_cast<int>(*fd), reinterpret_cast<const char*>(image.data()), image.size());
  // By a name that means the same to a debugger, who opens it when ld.so tells of it; /proc/self would be its
  // own, and might be a pipe to wait for.
  char path[64];
  LineBuffer name(path);
  name.text("/proc/")
      .dec(sys::getpid())
      .text("/fd/")
      .dec(static_cast<int>(*fd))
      .text(std::string_view("\0", 1));
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  sys::raw(__NR_close, *fd);
  link_map* map = nullptr;
  if (handle == nullptr || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
    return nullptr;
  }
  // From now on as on any Linux.
  map->l_name = const_cast<char*>("linux-vdso.so.1");
  image_handle = handle;
  return map;
}

/// What the design has in the vDSO. In the others than Linux's there never was a __vdso_sgx_enter_enclave,
/// and a runtime that misses it falls back to what it did before (docs/exception-designs.md).
std::optional<kernel::EntryCode> entry_of(kernel::ExceptionDesign design) {
  switch (design) {
    case kernel::ExceptionDesign::Vdso:
      return kernel::enter_enclave_code();
    case kernel::ExceptionDesign::VdsoRegisters:
      return kernel::enclu_code();
    case kernel::ExceptionDesign::PerMm:
    case kernel::ExceptionDesign::Signals:
      break;
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t vdso_address() {
  return address;
}
void* vdso_handle() {
  return image_handle;
}

std::optional<kernel::FixupSite> install_vdso(char** environment, kernel::ExceptionDesign design) {
  if (design != kernel::ExceptionDesign::Vdso) {
    withdraw_symbol("__vdso_sgx_enter_enclave");
  }
  Elf64_auxv_t* entry = find_vdso_entry(environment);
  if (entry == nullptr) {
    warn("this process has no vDSO (vdso=0?); programs will not find __vdso_sgx_enter_enclave");
    return std::nullopt;
  }
  const auto* machine = reinterpret_cast<const std::byte*>(entry->a_un.a_val);
  const auto size = kernel::vdso_size({machine, kPageSize});
  if (!size) {
    warn(kernel::describe(size.error()));
    return std::nullopt;
  }
  alignas(kPageSize) static std::byte storage[kernel::kMaxVdsoImageSize];
  kernel::VdsoOptions options{.entry = entry_of(design)};
  if (enclume_fast_on != 0) {
    options.direct_entry = LinearAddress(reinterpret_cast<std::uint64_t>(&enclume_fast_enter));
  }
  const auto image = kernel::build_vdso_image({machine, *size}, LinearAddress::of(machine), options, storage);
  if (!image) {
    warn(kernel::describe(image.error()));
    return std::nullopt;
  }
  const link_map* map = load(std::span(storage).first(image->size));
  if (map == nullptr) {
    const char* why = dlerror();
    warn(why != nullptr ? why : "the vDSO image could not be loaded");
    return std::nullopt;
  }
  const LinearAddress base(map->l_addr);
  address = base.value();
  entry->a_un.a_val = address;
  if (!options.entry) {
    return std::nullopt;
  }
  if (image->direct_slot != 0) {
    enclume_debugger.direct_slot = (base + image->direct_slot).value();
    enclume_debugger.direct_enclu = (base + image->enclu).value();
  }
  enter_function = reinterpret_cast<void*>((base + image->enter).value());
  return kernel::FixupSite{base + image->enclu, base + image->fixup};
}

}  // namespace enclume::engine

// Programs that ld.so links against the symbol (weakly, or with dlsym(RTLD_DEFAULT)) find this one first,
// because their relocations are done before our image exists. It is the same function. A design that does not
// have it takes the symbol back before the program runs.
extern "C" __attribute__((visibility("default"), naked)) int __vdso_sgx_enter_enclave() {
  __asm__("jmpq *%0" : : "m"(enclume::engine::enter_function));
}
