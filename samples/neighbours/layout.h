/* SPDX-License-Identifier: Apache-2.0 */
/* What the small enclave (enclave.S) and the two libraries that use it agree on, in C and in assembly. */
#ifndef SAMPLES_NEIGHBOURS_LAYOUT_H_
#define SAMPLES_NEIGHBOURS_LAYOUT_H_

/* The enclave, by offset from its base: one page of code, then the threads. */
#define ENCLAVE_SIZE 0x80000
#define ENCLAVE_THREADS 16
#define AT_CODE 0x1000
#define AT_THREADS 0x2000
#define THREAD_SIZE 0x4000
/* A thread's pages, by offset from its TCS. */
#define THREAD_SSA 0x1000 /* two frames of a page */
#define THREAD_DATA 0x3000

/* The data page, where FS leads. */
#define DATA_SELF 0x00   /* its own offset from the base; put there by the loader */
#define DATA_RETURN 0x08 /* where to EEXIT to */
#define DATA_VALUE 0x10
#define DATA_VECTOR 0x18 /* of the exception that was seen to */

/* GPRSGX, from the end of an SSA frame. */
#define GPRSGX_SIZE 184
#define GPRSGX_RIP 136
#define GPRSGX_EXITINFO 160

/* RDI at an entry. */
#define COMMAND_VISIT 0  /* RSI = FAULT_*, RDX = value */
#define COMMAND_RETURN 1 /* from the OCALL; RSI = its answer */
#define COMMAND_HANDLE 2 /* with CSSA = 1: see to the exception below */
/* RDI at an exit. */
#define EXIT_DONE 0    /* RSI = the OCALL's answer + the value, RDX = vector of the exception, or NO_VECTOR */
#define EXIT_OCALL 1   /* RSI = value */
#define EXIT_HANDLED 2 /* resume */
#define EXIT_REFUSED 3 /* out of turn */

#define FAULT_NONE 0
#define FAULT_DIVIDE 1  /* #DE */
#define FAULT_ILLEGAL 2 /* #UD */
#define FAULT_READ 3    /* #PF */
#define NO_VECTOR 0xff
#define NOBODYS_ADDRESS 0x7000 /* below vm.mmap_min_addr */

#endif
