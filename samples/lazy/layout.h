/* SPDX-License-Identifier: Apache-2.0 */
/* What the enclave and its host agree on, in C and in assembly. */
#ifndef SAMPLES_LAZY_LAYOUT_H_
#define SAMPLES_LAZY_LAYOUT_H_

/* The enclave, by offset from its base. Pages are added up to AT_HEAP, and none behind. */
#define ENCLAVE_SIZE 0x400000000 /* 16 GiB */
#define AT_TCS 0
#define AT_CODE 0x1000
#define AT_SSA 0x2000 /* two frames of a page */
#define AT_DATA 0x4000
#define AT_HEAP 0x200000000 /* the upper half */
#define HEAP_PAGES 0x200000

/* GPRSGX of frame 0, and EXINFO below it. */
#define AT_GPRSGX (AT_SSA + 0x1000 - 184)
#define AT_EXITINFO (AT_GPRSGX + 160)
#define AT_MADDR (AT_GPRSGX - 16)
#define EXITINFO_PAGE_FAULT 0x8000030e /* valid, hardware exception, vector 14 */

/* The data page, where FS leads. */
#define DATA_RETURN 0x00
#define DATA_ACCEPTED 0x08 /* pages that the enclave has accepted */

/* RDI at the call. RSI leads to the host's words. */
#define OP_TOUCH 0 /* add 1 to a word in each of RDX pages of the heap, chosen by the seed R8 */
#define OP_TAKE 1  /* accept RDX pages from page R8 of the heap on, before anything touches them */

/* The host's words. */
#define HOST_SUM 0      /* OP_TOUCH: of what the words were before */
#define HOST_ACCEPTED 8 /* DATA_ACCEPTED */
#define HOST_MINE 16    /* the handler: whether the fault was the heap's, and is mended */

#endif
