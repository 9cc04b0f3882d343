/* SPDX-License-Identifier: Apache-2.0 */
/* What host and enclave agree on: preprocessor constants only. */
#ifndef ENCLUME_SAMPLES_AEX_NOTIFY_LAYOUT_H
#define ENCLUME_SAMPLES_AEX_NOTIFY_LAYOUT_H

#define ENCLAVE_SIZE 0x10000

/* Offsets from the base. */
#define AT_TCS 0x0000
#define AT_CODE 0x1000
#define AT_SSA 0x2000 /* two frames of a page */
#define AT_DATA 0x4000
#define AT_STACK 0x5000 /* two pages */
#define AT_STACK_TOP 0x7000
#define AT_TABLE_A 0x8000
#define AT_TABLE_B 0x9000

/* GPRSGX of frame 0. */
#define AT_GPRSGX (AT_SSA + 0x1000 - 184)
#define GPRSGX_RSP 32
#define GPRSGX_RFLAGS 128
#define GPRSGX_RIP 136
#define GPRSGX_AEXNOTIFY 167

/* The data page, where FS leads. */
#define DATA_NOTIFIED 0x00 /* how often the handler ran */
#define DATA_HIDE 0x08     /* whether it touches both tables */
#define DATA_RETURN 0x10
#define DATA_HOST_RSP 0x18
#define DATA_HOST_RBP 0x20

/* RDI at the call. RSI leads to the host's words, R8 says whether to hear of interruptions. */
#define OP_COUNT 0   /* count rounds until the host says stop */
#define OP_LOOK_UP 1 /* read one of the two tables, by the secret in RDX */

/* The host's words. */
#define HOST_STOP 0
#define HOST_INSIDE 8
#define HOST_OUT 16 /* OP_COUNT: rounds, the same counted in SSE, two sums, notifications */

#endif
