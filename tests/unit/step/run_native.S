/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enclume_test_run_native(state, code): loads the sixteen registers and the flags of `state`, which are 17 words in
 * the order of their encoding, and jumps to `code`, which ends with a jump to enclume_test_native_end. That puts
 * all of them back into `state` and returns.
 */
	.text
	.globl	enclume_test_run_native, enclume_test_native_end
	.type	enclume_test_run_native, @function
enclume_test_run_native:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rdi, state(%rip)
	mov	%rsi, target(%rip)
	mov	%rsp, own_stack(%rip)
	pushq	128(%rdi)
	popfq
	mov	(%rdi), %rax
	mov	8(%rdi), %rcx
	mov	16(%rdi), %rdx
	mov	24(%rdi), %rbx
	mov	32(%rdi), %rsp
	mov	40(%rdi), %rbp
	mov	48(%rdi), %rsi
	mov	64(%rdi), %r8
	mov	72(%rdi), %r9
	mov	80(%rdi), %r10
	mov	88(%rdi), %r11
	mov	96(%rdi), %r12
	mov	104(%rdi), %r13
	mov	112(%rdi), %r14
	mov	120(%rdi), %r15
	mov	56(%rdi), %rdi
	jmp	*target(%rip)

enclume_test_native_end:
	mov	%rdi, saved_rdi(%rip)
	mov	state(%rip), %rdi
	mov	%rax, (%rdi)
	mov	%rcx, 8(%rdi)
	mov	%rdx, 16(%rdi)
	mov	%rbx, 24(%rdi)
	mov	%rsp, 32(%rdi)
	mov	%rbp, 40(%rdi)
	mov	%rsi, 48(%rdi)
	mov	%r8, 64(%rdi)
	mov	%r9, 72(%rdi)
	mov	%r10, 80(%rdi)
	mov	%r11, 88(%rdi)
	mov	%r12, 96(%rdi)
	mov	%r13, 104(%rdi)
	mov	%r14, 112(%rdi)
	mov	%r15, 120(%rdi)
	mov	own_stack(%rip), %rsp
	pushfq
	popq	128(%rdi)
	mov	saved_rdi(%rip), %rax
	mov	%rax, 56(%rdi)
	cld
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	enclume_test_run_native, . - enclume_test_run_native

	.local	state, target, own_stack, saved_rdi
	.comm	state, 8, 8
	.comm	target, 8, 8
	.comm	own_stack, 8, 8
	.comm	saved_rdi, 8, 8

	.section .note.GNU-stack, "", @progbits
