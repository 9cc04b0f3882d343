/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets in glibc's ucontext_t, for jumps.S. contexts.cc checks each against the type. */
#ifndef ENCLUME_ENGINE_FRONT_CONTEXT_LAYOUT_H
#define ENCLUME_ENGINE_FRONT_CONTEXT_LAYOUT_H

#define CONTEXT_R8 40
#define CONTEXT_R9 48
#define CONTEXT_R12 72
#define CONTEXT_R13 80
#define CONTEXT_R14 88
#define CONTEXT_R15 96
#define CONTEXT_RDI 104
#define CONTEXT_RSI 112
#define CONTEXT_RBP 120
#define CONTEXT_RBX 128
#define CONTEXT_RDX 136
#define CONTEXT_RCX 152
#define CONTEXT_RSP 160
#define CONTEXT_RIP 168
#define CONTEXT_FPREGS 224
#define CONTEXT_FPREGS_MEM 424

/* In what uc_mcontext.fpregs points to: the x87 environment, and behind it MXCSR. */
#define FPREGS_MXCSR 24

#endif
