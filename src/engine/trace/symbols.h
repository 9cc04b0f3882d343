// SPDX-License-Identifier: Apache-2.0
// Names for addresses in the trace of instructions. Host code's come from the file that is mapped there. An
// enclave's come from the file that the source of its pages was a mapping of, when they were added; what a
// loader has copied elsewhere first has none.
#pragma once

#include <cstdint>
#include <optional>

#include "base/types.h"
#include "engine/trace/elf_symbols.h"

namespace enclume::engine {

/// `range` of an enclave has been added from `source`. The caller blocks signals.
void note_enclave_source(LinearRange range, LinearAddress source, int tid) noexcept;

/// In the child of a fork: whoever held the lock is not there.
void symbols_after_fork() noexcept;

/// Signal context: safe, both. Reads the file of a name that is asked for the first time.
[[nodiscard]] std::optional<trace::Symbol> enclave_symbol(LinearAddress address) noexcept;
[[nodiscard]] std::optional<trace::Symbol> host_symbol(LinearAddress address, int tid) noexcept;

}  // namespace enclume::engine
