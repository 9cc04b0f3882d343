# SPDX-License-Identifier: Apache-2.0
# Code with the bytes 0F A2 and 0F 05 in every position that matters to the scanner. Each sample is a function
# `sample_<name>`; the place of the bytes is labelled `site_<name>`.

        .text

        .macro begin name
        .globl  sample_\name
        .type   sample_\name, @function
sample_\name:
        .endm

        .macro finish name
        .size   sample_\name, . - sample_\name
        .endm

        .macro site name
        .globl  site_\name
site_\name:
        .endm

# An ordinary instruction. Callable: returns EAX of leaf %edi, subleaf %esi.
        begin   plain
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        mov     %edi, %eax
        mov     %esi, %ecx
        site    plain
        cpuid
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_endproc
        finish  plain

# The same with prefixes, which the processor ignores.
        begin   prefixed
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        mov     %edi, %eax
        mov     %esi, %ecx
        site    prefixed
        .byte   0x66, 0x48, 0x0f, 0xa2
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_endproc
        finish  prefixed

# Inside an immediate. Callable: returns 0x5a20f5a.
        begin   immediate
        .cfi_startproc
        .byte   0xb8, 0x5a
        site    immediate
        .byte   0x0f, 0xa2, 0x05
        ret
        .cfi_endproc
        finish  immediate

# The opcode and the ModRM of a vector instruction: vpalignr $5, 0(%rdx), %xmm0, %xmm4.
        begin   vector
        .cfi_startproc
        .byte   0xc4, 0xe3, 0x79
        site    vector
        .byte   0x0f, 0xa2, 0, 0, 0, 0, 0x05
        ret
        .cfi_endproc
        finish  vector

# Data inside a function that spoils decoding in order: the instruction is reached by the jump, and the data
# before it stays unproven.
        begin   behind_data
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        mov     %edi, %eax
        mov     %esi, %ecx
        jmp     1f
        .byte   0x48, 0xb8
        site    in_data
        .byte   0x0f, 0xa2
1:
        site    behind_data
        cpuid
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_endproc
        finish  behind_data

# A branch over a LOCK prefix is no contradiction.
        begin   lock_skipped
        .cfi_startproc
        test    %edi, %edi
        je      1f
        lock
1:      cmpxchg %ecx, (%rsi)
        site    lock_skipped
        cpuid
        ret
        .cfi_endproc
        finish  lock_skipped

# Code that overlaps itself: in order it is one long instruction, by the branch a CPUID inside it. Nothing in
# such a function is believed.
        begin   overlapping
        .cfi_startproc
        test    %edi, %edi
        je      1f
        .byte   0xb8
        site    overlapping
1:      .byte   0x0f, 0xa2, 0x90, 0x90
        site    beside_overlap
        cpuid
        ret
        .cfi_endproc
        finish  overlapping

# No frame description, but a symbol with a size.
        begin   symbol_only
        nop
        site    symbol_only
        cpuid
        ret
        finish  symbol_only

# Neither: nobody knows what this is.
        .globl  site_unknown
        nop
site_unknown:
        cpuid
        ret

# System calls. A number that is loaded right before.
        begin   call_known
        .cfi_startproc
        mov     $39, %eax
        xor     %edx, %edx
        mov     %rdi, %r10
        site    call_known
        syscall
        ret
        .cfi_endproc
        finish  call_known

# The same of a call that is to be trapped (by the test's rule: numbers below 10).
        begin   call_trapped
        .cfi_startproc
        mov     $3, %rax
        mov     $-1, %edi
        site    call_trapped
        syscall
        ret
        .cfi_endproc
        finish  call_trapped

# A number that is kept in a register.
        begin   call_copied
        .cfi_startproc
        push    %rbp
        .cfi_adjust_cfa_offset 8
        mov     $39, %ebp
1:      mov     %ebp, %eax
        mov     (%rsp), %esi
        site    call_copied
        syscall
        test    %eax, %eax
        js      1b
        pop     %rbp
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_endproc
        finish  call_copied

# In a register that has another value, too.
        begin   call_copied_other
        .cfi_startproc
        mov     $39, %r8d
        test    %edi, %edi
        jz      1f
        lea     (%rsi), %r8
1:      mov     %r8d, %eax
        site    call_copied_other
        syscall
        ret
        .cfi_endproc
        finish  call_copied_other

# A number that is the caller's.
        begin   call_given
        .cfi_startproc
        mov     %edi, %eax
        site    call_given
        syscall
        ret
        .cfi_endproc
        finish  call_given

# A branch comes in between the number and the SYSCALL.
        begin   call_shared
        .cfi_startproc
        test    %edi, %edi
        jz      1f
        mov     $3, %eax
        jmp     2f
1:      mov     $39, %eax
2:
        site    call_shared
        syscall
        ret
        .cfi_endproc
        finish  call_shared

# The number is overwritten.
        begin   call_overwritten
        .cfi_startproc
        mov     $39, %eax
        movzbl  %dil, %eax
        site    call_overwritten
        syscall
        ret
        .cfi_endproc
        finish  call_overwritten

# A jump table might lead in between.
        begin   call_behind_table
        .cfi_startproc
        jmp     *%rdi
        mov     $39, %eax
        site    call_behind_table
        syscall
        ret
        .cfi_endproc
        finish  call_behind_table

# With a prefix: a call that is made again would begin behind it.
        begin   call_prefixed
        .cfi_startproc
        mov     %edi, %eax
        site    call_prefixed
        .byte   0x48, 0x0f, 0x05
        ret
        .cfi_endproc
        finish  call_prefixed

# Inside an immediate.
        begin   call_immediate
        .cfi_startproc
        .byte   0xb8, 0x5a
        site    call_immediate
        .byte   0x0f, 0x05, 0x05
        ret
        .cfi_endproc
        finish  call_immediate

# A switch between a number and its SYSCALL, whose table leads elsewhere.
        begin   call_beside_table
        .cfi_startproc
        mov     $39, %eax
        mov     %rsi, %rdx
        site    call_beside_table
        syscall
        lea     1f(%rip), %rdx
        movslq  (%rdx, %rdi, 4), %rdi
        add     %rdx, %rdi
        jmp     *%rdi
2:      xor     %eax, %eax
3:      ret
        .cfi_endproc
        finish  call_beside_table
        .section .rodata
        .balign 4
1:      .long   2b - 1b, 3b - 1b
        .text

# One whose table leads right there.
        begin   call_in_table
        .cfi_startproc
        lea     1f(%rip), %rdx
        movslq  (%rdx, %rdi, 4), %rdi
        add     %rdx, %rdi
        jmp     *%rdi
2:      mov     $39, %eax
3:
        site    call_in_table
        syscall
        ret
        .cfi_endproc
        finish  call_in_table
        .section .rodata
        .balign 4
1:      .long   2b - 1b, 3b - 1b
        .text

# Two jumps, and one table that is known.
        begin   call_beside_two
        .cfi_startproc
        test    %esi, %esi
        js      4f
        lea     1f(%rip), %rdx
        movslq  (%rdx, %rdi, 4), %rdi
        add     %rdx, %rdi
        jmp     *%rdi
2:      mov     $39, %eax
        site    call_beside_two
        syscall
3:      ret
4:      jmp     *%rcx
        .cfi_endproc
        finish  call_beside_two
        .section .rodata
        .balign 4
1:      .long   2b - 1b, 3b - 1b
        .text

# CPUIDs whose leaf can be told: one that says nothing of SGX, two that do, one that a processor may not have.
        .macro  asks name, leaf
        begin   \name
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        mov     $\leaf, %eax
        xor     %ecx, %ecx
        site    \name
        cpuid
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_endproc
        finish  \name
        .endm
        asks    leaf_plain, 0x80000006
        asks    leaf_features, 7
        asks    leaf_maximum, 0
        asks    leaf_beyond, 0x19

# CPUID in a loop whose leaf is in a register that the function uses for other things, too. In front of the load the
# register has what the caller left; `way` is a piece of code that leads into the loop.
        .macro  asks_in_loop name, way
        begin   \name
        .cfi_startproc
        push    %r12
        mov     %rdi, %r12
        test    %r12, %r12
        jz      3f
        mov     $0x80000006, %r12d
        xor     %esi, %esi
1:      mov     %r12d, %eax
        mov     %esi, %ecx
        site    \name
        cpuid
        test    %eax, %eax
        jnz     4f
2:      inc     %esi
        cmp     $8, %esi
        jne     1b
3:      pop     %r12
        ret
4:      add     %eax, %edx
        jmp     2b
        \way
        .cfi_endproc
        finish  \name
        .endm
        asks_in_loop leaf_in_loop, ""
        asks_in_loop leaf_changed_in_loop, "inc %r12d; jmp 2b"
        asks_in_loop leaf_by_exception, "nop; jmp 2b"
        asks_in_loop leaf_of_two, "mov $0x80000005, %r12d; jmp 2b"

# The ways in which constants are loaded right before a CPUID, and some that are none.
        .macro  loads name, lines
        begin   \name
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        \lines
        cpuid
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_endproc
        finish  \name
        .endm
        loads   constant_leaf, "site constant_leaf; mov $0x80000008, %eax"
        loads   constant_both, "site constant_both; mov $0xd, %eax; mov $1, %ecx"
        loads   constant_cleared, "site constant_cleared; mov $0x14, %eax; xor %ecx, %ecx"
        loads   constant_other_way, "mov $1, %ecx; site constant_other_way; mov $0xd, %eax"
        loads   constant_apart, "site constant_apart; mov $0xd, %eax; mov %esi, %ecx"
        loads   constant_copied, "mov $0xd, %esi; site constant_copied; mov %esi, %eax"
        loads   constant_wide, "site constant_wide; mov $0xd, %rax"

.section .note.GNU-stack, "", @progbits
