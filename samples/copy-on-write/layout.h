/* SPDX-License-Identifier: Apache-2.0 */
/* What the enclave and its host agree on, in C and in assembly. */
#ifndef SAMPLES_COPY_ON_WRITE_LAYOUT_H_
#define SAMPLES_COPY_ON_WRITE_LAYOUT_H_

#define DATA_PAGES 64 /* of the data set */

/* The enclave, by offset from its base. Behind AT_COPIES there is a place for each page of the data set, and
 * no page. */
#define ENCLAVE_SIZE 0x100000
#define AT_TCS 0
#define AT_CODE 0x1000
#define AT_SSA 0x2000 /* two frames of a page */
#define AT_DATA 0x4000
#define AT_STAGE 0x5000
#define AT_COPIES 0x80000

/* GPRSGX of frame 0, and EXINFO below it. */
#define AT_GPRSGX (AT_SSA + 0x1000 - 184)
#define GPRSGX_R12 96
#define AT_EXITINFO (AT_GPRSGX + 160)
#define AT_MADDR (AT_GPRSGX - 16)
#define AT_ERRCD (AT_GPRSGX - 8)
#define EXITINFO_PAGE_FAULT 0x8000030e /* valid, hardware exception, vector 14 */
#define ERRCD_WRITE 2

/* The data page, where FS leads. */
#define DATA_RETURN 0x00
#define DATA_SHARED 0x08 /* where the shared data set is, in the host's memory */
#define DATA_COPIED 0x10 /* pages that this enclave has of its own */
#define DATA_TABLE 0x100 /* where each page of the data set is to be found */

/* RDI at the call. RSI leads to the host's words. */
#define OP_OPEN 0 /* the data set is at RDX */
#define OP_SUM 1  /* of the first word of each page */
#define OP_ADD 2  /* add R8 to the first word of page RDX */

/* The host's words. */
#define HOST_SUM 0
#define HOST_COPIED 8
#define HOST_MINE 16 /* the handler: whether the fault was a write to the data set, and is mended */

#endif
