/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone, clone3, fork and vfork of the program, on its own stack and with its own registers: in a handler the child
 * would come back on the handler's stack. The thread comes here by the return from its handler, the selector of
 * syscall user dispatch allowing it and with signals blocked, and ends in a UD2, for which the handler puts things
 * back.
 *
 * Behind the SYSCALL nothing is known but RCX and R11, which it has overwritten, and RIP. So each call has a SYSCALL
 * of its own, and with it a record. Nothing is written to the stack, which may be tiny or none, and no flag is
 * changed.
 */
#include "engine/raw/layout.h"

        .text
        .p2align 4
        .globl  enclume_clone_stubs
        .hidden enclume_clone_stubs
        .type   enclume_clone_stubs, @function
enclume_clone_stubs:
        .set    record, 0
        .rept   CLONE_RECORDS
        .p2align 4
        syscall
        leaq    enclume_clone_records + record * CLONE_RECORD_SIZE(%rip), %rcx
        jmp     .Lreturned
        .set    record, record + 1
        .endr

        .p2align 4
        .globl  enclume_clone_returned
        .hidden enclume_clone_returned
enclume_clone_returned:
.Lreturned:
        xchgq   %rax, %rcx                      /* RAX = the record, RCX = the result */
        .globl  enclume_clone_exchanged
        .hidden enclume_clone_exchanged
enclume_clone_exchanged:
        jrcxz   .Lchild
        .globl  enclume_clone_parent
        .hidden enclume_clone_parent
enclume_clone_parent:
        ud2

.Lchild:
        movq    CLONE_STACK_SIZE(%rax), %rcx
        jrcxz   enclume_clone_child             /* a process of its own: it has its parent's, copied */
        /*
         * In the same address space. It has a slot, but the kernel has taken its alternate stack away (or left it
         * its parent's, for vfork). Syscall user dispatch is off in the child, so this call is let through.
         */
        movq    %rdi, CLONE_RDI(%rax)
        movq    %rsi, CLONE_RSI(%rax)
        leaq    CLONE_STACK(%rax), %rdi
        movl    $0, %esi
        movl    $NR_SIGALTSTACK, %eax
        .globl  enclume_clone_numbered
        .hidden enclume_clone_numbered
enclume_clone_numbered:                         /* RDI leads to the record now */
        syscall
        .globl  enclume_clone_placed
        .hidden enclume_clone_placed
enclume_clone_placed:
        movq    (CLONE_RSI - CLONE_STACK)(%rdi), %rsi
        movq    (CLONE_RDI - CLONE_STACK)(%rdi), %rdi
        .globl  enclume_clone_child
        .hidden enclume_clone_child
enclume_clone_child:
        ud2
        .globl  enclume_clone_stubs_end
        .hidden enclume_clone_stubs_end
enclume_clone_stubs_end:
        .size   enclume_clone_stubs, . - enclume_clone_stubs

        .section .note.GNU-stack, "", @progbits
