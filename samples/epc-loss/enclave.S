/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave's one page of code: an account. With each answer the host gets the state, sealed for this enclave on this
 * processor, and nobody else can read or change it: AES-128 in SIV mode, which for a state of one block B is
 *
 *     tag = AES(K1, B),   sealed = tag, B xor AES(K2, tag)
 */
#include "layout.h"

#define ENCLU .byte 0x0f, 0x01, 0xd7
#define EGETKEY 1
#define EEXIT 4

/* An address in the enclave, from RIP: the page is at AT_CODE wherever the enclave is. */
#define IN_ENCLAVE(offset) enclave_page + (offset) - AT_CODE(%rip)

	.section .rodata, "a", @progbits
	.balign	4096
	.globl	enclave_page
enclave_page:
	mov	%rcx, %fs:DATA_RETURN
	mov	%rsp, %fs:DATA_HOST_RSP
	mov	%rbp, %fs:DATA_HOST_RBP
	lea	IN_ENCLAVE(AT_STACK_TOP), %rsp
	lea	IN_ENCLAVE(AT_DATA), %r9
	movq	$0, HOST_ANSWER(%rsi)
	test	%rdi, %rdi
	jnz	add

	/* OP_START. The keys: KEYNAME SEAL, KEYPOLICY MRENCLAVE, KEYID 1 and 2. */
	mov	%rdx, %r10
	lea	DATA_KEYREQUEST(%r9), %rbx
	movl	$0x00010004, (%rbx)
	xor	%r11d, %r11d
1:	lea	1(%r11), %eax
	mov	%eax, KEYREQUEST_KEYID(%rbx)
	mov	%r11, %rcx
	shl	$4, %rcx
	lea	DATA_SEAL_KEY(%r9,%rcx), %rcx
	mov	$EGETKEY, %eax
	ENCLU
	test	%eax, %eax
	jnz	leave
	inc	%r11d
	cmp	$2, %r11d
	jb	1b
	test	%r10, %r10
	jz	answer
	/* Unseal: the state by K2, then the tag by K1, to compare. */
	movdqu	HOST_SEALED(%rsi), %xmm4
	movdqu	HOST_SEALED + 16(%rsi), %xmm5
	movdqa	%xmm4, %xmm0
	movdqu	DATA_SEAL_KEY + 16(%r9), %xmm1
	call	aes
	pxor	%xmm0, %xmm5		/* the state */
	movdqa	%xmm5, %xmm0
	movdqu	DATA_SEAL_KEY(%r9), %xmm1
	call	aes
	pcmpeqb	%xmm4, %xmm0
	pmovmskb %xmm0, %eax
	cmp	$0xffff, %eax
	jne	leave
	movdqu	%xmm5, DATA_STATE(%r9)
	jmp	answer

	/* The next request is carried out; the last one again is answered again, for its answer may have been lost. */
add:	mov	DATA_STATE(%r9), %rax
	cmp	%rdx, %rax
	je	answer
	inc	%rax
	cmp	%rdx, %rax
	jne	leave
	mov	$20000, %ecx		/* a request takes a while */
1:	pause
	dec	%ecx
	jnz	1b
	mov	%rax, DATA_STATE(%r9)
	add	%r8, DATA_STATE + 8(%r9)

answer:	movdqu	DATA_STATE(%r9), %xmm5
	movdqa	%xmm5, %xmm0
	movdqu	DATA_SEAL_KEY(%r9), %xmm1
	call	aes
	movdqu	%xmm0, HOST_SEALED(%rsi)
	movdqu	DATA_SEAL_KEY + 16(%r9), %xmm1
	call	aes
	pxor	%xmm5, %xmm0
	movdqu	%xmm0, HOST_SEALED + 16(%rsi)
	mov	DATA_STATE + 8(%r9), %rax
	mov	%rax, HOST_SUM(%rsi)
	movq	$1, HOST_ANSWER(%rsi)
leave:	mov	%fs:DATA_RETURN, %rbx
	mov	%fs:DATA_HOST_RSP, %rsp
	mov	%fs:DATA_HOST_RBP, %rbp
	mov	$EEXIT, %eax
	ENCLU

	/* XMM0 = AES-128 of it under the key XMM1. Uses XMM1 to XMM3. */
	.macro	next_key rcon
	aeskeygenassist $\rcon, %xmm1, %xmm2
	pshufd	$0xff, %xmm2, %xmm2
	movdqa	%xmm1, %xmm3
	.rept	3
	pslldq	$4, %xmm3
	pxor	%xmm3, %xmm1
	.endr
	pxor	%xmm2, %xmm1
	.endm
aes:	pxor	%xmm1, %xmm0
	.irp	rcon, 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b
	next_key \rcon
	aesenc	%xmm1, %xmm0
	.endr
	next_key 0x36
	aesenclast %xmm1, %xmm0
	ret

	.balign	4096, 0xcc

	.section .note.GNU-stack, "", @progbits
