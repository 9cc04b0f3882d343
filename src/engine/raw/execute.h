// SPDX-License-Identifier: Apache-2.0
// System calls that the engine makes for the program: raw/execute.S.
#pragma once

#include <cstdint>

#include "engine/calls/call.h"
#include "engine/sgx.h"

namespace enclume::engine {

struct Execution {
  long value;  ///< the result, or the number for the next time
  long end;    ///< EXECUTE_DONE, EXECUTE_AGAIN, EXECUTE_FILTERED
};

extern "C" {

Execution enclume_execute(const Call* call, const ThreadBlock* block, SignalFrame* frame);

// Addresses in the assembly.
extern const char enclume_execute_begin[];
extern const char enclume_execute_end[];  ///< where the SYSCALL's RET leads
extern const char enclume_execute_not[];
extern const char enclume_execute_again[];
extern const char enclume_execute_filtered[];
}

/// Makes the call with the program's registers, and puts the result into RAX of its frame. False if a filter
/// of the program's has it end by the signal that is in `report` then. Signal context: safe.
[[nodiscard]] bool execute(Interruption& it, const Call& call, siginfo_t& report);

/// Has the program make the call once more, as the kernel does after a signal. `number` is for RAX.
void make_again(SigContext& m, std::uint64_t number);

}  // namespace enclume::engine
