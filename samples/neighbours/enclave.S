/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An enclave of one page of code, without a runtime. A visit raises the exception that it is told to, calls outside
 * and returns. It uses no stack, so RSP and RBP are the host's all the time.
 */
#include "layout.h"

#define ENCLU .byte 0x0f, 0x01, 0xd7
#define EEXIT 4

	.section .rodata, "a", @progbits
	.balign	4096
	.globl	neighbours_enclave_page
neighbours_enclave_page:
	cld
	test	%rax, %rax		/* CSSA */
	jnz	handle
	cmp	$COMMAND_RETURN, %edi
	je	return
	cmp	$COMMAND_VISIT, %edi
	jne	refuse

	mov	%rcx, %fs:DATA_RETURN	/* an exception takes the register */
	mov	%rdx, %fs:DATA_VALUE
	movq	$NO_VECTOR, %fs:DATA_VECTOR
	cmp	$FAULT_DIVIDE, %esi
	je	divide
	cmp	$FAULT_ILLEGAL, %esi
	je	illegal
	cmp	$FAULT_READ, %esi
	je	read
ocall:
	mov	%fs:DATA_VALUE, %rsi
	mov	$EXIT_OCALL, %edi
	mov	%fs:DATA_RETURN, %rbx
	mov	$EEXIT, %eax
	ENCLU

divide:	xor	%edx, %edx
	xor	%ecx, %ecx
	div	%ecx
illegal:
	ud2
read:	mov	$NOBODYS_ADDRESS, %eax
	mov	(%rax), %rax
	ud2				/* where an exception was, ERESUME goes on at `ocall` */

return:
	mov	%rcx, %rbx
	add	%fs:DATA_VALUE, %rsi
	mov	%fs:DATA_VECTOR, %rdx
	mov	$EXIT_DONE, %edi
	mov	$EEXIT, %eax
	ENCLU

	/* Frame 0 has what was interrupted. The processor's word for it is EXITINFO.VALID, not the host's command. */
handle:
	lea	neighbours_enclave_page - AT_CODE(%rip), %r8
	add	%fs:DATA_SELF, %r8
	sub	$(THREAD_DATA - THREAD_SSA - 0x1000 + GPRSGX_SIZE), %r8
	mov	GPRSGX_EXITINFO(%r8), %eax
	test	%eax, %eax
	jns	refuse
	movzbl	%al, %eax
	mov	%rax, %fs:DATA_VECTOR
	lea	ocall(%rip), %rax
	mov	%rax, GPRSGX_RIP(%r8)
	movl	$0, GPRSGX_EXITINFO(%r8)	/* once */
	xor	%r8d, %r8d
	mov	%rcx, %rbx
	mov	$EXIT_HANDLED, %edi
	mov	$EEXIT, %eax
	ENCLU

refuse:
	mov	%rcx, %rbx
	mov	$EXIT_REFUSED, %edi
	mov	$EEXIT, %eax
	ENCLU
	.balign	4096, 0xcc

	.section .note.GNU-stack, "", @progbits
