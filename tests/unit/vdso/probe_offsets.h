// SPDX-License-Identifier: Apache-2.0
// Offsets that probe.S uses, asserted in probe.h. Preprocessor symbols only.
#pragma once

// struct ProbeRegisters, eight bytes each.
#define PROBE_rax 0
#define PROBE_rbx 8
#define PROBE_rcx 16
#define PROBE_rdx 24
#define PROBE_rsi 32
#define PROBE_rdi 40
#define PROBE_rbp 48
#define PROBE_rsp 56
#define PROBE_r8 64
#define PROBE_r9 72
#define PROBE_r10 80
#define PROBE_r11 88
#define PROBE_r12 96
#define PROBE_r13 104
#define PROBE_r14 112
#define PROBE_r15 120
#define PROBE_rflags 128
#define PROBE_REGISTERS_SIZE 136

// struct ProbeCall.
#define PROBE_IN 0
#define PROBE_OUT PROBE_REGISTERS_SIZE
#define PROBE_FUNCTION (2 * PROBE_REGISTERS_SIZE)
#define PROBE_RUN (2 * PROBE_REGISTERS_SIZE + 8)
