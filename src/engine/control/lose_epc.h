// SPDX-License-Identifier: Apache-2.0
// The EPC of this process's enclaves, or of all of the machine's, is lost.
#pragma once

#include <cstdint>

#include "base/errno.h"

namespace enclume::engine {

/// Who wants it, for the trace.
struct LossCause {
  int process = 0;  ///< 0: injected
};

/// kernel::lose_epc() on the enclave with this number. How many have lost it: 1. Errors: NoEntry, this
/// process has none; Invalid, there is nothing to lose yet.
[[nodiscard]] SysResult<long> lose_epc(std::uint32_t number, LossCause cause) noexcept;

/// On every enclave of the machine. Those of this process are counted, and have lost it when the call
/// returns; the machine's other processes are told, and lose theirs a moment later.
[[nodiscard]] long lose_epc_of_machine(LossCause cause) noexcept;

/// On every enclave of this process.
[[nodiscard]] long lose_own_epc(LossCause cause) noexcept;

// Signal context for all of these: safe, on a thread that is not inside an enclave and holds no lock of the
// engine's.

}  // namespace enclume::engine
