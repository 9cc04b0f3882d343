/* SPDX-License-Identifier: Apache-2.0 */
/*
 * void enclume_run_relocated(StubState *state)
 *
 * Executes the code at state->code with the registers of `state`, all but RSP: a signal that finds RSP off the
 * engine's stack would take that stack for free. The code is one instruction and a jump to enclume_relocated_done.
 * If the instruction faults, the handler of that fault sets `faulted` and continues at enclume_relocated_fault.
 * In both cases the word at RSP is `state`.
 */
#include "engine/abort_page/stub.h"

        .text
        .p2align 4
        .globl  enclume_run_relocated
        .hidden enclume_run_relocated
        .type   enclume_run_relocated, @function
enclume_run_relocated:
        .cfi_startproc
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 40
        .cfi_rel_offset %rbp, 32
        .cfi_rel_offset %r12, 24
        .cfi_rel_offset %r13, 16
        .cfi_rel_offset %r14, 8
        .cfi_rel_offset %r15, 0
        pushq   %rdi
        .cfi_adjust_cfa_offset 8

        movq    STUB_AREA(%rdi), %rcx
        movl    STUB_MASK(%rdi), %eax
        movl    STUB_MASK+4(%rdi), %edx
        xrstor64 (%rcx)
        pushq   STUB_FLAGS(%rdi)
        .cfi_adjust_cfa_offset 8
        popfq
        .cfi_adjust_cfa_offset -8
        /* The address to go to has no register left. Nested frames skip the red zone. */
        movq    STUB_CODE(%rdi), %rax
        movq    %rax, -8(%rsp)
        movq    STUB_GPR+0*8(%rdi), %rax
        movq    STUB_GPR+1*8(%rdi), %rcx
        movq    STUB_GPR+2*8(%rdi), %rdx
        movq    STUB_GPR+3*8(%rdi), %rbx
        movq    STUB_GPR+5*8(%rdi), %rbp
        movq    STUB_GPR+6*8(%rdi), %rsi
        movq    STUB_GPR+8*8(%rdi), %r8
        movq    STUB_GPR+9*8(%rdi), %r9
        movq    STUB_GPR+10*8(%rdi), %r10
        movq    STUB_GPR+11*8(%rdi), %r11
        movq    STUB_GPR+12*8(%rdi), %r12
        movq    STUB_GPR+13*8(%rdi), %r13
        movq    STUB_GPR+14*8(%rdi), %r14
        movq    STUB_GPR+15*8(%rdi), %r15
        movq    STUB_GPR+7*8(%rdi), %rdi
        jmpq    *-8(%rsp)

        .globl  enclume_relocated_done
        .hidden enclume_relocated_done
enclume_relocated_done:
        pushfq
        .cfi_adjust_cfa_offset 8
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        movq    16(%rsp), %rdi
        movq    %rax, STUB_GPR+0*8(%rdi)
        movq    %rcx, STUB_GPR+1*8(%rdi)
        movq    %rdx, STUB_GPR+2*8(%rdi)
        movq    %rbx, STUB_GPR+3*8(%rdi)
        movq    %rbp, STUB_GPR+5*8(%rdi)
        movq    %rsi, STUB_GPR+6*8(%rdi)
        movq    %r8, STUB_GPR+8*8(%rdi)
        movq    %r9, STUB_GPR+9*8(%rdi)
        movq    %r10, STUB_GPR+10*8(%rdi)
        movq    %r11, STUB_GPR+11*8(%rdi)
        movq    %r12, STUB_GPR+12*8(%rdi)
        movq    %r13, STUB_GPR+13*8(%rdi)
        movq    %r14, STUB_GPR+14*8(%rdi)
        movq    %r15, STUB_GPR+15*8(%rdi)
        popq    STUB_GPR+7*8(%rdi)
        .cfi_adjust_cfa_offset -8
        popq    STUB_FLAGS(%rdi)
        .cfi_adjust_cfa_offset -8

        .globl  enclume_relocated_fault
        .hidden enclume_relocated_fault
enclume_relocated_fault:
        /* After a fault too: MXCSR and the x87 status word say what it was. */
        movq    (%rsp), %rdi
        movq    STUB_AREA(%rdi), %rcx
        movl    STUB_MASK(%rdi), %eax
        movl    STUB_MASK+4(%rdi), %edx
        xsave64 (%rcx)
        cld
        fninit
        movl    $0x1f80, -4(%rsp)
        ldmxcsr -4(%rsp)
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
        .cfi_endproc
        .size   enclume_run_relocated, . - enclume_run_relocated

        .section .note.GNU-stack, "", @progbits
