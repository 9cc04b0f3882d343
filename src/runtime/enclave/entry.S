/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The border in instructions: the way in (OENTRY of every TCS), out by an OCALL and back, and out for good.
 *
 * On the way in nothing but RAX, RBX, FS and GS is the processor's word; RSP is the host's, so no stack until ours
 * is loaded. Flags, MXCSR and the x87 state are put into a known state before any compiled code runs. Nothing that
 * the host chose is used before the LFENCE behind the check of the mailbox's place (enclume_serve), so that none runs
 * ahead of the checks here; the return from an OCALL has its own. On the way out every register is overwritten that
 * compiled code may have left something in.
 */
#include "enclume/edge/abi.h"

#define SSA_EXITINFO_FROM_END (184 - 160)
/* An entry must find this much stack: an EntryFrame, what C++ needs to say no, and some more. */
#define STACK_RESERVE 2048
#define RESCUE_STACK_SIZE 4096

	.text

/* XRSTOR of the initial state; clobbers RAX, RDX. MXCSR and masks as in clean_state. */
.macro load_clean_state
	mov	enclume_config+32(%rip), %eax
	xor	%edx, %edx
	xrstor	clean_state(%rip)
.endm

/* Jumps if x87 state may have been changed from the initial one; clobbers RAX, RCX, RDX. What a processor does not
 * track is always in use. XRSTOR takes longer than all else here. */
.macro jump_if_x87_in_use to
	cmpb	$0, enclume_tracks_x87(%rip)
	je	\to
	mov	$1, %ecx
	xgetbv				/* XCR0 AND XINUSE; here XCR0 is XFRM, where it can be told apart */
	test	$1, %al
	jnz	\to
.endm

/* The x87 state; SSE registers may hold what the host likes. Clobbers RAX, RCX, RDX, and MXCSR. */
.macro clean_x87
	jump_if_x87_in_use 8f
	jmp	9f
8:	load_clean_state
9:
.endm

/* Before the way out: all state components, and MXCSR. Clobbers RAX, RCX, RDX. */
.macro scrub_state
	jump_if_x87_in_use 8f
	mov	enclume_config+32(%rip), %ecx
	and	%ecx, %eax
	test	$~6, %eax		/* more than SSE and AVX */
	jnz	8f
	test	$4, %cl
	jz	7f
	vzeroall
	ldmxcsr	clean_state+24(%rip)
	jmp	9f
7:	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	pxor	%xmm\n, %xmm\n
	.endr
	ldmxcsr	clean_state+24(%rip)
	jmp	9f
8:	load_clean_state
9:
.endm

.macro clean_flags			/* AC and NT, DF is; POPFQ is slow. Needs our stack. */
	pushfq
	testl	$0x44000, (%rsp)
	jz	9f
	movq	$2, (%rsp)
	popfq
	pushq	$2
9:	lea	8(%rsp), %rsp
.endm

	.globl	enclume_entry
	.hidden	enclume_entry
	.type	enclume_entry, @function
enclume_entry:
	.cfi_startproc
	.cfi_undefined rip
	cld
	mov	%fs:ENCLUME_TB_STACK, %r11
	test	%r11, %r11
	jz	.Lfirst
.Lhave_stack:
	cmp	%rax, %fs:ENCLUME_TB_LEVEL
	jne	.Lnot_level
	cmp	$ENCLUME_COMMAND_RETURN, %edi
	je	.Lreturn
	cmp	$ENCLUME_COMMAND_EXCEPTION, %edi
	je	.Lrefuse
	cmp	$ENCLUME_COMMAND_CANCEL, %edi
	je	.Lrefuse

	/* An ECALL: below what this thread was doing when it left, if it was. */
	mov	%fs:ENCLUME_TB_STACK_LIMIT, %r10
	test	%rax, %rax
	jnz	.Lbelow_handler
.Lhave_limit:
	add	$STACK_RESERVE, %r10
	cmp	%r10, %r11
	jb	.Lrefuse
	mov	%rsp, %r8
	lea	-ENCLUME_FRAME_SIZE(%r11), %rsp
	and	$-64, %rsp
.Lenter:				/* R8: the host's RSP, RSP: the EntryFrame, R11: TB_STACK as it was */
	mov	%r8, ENCLUME_FRAME_HOST_RSP(%rsp)
	mov	%rbp, ENCLUME_FRAME_HOST_RBP(%rsp)
	mov	%rcx, ENCLUME_FRAME_HOST_RIP(%rsp)
	mov	%rsi, ENCLUME_FRAME_MAILBOX(%rsp)
	mov	%r11, ENCLUME_FRAME_STACK(%rsp)
	mov	%fs:ENCLUME_TB_FRAME, %r8
	mov	%r8, ENCLUME_FRAME_OUTER(%rsp)
	mov	%fs:ENCLUME_TB_OUTSIDE, %r8
	mov	%r8, ENCLUME_FRAME_OUTSIDE(%rsp)
	movq	$0, ENCLUME_FRAME_CONTEXT(%rsp)
	movq	$0, %fs:ENCLUME_TB_OUTSIDE
	mov	%rsp, %fs:ENCLUME_TB_FRAME
.Lhas_frame:
	mov	%rdx, %r9
	mov	%rax, %r8
	clean_flags
	clean_x87
	ldmxcsr	clean_state+24(%rip)
	mov	%r9, %rdx
	mov	%r8, %rcx
	xor	%ebp, %ebp
	/* enclume_serve(command, mailbox, argument, cssa) */
	call	enclume_serve
	jmp	enclume_finish

	/* An ECALL from an OCALL of a handler: the rest of the alternate stack but the page for ending things. */
.Lbelow_handler:
	lea	__ehdr_start(%rip), %r10
	add	%fs:ENCLUME_TB_SEED_ALT_END, %r10
	add	$RESCUE_STACK_SIZE, %r10
	jmp	.Lhave_limit

	/* The first entry of all on this thread. Only its loader's seeds, which are measured, say where its stack is. */
.Lfirst:
	lea	__ehdr_start(%rip), %r10
	test	%rax, %rax
	jnz	.Lrefuse
	mov	%r10, %r11
	add	%fs:ENCLUME_TB_SEED_STACK_END, %r11
	mov	%r11, %fs:ENCLUME_TB_STACK_LIMIT
	mov	%r11, %fs:ENCLUME_TB_STACK_BOTTOM
	mov	%r10, %r11
	add	%fs:ENCLUME_TB_SEED_STACK_TOP, %r11
	add	%fs:ENCLUME_TB_SEED_BLOCK, %r10
	mov	%r10, %fs:ENCLUME_TB_SELF
	mov	%r11, %fs:ENCLUME_TB_STACK
1:	rdrand	%r10
	jnc	1b
	mov	%r10, %fs:ENCLUME_TB_CANARY
	jmp	.Lhave_stack

	/* Entered above what runs on this thread: it has been interrupted. An exception is a reason, if there was one; so
	 * is a deadline, which the host may say whenever it likes. */
.Lnot_level:
	mov	%fs:ENCLUME_TB_LEVEL, %r10
	inc	%r10
	cmp	%rax, %r10
	jne	.Lrefuse
	cmp	$ENCLUME_COMMAND_CANCEL, %edi
	je	.Lpick_stack
	cmp	$ENCLUME_COMMAND_EXCEPTION, %edi
	jne	.Lrefuse
	/* EXITINFO.VALID of the frame below: the processor's word that it was an exception. */
	lea	__ehdr_start(%rip), %r11
	add	%fs:ENCLUME_TB_SEED_SSA, %r11
	shl	$12, %r10
	add	%r10, %r11
	mov	-SSA_EXITINFO_FROM_END(%r11), %r8d
	test	%r8d, %r8d
	jns	.Lrefuse
.Lpick_stack:
	/* On the alternate stack; if this interrupts a handler, below that, or where it has left none, on the page that
	 * is kept for ending it. */
	lea	__ehdr_start(%rip), %r10
	mov	%r10, %r11
	add	%fs:ENCLUME_TB_SEED_ALT_TOP, %r11
	add	%fs:ENCLUME_TB_SEED_ALT_END, %r10
	add	$RESCUE_STACK_SIZE, %r10
	cmp	$1, %rax
	je	1f
	lea	__ehdr_start(%rip), %r8
	add	%fs:ENCLUME_TB_SEED_SSA, %r8
	mov	%rax, %r9
	shl	$12, %r9
	add	%r9, %r8
	mov	-(184 - 32)(%r8), %r9		/* RSP when it was interrupted */
	sub	$128 + STACK_RESERVE, %r9
	cmp	%r10, %r9
	jb	2f
	cmp	%r11, %r9
	ja	2f
	lea	STACK_RESERVE(%r9), %r11
	jmp	1f
2:	mov	%r10, %r11
1:
	mov	%rax, %fs:ENCLUME_TB_LEVEL
	mov	%rsp, %r8
	lea	-ENCLUME_FRAME_SIZE(%r11), %rsp
	and	$-64, %rsp
	mov	%fs:ENCLUME_TB_STACK, %r11
	jmp	.Lenter

	/* Nothing of ours is in the registers yet but what these hold. */
.Lrefuse:
	mov	%rcx, %rbx
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	.p2align 3
	mov	$4, %eax
	.byte	0x0f, 0x01, 0xd7		/* ENCLU[EEXIT] */
	ud2

	/* Back from an OCALL: only if this thread has left by one, and this entry is still the same. */
.Lreturn:
	cmpq	$1, %fs:ENCLUME_TB_OUTSIDE
	jne	.Lrefuse
	movq	$0, %fs:ENCLUME_TB_OUTSIDE
	mov	%fs:ENCLUME_TB_FRAME, %r8
	mov	%rsp, ENCLUME_FRAME_HOST_RSP(%r8)
	mov	%rbp, ENCLUME_FRAME_HOST_RBP(%r8)
	mov	%rcx, ENCLUME_FRAME_HOST_RIP(%r8)
	mov	%r11, %rsp
	mov	%rdx, %r9
	clean_flags
	clean_x87
	lfence
	ldmxcsr	(%rsp)
	cmpw	$0x37f, 4(%rsp)		/* FLDCW would make the state one that was changed */
	je	1f
	fldcw	4(%rsp)
1:	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	mov	%r9, %rax
	xor	%ecx, %ecx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	ret
	.cfi_endproc
	.size	enclume_entry, . - enclume_entry

/*
 * uint64 enclume_leave(void): leaves by an OCALL. The mailbox has been filled. Returns RDX of the next
 * COMMAND_RETURN.
 */
	.globl	enclume_leave
	.hidden	enclume_leave
	.type	enclume_leave, @function
enclume_leave:
	.cfi_startproc
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	mov	%rsp, %fs:ENCLUME_TB_STACK
	mov	%fs:ENCLUME_TB_FRAME, %rdi
	movq	$1, %fs:ENCLUME_TB_OUTSIDE
	jmp	.Lout
	.cfi_endproc
	.size	enclume_leave, . - enclume_leave

/* Ends the entry whose EntryFrame is innermost. Jumped to, from any stack; the mailbox has been filled. */
	.globl	enclume_finish
	.hidden	enclume_finish
	.type	enclume_finish, @function
enclume_finish:
	.cfi_startproc
	.cfi_undefined rip
	mov	%fs:ENCLUME_TB_FRAME, %rdi
	mov	ENCLUME_FRAME_STACK(%rdi), %rax
	mov	%rax, %fs:ENCLUME_TB_STACK
	mov	ENCLUME_FRAME_OUTSIDE(%rdi), %rax
	mov	%rax, %fs:ENCLUME_TB_OUTSIDE
	mov	ENCLUME_FRAME_OUTER(%rdi), %rax
	mov	%rax, %fs:ENCLUME_TB_FRAME
	jmp	.Lout
	.cfi_endproc
	.size	enclume_finish, . - enclume_finish

/* The end of an exception's entry: as enclume_finish, one level down. */
	.globl	enclume_finish_exception
	.hidden	enclume_finish_exception
	.type	enclume_finish_exception, @function
enclume_finish_exception:
	.cfi_startproc
	.cfi_undefined rip
	mov	%fs:ENCLUME_TB_FRAME, %rdi
	mov	ENCLUME_FRAME_STACK(%rdi), %rax
	mov	%rax, %fs:ENCLUME_TB_STACK
	mov	ENCLUME_FRAME_OUTSIDE(%rdi), %rax
	mov	%rax, %fs:ENCLUME_TB_OUTSIDE
	mov	ENCLUME_FRAME_OUTER(%rdi), %rax
	mov	%rax, %fs:ENCLUME_TB_FRAME
	decq	%fs:ENCLUME_TB_LEVEL

.Lout:	/* RDI: EntryFrame to leave by */
	scrub_state
	mov	ENCLUME_FRAME_HOST_RIP(%rdi), %rbx
	mov	ENCLUME_FRAME_HOST_RBP(%rdi), %rbp
	mov	ENCLUME_FRAME_HOST_RSP(%rdi), %rsp
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	xor	%edi, %edi
	.p2align 3
	mov	$4, %eax
	.byte	0x0f, 0x01, 0xd7		/* ENCLU[EEXIT] */
	ud2
	.cfi_endproc
	.size	enclume_finish_exception, . - enclume_finish_exception
	.globl	enclume_entry_end
	.hidden	enclume_entry_end
enclume_entry_end:

	.section .rodata, "a", @progbits
	.balign	64
/* From here on, counted from enclume_entry, an entry has its EntryFrame. No symbol: dumps would name it. */
	.globl	enclume_entry_frame_offset
	.hidden	enclume_entry_frame_offset
enclume_entry_frame_offset:
	.quad	.Lhas_frame - enclume_entry
	.balign	64
/* An XSAVE area whose components are all in their initial state. MXCSR is always taken from memory: all exceptions
 * masked and all sticky flags set, so that the time an instruction takes does not tell whether it sets one. */
clean_state:
	.fill	24, 1, 0
	.long	0x1fbf
	.fill	576 - 28, 1, 0
	.section .note.GNU-stack, "", @progbits
