/* SPDX-License-Identifier: Apache-2.0 */
/* The image of the enclave that gdb looks into, in offsets from its base. */
#ifndef ENCLUME_TESTS_DEBUG_LAYOUT_H_
#define ENCLUME_TESTS_DEBUG_LAYOUT_H_

#define DEBUG_CODE_SIZE 0x2000
#define DEBUG_TCS 0x2000
/* From the TCS. */
#define DEBUG_STACK 0x1000
#define DEBUG_STACK_TOP 0x3000
#define DEBUG_SSA 0x3000
#define DEBUG_SSA_FRAMES 2

/* What it does. */
#define DEBUG_OP_COMPUTE 1
#define DEBUG_OP_UD2 2
#define DEBUG_OP_INT3 3
#define DEBUG_OP_WAIT 4 /* until *word is not 0 */

#endif
