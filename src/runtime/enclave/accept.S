/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uint32 enclume_accept(const Secinfo*, uint64 page): ENCLU[EACCEPT] and its status. A fault of the instruction gives
 * all ones: exception.cc knows it by the label and skips it.
 */
	.text
	.globl	enclume_accept
	.hidden	enclume_accept
	.type	enclume_accept, @function
enclume_accept:
	push	%rbx
	mov	%rdi, %rbx
	mov	%rsi, %rcx
	mov	$5, %eax
	.globl	enclume_accept_instruction
	.hidden	enclume_accept_instruction
enclume_accept_instruction:
	.byte	0x0f, 0x01, 0xd7
	.globl	enclume_accept_end
	.hidden	enclume_accept_end
enclume_accept_end:
	pop	%rbx
	ret
	.size	enclume_accept, . - enclume_accept

	.section .note.GNU-stack, "", @progbits
