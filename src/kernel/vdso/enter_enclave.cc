// SPDX-License-Identifier: Apache-2.0
#include "kernel/vdso/enter_enclave.h"

namespace enclume::kernel {
namespace {

/// What enter_enclave.S says about its own code; all in bytes.
struct EntryLayout {
  std::uint32_t code_size;
  std::uint32_t enclu;
  std::uint32_t fixup;
  std::uint32_t cfi_size;
};
static_assert(sizeof(EntryLayout) == 16);

extern "C" {
[[gnu::visibility("hidden")]] extern const std::byte enclume_vdso_enter_code[];
[[gnu::visibility("hidden")]] extern const std::byte enclume_vdso_enter_cfi[];
[[gnu::visibility("hidden")]] extern const EntryLayout enclume_vdso_enter_layout;
}

}  // namespace

EntryCode enter_enclave_code() noexcept {
  const EntryLayout& layout = enclume_vdso_enter_layout;
  return {
      .code = {enclume_vdso_enter_code, layout.code_size},
      .cfi = {enclume_vdso_enter_cfi, layout.cfi_size},
      .enclu = layout.enclu,
      .fixup = layout.fixup,
  };
}

}  // namespace enclume::kernel
