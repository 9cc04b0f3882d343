/* SPDX-License-Identifier: Apache-2.0 */
/* The notes of an image, from the numbers that enclume_add_enclave() was given. See edge/image.h. */
	.section .note.enclume.config, "a", @note
	.balign	8
	.long	8, 56, 1
	.asciz	"Enclume"
	.balign 8
	.globl	enclume_config
	.hidden	enclume_config
enclume_config:
	.long	2			/* version */
	.long	ENCLUME_THREADS
	.quad	ENCLUME_HEAP
	.quad	ENCLUME_STACK
	.long	ENCLUME_FRAMES
	.long	ENCLUME_FLAGS
	.quad	ENCLUME_XFRM
	.quad	ENCLUME_HEAP_MAX
	.quad	ENCLUME_STACK_MAX

	.section .note.enclume.sigstruct, "a", @note
	.balign	8
	.long	8, 1808, 2
	.asciz	"Enclume"
	.balign	8
	.fill	1808, 1, 0

	.section .note.GNU-stack, "", @progbits
