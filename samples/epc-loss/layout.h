/* SPDX-License-Identifier: Apache-2.0 */
/* What the enclave and its host agree on, in C and in assembly. */
#ifndef SAMPLES_EPC_LOSS_LAYOUT_H_
#define SAMPLES_EPC_LOSS_LAYOUT_H_

/* The enclave, by offset from its base. */
#define ENCLAVE_SIZE 0x8000
#define AT_TCS 0
#define AT_CODE 0x1000
#define AT_SSA 0x2000 /* two frames of a page */
#define AT_DATA 0x4000
#define AT_STACK_TOP 0x6000 /* of a page */

/* The data page, where FS leads. */
#define DATA_RETURN 0x00
#define DATA_HOST_RSP 0x08
#define DATA_HOST_RBP 0x10
#define DATA_STATE 0x20    /* the account: how many requests were carried out, and their sum */
#define DATA_SEAL_KEY 0x30 /* two keys, by EGETKEY */
#define DATA_KEYREQUEST 0x200
#define KEYREQUEST_KEYID 40

/* RDI at the call. RSI leads to the host's words. */
#define OP_START 0 /* the state is in HOST_SEALED, or there is none yet if RDX is 0 */
#define OP_ADD 1   /* request number RDX: add R8 */

/* The host's words. */
#define HOST_ANSWER 0  /* 1: done; 0: refused */
#define HOST_SUM 8     /* after the request */
#define HOST_SEALED 16 /* the state, sealed: 32 bytes */

#endif
