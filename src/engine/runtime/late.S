// SPDX-License-Identifier: Apache-2.0
// Functions of libc that few programs make the engine call: they are looked for when they are called for the first
// time, since the dynamic linker would look for all of them in each process, at about 1 us each. Only front doors call
// them, never a signal's handler of the engine's (checks.signal-symbols), and they look for most of libc in this way
// (front/real.h). No floating point arguments.

.macro LATE name
        .section .text.late, "ax", @progbits
        .globl  \name
        .hidden \name
        .type   \name, @function
        .balign 16
\name:
        .cfi_startproc
        endbr64
        movq    slot_\name(%rip), %r11
        testq   %r11, %r11
        jz      1f
        jmpq    *%r11
1:
        leaq    slot_\name(%rip), %r11
        leaq    name_\name(%rip), %r10
        jmp     look_up
        .cfi_endproc
        .size   \name, . - \name

        .section .rodata.late, "a", @progbits
name_\name:
        .asciz  "\name"

        .section .bss.late, "aw", @nobits
        .balign 8
slot_\name:
        .skip   8
.endm

        LATE __pthread_register_cancel
        LATE __pthread_unregister_cancel
        LATE __pthread_unwind_next
        LATE __register_atfork
        LATE dirfd
        LATE dladdr
        LATE dlerror
        LATE dlinfo
        LATE exit
        LATE fdopen
        LATE free
        LATE malloc
        LATE pause
        LATE pthread_attr_getsigmask_np
        LATE pthread_getcpuclockid
        LATE pthread_join
        LATE pthread_once
        LATE qsort
        LATE realloc
        LATE strdup
        LATE telldir

        .section .text.late, "ax", @progbits
        .type   look_up, @function
// With the address of the slot in R11, of the name in R10, and all else as the caller has it.
look_up:
        .cfi_startproc
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        pushq   %rdx
        .cfi_adjust_cfa_offset 8
        pushq   %rcx
        .cfi_adjust_cfa_offset 8
        pushq   %r8
        .cfi_adjust_cfa_offset 8
        pushq   %r9
        .cfi_adjust_cfa_offset 8
        pushq   %r11
        .cfi_adjust_cfa_offset 8
        movq    %r10, %rsi
        xorl    %edi, %edi              // RTLD_DEFAULT
        call    dlsym@PLT
        popq    %r11
        .cfi_adjust_cfa_offset -8
        popq    %r9
        .cfi_adjust_cfa_offset -8
        popq    %r8
        .cfi_adjust_cfa_offset -8
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        movq    %rax, (%r11)
        jmpq    *%rax
        .cfi_endproc
        .size   look_up, . - look_up

        .section .note.GNU-stack, "", @progbits
