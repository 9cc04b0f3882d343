/* SPDX-License-Identifier: Apache-2.0 */
/*
 * void raw_enter(registers): EENTER by an ENCLU of our own, with an AEP of our own. Exceptions are signals: RIP is
 * raw_aep for one inside the enclave, raw_eenter for one of EENTER itself; for the latter the handler goes on at
 * raw_failed.
 */
#include "raw.h"

#define ENCLU .byte 0x0f, 0x01, 0xd7

	.text
	.globl	raw_enter, raw_eenter, raw_aep, raw_failed
	.type	raw_enter, @function
raw_enter:
	.cfi_startproc
	endbr64
	.irp	register, rbx, rbp, r12, r13, r14, r15
	push	%\register
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %\register, 0
	.endr
	push	%rdi
	.cfi_adjust_cfa_offset 8
	sub	$16, %rsp		/* MXCSR, x87 control word */
	.cfi_adjust_cfa_offset 16
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	$0, RAW_FAILED(%rdi)
	mov	RAW_TCS(%rdi), %rbx
	mov	RAW_RSI(%rdi), %rsi
	mov	RAW_RDX(%rdi), %rdx
	mov	RAW_RDI(%rdi), %rdi
	lea	raw_aep(%rip), %rcx
	mov	$2, %eax		/* EENTER */
raw_eenter:
	ENCLU
	/* EEXIT comes here: EENTER has left this address in RCX. */
	mov	16(%rsp), %rax
	mov	%rdi, RAW_RDI(%rax)
	mov	%rsi, RAW_RSI(%rax)
	mov	%rdx, RAW_RDX(%rax)
1:	cld
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	.cfi_remember_state
	add	$24, %rsp
	.cfi_adjust_cfa_offset -24
	.irp	register, r15, r14, r13, r12, rbp, rbx
	pop	%\register
	.cfi_adjust_cfa_offset -8
	.cfi_restore %\register
	.endr
	ret
	.cfi_restore_state
raw_failed:
	mov	16(%rsp), %rax
	movq	$1, RAW_FAILED(%rax)
	jmp	1b
	/* RAX = ERESUME, RBX = the TCS, RCX = this address: so an AEX leaves them. */
raw_aep:
	ENCLU
	ud2
	.cfi_endproc
	.size	raw_enter, . - raw_enter

	.section .note.GNU-stack, "", @progbits
