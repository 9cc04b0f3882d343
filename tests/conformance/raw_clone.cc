// SPDX-License-Identifier: Apache-2.0
#include "conformance/raw_clone.h"

asm(R"(
        .pushsection .text
        .globl enclume_test_clone
        .type enclume_test_clone, @function
enclume_test_clone:
        push %r12
        push %r13
        mov %rdx, %r12
        mov %rcx, %r13
        mov %r8, %r10
        mov %r9, %r8
        mov $56, %eax
        syscall
        jmp 1f
        .size enclume_test_clone, . - enclume_test_clone
        .globl enclume_test_clone3
        .type enclume_test_clone3, @function
enclume_test_clone3:
        push %r12
        push %r13
        mov %rdx, %r12
        mov %rcx, %r13
        mov $435, %eax
        syscall
        jmp 1f
        .size enclume_test_clone3, . - enclume_test_clone3
        .globl enclume_test_vfork
        .type enclume_test_vfork, @function
enclume_test_vfork:
        push %r12
        push %r13
        mov %rdi, %r12
        mov %rsi, %r13
        mov $58, %eax
        syscall
1:      test %rax, %rax
        jz 2f
        pop %r13
        pop %r12
        ret
2:      xor %ebp, %ebp
        mov %r13, %rdi
        and $-16, %rsp
        call *%r12
        mov %eax, %edi
        mov $60, %eax
        syscall
        .size enclume_test_vfork, . - enclume_test_vfork
        .popsection
)");
