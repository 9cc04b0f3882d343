/* SPDX-License-Identifier: Apache-2.0 */
/* The entry point of the engine's file: RSP = what the kernel has put on the stack of enclume-load. */
        .text
        .globl  enclume_begin_alone
        .hidden enclume_begin_alone
        .type   enclume_begin_alone, @function
enclume_begin_alone:
        .cfi_startproc
        .cfi_undefined rip
        movq    %rsp, %rdi
        xorl    %ebp, %ebp
        andq    $-16, %rsp
        call    enclume_start_alone
        ud2
        .cfi_endproc
        .size   enclume_begin_alone, . - enclume_begin_alone

        .section .note.GNU-stack, "", @progbits
