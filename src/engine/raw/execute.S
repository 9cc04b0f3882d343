/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a system call of the program's within the handler of its SIGSYS. A signal that comes before the kernel
 * has begun with it, or to whose handler the kernel goes so that the call is made again afterwards (SA_RESTART),
 * finds RIP between enclume_execute_begin and the SYSCALL: then the call is not made at all, and the program
 * makes it again when its handler is through. One that has ended the call finds it made.
 * signals/handler.cc does that, by way of raw/trapped_call.cc.
 *
 * RBP is the signal's frame meanwhile: where there is no ld.so to tell debuggers of this library, they know the
 * program by that (start/vdso.cc).
 *
 * struct { long value; long end; } enclume_execute(const Call *call, const ThreadBlock *block, SignalFrame *frame)
 */
#include "engine/entry/layout.h"
#include "engine/raw/layout.h"

        .text
        .p2align 4
        .globl  enclume_execute
        .hidden enclume_execute
        .type   enclume_execute, @function
enclume_execute:
        .cfi_startproc
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        movq    %rdx, %rbp
        movq    %rdi, %rbx
        .globl  enclume_execute_begin
        .hidden enclume_execute_begin
enclume_execute_begin:
        cmpl    $0, BLOCK_DEFERRED(%rsi)
        jne     enclume_execute_not
        movq    CALL_ARGUMENT(5)(%rbx), %r9
        movq    CALL_ARGUMENT(4)(%rbx), %r8
        movq    CALL_ARGUMENT(3)(%rbx), %r10
        movq    CALL_ARGUMENT(2)(%rbx), %rdx
        movq    CALL_ARGUMENT(1)(%rbx), %rsi
        movq    CALL_ARGUMENT(0)(%rbx), %rdi
        movq    CALL_NUMBER(%rbx), %rax
        call    *enclume_system_call(%rip)
        .globl  enclume_execute_end
        .hidden enclume_execute_end
enclume_execute_end:
        movl    $EXECUTE_DONE, %edx
.Lreturn:
        popq    %rbp
        .cfi_remember_state
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        ret
        .cfi_restore_state

        .globl  enclume_execute_not
        .hidden enclume_execute_not
enclume_execute_not:
        movq    CALL_NUMBER(%rbx), %rax
        .globl  enclume_execute_again
        .hidden enclume_execute_again
enclume_execute_again:
        /* RAX = the number that the kernel wants next time: its own, or restart_syscall's. */
        movl    $EXECUTE_AGAIN, %edx
        jmp     .Lreturn

        .globl  enclume_execute_filtered
        .hidden enclume_execute_filtered
enclume_execute_filtered:
        movl    $EXECUTE_FILTERED, %edx
        jmp     .Lreturn
        .cfi_endproc
        .size   enclume_execute, . - enclume_execute

        .section .note.GNU-stack, "", @progbits
