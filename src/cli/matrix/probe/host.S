/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of the exception matrix: ways in, places to land, and host code that raises exceptions. Prototypes and
 * contracts are in host.h.
 */
#include "cli/matrix/probe/registers.inc"

	.local	function
	.comm	function, 8, 8

	.macro hidden name
	.globl	\name
	.hidden	\name
	.endm

	/* Saves what the caller expects to find again; RSP is then the anchor. */
	.macro begin
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	pushq	matrix_anchor(%rip)
	mov	%rsp, matrix_anchor(%rip)
	.endm

	/* Everything but RSP from the Registers at RDI; RFLAGS is on the stack. */
	.macro load
	mov	AT_RAX(%rdi), %rax
	mov	AT_RBX(%rdi), %rbx
	mov	AT_RCX(%rdi), %rcx
	mov	AT_RDX(%rdi), %rdx
	mov	AT_RSI(%rdi), %rsi
	mov	AT_RBP(%rdi), %rbp
	mov	AT_R8(%rdi), %r8
	mov	AT_R9(%rdi), %r9
	mov	AT_R10(%rdi), %r10
	mov	AT_R11(%rdi), %r11
	mov	AT_R12(%rdi), %r12
	mov	AT_R13(%rdi), %r13
	mov	AT_R14(%rdi), %r14
	mov	AT_R15(%rdi), %r15
	mov	AT_RDI(%rdi), %rdi
	popfq
	.endm

	.macro land how
	movl	$\how, matrix_landing + LANDING_HOW(%rip)
	store_registers matrix_landing, (%rip)
	stmxcsr	matrix_landing + LANDING_MXCSR(%rip)
	fnstcw	matrix_landing + LANDING_FCW(%rip)
	fnstsw	matrix_landing + LANDING_FSW(%rip)
	jmp	finish
	.endm

	.text

finish:
	mov	matrix_anchor(%rip), %rsp
	mov	%rsp, matrix_landing + LANDING_ANCHOR(%rip)
	popq	matrix_anchor(%rip)
	pushq	$2			/* TF, DF and AC may be anybody's */
	popfq
	fnclex				/* an AEX for #MF leaves an exception pending; FLDCW would raise it */
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

/* void matrix_jump(const Registers *) */
	hidden	matrix_jump
matrix_jump:
	begin
	pushq	AT_RIP(%rdi)
	pushq	AT_RFLAGS(%rdi)
	load
	ret

/* void matrix_call(const Registers *, void *function, void *stack_argument) */
	hidden	matrix_call
matrix_call:
	begin
	mov	%rsi, function(%rip)
	push	%rdx
	pushq	AT_RFLAGS(%rdi)
	load
	call	*function(%rip)
	land	LANDED_RETURN

/* The places to land. */
	hidden	matrix_land_exit
matrix_land_exit:
	land	LANDED_EXIT

	hidden	matrix_land_handler
matrix_land_handler:
	land	LANDED_HANDLER

	hidden	matrix_land_signal
matrix_land_signal:
	movl	$LANDED_SIGNAL, matrix_landing + LANDING_HOW(%rip)
	jmp	finish

/* As a handler for the vDSO function: AC may have come out of the enclave, and C++ does not expect it. */
	hidden	matrix_vdso_handler
matrix_vdso_handler:
	pushq	$2
	popfq
	jmp	matrix_on_vdso_exit

/* int matrix_plain_enter(uint64_t tcs, uint64_t routine, uint64_t argument): for a second thread; lands nowhere else. */
	hidden	matrix_plain_enter
matrix_plain_enter:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rdi, %rbx
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	$2, %eax
	lea	1f(%rip), %rcx
	ENCLU
	jmp	2f
1:
	ENCLU				/* ERESUME */
2:
	xor	%eax, %eax
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

/* ---- ENCLUs, and AEPs, of the program's own ---- */

	hidden	matrix_enclu
matrix_enclu:
	ENCLU
	jmp	matrix_land_exit
	hidden	matrix_aep_enclu
matrix_aep_enclu:
	ENCLU
	jmp	matrix_land_exit
	hidden	matrix_lock_enclu
matrix_lock_enclu:
	.byte	0xf0
	ENCLU
	jmp	matrix_land_exit
	hidden	matrix_aep_nop
matrix_aep_nop:
	nop
	jmp	matrix_land_exit
	hidden	matrix_nop_ud2
matrix_nop_ud2:
	nop
	hidden	matrix_aep_ud2
matrix_aep_ud2:
	ud2
	hidden	matrix_aep_int3
matrix_aep_int3:
	int3
	jmp	matrix_land_exit
	hidden	matrix_aep_load
matrix_aep_load:
	mov	0x18, %rax
	jmp	matrix_land_exit

/* ---- Exceptions of host code ---- */

	.macro site
	store_registers matrix_at_site, (%rip)
662:
	.endm
	.macro then_exit
	end_of_trigger matrix_host_triggers
	jmp	matrix_land_exit
	.endm
	.macro then_enclu
	end_of_trigger matrix_host_triggers
	ENCLU
	jmp	matrix_land_exit
	.endm

	.macro	host_code next, suffix
	trigger	divide\suffix
	mov	$1, %eax
	mov	$0, %edx
	mov	$0, %ecx
	site
	div	%ecx
	\next
	trigger	ud2\suffix
	site
	ud2
	\next
	trigger	int3\suffix
	site
	.byte	0xcc
	\next
	trigger	int1\suffix
	site
	.byte	0xf1
	\next
	trigger	int-4\suffix		/* IDT gate 4 is open to user code, so this is #OF */
	site
	.byte	0xcd, 4
	\next
	trigger	int-n\suffix
	site
	.byte	0xcd, 0x21
	\next
	trigger	hlt\suffix
	site
	hlt
	\next
	trigger	non-canonical-load\suffix
	movabs	$0x8000000000000000, %rdx
	site
	mov	(%rdx), %rdx
	\next
	trigger	non-canonical-stack\suffix
	movabs	$0x8000000000000000, %rbp
	site
	mov	(%rbp), %rdx
	\next
	trigger	read\suffix		/* of RDX */
	site
	mov	(%rdx), %rdx
	\next
	trigger	write\suffix
	site
	mov	%r8, (%rdx)
	\next
	trigger	unaligned\suffix
	pushq	$PATTERN_FLAGS | 0x40000
	popfq
	site
	mov	-63(%rsp), %rdx
	\next
	trigger	sse-divide\suffix
	movl	$0, -8(%rsp)
	movl	$0x3f800000, -4(%rsp)
	movss	-4(%rsp), %xmm0
	movss	-8(%rsp), %xmm1
	movl	$0x1d80, -8(%rsp)
	ldmxcsr	-8(%rsp)
	site
	divss	%xmm1, %xmm0
	\next
	trigger	x87-divide\suffix
	fninit
	movw	$0x037b, -8(%rsp)
	fldcw	-8(%rsp)
	fld1
	fldz
	fdivrp
	site
	fwait
	\next
	trigger	nothing\suffix
	site
	nop
	\next
	.endm

	host_code then_exit
	host_code then_enclu, "-enclu"

	.section .note.GNU-stack, "", @progbits
