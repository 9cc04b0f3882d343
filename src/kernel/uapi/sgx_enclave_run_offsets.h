// SPDX-License-Identifier: Apache-2.0
// Numbers of the vDSO's SGX interface that assembly and C++ share. Preprocessor symbols only, so that
// the assembler can include it; sgx_enclave_run.h asserts each of them against the struct.
// Source: Linux 6.12, arch/x86/include/uapi/asm/sgx.h, `struct sgx_enclave_run`.
#pragma once

// Bytes from the start of the struct.
#define ENCLUME_RUN_TCS 0
#define ENCLUME_RUN_FUNCTION 8
#define ENCLUME_RUN_EXCEPTION_VECTOR 12
#define ENCLUME_RUN_EXCEPTION_ERROR_CODE 14
#define ENCLUME_RUN_EXCEPTION_ADDR 16
#define ENCLUME_RUN_USER_HANDLER 24
#define ENCLUME_RUN_USER_DATA 32
#define ENCLUME_RUN_RESERVED 40
#define ENCLUME_RUN_SIZE 256

// ENCLU leaf numbers that `function` takes (SDM, ENCLU).
#define ENCLUME_ENCLU_EENTER 2
#define ENCLUME_ENCLU_ERESUME 3
#define ENCLUME_ENCLU_EEXIT 4
