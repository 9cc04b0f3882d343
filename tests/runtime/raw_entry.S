/* SPDX-License-Identifier: Apache-2.0 */
/* void enclume_test_enter(rdi, rsi, rdx, registers, run, function): EENTER, or what run->function says; what the enclave leaves in registers. */
	.text
	.globl	enclume_test_enter
	.type	enclume_test_enter, @function
enclume_test_enter:
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rcx
	mov	%r9, %rax
	push	%r8			/* run; RSP is 16-byte aligned here */
	mov	8(%r8), %ecx		/* run->function: the leaf */
	/* What must not come back by chance. */
	pcmpeqd	%xmm0, %xmm0
	movdqa	%xmm0, %xmm1
	movdqa	%xmm0, %xmm7
	movdqa	%xmm0, %xmm15
	mov	$-1, %r10
	mov	%r10, %r12
	mov	%r10, %r15
	mov	%r10, %r8
	mov	%r10, %r9
	call	*%rax
	mov	-48(%rbp), %rax
	mov	%r8, (%rax)
	mov	%r9, 8(%rax)
	mov	%r10, 16(%rax)
	mov	%r11, 24(%rax)
	mov	%r12, 32(%rax)
	mov	%r13, 40(%rax)
	mov	%r14, 48(%rax)
	mov	%r15, 56(%rax)
	mov	%rdi, 64(%rax)
	mov	%rsi, 72(%rax)
	mov	%rdx, 80(%rax)
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqa	%xmm\n, 96+16*\n(%rax)
	.endr
	lea	-40(%rbp), %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
	.size	enclume_test_enter, . - enclume_test_enter
	.section .note.GNU-stack, "", @progbits
