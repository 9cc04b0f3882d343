/* SPDX-License-Identifier: Apache-2.0 */
/* int enclume_host_guard_save(record): see enclume/host/guard.h, whose GuardRecord this fills. */
	.text
	.globl	enclume_host_guard_save
	.type	enclume_host_guard_save, @function
enclume_host_guard_save:
	.cfi_startproc
	endbr64
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
	.cfi_endproc
	.size	enclume_host_guard_save, . - enclume_host_guard_save

/* Where a signal handler returns to after a fault: RDI is the record, all else that it saved is loaded already. */
	.globl	enclume_host_guard_return
	.hidden	enclume_host_guard_return
	.type	enclume_host_guard_return, @function
enclume_host_guard_return:
	.cfi_startproc
	.cfi_undefined rip
	fninit
	fldcw	0x44(%rdi)
	ldmxcsr	0x40(%rdi)
	mov	$1, %eax
	jmp	*0x38(%rdi)
	.cfi_endproc
	.size	enclume_host_guard_return, . - enclume_host_guard_return

	.section .note.GNU-stack, "", @progbits
