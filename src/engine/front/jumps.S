/* SPDX-License-Identifier: Apache-2.0 */
/*
 * setjmp(), vfork() and the ucontext functions. What they save is the caller's own frame, so no C function can
 * stand between (and to vfork()'s caller its child returns first): these are left by a jump into libc's, which
 * mangles pointers in a way of its own; the context functions are whole, since a ucontext_t is public.
 */
#include "engine/front/context_layout.h"

.macro  function name
        .text
        .p2align 4
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        endbr64
.endm
.macro  end_function name
        .cfi_endproc
        .size   \name, . - \name
.endm

/* int __sigsetjmp(struct __jmp_buf_tag *, int save_mask), which sigsetjmp() is a macro for */
        function __sigsetjmp
.Lsigsetjmp:
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    enclume_before_sigsetjmp
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        jmpq    *%rax
        end_function __sigsetjmp

/* int setjmp(jmp_buf): not the macro of that name, which keeps no mask, but BSD's function, which does */
        function setjmp
        movl    $1, %esi
        jmp     .Lsigsetjmp
        end_function setjmp

/* pid_t vfork(void) */
        function vfork
.Lvfork:
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    enclume_before_vfork
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        jmpq    *%rax
        end_function vfork
        function __vfork
        jmp     .Lvfork
        end_function __vfork

/* The registers that a context keeps; RAX becomes 0, the result of the call that made it. */
.macro  save_context ucp
        movq    %rbx, CONTEXT_RBX(\ucp)
        movq    %rbp, CONTEXT_RBP(\ucp)
        movq    %r12, CONTEXT_R12(\ucp)
        movq    %r13, CONTEXT_R13(\ucp)
        movq    %r14, CONTEXT_R14(\ucp)
        movq    %r15, CONTEXT_R15(\ucp)
        movq    %rdi, CONTEXT_RDI(\ucp)
        movq    %rsi, CONTEXT_RSI(\ucp)
        movq    %rdx, CONTEXT_RDX(\ucp)
        movq    %rcx, CONTEXT_RCX(\ucp)
        movq    %r8, CONTEXT_R8(\ucp)
        movq    %r9, CONTEXT_R9(\ucp)
        movq    (%rsp), %rcx
        movq    %rcx, CONTEXT_RIP(\ucp)
        leaq    8(%rsp), %rcx
        movq    %rcx, CONTEXT_RSP(\ucp)
        leaq    CONTEXT_FPREGS_MEM(\ucp), %rcx
        movq    %rcx, CONTEXT_FPREGS(\ucp)
        fnstenv (%rcx)
        fldenv  (%rcx)                          /* FNSTENV has masked the exceptions */
        stmxcsr FPREGS_MXCSR(%rcx)
.endm

/* int getcontext(ucontext_t *) */
        function getcontext
        save_context %rdi
        jmp     enclume_context_get_mask
        end_function getcontext

/* int swapcontext(ucontext_t *from, const ucontext_t *to) */
        function swapcontext
        save_context %rdi
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        call    enclume_context_get_mask
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        testl   %eax, %eax
        jz      .Lsetcontext
        ret
        end_function swapcontext

/* int setcontext(const ucontext_t *) */
        function setcontext
.Lsetcontext:
        /* The mask first: what becomes deliverable still finds this stack. */
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        call    enclume_context_set_mask
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        testl   %eax, %eax
        jz      1f
        ret
1:
        movq    %rdi, %rdx
        .cfi_def_cfa rdx, 0
        .cfi_offset rip, CONTEXT_RIP
        .cfi_offset rsp, CONTEXT_RSP
        .cfi_offset rbx, CONTEXT_RBX
        .cfi_offset rbp, CONTEXT_RBP
        .cfi_offset r12, CONTEXT_R12
        .cfi_offset r13, CONTEXT_R13
        .cfi_offset r14, CONTEXT_R14
        .cfi_offset r15, CONTEXT_R15
        movq    CONTEXT_FPREGS(%rdx), %rcx
        fldenv  (%rcx)
        ldmxcsr CONTEXT_FPREGS_MEM + FPREGS_MXCSR(%rdx)  /* as libc: not where fpregs points to */
        movq    CONTEXT_RBX(%rdx), %rbx
        movq    CONTEXT_RBP(%rdx), %rbp
        movq    CONTEXT_R12(%rdx), %r12
        movq    CONTEXT_R13(%rdx), %r13
        movq    CONTEXT_R14(%rdx), %r14
        movq    CONTEXT_R15(%rdx), %r15
        movq    CONTEXT_RDI(%rdx), %rdi
        movq    CONTEXT_RSI(%rdx), %rsi
        movq    CONTEXT_R8(%rdx), %r8
        movq    CONTEXT_R9(%rdx), %r9
        movq    CONTEXT_RSP(%rdx), %rsp
        pushq   CONTEXT_RIP(%rdx)
        .cfi_def_cfa rsp, 8
        .cfi_offset rip, -8
        .cfi_restore rsp
        .cfi_same_value rbx
        .cfi_same_value rbp
        .cfi_same_value r12
        .cfi_same_value r13
        .cfi_same_value r14
        .cfi_same_value r15
        movq    CONTEXT_RCX(%rdx), %rcx
        movq    CONTEXT_RDX(%rdx), %rdx
        xorl    %eax, %eax
        ret
        end_function setcontext

/* Where the function of a context made by makecontext() returns to: RBX points to uc_link on its stack. */
        .p2align 4
        .cfi_startproc
        .cfi_undefined rip                      /* the outermost frame */
        nop                                     /* unwinders look at the return address minus one */
        .globl  enclume_context_end
        .hidden enclume_context_end
        .type   enclume_context_end, @function
enclume_context_end:
        movq    %rbx, %rsp
        movq    (%rsp), %rdi
        andq    $-16, %rsp
        testq   %rdi, %rdi
        jz      1f
        call    setcontext
        movl    %eax, %edi
1:
        call    exit@PLT
        hlt
        .cfi_endproc
        .size   enclume_context_end, . - enclume_context_end

        .section .note.GNU-stack, "", @progbits
