/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signal entry and exit. Any instruction here can be interrupted by another signal; docs/design.md tells
 * how each place is made safe, tests/interrupt steps through all of it.
 *
 * Entry. The kernel has cleared DF, RF and TF, but leaves AC (and FS and GS) as the enclave had them.
 * No C++ runs before the host's bases are back.
 *
 * Exit. From enclume_exit_begin to enclume_exit_end nothing but RAX, RDX, RSP and RFLAGS changes, and the state
 * that it sets up (bases, selector) is set up whole each time it runs. So a signal that lands in it leaves
 * host mode behind, moves RIP back to enclume_exit_begin, and what it recorded is seen there.
 */
#include "engine/entry/layout.h"

        .text
        .p2align 6

        .globl  enclume_signal_entry
        .hidden enclume_signal_entry
        .type   enclume_signal_entry, @function
enclume_signal_entry:
        .cfi_startproc simple
        .cfi_signal_frame
        /* RSP is at the return address of struct rt_sigframe; the ucontext follows it. */
        .cfi_def_cfa rsp, 8
#define SAVED(reg, off) .cfi_offset reg, off
        SAVED(%rip, UC_RIP)
        SAVED(%rsp, UC_RSP)
        SAVED(%rbx, UC_RBX)
        SAVED(%rbp, UC_RBP)
        SAVED(%rax, UC_RAX)
        SAVED(%rcx, UC_RCX)
        SAVED(%rdx, UC_RDX)
        SAVED(%rsi, UC_RSI)
        SAVED(%rdi, UC_RDI)
        SAVED(%r8, UC_R8)
        SAVED(%r9, UC_R9)
        SAVED(%r10, UC_R10)
        SAVED(%r11, UC_R11)
        SAVED(%r12, UC_R12)
        SAVED(%r13, UC_R13)
        SAVED(%r14, UC_R14)
        SAVED(%r15, UC_R15)

        /*
         * The kernel has closed every protection key but 0, and the engine has to read and write what the
         * program keeps under others: code at RIP, stacks. So all are open here but the EPC's. First of all,
         * since the stack of a thread that has no slot is one of these, and without a register of the handler's
         * arguments. R14 is PKRU as the kernel gave it.
         */
        cmpb    $0, enclume_has_pkeys(%rip)
        je      .Lkeys_done
        movq    %rdx, %r8
        xorl    %ecx, %ecx
        rdpkru
        movl    %eax, %r14d
        cmpl    %eax, enclume_handler_pkru(%rip)
        je      .Lrights_known
        movl    %eax, enclume_handler_pkru(%rip)
.Lrights_known:
        movl    enclume_epc_fence(%rip), %eax
        wrpkru                                  /* RDPKRU has cleared EDX */
        movq    %r8, %rdx
.Lkeys_done:

        pushfq
        .cfi_adjust_cfa_offset 8
        andq    $~(FLAG_AC | FLAG_NT | FLAG_DF), (%rsp)
        popfq
        .cfi_adjust_cfa_offset -8

        movq    %rsp, %rax
        subq    enclume_arena_begin(%rip), %rax
        cmpq    enclume_arena_size(%rip), %rax
        jae     .Lunregistered

        movq    %rsp, %r12                      /* the frame */
        .cfi_def_cfa_register r12
        movq    %rsp, %rbx
        andq    $-SLOT_SIZE, %rbx
        addq    $SLOT_BLOCK, %rbx               /* the thread block */

        subq    $FACTS_SIZE, %rsp
        movzbl  BLOCK_ENCLAVE(%rbx), %eax
        movq    %rax, FACTS_ENCLAVE(%rsp)
        testl   %eax, %eax
        jz      .Lbases_done
        rdfsbase %rax
        movq    %rax, FACTS_FS(%rsp)
        rdgsbase %rax
        movq    %rax, FACTS_GS(%rsp)
        movq    BLOCK_HOST_FS(%rbx), %rax
        wrfsbase %rax
        movq    BLOCK_HOST_GS(%rbx), %rax
        wrgsbase %rax
        /* Only now is it host mode: a signal before this store swaps and swaps back by itself. */
        movb    $0, BLOCK_ENCLAVE(%rbx)
        movzbl  enclume_host_selector(%rip), %eax
        movb    %al, BLOCK_SELECTOR(%rbx)
.Lbases_done:

        movq    %rsp, %r8                       /* facts */
        subq    $(PLAN_SIZE + 8), %rsp          /* the plan, and alignment */
        andq    $-16, %rsp
        movq    %rsp, %r9
        movq    %rsp, %r13
        movq    %rbx, %rcx
        call    enclume_on_signal

.Lleave:
        /* R12 = frame to return by, RBX = block, R13 = enclave mode, R14/R15 = bases, RBP = flags. */
        movq    %r13, %rax
        movq    PLAN_FRAME(%rax), %r12
        movq    PLAN_ENCLAVE(%rax), %r13
        movq    PLAN_FS(%rax), %r14
        movq    PLAN_GS(%rax), %r15
        movq    PLAN_FLAGS(%rax), %rbp
        cmpq    $0, PLAN_NESTED(%rax)
        jne     .Lnested

/* Bases, selector, flags: all that lies between a handler and rt_sigreturn. RSP = R12 = the frame. */
.macro  prepare_return
        testl   %r13d, %r13d
        jz      .Lflags\@
        wrfsbase %r14
        wrgsbase %r15
        movb    $1, BLOCK_ENCLAVE(%rbx)         /* first: a signal that finds it set puts both back */
        movb    $SELECTOR_BLOCK, BLOCK_SELECTOR(%rbx)
.Lflags\@:
        /* rt_sigreturn keeps ID and NT as they are now. The word below the frame is free. */
        movq    %rbp, -8(%rsp)
        leaq    -8(%rsp), %rsp
        popfq
        leaq    8(%rsp), %rsp                   /* rt_sigreturn expects the return address popped */
        movl    $NR_RT_SIGRETURN, %eax
.endm

        .globl  enclume_exit_begin
        .hidden enclume_exit_begin
enclume_exit_begin:
        movq    %r12, %rsp
        cmpl    $0, BLOCK_DEFERRED(%rbx)
        jne     .Ldeferred
        movb    $0, BLOCK_MASK_SAVED(%rbx)
        movabsq $EXIT_MARK, %rdx
        prepare_return
        jmp     *enclume_system_call(%rip)
        /* Where all system calls of the engine are made, unless start/gate.cc finds another place for them. */
        .globl  enclume_own_gate
        .hidden enclume_own_gate
enclume_own_gate:
        syscall
        ret
        .globl  enclume_exit_end
        .hidden enclume_exit_end
enclume_exit_end:

.Lnested:
        /* Back into the engine's own code, exactly as it was found. */
        movq    %r12, %rsp
        xorl    %edx, %edx
        prepare_return
        jmp     *enclume_system_call(%rip)

.Ldeferred:
        /* Below the frame all is free again: the handler that built the plan is over. */
        subq    $(128 + PLAN_SIZE), %rsp
        andq    $-16, %rsp
        movq    %r12, PLAN_FRAME(%rsp)
        movq    %r13, PLAN_ENCLAVE(%rsp)
        movq    %r14, PLAN_FS(%rsp)
        movq    %r15, PLAN_GS(%rsp)
        movq    %rbp, PLAN_FLAGS(%rsp)
        movq    $0, PLAN_HANDLER(%rsp)
        movq    $0, PLAN_NESTED(%rsp)
        movq    %rbx, %rdi
        movq    %rsp, %rsi
        movq    %rsp, %r13
        call    enclume_on_deferred
        jmp     .Lleave

        /*
         * A thread that has no slot: the frame lies on the program's own stack.
         */
.Lunregistered:
        .cfi_def_cfa rsp, 8
        movq    %rsp, %r12
        .cfi_def_cfa_register r12
        subq    $(PLAN_SIZE + 8), %rsp
        andq    $-16, %rsp
        movq    %rsp, %rcx
        movq    %rsp, %r13
        movl    %edi, %ebx
        call    enclume_on_unregistered_signal
        movq    PLAN_HANDLER(%r13), %rax
        testq   %rax, %rax
        jnz     .Lrun_handler
        movq    PLAN_FRAME(%r13), %rax
        cmpq    %r12, %rax
        jne     .Ltake_frame
        leaq    8(%r12), %rsp
        movl    $NR_RT_SIGRETURN, %eax
        jmp     *enclume_system_call(%rip)

.Ltake_frame:
        /* The thread has a slot now: the frame goes to its stack. All signals are blocked still. */
        movq    %rax, %rsp
        movq    %r12, %rdi
        movq    %rax, %r12
        movq    %rax, %rbx
        andq    $-SLOT_SIZE, %rbx
        addq    $SLOT_BLOCK, %rbx
        subq    $FACTS_SIZE, %rsp
        movq    $0, FACTS_ENCLAVE(%rsp)
        movq    %rsp, %rdx
        movq    PLAN_MASK(%r13), %rax
        subq    $(PLAN_SIZE + 8), %rsp
        andq    $-16, %rsp
        movq    %rax, PLAN_MASK(%rsp)
        movq    %r12, PLAN_FRAME(%rsp)
        movq    %rsp, %rsi
        movq    %rsp, %r13
        call    enclume_take_frame
        jmp     .Lleave

.Lrun_handler:
        /* As if the kernel had called it: the interrupted registers but for RDI, RSI, RDX, RAX. */
        movq    %rax, %r13
        cmpb    $0, enclume_has_pkeys(%rip)
        je      .Lhandler_keys_done
        movl    %r14d, %eax
        orl     enclume_epc_fence(%rip), %eax
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        wrpkru
.Lhandler_keys_done:
        movq    %r13, %rcx
        movl    %ebx, %edi
        leaq    8(%r12), %rdx                   /* the ucontext */
        leaq    312(%r12), %rsi                 /* the siginfo */
        movq    %r12, %rsp
        .cfi_def_cfa_register rsp
        movq    UC_R8(%rdx), %r8
        movq    UC_R9(%rdx), %r9
        movq    UC_R10(%rdx), %r10
        movq    UC_R11(%rdx), %r11
        movq    UC_R12(%rdx), %r12
        movq    UC_R13(%rdx), %r13
        movq    UC_R14(%rdx), %r14
        movq    UC_R15(%rdx), %r15
        movq    UC_RBP(%rdx), %rbp
        movq    UC_RBX(%rdx), %rbx
        xorl    %eax, %eax
        jmp     *%rcx
        .cfi_endproc
        .size   enclume_signal_entry, . - enclume_signal_entry

        /*
         * A program's handler returns here, RSP behind the return address of its frame. Masks and the
         * alternate stack in the frame are the program's view: C++ translates, then the kernel does the rest.
         */
        .p2align 4
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_def_cfa rsp, 0
        SAVED(%rip, UC_RIP)
        SAVED(%rsp, UC_RSP)
        SAVED(%rbx, UC_RBX)
        SAVED(%rbp, UC_RBP)
        SAVED(%rax, UC_RAX)
        SAVED(%rcx, UC_RCX)
        SAVED(%rdx, UC_RDX)
        SAVED(%rsi, UC_RSI)
        SAVED(%rdi, UC_RDI)
        SAVED(%r8, UC_R8)
        SAVED(%r9, UC_R9)
        SAVED(%r10, UC_R10)
        SAVED(%r11, UC_R11)
        SAVED(%r12, UC_R12)
        SAVED(%r13, UC_R13)
        SAVED(%r14, UC_R14)
        SAVED(%r15, UC_R15)
        nop                                     /* unwinders look at the return address minus one */
        .globl  enclume_restorer
        .hidden enclume_restorer
        .type   enclume_restorer, @function
enclume_restorer:
        leaq    -8(%rsp), %rdi
        movq    %rsp, %rbx
        .cfi_def_cfa_register rbx
        andq    $-16, %rsp
        subq    $16, %rsp                       /* below the frame, which must stay whole */
        call    enclume_before_sigreturn
        movq    %rbx, %rsp
        .cfi_def_cfa_register rsp
        movl    $NR_RT_SIGRETURN, %eax
        jmp     *enclume_system_call(%rip)
        .cfi_endproc
        .size   enclume_restorer, . - enclume_restorer

        /* size_t enclume_guarded_copy(void *to, const void *from, size_t size) */
        .p2align 4
        .globl  enclume_guarded_copy
        .hidden enclume_guarded_copy
        .type   enclume_guarded_copy, @function
enclume_guarded_copy:
        .cfi_startproc
        movq    %rdx, %rcx
        .globl  enclume_copy_fault_begin
        .hidden enclume_copy_fault_begin
enclume_copy_fault_begin:
        rep movsb
        .globl  enclume_copy_fault_end
        .hidden enclume_copy_fault_end
enclume_copy_fault_end:
        .globl  enclume_copy_fixup
        .hidden enclume_copy_fixup
enclume_copy_fixup:
        movq    %rcx, %rax
        ret
        .cfi_endproc
        .size   enclume_guarded_copy, . - enclume_guarded_copy

        .section .note.GNU-stack, "", @progbits
