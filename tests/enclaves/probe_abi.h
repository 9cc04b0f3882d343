/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What probe.S (assembly) and probe_enclave.cc (C++) agree on: preprocessor constants only.
 */
#ifndef ENCLUME_TESTS_ENCLAVES_PROBE_ABI_H_
#define ENCLUME_TESTS_ENCLAVES_PROBE_ABI_H_

/* The image, in offsets from the enclave's base. */
#define PROBE_CODE_SIZE 0x4000
#define PROBE_SCRATCH 0x4000 /* read-write pages for the test's own use */
#define PROBE_SCRATCH_SIZE 0x4000
#define PROBE_THREADS 0x8000 /* one block after the other, one a TCS */

/* A thread's block, in offsets from its TCS. */
#define PROBE_THREAD_PAGE 0x1000 /* FS points here */
#define PROBE_GS_PAGE 0x2000
#define PROBE_STACK_TOP 0x5000 /* for CSSA = 0; each further level lies PROBE_STACK_SIZE lower */
#define PROBE_STACK_SIZE 0x800
#define PROBE_SSA 0x5000
#define PROBE_MAX_LEVELS 4

/* The thread page. */
#define PROBE_T_FS_WORD 0x00 /* PROBE_FS_MAGIC */
#define PROBE_T_SSA_FRAME_SIZE 0x08
#define PROBE_T_OCALL_RSP 0x10
#define PROBE_T_SAVE_AREAS 0x18 /* addresses of the four save areas */
#define PROBE_T_SAVE_AREA 0x800 /* the first of them, 0x100 bytes each */
#define PROBE_FS_MAGIC 0x4653464653465346
#define PROBE_GS_MAGIC 0x4753474753475347

/* ProbeArgs: the arguments of an operation, in host memory. */
#define ARG_IN(n) (8 * (n))
#define ARG_OUT(n) (64 + 8 * (n))

/* Operations, in RDI on entry; RSI points to the ProbeArgs. in/out are its words. */
#define PROBE_OP_NOP 0
#define PROBE_OP_SUM 1           /* out0 = in0 + in1 */
#define PROBE_OP_READ 2          /* out0 = the 64-bit word at in0 */
#define PROBE_OP_WRITE 3         /* the 64-bit word at in0 = in1 */
#define PROBE_OP_CALL 4          /* call the address in0 */
#define PROBE_OP_JUMP 5          /* jump to the address in0 */
#define PROBE_OP_ENTRY_STATE 6   /* RegisterFile at entry to in0; if in1: XSAVE there, mask in2 */
#define PROBE_OP_SEGMENTS 7      /* out0 = %fs:0, out1 = %gs:0, out2 = RDFSBASE, out3 = RDGSBASE */
#define PROBE_OP_LOAD_STATE 8    /* see below */
#define PROBE_OP_RAISE 9         /* execute instruction in0 of the list below; out0 = 1 if it completed */
#define PROBE_OP_COPY 10         /* in2 bytes from in1 to in0, by REP MOVSB */
#define PROBE_OP_ENCLU 11        /* ENCLU, RAX RBX RCX RDX = in0..in3; out0 = RAX, out1 = RFLAGS after it */
#define PROBE_OP_SPIN 12         /* until the word at in0 is not zero; counts the rounds in the word at in1 */
#define PROBE_OP_OCALL 13        /* exits in0 times with out1 = 1; the sum of what came back in out0 */
#define PROBE_OP_OCALL_RETURN 14 /* goes on after such an exit, in0 is what comes back */
#define PROBE_OP_SSA_READ 15     /* in1 bytes at offset in0 of frame CSSA-1 to in2 */
#define PROBE_OP_SSA_WRITE 16    /* and from in2 */
#define PROBE_OP_HOST_PUSH 17    /* lowers the host's RSP by in0, stores in1 there, exits with that RSP */
#define PROBE_OP_WORK 18         /* in0 rounds of arithmetic from seed in1; out0 = the result */
#define PROBE_OP_EXIT_TO 19      /* EEXIT to in0 */
#define PROBE_OP_FILL 20         /* a pattern from seed in2 to in1 words at in0 */
#define PROBE_OP_CHECK 21        /* out0 = how many of these words differ from that pattern */
#define PROBE_OP_ADOPT 22        /* the level below shall leave to the stack that this entry came from */
#define PROBE_OP_ACCEPT 23       /* EACCEPT of in2 pages from in1 on, SECINFO at in0; out0 = of how many */
#define PROBE_OP_STRIDE 24       /* adds 1 to in1 words from in0 on, in2 bytes apart; the old sum in out0 */
#define PROBE_OP_RANDOM \
  25 /* the same for in1 words, each in a page of the in2 (a power of 2) at in0; seed in3 */
#define PROBE_OP_COUNT 26

/*
 * LOAD_STATE (CSSA = 0 only): if in0, XRSTOR from there with mask in3; all general registers but RSP, and
 * RFLAGS, from the RegisterFile in1; then the tail in2. What the tails fall through to stores the registers
 * to the RegisterFile in6, with XSAVE to in4 if that is set (mask in3), and exits.
 */
#define PROBE_TAIL_EEXIT 0 /* EEXIT with all that; only RAX, RBX, RCX, RSP, RBP are what an exit needs */
#define PROBE_TAIL_UD2 1
#define PROBE_TAIL_SPIN 2 /* until the word at in5 is not zero */
#define PROBE_TAIL_DUMP 3 /* straight on */
#define PROBE_TAIL_COUNT 4

/* Instructions of PROBE_OP_RAISE. */
#define PROBE_RAISE_UD2 0
#define PROBE_RAISE_INT3 1
#define PROBE_RAISE_INT1 2
#define PROBE_RAISE_INT_N 3
#define PROBE_RAISE_INT80 4
#define PROBE_RAISE_DIVIDE 5
#define PROBE_RAISE_CPUID 6
#define PROBE_RAISE_SYSCALL 7
#define PROBE_RAISE_SYSENTER 8
#define PROBE_RAISE_SGDT 9
#define PROBE_RAISE_SIDT 10
#define PROBE_RAISE_SLDT 11
#define PROBE_RAISE_STR 12
#define PROBE_RAISE_SMSW 13
#define PROBE_RAISE_IN 14
#define PROBE_RAISE_OUT 15
#define PROBE_RAISE_INSB 16
#define PROBE_RAISE_OUTSB 17
#define PROBE_RAISE_RDPMC 18
#define PROBE_RAISE_HLT 19
#define PROBE_RAISE_CLI 20
#define PROBE_RAISE_MOV_CR 21
#define PROBE_RAISE_LGDT 22
#define PROBE_RAISE_UNALIGNED 23
#define PROBE_RAISE_SSE_DIVIDE 24
#define PROBE_RAISE_X87_DIVIDE 25
#define PROBE_RAISE_NON_CANONICAL_LOAD 26
#define PROBE_RAISE_NON_CANONICAL_STACK 27
#define PROBE_RAISE_FAR_RETURN 28
#define PROBE_RAISE_IRET 29
#define PROBE_RAISE_MOV_DS 30
#define PROBE_RAISE_POP_FS 31
#define PROBE_RAISE_VMCALL 32
#define PROBE_RAISE_ENCLU_EENTER 33
#define PROBE_RAISE_ENCLU_UNKNOWN 34
#define PROBE_RAISE_ENCLS 35
#define PROBE_RAISE_RDMSR 36
#define PROBE_RAISE_XSETBV 37
#define PROBE_RAISE_RDTSC 38
#define PROBE_RAISE_RDTSCP 39
#define PROBE_RAISE_RDRAND 40
#define PROBE_RAISE_XGETBV 41
#define PROBE_RAISE_PAUSE 42
#define PROBE_RAISE_RDFSBASE 43
#define PROBE_RAISE_INT_3 44 /* in two bytes, as INT n */
#define PROBE_RAISE_INT_4 45
#define PROBE_RAISE_VMMCALL 46
#define PROBE_RAISE_COUNT 47

#endif
