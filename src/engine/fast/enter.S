/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EENTER without a trap. The vDSO function jumps here where its ENCLU comes next: RAX = leaf, RBX = TCS, RCX = the
 * ENCLU, which is the AEP. What can't be done here goes back to that ENCLU with all registers as they came.
 *
 * Up to enclume_enter_commit a signal finds an EENTER that has not begun: fast/recover.cc takes back what was
 * claimed. From there on it has been executed: recover.cc completes it. Which of the two claims are made, the
 * labels tell, and behind a CMPXCHG its ZF.
 *
 * The stack below RSP is the vDSO function's to use. R8, RDI, RSI, RDX and RAX are kept there, and last of all the
 * entry point, since no register is left to jump through.
 */
#include "engine/entry/layout.h"
#include "engine/fast/layout.h"
#include "engine/fast/places.h"

        places  enclume_enter_places

        .macro  unless_same at, value
        movq    \at, %r8
        cmpq    \value, %r8
        jne     .Lundo
        .endm

        .macro  unless_word offset
        movq    \offset(%rsi), %rdi
        movl    (%rdi), %edi
        cmpl    \offset + 8(%rsi), %edi
        jne     .Lundo
        .endm

#ifdef WITH_PKEYS
        /* EAX = PKRU of enclave code, of EAX = PKRU: inside_fence(), with RSI the door. */
        .macro  open_fence
        orl     enclume_epc_fence(%rip), %eax
        andl    DOOR_CLOSED(%rsi), %eax
        .endm
#endif

        .macro  read_base from, to
        movq    \from(%rdi), %rax
        movq    %rax, BLOCK_FAST + \to(%rdx)
        sarq    $47, %rax                       /* canonical */
        incq    %rax
        cmpq    $1, %rax
        ja      .Lundo
        .endm

        .text
        .p2align 6
        .type   VARIANT(enclume_fast_enter), @function
place enclume_fast_enter
        .cfi_startproc simple
        /* part: saved registers, TF, leaf, switch. The paths need five registers, and a stepped entry has to trap */
        /* The frame of the vDSO function. */
        .cfi_def_cfa rbp, 16
        .cfi_offset rip, -8
        .cfi_offset rbp, -16
        .cfi_offset rbx, -24
        pushfq
place enclume_enter_flags
        leaq    -(ENTER_SIZE - 8)(%rsp), %rsp
place enclume_enter_frame
        movq    %rax, ENTER_RAX(%rsp)
        movq    %rdx, ENTER_RDX(%rsp)
        movq    %rsi, ENTER_RSI(%rsp)
        movq    %rdi, ENTER_RDI(%rsp)
        movq    %r8, ENTER_R8(%rsp)
place enclume_enter_saved
        testb   $1, ENTER_FLAGS + 1(%rsp)       /* TF: a debugger steps */
        jnz     .Lback
        subl    $2, %eax
        cmpl    $1, %eax                        /* EENTER or ERESUME */
        ja      .Lback
        movzbl  enclume_fast_on(%rip), %esi
        testl   %esi, %esi                      /* FAST_OFF */
        jz      .Lback

        /* part: whose thread: variable, block, FS, stack, fork. This tells threads apart, so none of it can be kept */
        cmpl    $FAST_BY_LIBC, %esi
        je      .Lby_libc
        /* The thread: by the descriptor that the kernel keeps for it (fast/thread_descriptor.h). */
        movl    $THREAD_SELECTOR, %edx
        lsl     %edx, %edx
        jnz     .Lback                          /* it has none */
        xorl    $THREAD_MARK, %edx
        shlq    $SLOT_SIZE_LOG2, %rdx
        cmpq    enclume_arena_size(%rip), %rdx
        jae     .Lback                          /* it is another's */
        addq    enclume_arena_begin(%rip), %rdx
        leaq    SLOT_BLOCK(%rdx), %rdx
        cmpq    %rdx, BLOCK_SELF(%rdx)
        jne     .Lback
        cmpl    $FAST_BY_DESCRIPTOR, %esi
        rdfsbase %rsi
        je      .Lknown
        jmp     .Lnot_proven
.Lby_libc:
        /* By the engine's thread-local variable, if FS is the one that this thread was met with. */
        movq    enclume_thread_offset(%rip), %rdx
        movq    %fs:(%rdx), %rdx
        testq   %rdx, %rdx
        jz      .Lback
        cmpq    %rdx, BLOCK_SELF(%rdx)
        jne     .Lback
        rdfsbase %rsi
.Lnot_proven:
        cmpq    BLOCK_FAST + FAST_FS(%rdx), %rsi
        jne     .Lback
        movq    %rsp, %rdi
        subq    BLOCK_FAST + FAST_STACK_LOW(%rdx), %rdi
        cmpq    BLOCK_FAST + FAST_STACK_SIZE(%rdx), %rdi
        jae     .Lback
.Lknown:
        movq    enclume_process_known(%rip), %rdi
        cmpl    $1, (%rdi)                      /* else a child of fork, with nothing in order yet */
        jne     .Lback
        movq    %rsi, BLOCK_HOST_FS(%rdx)
        rdgsbase %rsi
        movq    %rsi, BLOCK_HOST_GS(%rdx)

        /* part: the door, a breakpoint on the ENCLU. The door is the TCS's; a debugger may come at any time */
        movq    %rbx, %rsi
        shrq    $12, %rsi
        imull   $DOOR_HASH, %esi, %esi
        shrl    $(32 - DOOR_TCSS_LOG2), %esi
        imull   $(2 * DOOR_SIZE), %esi, %esi
        leaq    BLOCK_FAST + FAST_DOORS(%rdx,%rsi), %rsi
        cmpq    DOOR_TCS(%rsi), %rbx
        jne     .Lback
        /* What the door leads to may be gone, and the addresses another's. */
        movq    enclume_vmas_version(%rip), %rdi
        movq    (%rdi), %rdi
        cmpq    DOOR_VMAS(%rsi), %rdi
        jne     .Lback
        /* A debugger may have its breakpoint on the ENCLU. */
        movzwl  (%rcx), %edi
        cmpl    $0x010f, %edi
        jne     .Lback
        cmpb    $0xd7, 2(%rcx)
        jne     .Lback

        /* part: claim and count, two locked. Else two could be inside by one TCS, or EWB take a page in use */
        /* The claims come before the checks, as in arch/enclu/tcs_claim.cc: who takes a page away looks for them
         * after he has said so. */
        movq    DOOR_SECS(%rsi), %rdi
        movq    %rdi, BLOCK_INSIDE(%rdx)
        movq    DOOR_PAGE(%rsi), %rdi
        xorl    %eax, %eax
        movl    $1, %r8d
place enclume_enter_claim
        lock cmpxchgq %r8, TCS_STATE(%rdi)
place enclume_enter_claim_done
        jne     .Lback_outside
place enclume_enter_claimed
        movq    DOOR_TRACKING(%rsi), %rdi
        movq    (%rdi), %rax
.Lcount:
        movl    $(1 << TRACKING_EPOCH_BITS), %r8d
        testb   $1, %al
        jz      .Leven
        shlq    $TRACKING_COUNT_BITS, %r8
.Leven:
        movq    %r8, BLOCK_FAST + FAST_ONE(%rdx)
        addq    %rax, %r8
place enclume_enter_count
        lock cmpxchgq %r8, (%rdi)
place enclume_enter_count_done
        jne     .Lcount
place enclume_enter_counted
        andl    $((1 << TRACKING_EPOCH_BITS) - 1), %eax
        movl    %eax, BLOCK_FAST + FAST_EPOCH(%rdx)

.Lcheck:
        /* part: the 14 checks. Each stands for one of the leaf's; loads of lines that are in the cache */
        movq    enclume_vmas_version(%rip), %rdi
        unless_same (%rdi), DOOR_VMAS(%rsi)
        movq    DOOR_PROTECTION_AT(%rsi), %rdi
        unless_same (%rdi), DOOR_PROTECTION(%rsi)
        movq    DOOR_EPCM(%rsi), %rdi
        unless_same (%rdi), DOOR_EPCM_WORD(%rsi)
        unless_word DOOR_PAGES
        unless_word DOOR_PAGES + 16
        unless_word DOOR_PAGES + 32
        unless_word DOOR_SSA_EPCM
        unless_word DOOR_SSA_EPCM + 16
        movq    DOOR_PAGE(%rsi), %rdi
        unless_same TCS_FLAGS(%rdi), DOOR_FLAGS(%rsi)
        unless_same TCS_OSSA(%rdi), DOOR_OSSA(%rsi)
        unless_same TCS_OENTRY(%rdi), DOOR_OENTRY(%rsi)
        unless_same TCS_OFSBASE(%rdi), DOOR_OFSBASE(%rsi)
        unless_same TCS_OGSBASE(%rdi), DOOR_OGSBASE(%rsi)
        /* part: selector, frame, counted? The exit needs the door and ES; which frame it is only the TCS says */
        movq    %rsi, BLOCK_FAST + FAST_DOOR(%rdx)
        movl    BLOCK_FAST + FAST_ES(%rdx), %r8d
        movl    %es, %eax
        cmpl    %r8d, %eax
        jne     .Lload_es
.Les_done:
        movq    TCS_CSSA(%rdi), %r8             /* and NSSA above it */
        cmpl    $3, ENTER_RAX(%rsp)
        je      .Lresume
        cmpq    DOOR_CSSA(%rsi), %r8
        jne     .Lother_frame
        movq    BLOCK_FAST + FAST_COUNTS(%rdx), %r8
        testq   %r8, %r8
        jnz     .Lcount_entry

place enclume_enter_commit
        /* part: AEP, URSP, URBP, owner, mode, SYSCALL. An AEX, the reclaimer and the kernel's dispatch read them */
        movq    %rcx, TCS_AEP(%rdi)
        movq    DOOR_GPR(%rsi), %rdi
        leaq    ENTER_SIZE(%rsp), %r8
        movq    %r8, GPRSGX_URSP(%rdi)
        movq    %rbp, GPRSGX_URBP(%rdi)
        movq    DOOR_EPCM(%rsi), %rdi
        movl    BLOCK_TID(%rdx), %r8d
        movl    %r8d, EPCM_OWNER(%rdi)
        movq    DOOR_ENTRY(%rsi), %rdi
        movq    %rdi, ENTER_TARGET(%rsp)
        movb    $1, BLOCK_FAST + FAST_STALE(%rdx)
        movb    $1, BLOCK_ENCLAVE(%rdx)         /* before the bases: who finds it set puts them back */
        movb    $SELECTOR_BLOCK, BLOCK_SELECTOR(%rdx)
        /* part: WRFSBASE and WRGSBASE. The architecture loads both, and the enclave uses them */
        movq    DOOR_FS(%rsi), %rdi
        wrfsbase %rdi
        movq    DOOR_GS(%rsi), %rdi
        wrgsbase %rdi
#ifdef WITH_PKEYS
        movq    %rcx, %rdi
        movq    %rdx, %r8
        xorl    %ecx, %ecx
        rdpkru
        movl    %eax, BLOCK_HOST_PKRU(%r8)
        open_fence
#endif
place enclume_enter_fence
#ifdef WITH_PKEYS
        wrpkru                                  /* RDPKRU has cleared EDX */
        movq    %rdi, %rcx
#endif
        /* part: registers back, POPF, jump. What the enclave has to find in them */
        movl    DOOR_CSSA(%rsi), %eax
        leaq    3(%rcx), %rcx
        movq    ENTER_R8(%rsp), %r8
        movq    ENTER_RDI(%rsp), %rdi
        movq    ENTER_RSI(%rsp), %rsi
        movq    ENTER_RDX(%rsp), %rdx
        leaq    ENTER_FLAGS(%rsp), %rsp
place enclume_enter_pop
        popfq
place enclume_enter_jump
        jmp     *-ENTER_SIZE(%rsp)
place enclume_enter_end

.Lload_es:
        movl    %r8d, %es
        jmp     .Les_done

        /* R8 = CSSA and NSSA as the frame's door has them. The claims are the TCS's, and stay if it is the same. */
.Lother_frame:
        movq    DOOR_OTHER(%rsi), %rax
        cmpq    DOOR_CSSA(%rax), %r8
        jne     .Lundo
        cmpq    DOOR_TCS(%rax), %rbx
        jne     .Lundo
        cmpq    DOOR_PAGE(%rax), %rdi
        jne     .Lundo
        movq    DOOR_TRACKING(%rsi), %r8
        cmpq    DOOR_TRACKING(%rax), %r8
        jne     .Lundo
        movq    %rax, %rsi
        jmp     .Lcheck

        /* --stats: R8 = the counts. That one is counted commits it. */
.Lcount_entry:
        movq    %rdx, ENTER_TARGET(%rsp)
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        movq    ENTER_TARGET(%rsp), %rdx
        movq    %rax, BLOCK_FAST + FAST_ENTERED_AT(%rdx)
        incq    COUNT_EENTER(%r8)
place enclume_enter_tallied
        jmp     VARIANT(enclume_enter_commit)

        /*
         * ERESUME: CSSA is one above the frame's number. What the frame says is read once, into the block, and
         * checked there. XRSTOR makes its own checks before it loads anything, so that where it faults nothing
         * has happened yet, and behind it everything has. IRETQ loads RIP, RFLAGS and RSP at once, off the block.
         */
.Lresume:
        decq    %r8
        cmpq    DOOR_CSSA(%rsi), %r8
        jne     .Lother_frame
        testb   $TCS_AEXNOTIFY, TCS_FLAGS(%rdi)
        jnz     .Lundo
        testl   $FLAG_NT, ENTER_FLAGS(%rsp)     /* IRETQ would be #GP */
        jnz     .Lundo
        cmpq    $0, BLOCK_FAST + FAST_HELD(%rdx)
        jne     .Lundo
        movq    DOOR_GPR(%rsi), %rdi
        movq    GPRSGX_RIP(%rdi), %rax
        movq    %rax, BLOCK_FAST + FAST_RESUME(%rdx)
        subq    DOOR_BASE(%rsi), %rax
        cmpq    DOOR_LIMIT(%rsi), %rax
        jae     .Lundo
        read_base GPRSGX_FSBASE, FAST_RESUME_FS
        read_base GPRSGX_GSBASE, FAST_RESUME_GS
        movq    ENTER_FLAGS(%rsp), %rax
        andq    $~RESUMED_RFLAGS, %rax
        movq    GPRSGX_RFLAGS(%rdi), %r8
        andl    $RESUMED_RFLAGS, %r8d
        orq     %r8, %rax
        movq    %rax, BLOCK_FAST + FAST_RESUME + 16(%rdx)
        movq    4 * 8(%rdi), %rax               /* RSP */
        movq    %rax, BLOCK_FAST + FAST_RESUME + 24(%rdx)
        movl    %cs, %eax
        movq    %rax, BLOCK_FAST + FAST_RESUME + 8(%rdx)
        movl    %ss, %eax
        movq    %rax, BLOCK_FAST + FAST_RESUME + 32(%rdx)

        movq    DOOR_XSAVE(%rsi), %rdi
        testq   %rdi, %rdi
        jz      .Lundo
        movq    DOOR_XFRM(%rsi), %rax
        movq    %rax, %r8
        notq    %r8
        testq   %r8, XSAVE_XSTATE_BV(%rdi)
        jnz     .Lundo
        movq    XSAVE_XCOMP_BV(%rdi), %r8
        orq     XSAVE_XCOMP_BV + 8(%rdi), %r8
        jnz     .Lundo
        movq    %rdx, %r8
#ifdef WITH_PKEYS
        /* An enclave that has PKRU in its XFRM gets its own back, but by the engine's WRPKRU: what comes before
         * needs key 0, as whoever executes the trapped leaf does. */
        btrq    $PKRU_COMPONENT, %rax
        jc      .Lread_pkru
.Lpkru_read:
#endif
        movq    %rax, %rdx
        shrq    $32, %rdx
place enclume_resume_xrstor
        xrstor64 (%rdi)
place enclume_resume_commit
        movq    BLOCK_FAST + FAST_COUNTS(%r8), %rax
        testq   %rax, %rax
        jnz     .Lcount_resume
place enclume_resume_counted
        movq    DOOR_PAGE(%rsi), %rdi
        movq    %rcx, TCS_AEP(%rdi)
        movl    DOOR_CSSA(%rsi), %eax
        movl    %eax, TCS_CSSA(%rdi)
        movq    DOOR_EPCM(%rsi), %rdi
        movl    BLOCK_TID(%r8), %eax
        movl    %eax, EPCM_OWNER(%rdi)
        movb    $1, BLOCK_FAST + FAST_STALE(%r8)
        movb    $1, BLOCK_ENCLAVE(%r8)
        movb    $SELECTOR_BLOCK, BLOCK_SELECTOR(%r8)
        movq    BLOCK_FAST + FAST_RESUME_FS(%r8), %rax
        wrfsbase %rax
        movq    BLOCK_FAST + FAST_RESUME_GS(%r8), %rax
        wrgsbase %rax
#ifdef WITH_PKEYS
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    BLOCK_HOST_PKRU(%r8), %eax
        cmpq    $0, DOOR_PKRU(%rsi)
        jne     .Lhas_pkru
        rdpkru
        movl    %eax, BLOCK_HOST_PKRU(%r8)
.Lhas_pkru:
        open_fence
#endif
place enclume_resume_fence
#ifdef WITH_PKEYS
        wrpkru
#endif
        movq    DOOR_GPR(%rsi), %rdi
        leaq    BLOCK_FAST + FAST_RESUME(%r8), %rsp
        movq    0 * 8(%rdi), %rax
        movq    1 * 8(%rdi), %rcx
        movq    2 * 8(%rdi), %rdx
        movq    3 * 8(%rdi), %rbx
        movq    5 * 8(%rdi), %rbp
        movq    6 * 8(%rdi), %rsi
        movq    8 * 8(%rdi), %r8
        movq    9 * 8(%rdi), %r9
        movq    10 * 8(%rdi), %r10
        movq    11 * 8(%rdi), %r11
        movq    12 * 8(%rdi), %r12
        movq    13 * 8(%rdi), %r13
        movq    14 * 8(%rdi), %r14
        movq    15 * 8(%rdi), %r15
        movq    7 * 8(%rdi), %rdi
        iretq

.Lcount_resume:
place enclume_resume_tally
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        movq    %rax, BLOCK_FAST + FAST_ENTERED_AT(%r8)
        movq    BLOCK_FAST + FAST_COUNTS(%r8), %rax
        incq    COUNT_ERESUME(%rax)
place enclume_resume_tallied
        jmp     VARIANT(enclume_resume_counted)
place enclume_resume_end

#ifdef WITH_PKEYS
        /* What the trapped leaf would leave in ThreadBlock::host_pkru. RDX = R8 = the block, RDI = the frame. */
.Lread_pkru:
        movq    DOOR_PKRU(%rsi), %rdx
        movl    (%rdx), %edx
        testl   $(1 << PKRU_COMPONENT), XSAVE_XSTATE_BV(%rdi)
        jnz     .Lpkru_in_use
        xorl    %edx, %edx                      /* its initial value */
.Lpkru_in_use:
        movl    %edx, BLOCK_HOST_PKRU(%r8)
        testl   $PKRU_KEY_ZERO, %edx
        movq    %r8, %rdx
        jz      .Lpkru_read
        jmp     .Lundo
#endif

.Lundo:
place enclume_undo
        movq    DOOR_PAGE(%rsi), %rdi
place enclume_undo_claim
        movq    $0, TCS_STATE(%rdi)
place enclume_undo_claimed
        movq    DOOR_TRACKING(%rsi), %rdi
        movq    BLOCK_FAST + FAST_ONE(%rdx), %r8
place enclume_undo_count
        lock subq %r8, (%rdi)
.Lback_outside:
place enclume_undo_inside
        movq    $0, BLOCK_INSIDE(%rdx)
        movq    $0, BLOCK_FAST + FAST_DOOR(%rdx)
.Lback:
place enclume_back
        movq    ENTER_R8(%rsp), %r8
        movq    ENTER_RDI(%rsp), %rdi
        movq    ENTER_RSI(%rsp), %rsi
        movq    ENTER_RDX(%rsp), %rdx
        movq    ENTER_RAX(%rsp), %rax
        leaq    ENTER_FLAGS(%rsp), %rsp
place enclume_back_pop
        popfq
place enclume_back_jump
        jmp     *%rcx
        .cfi_endproc
place enclume_back_end
        .size   VARIANT(enclume_fast_enter), . - VARIANT(enclume_fast_enter)
        all_places ENTER_PLACES

        .section .note.GNU-stack, "", @progbits
