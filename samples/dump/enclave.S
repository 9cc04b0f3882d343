/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave's one page of code: functions that call each other and fail, and the dump, which is an entry on top of
 * the failure: EENTER with CSSA = 1 reads the SSA frame that the failure has left.
 */
#include "layout.h"

#define ENCLU .byte 0x0f, 0x01, 0xd7
#define EEXIT 4

/* An address in the enclave, from RIP: the page is at AT_CODE wherever the enclave is. */
#define IN_ENCLAVE(offset) enclave_page + (offset) - AT_CODE(%rip)

	.section .rodata, "a", @progbits
	.balign	4096
	.globl	enclave_page, enclave_run_job, enclave_parse, enclave_checksum, enclave_end
enclave_page:
	test	%rax, %rax		/* CSSA */
	jnz	dump
	mov	%rcx, %fs:DATA_RETURN
	mov	%rsp, %fs:DATA_HOST_RSP
	mov	%rbp, %fs:DATA_HOST_RBP
	lea	IN_ENCLAVE(AT_STACK_TOP), %rsp
	xor	%ebp, %ebp		/* the end of the chain of frames */
	call	enclave_run_job
leave:
	mov	%fs:DATA_RETURN, %rbx
	mov	%fs:DATA_HOST_RSP, %rsp
	mov	%fs:DATA_HOST_RBP, %rbp
	mov	$EEXIT, %eax
	ENCLU

enclave_run_job:
	push	%rbp
	mov	%rsp, %rbp
	call	enclave_parse
	pop	%rbp
	ret

enclave_parse:
	push	%rbp
	mov	%rsp, %rbp
	sub	$32, %rsp
	mov	$1071, %edx
	call	enclave_checksum
	leave
	ret

enclave_checksum:
	push	%rbp
	mov	%rsp, %rbp
	mov	%edx, %eax
	cmp	$OP_UD2, %edi
	je	1f
	ja	2f
	xor	%edx, %edx
	xor	%ecx, %ecx
	div	%ecx
1:	ud2
2:	mov	%eax, IN_ENCLAVE(AT_CODE + 8)
	pop	%rbp
	ret

	/*
	 * RSI = the report. Everything comes from the frame in the enclave's own memory; the host learns it here and not
	 * from the registers at the exit, which are synthetic.
	 */
dump:
	mov	%rcx, %rbx
	mov	%rsi, %r8
	lea	IN_ENCLAVE(AT_GPRSGX), %r9
	mov	%r9, %rsi
	lea	REPORT_GPRSGX(%r8), %rdi
	mov	$(GPRSGX_SIZE / 8), %ecx
	rep movsq
	lea	IN_ENCLAVE(AT_EXINFO), %rsi
	lea	REPORT_EXINFO(%r8), %rdi
	mov	$2, %ecx
	rep movsq
	/* The chain of frame pointers, as far as it stays in the stack and goes up. */
	mov	GPRSGX_RBP(%r9), %rdx
	lea	IN_ENCLAVE(AT_STACK), %r10
	lea	IN_ENCLAVE(AT_STACK_TOP - 16), %r11
	xor	%ecx, %ecx
1:	cmp	%r10, %rdx
	jb	2f
	cmp	%r11, %rdx
	ja	2f
	test	$7, %dl
	jnz	2f
	mov	8(%rdx), %rax
	mov	%rax, REPORT_FRAMES(%r8,%rcx,8)
	inc	%ecx
	cmp	$REPORT_MAX_DEPTH, %ecx
	je	2f
	lea	1(%rdx), %r10
	mov	(%rdx), %rdx
	jmp	1b
2:	mov	%rcx, REPORT_DEPTH(%r8)
	/* What failed shall not go on: the ERESUME that follows finds the way out. */
	lea	leave(%rip), %rax
	mov	%rax, GPRSGX_RIP(%r9)
	mov	$EEXIT, %eax
	ENCLU
enclave_end:

	.balign	4096, 0xcc

	.section .note.GNU-stack, "", @progbits
