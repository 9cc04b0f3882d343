// SPDX-License-Identifier: Apache-2.0
#include "kernel/vdso/entry_code.h"

namespace enclume::kernel {
namespace {

/// What each .S file says about its own code; all in bytes.
struct EntryLayout {
  std::uint32_t code_size;
  std::uint32_t enclu;
  std::uint32_t fixup;
  std::uint32_t cfi_size;
  std::uint32_t direct;
};
static_assert(sizeof(EntryLayout) == 20);

extern "C" {
[[gnu::visibility("hidden")]] extern const std::byte enclume_vdso_enter_code[];
[[gnu::visibility("hidden")]] extern const std::byte enclume_vdso_enter_cfi[];
[[gnu::visibility("hidden")]] extern const EntryLayout enclume_vdso_enter_layout;
[[gnu::visibility("hidden")]] extern const std::byte enclume_vdso_enclu_code[];
[[gnu::visibility("hidden")]] extern const std::byte enclume_vdso_enclu_cfi[];
[[gnu::visibility("hidden")]] extern const EntryLayout enclume_vdso_enclu_layout;
}

EntryCode entry_code(std::string_view name, const std::byte* code, const std::byte* cfi,
                     const EntryLayout& layout) {
  return {
      .code = {code, layout.code_size},
      .cfi = {cfi, layout.cfi_size},
      .enclu = layout.enclu,
      .fixup = layout.fixup,
      .direct = layout.direct,
      .name = name,
  };
}

}  // namespace

EntryCode enter_enclave_code() noexcept {
  return entry_code(kEnterEnclaveName, enclume_vdso_enter_code, enclume_vdso_enter_cfi,
                    enclume_vdso_enter_layout);
}

EntryCode enclu_code() noexcept {
  return entry_code(kEncluName, enclume_vdso_enclu_code, enclume_vdso_enclu_cfi, enclume_vdso_enclu_layout);
}

}  // namespace enclume::kernel
