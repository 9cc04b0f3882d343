// SPDX-License-Identifier: Apache-2.0
// Our mirror of the struct that a program hands to `__vdso_sgx_enter_enclave`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernel/uapi/sgx_enclave_run_offsets.h"

namespace enclume::kernel {

/// `struct sgx_enclave_run`: 256 bytes, no alignment beyond its fields'.
/// Source: Linux 6.12, arch/x86/include/uapi/asm/sgx.h.
struct SgxEnclaveRun {
  std::uint64_t tcs;                   ///< Address of the TCS to enter by.
  std::uint32_t function;              ///< Out: 4 after EEXIT; after an exception EAX at the ENCLU, 2 or 3.
  std::uint16_t exception_vector;      ///< Out: written on an exception only.
  std::uint16_t exception_error_code;  ///< Out: its low 16 bits; written on an exception only.
  std::uint64_t exception_addr;        ///< Out: as the kernel passes it in RDX; written on an exception only.
  std::uint64_t user_handler;          ///< An SgxEnclaveUserHandler, or 0.
  std::uint64_t user_data;             ///< The program's own; not looked at.
  std::uint8_t reserved[216];          ///< Must be zero, else -EINVAL.
};

static_assert(sizeof(SgxEnclaveRun) == ENCLUME_RUN_SIZE);
static_assert(std::is_trivially_copyable_v<SgxEnclaveRun> && std::is_standard_layout_v<SgxEnclaveRun>);
static_assert(offsetof(SgxEnclaveRun, tcs) == ENCLUME_RUN_TCS);
static_assert(offsetof(SgxEnclaveRun, function) == ENCLUME_RUN_FUNCTION);
static_assert(offsetof(SgxEnclaveRun, exception_vector) == ENCLUME_RUN_EXCEPTION_VECTOR);
static_assert(offsetof(SgxEnclaveRun, exception_error_code) == ENCLUME_RUN_EXCEPTION_ERROR_CODE);
static_assert(offsetof(SgxEnclaveRun, exception_addr) == ENCLUME_RUN_EXCEPTION_ADDR);
static_assert(offsetof(SgxEnclaveRun, user_handler) == ENCLUME_RUN_USER_HANDLER);
static_assert(offsetof(SgxEnclaveRun, user_data) == ENCLUME_RUN_USER_DATA);
static_assert(offsetof(SgxEnclaveRun, reserved) == ENCLUME_RUN_RESERVED);

/// What `user_handler` points to. <= 0 is returned to the caller of the vDSO function; > 0 is the next
/// ENCLU leaf. Registers are the enclave's, or after an exception vector, error code and address.
using SgxEnclaveUserHandler = int (*)(long rdi, long rsi, long rdx, long ursp, long r8, long r9,
                                      SgxEnclaveRun* run);

/// `__vdso_sgx_enter_enclave`. Returns 0, -EINVAL, or what the user handler returned.
using SgxEnterEnclave = int (*)(unsigned long rdi, unsigned long rsi, unsigned long rdx,
                                unsigned int function, unsigned long r8, unsigned long r9,
                                SgxEnclaveRun* run);

}  // namespace enclume::kernel
