/* SPDX-License-Identifier: Apache-2.0 */
/*
 * long enclume_int80(std::uint32_t number, std::uint32_t argument): a system call of 32-bit programs, for which 64-bit
 * ones have none. Where the kernel has no such programs INT 0x80 is #GP, which signals/interrupted.cc ends here.
 */
        .text
        .p2align 4
        .globl  enclume_int80
        .hidden enclume_int80
        .type   enclume_int80, @function
enclume_int80:
        .cfi_startproc
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        movl    %edi, %eax
        movl    %esi, %ebx
        .globl  enclume_int80_instruction
        .hidden enclume_int80_instruction
enclume_int80_instruction:
        int     $0x80
.Ldone:
        movslq  %eax, %rax
        popq    %rbx
        .cfi_remember_state
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        ret
        .cfi_restore_state
        .globl  enclume_int80_missing
        .hidden enclume_int80_missing
enclume_int80_missing:
        movl    $-38, %eax                      /* ENOSYS */
        jmp     .Ldone
        .cfi_endproc
        .size   enclume_int80, . - enclume_int80

        .section .note.GNU-stack, "", @progbits
