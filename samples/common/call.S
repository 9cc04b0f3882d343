/* SPDX-License-Identifier: Apache-2.0 */
	.text
/* int samples_call(rdi, rsi, rdx, leaf, r8, r9, run, function): what the vDSO function does not keep, kept. */
	.globl	samples_call
	.type	samples_call, @function
samples_call:
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	push	$0			/* the stack is to be 16-byte aligned at the call */
	push	16(%rbp)		/* run */
	call	*24(%rbp)
	lea	-48(%rbp), %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	cld
	ret
	.size	samples_call, . - samples_call

	.section .note.GNU-stack, "", @progbits
