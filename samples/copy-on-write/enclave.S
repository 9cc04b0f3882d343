/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave's one page of code. It reaches each page of the data set through its table: [R12] is the page, which is
 * in the host's memory until this enclave has written to it, and in the enclave from then on. The host's copy can't be
 * written to, so the write faults, and the handler makes the copy and puts its address into the interrupted R12.
 */
#include "layout.h"

#define ENCLU .byte 0x0f, 0x01, 0xd7
#define EEXIT 4
#define EACCEPTCOPY 7

/* An address in the enclave, from RIP: the page is at AT_CODE wherever the enclave is. */
#define IN_ENCLAVE(offset) enclave_page + (offset) - AT_CODE(%rip)

	.section .rodata, "a", @progbits
	.balign	4096
	.globl	enclave_page
enclave_page:
	test	%rax, %rax		/* CSSA */
	jnz	fault
	mov	%rcx, %fs:DATA_RETURN
	lea	IN_ENCLAVE(AT_DATA + DATA_TABLE), %r9
	cmp	$OP_SUM, %rdi
	je	sum
	ja	add

	mov	%rdx, %fs:DATA_SHARED
	xor	%ecx, %ecx
1:	mov	%rdx, (%r9,%rcx,8)
	add	$4096, %rdx
	inc	%ecx
	cmp	$DATA_PAGES, %ecx
	jb	1b
	jmp	leave

sum:	xor	%eax, %eax
	xor	%ecx, %ecx
1:	mov	(%r9,%rcx,8), %r12
	add	(%r12), %rax
	inc	%ecx
	cmp	$DATA_PAGES, %ecx
	jb	1b
	mov	%rax, HOST_SUM(%rsi)
	jmp	leave

add:	cmp	$DATA_PAGES, %rdx
	jae	leave
	mov	(%r9,%rdx,8), %r12
	add	%r8, (%r12)		/* here it faults, the first time */

leave:	mov	%fs:DATA_COPIED, %rax
	mov	%rax, HOST_COPIED(%rsi)
	mov	%fs:DATA_RETURN, %rbx
	mov	$EEXIT, %eax
	ENCLU

fault:
	mov	%rcx, %r8
	mov	%rsi, %r9
	movq	$0, HOST_MINE(%r9)
	/* A write to a page of the data set, through R12? The frame says so, not the host. */
	cmpl	$EXITINFO_PAGE_FAULT, IN_ENCLAVE(AT_EXITINFO)
	jne	1f
	testl	$ERRCD_WRITE, IN_ENCLAVE(AT_ERRCD)
	jz	1f
	mov	IN_ENCLAVE(AT_MADDR), %r10
	and	$-4096, %r10
	cmp	%r10, IN_ENCLAVE(AT_GPRSGX + GPRSGX_R12)
	jne	1f
	mov	%r10, %r11
	sub	%fs:DATA_SHARED, %r11
	shr	$12, %r11		/* R11 = which page */
	cmp	$DATA_PAGES, %r11
	jae	1f
	/*
	 * First into a page of the enclave's own, where the host can't change it any more: this is where an enclave
	 * whose data set must be authentic compares it with a hash. Then in one step to where it will be: EACCEPTCOPY
	 * makes the page there, with these contents, for all threads at once.
	 */
	mov	%r10, %rsi
	lea	IN_ENCLAVE(AT_STAGE), %rdi
	mov	$512, %ecx
	rep movsq
	lea	secinfo(%rip), %rbx
	lea	IN_ENCLAVE(AT_COPIES), %rcx
	mov	%r11, %rax
	shl	$12, %rax
	add	%rax, %rcx
	lea	IN_ENCLAVE(AT_STAGE), %rdx
	mov	$EACCEPTCOPY, %eax
	ENCLU
	test	%eax, %eax
	jnz	1f
	lea	IN_ENCLAVE(AT_DATA + DATA_TABLE), %rdx
	mov	%rcx, (%rdx,%r11,8)
	mov	%rcx, IN_ENCLAVE(AT_GPRSGX + GPRSGX_R12)
	incq	%fs:DATA_COPIED
	movq	$1, HOST_MINE(%r9)
1:	mov	%r8, %rbx
	mov	$EEXIT, %eax
	ENCLU

	.balign	64
secinfo:			/* REG, RW */
	.quad	0x203, 0, 0, 0, 0, 0, 0, 0

	.balign	4096, 0xcc

	.section .note.GNU-stack, "", @progbits
