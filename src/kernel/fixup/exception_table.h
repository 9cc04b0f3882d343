// SPDX-License-Identifier: Apache-2.0
// The exception table of the vDSO image, which two designs share.
#pragma once

#include <optional>

#include "kernel/fixup/fixup.h"

namespace enclume::kernel {

/// fixup_vdso_exception() and its callers; nothing if `site` is empty. Signal context: safe.
[[nodiscard]] std::optional<Fixup> exception_table_fixup(const std::optional<FixupSite>& site,
                                                         const TrapFrame&) noexcept;

}  // namespace enclume::kernel
