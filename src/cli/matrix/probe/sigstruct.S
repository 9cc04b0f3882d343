/* SPDX-License-Identifier: Apache-2.0 */
	.section .rodata
	.balign	4096
	.globl	matrix_sigstruct
	.hidden	matrix_sigstruct
matrix_sigstruct:
	.incbin	MATRIX_SIGSTRUCT
	.section .note.GNU-stack, "", @progbits
