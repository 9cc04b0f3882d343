// SPDX-License-Identifier: Apache-2.0
// The one place where the host enters: a loop around __vdso_sgx_enter_enclave. Offsets are shared with
// enter.S.
#pragma once

#define ENCLUME_ENTRY_FUNCTION 0
#define ENCLUME_ENTRY_RUN 8
#define ENCLUME_ENTRY_RDI 16
#define ENCLUME_ENTRY_RSI 24
#define ENCLUME_ENTRY_RDX 32
#define ENCLUME_ENTRY_LEAF 40
#define ENCLUME_ENTRY_RESULT 48
#define ENCLUME_ENTRY_NEXT 56

#ifndef __ASSEMBLER__
#include <asm/sgx.h>

#include <cstddef>
#include <cstdint>

namespace enclume::host {

struct Entry {
  vdso_sgx_enter_enclave_t function;
  sgx_enclave_run* run;
  std::uint64_t rdi, rsi, rdx;
  std::uint64_t leaf;
  std::uint64_t result;  ///< of the vDSO function: 0, or −EINVAL
  /// Looks at `run` after each return; the next leaf, 0: it is over. Must not throw.
  std::uint32_t (*next)(Entry* entry) noexcept;
};
static_assert(offsetof(Entry, run) == ENCLUME_ENTRY_RUN && offsetof(Entry, rdi) == ENCLUME_ENTRY_RDI &&
              offsetof(Entry, rsi) == ENCLUME_ENTRY_RSI && offsetof(Entry, rdx) == ENCLUME_ENTRY_RDX &&
              offsetof(Entry, leaf) == ENCLUME_ENTRY_LEAF &&
              offsetof(Entry, result) == ENCLUME_ENTRY_RESULT && offsetof(Entry, next) == ENCLUME_ENTRY_NEXT);

/// Enters, and again as `next` says. RSP at the vDSO function is the same each time: an enclave that is
/// resumed leaves to the stack that it was entered from. Keeps what the ABI wants kept, whatever the enclave
/// does.
extern "C" void enclume_host_enter(Entry* entry);

}  // namespace enclume::host
#endif
