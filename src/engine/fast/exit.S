/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EEXIT without a trap. The instruction in front of the enclave's ENCLU, which loads EEXIT's number into RAX, is a
 * jump to its trampoline (fast/exit_sites.cc), and that comes here: RAX = the block of the thread whose selector
 * ES is, RCX = the trampoline's tail, the enclave's RCX in the block. FS, GS and RSP are the enclave's, who
 * owns all other registers, too, and the stack.
 *
 * Up to enclume_leave_commit a signal finds EEXIT not begun: the enclave stands at its ENCLU. From there on it has
 * been executed, and fast/recover.cc completes it.
 */
#include "engine/entry/layout.h"
#include "engine/fast/layout.h"
#include "engine/fast/places.h"

        places  enclume_leave_places

        .text
        .p2align 6
        .type   VARIANT(enclume_fast_exit), @function
place enclume_fast_exit
        .cfi_startproc simple
        .cfi_undefined rip
        /* part: flags, door, GS base, canonical target, counted? EEXIT changes no flag, and faults on a bad target */
        movq    %rcx, BLOCK_FAST + FAST_TAIL(%rax)
place enclume_leave_tail
        movq    %rax, %rcx
place enclume_leave_block
        lahf
        seto    %al
        movq    %rax, BLOCK_FAST + FAST_FLAGS(%rcx)
place enclume_leave_flags
        movq    BLOCK_FAST + FAST_DOOR(%rcx), %rax
        testq   %rax, %rax
        jz      .Lstay
        cmpb    $1, BLOCK_ENCLAVE(%rcx)
        jne     .Lstay
        /* An enclave could have loaded ES. No other thread that is inside has its GS base. */
        movq    DOOR_GS(%rax), %rax
        movq    %rdx, BLOCK_FAST + FAST_RDX(%rcx)
place enclume_leave_spilled
        rdgsbase %rdx
        cmpq    %rax, %rdx
        movq    BLOCK_FAST + FAST_RDX(%rcx), %rdx
place enclume_leave_compared
        jne     .Lstay
        /* The target has to be canonical. */
        movq    %rbx, %rax
        sarq    $47, %rax
        incq    %rax
        cmpq    $1, %rax
        ja      .Lstay
        movq    BLOCK_FAST + FAST_COUNTS(%rcx), %rax
        testq   %rax, %rax
        jnz     .Lcount

place enclume_leave_commit
#ifdef WITH_PKEYS
        movq    %rsi, BLOCK_FAST + FAST_RSI(%rcx)
#endif
place enclume_leave_fence
#ifdef WITH_PKEYS
        /* pkru_after_exit(). There is no register to find the block by behind WRPKRU, which wants RCX = RDX = 0. */
        movq    %rcx, %rsi
        movq    BLOCK_FAST + FAST_DOOR(%rcx), %rdx
        movl    BLOCK_HOST_PKRU(%rcx), %eax
        cmpq    $0, DOOR_PKRU(%rdx)
        movl    $0, %ecx
        movl    $0, %edx
        je      .Lclose_fence
        rdpkru
.Lclose_fence:
        orl     enclume_epc_fence(%rip), %eax
        wrpkru
        movq    %rsi, %rcx
        movq    BLOCK_FAST + FAST_RSI(%rcx), %rsi
#endif
place enclume_leave_fenced
        /* part: WRFSBASE and WRGSBASE. The host's are loaded, as the architecture does */
        movq    BLOCK_HOST_FS(%rcx), %rax
        wrfsbase %rax
        movq    BLOCK_HOST_GS(%rcx), %rax
        wrgsbase %rax
        /* part: SYSCALL, mode, AEP for RCX, owner. What the entry has set, taken back; EEXIT gives RCX the AEP */
        movzbl  enclume_host_selector(%rip), %eax
        movb    %al, BLOCK_SELECTOR(%rcx)
        movb    $0, BLOCK_ENCLAVE(%rcx)
        movb    $1, BLOCK_FAST + FAST_STALE(%rcx)
        movq    BLOCK_FAST + FAST_DOOR(%rcx), %rdx
        movq    DOOR_PAGE(%rdx), %rax
        movq    TCS_AEP(%rax), %rax
        movq    %rax, BLOCK_FAST + FAST_RCX(%rcx)
        movq    DOOR_EPCM(%rdx), %rax
        movl    $0, EPCM_OWNER(%rax)
        movq    DOOR_PAGE(%rdx), %rax
place enclume_leave_state
        /* part: TCS free, one locked operation. The line may be another processor's a moment later */
        movq    $0, TCS_STATE(%rax)             /* from here on the TCS may be another's */
place enclume_leave_freed
        movq    DOOR_TRACKING(%rdx), %rax
        movq    BLOCK_FAST + FAST_ONE(%rcx), %rdx
place enclume_leave_count
        lock subq %rdx, (%rax)
place enclume_leave_counted
        movq    $0, BLOCK_INSIDE(%rcx)
        movq    $0, BLOCK_FAST + FAST_DOOR(%rcx)
        incl    BLOCK_EXITS(%rcx)
        /* part: registers and flags back, jump. They are the enclave's to leave behind */
        movq    BLOCK_FAST + FAST_RDX(%rcx), %rdx
        movq    BLOCK_FAST + FAST_FLAGS(%rcx), %rax
        addb    $127, %al                       /* OF */
        sahf
        movq    BLOCK_FAST + FAST_RCX(%rcx), %rcx
place enclume_leave_rcx
        movl    $4, %eax
        jmp     *%rbx
place enclume_leave_end

.Lstay:
        movq    BLOCK_FAST + FAST_FLAGS(%rcx), %rax
        addb    $127, %al
        sahf
        jmp     *BLOCK_FAST + FAST_TAIL(%rcx)

        /* --stats: RAX = the counts. That one is counted commits it. RDX is kept in the block. */
.Lcount:
        incq    COUNT_EEXIT(%rax)
place enclume_leave_tallied
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        subq    BLOCK_FAST + FAST_ENTERED_AT(%rcx), %rax
        movq    BLOCK_FAST + FAST_COUNTS(%rcx), %rdx
place enclume_leave_ticks
        addq    %rax, COUNT_TICKS(%rdx)
place enclume_leave_ticked
        jmp     VARIANT(enclume_leave_commit)
place enclume_stay_end
        .cfi_endproc
        .size   VARIANT(enclume_fast_exit), . - VARIANT(enclume_fast_exit)
        all_places LEAVE_PLACES

        .section .note.GNU-stack, "", @progbits
