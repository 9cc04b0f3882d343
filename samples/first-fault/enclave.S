/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave: one page of code, and the way to it.
 */
	.section .rodata, "a", @progbits
	.balign	4096
	.globl	enclave_page
enclave_page:
	/* EENTER comes here. RDI, RDX = two numbers, RSI = where to put the result, RCX = the way back. */
	mov	%rcx, %rbx
1:	test	%rdx, %rdx		/* Euclid: gcd(a, b) = gcd(b, a mod b) */
	jz	2f
	mov	%rdi, %rax
	mov	%rdx, %rcx
	xor	%edx, %edx
	div	%rcx
	mov	%rcx, %rdi
	jmp	1b
2:	mov	%rdi, (%rsi)		/* an enclave may write to the memory of its host */
	mov	$4, %eax
	.byte	0x0f, 0x01, 0xd7	/* ENCLU[EEXIT] to RBX */
	.balign	4096, 0xcc

	.text
/* int call_vdso(rdi, rsi, rdx, leaf, r8, r9, run, function): what the vDSO function does not keep, kept. */
	.globl	call_vdso
	.type	call_vdso, @function
call_vdso:
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
	ret

	.section .note.GNU-stack, "", @progbits
