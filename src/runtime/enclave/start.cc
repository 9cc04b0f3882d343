// SPDX-License-Identifier: Apache-2.0
#include <elf.h>

#include <cstring>

#include "runtime/enclave/self.h"

namespace enclume::enclave {
namespace {

extern "C" {
[[gnu::visibility("hidden")]] extern const Elf64_Rela enclume_rela_start[];
[[gnu::visibility("hidden")]] extern const Elf64_Rela enclume_rela_end[];
using Constructor = void (*)();
[[gnu::visibility("hidden")]] extern const Constructor enclume_init_start[];
[[gnu::visibility("hidden")]] extern const Constructor enclume_init_end[];
}

}  // namespace

std::uint64_t tls_size() noexcept {
  // The block ends at FS, which is page-aligned, so the start needs no more than rounding up to the 64 bytes
  // that the link script aligns it to.
  return (address_of(enclume_tls_end) - address_of(enclume_tls_start) + 63) & ~std::uint64_t{63};
}

edge::Layout layout() noexcept {
  return edge::Layout::of(enclume_config, address_of(enclume_image_end) - base(), tls_size());
}

void relocate() noexcept {
  for (const Elf64_Rela* entry = enclume_rela_start; entry != enclume_rela_end; ++entry) {
    // The signing tool and the loader let no other kind through.
    const std::uint64_t value = base() + static_cast<std::uint64_t>(entry->r_addend);
    std::memcpy(reinterpret_cast<void*>(base() + entry->r_offset), &value, sizeof value);
  }
}

void prepare_thread() noexcept {
  edge::ThreadBlock& block = this_thread();
  if (block.reserved[0] != 0) return;
  const std::uint64_t size = tls_size();
  if (size != 0) {
    auto* const start = reinterpret_cast<char*>(address_of(&block) - size);
    const auto data = static_cast<std::size_t>(enclume_tls_data_end - enclume_tls_start);
    std::memcpy(start, enclume_tls_start, data);
    std::memset(start + data, 0, size - data);
  }
  if (has_dynamic_memory) block.stack_limit -= enclume_config.stack_max - enclume_config.stack;
  block.reserved[0] = 1;
}

void run_constructors() noexcept {
  for (const Constructor* entry = enclume_init_start; entry != enclume_init_end; ++entry) {
    (*entry)();
  }
}

}  // namespace enclume::enclave
