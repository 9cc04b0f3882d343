/* SPDX-License-Identifier: Apache-2.0 */
	.text
/* int samples_call(rdi, rsi, rdx, leaf, r8, r9, run, function): what the vDSO function does not keep, kept. What a
 * handler throws passes through. */
	.globl	samples_call
	.type	samples_call, @function
samples_call:
	.cfi_startproc
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%rbx
	.cfi_rel_offset %rbx, -8
	push	%r12
	.cfi_rel_offset %r12, -16
	push	%r13
	.cfi_rel_offset %r13, -24
	push	%r14
	.cfi_rel_offset %r14, -32
	push	%r15
	.cfi_rel_offset %r15, -40
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
	.cfi_same_value %r15
	.cfi_same_value %r14
	.cfi_same_value %r13
	.cfi_same_value %r12
	.cfi_same_value %rbx
	pop	%rbp
	.cfi_def_cfa %rsp, 8
	.cfi_same_value %rbp
	cld
	ret
	.cfi_endproc
	.size	samples_call, . - samples_call

	.section .note.GNU-stack, "", @progbits
