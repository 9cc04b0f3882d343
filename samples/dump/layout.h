/* SPDX-License-Identifier: Apache-2.0 */
/* What the enclave and its host agree on, in C and in assembly. */
#ifndef SAMPLES_DUMP_LAYOUT_H_
#define SAMPLES_DUMP_LAYOUT_H_

/* The enclave, by offset from its base. */
#define ENCLAVE_SIZE 0x8000
#define AT_TCS 0
#define AT_CODE 0x1000
#define AT_SSA 0x2000 /* two frames of a page */
#define AT_DATA 0x4000
#define AT_STACK 0x5000
#define AT_STACK_TOP 0x6000

/* GPRSGX of frame 0, and EXINFO below it. */
#define GPRSGX_SIZE 184
#define AT_GPRSGX (AT_SSA + 0x1000 - GPRSGX_SIZE)
#define AT_EXINFO (AT_GPRSGX - 16)
#define GPRSGX_RSP 32
#define GPRSGX_RBP 40
#define GPRSGX_RIP 136

/* The data page, where FS leads. */
#define DATA_RETURN 0x00
#define DATA_HOST_RSP 0x08
#define DATA_HOST_RBP 0x10

/* RDI at the call; RSI leads to the report. */
#define OP_DIVIDE 0 /* three calls deep: a division by zero, */
#define OP_UD2 1    /* an undefined instruction, */
#define OP_STORE 2  /* a store to the code page */

/* The report, in the host's memory. */
#define REPORT_GPRSGX 0
#define REPORT_EXINFO 184
#define REPORT_DEPTH 200 /* return addresses that follow */
#define REPORT_FRAMES 208
#define REPORT_MAX_DEPTH 16

#endif
