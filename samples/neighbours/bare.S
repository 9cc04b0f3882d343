/* SPDX-License-Identifier: Apache-2.0 */
/*
 * int bare_handler(rdi, rsi, rdx, ursp, r8, r9, run): what the vDSO function calls after every exit, on the stack of
 * the entry. bare_next(run, registers) decides; what it leaves in the registers goes in with the next ENCLU. Its
 * C++ exceptions pass through, so each frame here has its CFI.
 */
	.text
	.globl	bare_handler
	.type	bare_handler, @function
bare_handler:
	.cfi_startproc
	endbr64
	sub	$40, %rsp
	.cfi_adjust_cfa_offset 40
	mov	%rdi, (%rsp)
	mov	%rsi, 8(%rsp)
	mov	%rdx, 16(%rsp)
	/* An AEX has put these into a state that no compiled code expects. */
	movl	$0x1f80, 24(%rsp)
	ldmxcsr	24(%rsp)
	fninit
	mov	48(%rsp), %rdi
	mov	%rsp, %rsi
	call	bare_next
	mov	(%rsp), %rdi
	mov	8(%rsp), %rsi
	mov	16(%rsp), %rdx
	add	$40, %rsp
	.cfi_adjust_cfa_offset -40
	ret
	.cfi_endproc
	.size	bare_handler, . - bare_handler

	.section .note.GNU-stack, "", @progbits
