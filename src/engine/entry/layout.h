/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that assembly and C++ share. C++ checks each against the real type (threads/thread_block.h,
 * signals/frame.h). */
#ifndef ENCLUME_ENGINE_ENTRY_LAYOUT_H
#define ENCLUME_ENGINE_ENTRY_LAYOUT_H

/* One slot of the arena: guard page, alternate signal stack, thread block. */
#define SLOT_SIZE 0x40000
#define SLOT_SIZE_LOG2 18
#define SLOT_STACK_LOW 0x1000
#define SLOT_BLOCK 0x3e000

/* ThreadBlock, from its start. */
#define BLOCK_SELECTOR 0
#define BLOCK_MASK_SAVED 1
#define BLOCK_ENCLAVE 2
#define BLOCK_DEFERRED 4
#define BLOCK_HOST_FS 8
#define BLOCK_HOST_GS 16
#define BLOCK_SELF 24
#define BLOCK_TID 32
#define BLOCK_HOST_PKRU 48
#define BLOCK_EXITS 52
#define BLOCK_INSIDE 56
#define BLOCK_FAST 64 /* FastThread, fast/layout.h */

/* The selector byte of syscall user dispatch: BLOCK where enclave code runs, and always if system calls
 * without libc are to be seen. */
#define SELECTOR_ALLOW 0
#define SELECTOR_BLOCK 1

/* EntryFacts, as the entry code pushes them. */
#define FACTS_ENCLAVE 0
#define FACTS_FS 8
#define FACTS_GS 16
#define FACTS_SIZE 24

/* ExitPlan, as the exit code reads it. */
#define PLAN_FRAME 0
#define PLAN_ENCLAVE 8
#define PLAN_FS 16
#define PLAN_GS 24
#define PLAN_FLAGS 32
#define PLAN_HANDLER 40
#define PLAN_NESTED 48
#define PLAN_MASK 56
#define PLAN_SIZE 64

/* struct ucontext of the kernel's signal frame, from the frame's ucontext. */
#define UC_R8 40
#define UC_R9 48
#define UC_R10 56
#define UC_R11 64
#define UC_R12 72
#define UC_R13 80
#define UC_R14 88
#define UC_R15 96
#define UC_RDI 104
#define UC_RSI 112
#define UC_RBP 120
#define UC_RBX 128
#define UC_RDX 136
#define UC_RAX 144
#define UC_RCX 152
#define UC_RSP 160
#define UC_RIP 168

#define NR_RT_SIGRETURN 15

/* In RDX at the rt_sigreturn that ends a handler: it may be done over. */
#define EXIT_MARK 0x656c6f676e69

/* RFLAGS bits */
#define FLAG_DF 0x400
#define FLAG_NT 0x4000
#define FLAG_AC 0x40000

#endif
