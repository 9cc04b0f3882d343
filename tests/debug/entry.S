/* SPDX-License-Identifier: Apache-2.0 */
/* RDI, RSI: the operation and a word of the host's. What comes back is in that word. */
#include "debug/layout.h"

	.text
	.globl	enclave_entry
	.type	enclave_entry, @function
enclave_entry:
	.cfi_startproc
	.cfi_undefined rip
	test	%rax, %rax
	jnz	1f			/* nothing handles exceptions in here */
	mov	%rsp, %r8
	lea	DEBUG_STACK_TOP(%rbx), %rsp
	push	%r8
	push	%rbp
	push	%rcx
	sub	$8, %rsp
	xor	%ebp, %ebp
	call	enclave_main
	add	$8, %rsp
	pop	%rbx
	pop	%rbp
	pop	%rsp
	mov	$4, %eax
	.byte	0x0f, 0x01, 0xd7	/* ENCLU[EEXIT] */
1:
	ud2
	.cfi_endproc
	.size	enclave_entry, . - enclave_entry

	.section .note.GNU-stack, "", @progbits
