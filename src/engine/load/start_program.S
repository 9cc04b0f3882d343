/* SPDX-License-Identifier: Apache-2.0 */
/* void enclume_start_program(const ProgramStart *start): see start_program.h for the offsets. */
#include <asm/unistd.h>

#define MADV_DONTNEED 4

        .text
        .globl  enclume_start_program
        .hidden enclume_start_program
        .type   enclume_start_program, @function
enclume_start_program:
        .cfi_startproc
        .cfi_undefined rip
        fninit
        movq    32(%rdi), %rax
        testq   %rax, %rax
        jz      .Lno_xsave
        movq    %rax, %rdx
        shrq    $32, %rdx
        movq    40(%rdi), %rcx
        xrstor  (%rcx)
        jmp     .Lstate_done
.Lno_xsave:
        movq    40(%rdi), %rcx
        fxrstor (%rcx)
.Lstate_done:
        movq    48(%rdi), %rax
        movq    %rax, program_stops(%rip)
        movq    8(%rdi), %rax
        movq    %rax, enclume_program_entry(%rip)
        movq    (%rdi), %rsp
        movq    24(%rdi), %rsi
        movq    16(%rdi), %rdi
        /* The stack is not used any more. What the program will touch first by hand, the other pages by the kernel. */
        movq    %rdi, %r8
        movq    %rsi, %rdi
        movq    %rsp, %rcx
        subq    %rdi, %rcx
        xorl    %eax, %eax
        cld
        rep stosb
        movq    %r8, %rdi
        subq    %rdi, %rsi
        movl    $MADV_DONTNEED, %edx
        movl    $__NR_madvise, %eax
        movq    %rsp, %rbx
        leaq    call_stack_end(%rip), %rsp      /* the stack may begin with a page, and all below goes */
        call    *enclume_system_call(%rip)
        movq    %rbx, %rsp
        xorl    %eax, %eax
        xorl    %ebx, %ebx
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        xorl    %esi, %esi
        xorl    %edi, %edi
        xorl    %ebp, %ebp
        xorl    %r8d, %r8d
        xorl    %r9d, %r9d
        xorl    %r10d, %r10d
        xorl    %r11d, %r11d
        xorl    %r12d, %r12d
        xorl    %r13d, %r13d
        xorl    %r14d, %r14d
        xorl    %r15d, %r15d
        cmpq    $0, program_stops(%rip)
        jne     .Lstops
        /* FS and GS are zero already; RFLAGS last, since XOR sets ZF and PF. Nothing is read from below RSP. */
        pushq   $0x202
        popfq
        movq    $0, -8(%rsp)
        jmp     *enclume_program_entry(%rip)
.Lstops:
        pushq   $0x202
        popfq
        movq    $0, -8(%rsp)
        int3
        .globl  enclume_program_stop
        .hidden enclume_program_stop
enclume_program_stop:
        jmp     *enclume_program_entry(%rip)
        .cfi_endproc
        .size   enclume_start_program, . - enclume_start_program

        .section .bss
        .p2align 3
        .globl  enclume_program_entry
        .hidden enclume_program_entry
        .type   enclume_program_entry, @object
enclume_program_entry:
        .zero   8
        .size   enclume_program_entry, 8
        .type   program_stops, @object
program_stops:
        .zero   8
        .size   program_stops, 8

        .zero   64
call_stack_end:

        .section .note.GNU-stack, "", @progbits
