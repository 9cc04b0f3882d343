/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/host/enter.h"

	.text
	.globl	enclume_host_enter
	.hidden	enclume_host_enter
	.type	enclume_host_enter, @function
enclume_host_enter:
	.cfi_startproc
	endbr64
	push	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	push	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	push	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	push	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	push	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	push	%rdi			/* the Entry */
	.cfi_adjust_cfa_offset 8
	sub	$16, %rsp		/* MXCSR, x87 control word */
	.cfi_adjust_cfa_offset 16
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
1:	mov	16(%rsp), %r10
	mov	ENCLUME_ENTRY_RDI(%r10), %rdi
	mov	ENCLUME_ENTRY_RSI(%r10), %rsi
	mov	ENCLUME_ENTRY_RDX(%r10), %rdx
	mov	ENCLUME_ENTRY_LEAF(%r10), %rcx
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	sub	$8, %rsp		/* RSP is to be 16-byte aligned at the call */
	.cfi_adjust_cfa_offset 8
	push	ENCLUME_ENTRY_RUN(%r10)
	.cfi_adjust_cfa_offset 8
	call	*ENCLUME_ENTRY_FUNCTION(%r10)
	add	$16, %rsp
	.cfi_adjust_cfa_offset -16
	mov	16(%rsp), %rdi
	cltq
	mov	%rax, ENCLUME_ENTRY_RESULT(%rdi)
	cld
	pushfq
	.cfi_adjust_cfa_offset 8
	testl	$0x40000, (%rsp)	/* AC, which an AEX leaves as the enclave had it */
	jz	2f
	andl	$~0x40000, (%rsp)
	popfq
	.cfi_adjust_cfa_offset -8
	jmp	3f
2:	.cfi_adjust_cfa_offset 8
	lea	8(%rsp), %rsp
	.cfi_adjust_cfa_offset -8
3:	ldmxcsr	(%rsp)
	/* Written only where it is another: then the processor knows state that was never changed. */
	fnstsw	%ax
	test	$0xff, %al		/* an AEX for #MF leaves an unmasked exception pending */
	jz	4f
	fnclex
4:	fnstcw	8(%rsp)
	movzwl	8(%rsp), %eax
	cmp	%ax, 4(%rsp)
	je	5f
	fldcw	4(%rsp)
5:	call	*ENCLUME_ENTRY_NEXT(%rdi)
	test	%eax, %eax
	jz	6f
	mov	%eax, %eax
	mov	16(%rsp), %r10
	mov	%rax, ENCLUME_ENTRY_LEAF(%r10)
	jmp	1b
6:	add	$24, %rsp
	.cfi_adjust_cfa_offset -24
	pop	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	pop	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	pop	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	pop	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	pop	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	ret
	.cfi_endproc
	.size	enclume_host_enter, . - enclume_host_enter

	.section .note.GNU-stack, "", @progbits
