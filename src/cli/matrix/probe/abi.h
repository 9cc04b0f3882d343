/* SPDX-License-Identifier: Apache-2.0 */
/* What the assembly and the C++ of the probe agree on: preprocessor constants only. */
#ifndef ENCLUME_CLI_MATRIX_PROBE_ABI_H_
#define ENCLUME_CLI_MATRIX_PROBE_ABI_H_

/* The enclave, in offsets from its base. */
#define ENCLAVE_SIZE 0x40000
#define ENCLAVE_CODE_SIZE 0xc000
#define ENCLAVE_DATA 0xc000      /* two read-write pages */
#define ENCLAVE_READ_ONLY 0xe000 /* one page that the EPCM lets be read only */
#define ENCLAVE_HOLE 0xf000      /* no page */
#define ENCLAVE_TCS 0x10000      /* the good one */
#define ENCLAVE_THREAD 0x11000   /* FS points here */
#define ENCLAVE_STACKS 0x12000   /* two pages */
#define ENCLAVE_SSA 0x14000      /* three frames of a page each */
#define ENCLAVE_FRAMES 3
#define ENCLAVE_BUFFER 0x18000 /* four read-write pages, for XSAVE */
#define ENCLAVE_BUFFER_SIZE 0x4000
#define ENCLAVE_ODD_TCS 0x20000 /* one after the other, each wrong in its own way: image.h */

#define ENCLAVE_STACK_TOP 0x14000 /* for CSSA 0; each further level STACK_SIZE lower */
#define ENCLAVE_STACK_SIZE 0x800

/* The thread page. Words by level (CSSA), then words of the level that was entered last. */
#define THREAD_HOST_RSP 0x00
#define THREAD_HOST_RBP 0x20
#define THREAD_HOST_RIP 0x40
#define THREAD_LEVEL 0x60
#define THREAD_ARGUMENT 0x68
#define THREAD_DONE 0x70
#define THREAD_SITE 0x100 /* registers at the instruction in question: REG_ offsets */

/* Registers, as struct Registers has them; ucontext has the names with another meaning. */
#define AT_RAX 0
#define AT_RBX 8
#define AT_RCX 16
#define AT_RDX 24
#define AT_RSI 32
#define AT_RDI 40
#define AT_RBP 48
#define AT_RSP 56
#define AT_R8 64
#define AT_R9 72
#define AT_R10 80
#define AT_R11 88
#define AT_R12 96
#define AT_R13 104
#define AT_R14 112
#define AT_R15 120
#define AT_RFLAGS 128
#define AT_RIP 136
#define REGISTERS_SIZE 144

/* struct Landing: registers, then these. */
#define LANDING_MXCSR 144
#define LANDING_FCW 148
#define LANDING_FSW 150
#define LANDING_HOW 152
#define LANDING_ANCHOR 160 /* the host's RSP in the attempt, see matrix_jump() */

#define LANDED_EXIT 1    /* the instruction completed, or the enclave left by EEXIT */
#define LANDED_RETURN 2  /* the vDSO function returned */
#define LANDED_HANDLER 3 /* the address space's handler was jumped to */
#define LANDED_SIGNAL 4  /* a signal handler ended it */

/* What the enclave's dump gives to the host. */
#define DUMP_CSSA 0
#define DUMP_DONE 8
#define DUMP_SITE 16
#define DUMP_GPRSGX 160
#define DUMP_GPRSGX_SIZE 184
#define DUMP_EXINFO 344
#define DUMP_EXINFO_SIZE 16
#define DUMP_HOST_RIP 360 /* behind the ENCLU that entered */
#define DUMP_SIZE 368

/* Values that are in a register only for being recognised. */
#define PATTERN(n) (0x5100000000005100 + 0x0001000200030000 * (n))
#define PATTERN_FLAGS 0xad7 /* CF PF AF ZF SF IF OF */

#endif
