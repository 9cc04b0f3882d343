/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave's one page of code. It hears of each asynchronous exit before it goes on: with AEX-Notify, an
 * ERESUME whose SSA frame has AEXNOTIFY set does not restore the frame but enters like EENTER, with CSSA still
 * counting it, and it is for the code at the entry point to go back to what was interrupted.
 */
#include "layout.h"

#define ENCLU .byte 0x0f, 0x01, 0xd7
#define EEXIT 4
#define EDECCSSA 9

/* An address in the enclave, from RIP: the page is at AT_CODE wherever the enclave is. */
#define IN_ENCLAVE(offset) enclave_page + (offset) - AT_CODE(%rip)

	.section .rodata, "a", @progbits
	.balign	4096
	.globl	enclave_page
enclave_page:
	/* EENTER comes here with RAX = CSSA = 0, a notifying ERESUME with RAX = 1. */
	test	%rax, %rax
	jnz	notified

	mov	%rcx, %fs:DATA_RETURN
	mov	%rsp, %fs:DATA_HOST_RSP
	mov	%rbp, %fs:DATA_HOST_RBP
	lea	IN_ENCLAVE(AT_STACK_TOP), %rsp
	movq	$0, %fs:DATA_NOTIFIED
	mov	%r9, %fs:DATA_HIDE
	and	$1, %r8d
	mov	%r8b, IN_ENCLAVE(AT_GPRSGX + GPRSGX_AEXNOTIFY)
	cmp	$OP_LOOK_UP, %rdi
	je	look_up

	/* Work whose result says whether each register and flag came back from each interruption. */
	xor	%eax, %eax
	mov	$1, %r8d
	mov	$2, %r9d
	pxor	%xmm0, %xmm0
	mov	$1, %ecx
	movq	%rcx, %xmm1
1:	lea	1(%r8,%r8,2), %r8
	add	%r8, %r9
	adc	$0, %r9
	paddq	%xmm1, %xmm0
	inc	%rax
	cmpq	$0, HOST_STOP(%rsi)
	je	1b
	mov	%rax, HOST_OUT(%rsi)
	movq	%xmm0, HOST_OUT + 8(%rsi)
	mov	%r8, HOST_OUT + 16(%rsi)
	mov	%r9, HOST_OUT + 24(%rsi)
	mov	%fs:DATA_NOTIFIED, %rax
	mov	%rax, HOST_OUT + 32(%rsi)
	jmp	leave

look_up:
	/* Both tables are there now; who takes them away has to interrupt. */
	mov	IN_ENCLAVE(AT_TABLE_A), %rax
	mov	IN_ENCLAVE(AT_TABLE_B), %rax
	movq	$1, HOST_INSIDE(%rsi)
1:	pause
	cmpq	$0, HOST_STOP(%rsi)
	je	1b
	/* The step that depends on the secret. */
	lea	IN_ENCLAVE(AT_TABLE_A), %r8
	shl	$12, %rdx
	mov	(%r8,%rdx), %rax
	mov	%rax, HOST_OUT(%rsi)

leave:
	movb	$0, IN_ENCLAVE(AT_GPRSGX + GPRSGX_AEXNOTIFY)
	mov	%fs:DATA_RETURN, %rbx
	mov	%fs:DATA_HOST_RSP, %rsp
	mov	%fs:DATA_HOST_RBP, %rbp
	mov	$EEXIT, %eax
	ENCLU

notified:
	lea	IN_ENCLAVE(AT_GPRSGX), %r11
	incq	%fs:DATA_NOTIFIED
	/*
	 * What was interrupted goes from the SSA frame to its own stack, past the red zone: once EDECCSSA has
	 * given the frame back, the next interruption writes to it.
	 */
	mov	GPRSGX_RSP(%r11), %rsp
	sub	$128, %rsp
	push	GPRSGX_RIP(%r11)
	push	GPRSGX_RFLAGS(%r11)
	push	0(%r11)			/* RAX */
	push	8(%r11)			/* RCX */
	push	16(%r11)		/* RDX */
	push	24(%r11)		/* RBX */
	push	40(%r11)		/* RBP */
	push	48(%r11)		/* RSI */
	push	56(%r11)		/* RDI */
	push	64(%r11)		/* R8 to R15 */
	push	72(%r11)
	push	80(%r11)
	push	88(%r11)
	push	96(%r11)
	push	104(%r11)
	push	112(%r11)
	push	120(%r11)
	/* Whoever watches which pages are missed sees the same two, whatever the secret is. */
	cmpq	$0, %fs:DATA_HIDE
	je	1f
	mov	IN_ENCLAVE(AT_TABLE_A), %rax
	mov	IN_ENCLAVE(AT_TABLE_B), %rax
1:	mov	$3, %eax		/* x87 and SSE, as in XFRM */
	xor	%edx, %edx
	xrstor64 IN_ENCLAVE(AT_SSA)
	mov	$EDECCSSA, %eax
	ENCLU
	/* CSSA is 0: an interruption from here on is one more of the same kind, with these pops as what it
	 * interrupted. */
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rbp
	pop	%rbx
	pop	%rdx
	pop	%rcx
	pop	%rax
	popfq
	ret	$128

	.balign	4096, 0xcc

	.section .note.GNU-stack, "", @progbits
