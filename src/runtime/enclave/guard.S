/* SPDX-License-Identifier: Apache-2.0 */
/* int enclume_guard_save(record): see enclume/enclave/exception.h, whose GuardRecord this fills. */
	.text
	.globl	enclume_guard_save
	.hidden	enclume_guard_save
	.type	enclume_guard_save, @function
enclume_guard_save:
	mov	%rbx, 0x00(%rdi)
	mov	%rbp, 0x08(%rdi)
	mov	%r12, 0x10(%rdi)
	mov	%r13, 0x18(%rdi)
	mov	%r14, 0x20(%rdi)
	mov	%r15, 0x28(%rdi)
	lea	8(%rsp), %rax
	mov	%rax, 0x30(%rdi)
	mov	(%rsp), %rax
	mov	%rax, 0x38(%rdi)
	stmxcsr	0x40(%rdi)
	fnstcw	0x44(%rdi)
	xor	%eax, %eax
	ret
	.size	enclume_guard_save, . - enclume_guard_save

/* Where an exception that unwinds goes on: RDI is the record, RSP the guard's own. */
	.globl	enclume_guard_return
	.hidden	enclume_guard_return
	.type	enclume_guard_return, @function
enclume_guard_return:
	fninit
	fldcw	0x44(%rdi)
	ldmxcsr	0x40(%rdi)
	mov	$1, %eax
	jmp	*0x38(%rdi)
	.size	enclume_guard_return, . - enclume_guard_return

	.section .note.GNU-stack, "", @progbits
