/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave's one page of code. Its heap has no pages: who touches one faults, the kernel adds a page (EAUG),
 * which is pending, so the access faults once more, and this time the host is told. It enters the enclave again,
 * on the second SSA frame, where the handler accepts the page; ERESUME then repeats the access.
 */
#include "layout.h"

#define ENCLU .byte 0x0f, 0x01, 0xd7
#define EEXIT 4
#define EACCEPT 5

/* An address in the enclave, from RIP: the page is at AT_CODE wherever the enclave is. */
#define IN_ENCLAVE(offset) enclave_page + (offset) - AT_CODE(%rip)

	.section .rodata, "a", @progbits
	.balign	4096
	.globl	enclave_page
enclave_page:
	/* RAX = CSSA: 1 is an entry on top of a fault. */
	test	%rax, %rax
	jnz	fault
	mov	%rcx, %fs:DATA_RETURN
	lea	IN_ENCLAVE(AT_CODE), %r10
	movabs	$(AT_HEAP - AT_CODE), %r9
	add	%r10, %r9		/* R9 = the heap */
	test	%rdi, %rdi
	jnz	take

	xor	%r11d, %r11d
1:	test	%rdx, %rdx
	jz	2f
	movabs	$6364136223846793005, %rax
	imul	%rax, %r8
	inc	%r8
	mov	%r8, %rax		/* the upper bits choose the page */
	shr	$43, %rax
	shl	$12, %rax
	add	(%r9,%rax), %r11	/* here it faults */
	incq	(%r9,%rax)
	dec	%rdx
	jmp	1b
2:	mov	%r11, HOST_SUM(%rsi)
	jmp	leave

take:
	/* EACCEPT touches the page itself: the kernel adds it, and nobody else has to know. */
	shl	$12, %r8
	lea	(%r9,%r8), %rcx
	lea	fresh_page(%rip), %rbx
1:	test	%rdx, %rdx
	jz	leave
	mov	$EACCEPT, %eax
	ENCLU
	test	%eax, %eax		/* not 0: somebody has touched it, and it is there */
	jnz	2f
	incq	%fs:DATA_ACCEPTED
2:	add	$4096, %rcx
	dec	%rdx
	jmp	1b

leave:
	mov	%fs:DATA_ACCEPTED, %rax
	mov	%rax, HOST_ACCEPTED(%rsi)
	mov	%fs:DATA_RETURN, %rbx
	mov	$EEXIT, %eax
	ENCLU

fault:
	/* Where it was comes from the SSA frame, not from the host. */
	mov	%rcx, %r8
	movq	$0, HOST_MINE(%rsi)
	cmpl	$EXITINFO_PAGE_FAULT, IN_ENCLAVE(AT_EXITINFO)
	jne	1f
	mov	IN_ENCLAVE(AT_MADDR), %rcx
	and	$-4096, %rcx
	lea	IN_ENCLAVE(AT_CODE), %rdx
	movabs	$(AT_HEAP - AT_CODE), %rax
	add	%rax, %rdx
	mov	%rcx, %rax
	sub	%rdx, %rax
	shr	$12, %rax
	cmp	$HEAP_PAGES, %rax
	jae	1f
	lea	fresh_page(%rip), %rbx
	mov	$EACCEPT, %eax
	ENCLU
	test	%eax, %eax
	jnz	1f
	incq	%fs:DATA_ACCEPTED
	movq	$1, HOST_MINE(%rsi)
1:	mov	%r8, %rbx
	mov	$EEXIT, %eax
	ENCLU

	.balign	64
fresh_page:			/* SECINFO of what EAUG adds: REG, PENDING, RW */
	.quad	0x20b, 0, 0, 0, 0, 0, 0, 0

	.balign	4096, 0xcc

	.section .note.GNU-stack, "", @progbits
