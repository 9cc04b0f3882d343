/* SPDX-License-Identifier: Apache-2.0 */
/* enclume-load begins as the kernel leaves it: RSP = the new program's stack, all else unspecified. */
        .text
        .globl  _start
        .type   _start, @function
_start:
        .cfi_startproc
        .cfi_undefined rip
        movq    %rsp, %rdi
        xorl    %ebp, %ebp
        andq    $-16, %rsp
        call    enclume_load_engine
        ud2
        .cfi_endproc
        .size   _start, . - _start

/* void enclume_go_on(std::uint64_t *stack, std::uint64_t entry): as if the kernel had loaded the engine. */
        .globl  enclume_go_on
        .hidden enclume_go_on
        .type   enclume_go_on, @function
enclume_go_on:
        .cfi_startproc
        .cfi_undefined rip
        movq    %rdi, %rsp
        jmp     *%rsi
        .cfi_endproc
        .size   enclume_go_on, . - enclume_go_on

        .section .note.GNU-stack, "", @progbits
