/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave of the exception matrix: position-independent code, copied to the start of ELRANGE (image.cc).
 *
 * Every entry: RDI = offset of what to run, RSI = its argument, the rest as the host likes. The level (CSSA) has its own
 * stack, and the host's RSP, RBP and return address are kept by level.
 */
#include "cli/matrix/probe/registers.inc"

	.macro site
	store_registers %fs:THREAD_SITE
662:
	.endm
	.macro next
	end_of_trigger matrix_enclave_triggers
	jmp	done
	.endm

	.section .rodata.matrix_enclave, "a", @progbits
	.balign	64
	.globl	matrix_enclave_begin, matrix_enclave_end, matrix_enclave_entry
	.hidden	matrix_enclave_begin, matrix_enclave_end, matrix_enclave_entry
	.globl	matrix_enclave_dump, matrix_enclave_poke, matrix_enclave_leave
	.hidden	matrix_enclave_dump, matrix_enclave_poke, matrix_enclave_leave
matrix_enclave_begin:

matrix_enclave_entry:
	mov	%rsp, %fs:THREAD_HOST_RSP(, %rax, 8)
	mov	%rbp, %fs:THREAD_HOST_RBP(, %rax, 8)
	mov	%rcx, %fs:THREAD_HOST_RIP(, %rax, 8)
	mov	%rax, %fs:THREAD_LEVEL
	mov	%rsi, %fs:THREAD_ARGUMENT
	lea	matrix_enclave_begin(%rip), %rcx
	imul	$-ENCLAVE_STACK_SIZE, %rax, %rax
	lea	ENCLAVE_STACK_TOP - 64(%rcx, %rax), %rsp
	pushq	$2			/* DF, AC and TF are the host's choice */
	popfq
	add	%rcx, %rdi
	jmp	*%rdi

done:
	movq	$1, %fs:THREAD_DONE
	pushq	$2
	popfq
	fninit
	movl	$0x1f80, -8(%rsp)
	ldmxcsr	-8(%rsp)
matrix_enclave_leave:
	mov	%fs:THREAD_LEVEL, %rax
	mov	%fs:THREAD_HOST_RSP(, %rax, 8), %rsp
	mov	%fs:THREAD_HOST_RBP(, %rax, 8), %rbp
	mov	%fs:THREAD_HOST_RIP(, %rax, 8), %rbx
	dec	%rax			/* who was interrupted leaves by its own */
	mov	%rax, %fs:THREAD_LEVEL
	mov	$4, %eax
	ENCLU				/* EEXIT */
	ud2

/* To the host's buffer RSI: the level, and what the level below left in its frame. */
matrix_enclave_dump:
	mov	%fs:THREAD_LEVEL, %rax
	mov	%rax, DUMP_CSSA(%rsi)
	mov	%fs:THREAD_HOST_RIP(, %rax, 8), %rdx
	mov	%rdx, DUMP_HOST_RIP(%rsi)
	mov	%fs:THREAD_DONE, %rdx
	mov	%rdx, DUMP_DONE(%rsi)
	mov	%rsi, %r8
	lea	DUMP_SITE(%r8), %rdi
	lea	matrix_enclave_begin + ENCLAVE_THREAD + THREAD_SITE(%rip), %rsi
	mov	$REGISTERS_SIZE, %ecx
	rep movsb
	test	%rax, %rax
	jz	matrix_enclave_leave
	shl	$12, %rax
	lea	matrix_enclave_begin + ENCLAVE_SSA(%rip), %rdx
	add	%rdx, %rax			/* the end of frame CSSA - 1 */
	lea	DUMP_GPRSGX(%r8), %rdi
	lea	-DUMP_GPRSGX_SIZE(%rax), %rsi
	mov	$DUMP_GPRSGX_SIZE, %ecx
	rep movsb
	lea	-DUMP_GPRSGX_SIZE - DUMP_EXINFO_SIZE(%rax), %rsi
	mov	$DUMP_EXINFO_SIZE, %ecx
	rep movsb
	jmp	matrix_enclave_leave

/* R8 to the eight bytes at offset RDX of the frame below. */
matrix_enclave_poke:
	mov	%fs:THREAD_LEVEL, %rax
	shl	$12, %rax
	lea	matrix_enclave_begin + ENCLAVE_SSA - 0x1000(%rip), %rcx
	add	%rcx, %rax
	mov	%r8, (%rax, %rdx)
	jmp	matrix_enclave_leave

	/* Every register but RSP holds something that no other does, and so do the flags. */
	.macro pattern
	pushq	$PATTERN_FLAGS
	popfq
	movabs	$PATTERN(17), %rax
	movabs	$PATTERN(18), %rbx
	movabs	$PATTERN(19), %rcx
	movabs	$PATTERN(20), %rdx
	movabs	$PATTERN(21), %rsi
	movabs	$PATTERN(22), %rdi
	movabs	$PATTERN(23), %rbp
	movabs	$PATTERN(24), %r8
	movabs	$PATTERN(25), %r9
	movabs	$PATTERN(26), %r10
	movabs	$PATTERN(27), %r11
	movabs	$PATTERN(28), %r12
	movabs	$PATTERN(29), %r13
	movabs	$PATTERN(30), %r14
	movabs	$PATTERN(31), %r15
	.endm

	/* One instruction that needs nothing. */
	.macro plain name, code:vararg
	trigger	\name
	pattern
	site
	\code
	next
	.endm

/* ---- Exceptions ---- */

	trigger	divide
	pattern
	mov	$1, %eax
	mov	$0, %edx
	mov	$0, %ecx
	site
	div	%ecx
	next

	plain	ud2, ud2
	plain	int3, .byte 0xcc
	plain	int1, .byte 0xf1

	trigger	non-canonical-load
	pattern
	movabs	$0x8000000000000000, %rax
	site
	mov	(%rax), %rcx
	next

	trigger	non-canonical-stack
	pattern
	movabs	$0x8000000000000000, %rbp
	site
	mov	(%rbp), %rcx
	next

	trigger	read			/* of the argument */
	pattern
	mov	%fs:THREAD_ARGUMENT, %rax
	site
	mov	(%rax), %rcx
	next

	trigger	write
	pattern
	mov	%fs:THREAD_ARGUMENT, %rax
	site
	mov	%rcx, (%rax)
	next

	trigger	jump
	pattern
	mov	%fs:THREAD_ARGUMENT, %rax
	site
	jmp	*%rax
	next

	trigger	rep-movs		/* the page at the argument, to the enclave's data */
	pattern
	mov	%fs:THREAD_ARGUMENT, %rsi
	lea	matrix_enclave_begin + ENCLAVE_DATA + 0x800(%rip), %rdi
	mov	$0x1000, %ecx
	site
	rep movsb
	next

	trigger	unaligned
	pattern
	pushq	$PATTERN_FLAGS | 0x40000	/* AC */
	popfq
	site
	mov	-63(%rsp), %rcx
	next

	trigger	sse-divide
	pattern
	movl	$0, -8(%rsp)
	movl	$0x3f800000, -4(%rsp)	/* 1.0 */
	movss	-4(%rsp), %xmm0
	movss	-8(%rsp), %xmm1
	movl	$0x1d80, -8(%rsp)	/* zero divide unmasked */
	ldmxcsr	-8(%rsp)
	site
	divss	%xmm1, %xmm0
	next

	trigger	x87-divide
	fninit
	movw	$0x037b, -8(%rsp)	/* zero divide unmasked */
	fldcw	-8(%rsp)
	fld1
	fldz
	fdivrp
	pattern
	site
	fwait
	next

	trigger	spin			/* until the host's word at the argument is not zero; says in the next that it turns */
	pattern
	mov	%fs:THREAD_ARGUMENT, %rax
	cmpq	$0, (%rax)		/* so the flags stay what they are */
	site
1:
	pause
	movq	$1, 8(%rax)
	cmpq	$0, (%rax)
	je	1b
	next

	trigger	announce		/* the same, but says first that it is inside: 1 into the word, waits for 2 */
	site
	mov	%fs:THREAD_ARGUMENT, %rax
	movq	$1, (%rax)
1:
	pause
	cmpq	$2, (%rax)
	jne	1b
	next

	trigger	nothing
	site
	nop
	next

/* ---- Illegal in an enclave (SDM Vol. 3D, table 39-1), and what user code may not do anywhere ---- */

	.macro	with_leaf name, leaf, code:vararg
	trigger	\name
	pattern
	mov	$\leaf, %eax
	mov	$0, %ecx
	site
	\code
	next
	.endm
	.macro	with_stack name, code:vararg	/* RDX, RSI and RDI point to the stack, in the parts that are free */
	trigger	\name
	pattern
	lea	-64(%rsp), %rsi
	lea	-64(%rsp), %rdi
	mov	$0x80, %edx
	site
	\code
	next
	.endm

	with_leaf cpuid, 0, cpuid
	with_leaf getsec, 0, getsec
	with_leaf rdpmc, 0, rdpmc
	with_stack sgdt, sgdt (%rsi)
	with_stack sidt, sidt (%rsi)
	plain	sldt, sldt %eax
	plain	str, str %eax
	plain	smsw, smsw %eax
	with_leaf vmcall, 0x7fff0000, .byte 0x0f, 0x01, 0xc1
	with_leaf vmfunc, 0, .byte 0x0f, 0x01, 0xd4
	with_stack in, inb %dx, %al
	with_stack in-immediate, inb $0x80, %al
	with_stack out, outb %al, %dx
	with_stack out-immediate, outb %al, $0x80
	with_stack insb, insb
	with_stack insl, insl
	with_stack outsb, outsb
	with_stack outsl, outsl
	plain	int-n, int $0x21
	plain	into, .byte 0xce
	with_leaf int-80, 20, int $0x80	/* getpid */
	with_leaf syscall, 39, syscall	/* getpid */
	with_leaf sysenter, 39, sysenter

	trigger	far-call
	pattern
	lea	1f(%rip), %rax
	mov	%rax, -32(%rsp)
	movw	%cs, -24(%rsp)
	site
	rex.w lcall *-32(%rsp)
1:
	next

	trigger	far-jmp
	pattern
	lea	1f(%rip), %rax
	mov	%rax, -32(%rsp)
	movw	%cs, -24(%rsp)
	site
	rex.w ljmp *-32(%rsp)
1:
	next

	trigger	far-ret
	pattern
	mov	%cs, %eax
	push	%rax
	lea	1f(%rip), %rax
	push	%rax
	site
	lretq
1:
	next

	trigger	iret
	pattern
	mov	%rsp, %rcx
	mov	%ss, %eax
	push	%rax
	push	%rcx
	pushfq
	mov	%cs, %eax
	push	%rax
	lea	1f(%rip), %rax
	push	%rax
	site
	iretq
1:
	next

	.macro	load_far name, selector, code:vararg
	trigger	\name
	pattern
	movl	$0, -32(%rsp)
	movw	\selector, -28(%rsp)
	site
	\code
	next
	.endm
	load_far lss, %ss, lss -32(%rsp), %eax
	load_far lfs, %fs, lfs -32(%rsp), %eax
	load_far lgs, %gs, lgs -32(%rsp), %eax
	plain	lds, .byte 0xc5, 0x00	/* these two are VEX prefixes in 64-bit mode; so they end badly too */
	plain	les, .byte 0xc4, 0x00, 0x00

	.macro	segment name, selector, code:vararg
	trigger	\name
	pattern
	mov	\selector, %eax
	push	%rax
	site
	\code
	next
	.endm
	segment	mov-ds, %ds, mov %eax, %ds
	segment	mov-es, %es, mov %eax, %es
	segment	mov-ss, %ss, mov %eax, %ss
	segment	mov-fs, %fs, mov %eax, %fs
	segment	mov-gs, %gs, mov %eax, %gs
	segment	pop-fs, %fs, pop %fs
	segment	pop-gs, %gs, pop %gs
	plain	pop-ds, .byte 0x1f
	plain	pop-es, .byte 0x07
	plain	pop-ss, .byte 0x17

	trigger	enclu-eenter
	pattern
	mov	$2, %eax
	site
	ENCLU
	next
	trigger	enclu-eresume
	pattern
	mov	$3, %eax
	site
	ENCLU
	next
	trigger	enclu-unknown
	pattern
	mov	$0x7fff, %eax
	site
	ENCLU
	next
	trigger	eexit-non-canonical
	pattern
	mov	$4, %eax
	movabs	$0x8000000000000000, %rbx
	site
	ENCLU
	next
	with_leaf encls, 0, .byte 0x0f, 0x01, 0xcf
	plain	hlt, hlt
	plain	cli, cli
	plain	sti, sti
	plain	mov-cr, mov %cr0, %rax
	plain	mov-dr, mov %dr0, %rax
	with_stack lgdt, lgdt (%rsi)
	with_stack lidt, lidt (%rsi)
	plain	lldt, lldt %ax
	plain	ltr, ltr %ax
	plain	lmsw, lmsw %ax
	plain	clts, clts
	plain	invd, invd
	plain	wbinvd, wbinvd
	with_stack invlpg, invlpg (%rsi)
	with_leaf rdmsr, 0, rdmsr
	with_leaf wrmsr, 0, wrmsr
	with_leaf xsetbv, 3, xsetbv
	plain	swapgs, swapgs
	plain	sysret, sysretq
	plain	rsm, rsm

/* ---- Legal, but easily broken ---- */

	.macro	wrong_if condition		/* an exception at the wrong place is how these say that they failed */
	j\condition wrong
	.endm

	plain	rdtsc, rdtsc
	plain	rdtscp, rdtscp
	plain	rdrand, rdrand %rax
	plain	rdseed, rdseed %rax
	plain	pause, pause
	plain	mfence, mfence
	with_stack clflush, clflush (%rsi)
	with_leaf xgetbv, 0, xgetbv
	plain	vzeroall, vzeroall

	trigger	rdfsbase
	pattern
	site
	rdfsbase %rax
	lea	matrix_enclave_begin + ENCLAVE_THREAD(%rip), %rcx
	cmp	%rax, %rcx
	wrong_if ne
	next

	.macro	write_base name, register
	trigger	\name
	pattern
	rd\register\()base %rdx
	lea	0x1000(%rdx), %rax
	site
	wr\register\()base %rax
	rd\register\()base %rcx
	wr\register\()base %rdx
	cmp	%rax, %rcx
	wrong_if ne
	next
	.endm
	write_base wrfsbase, fs
	write_base wrgsbase, gs

	trigger	xsave
	pattern
	mov	$-1, %eax
	mov	$-1, %edx
	lea	matrix_enclave_begin + ENCLAVE_BUFFER(%rip), %rcx
	site
	xsave64	(%rcx)
	next

	trigger	xrstor
	pattern
	mov	$-1, %eax
	mov	$-1, %edx
	lea	matrix_enclave_begin + ENCLAVE_BUFFER(%rip), %rcx
	xsave64	(%rcx)
	site
	xrstor64 (%rcx)
	next

	trigger	rep-movs-across		/* three pages, from buffer to buffer at odd addresses */
	pattern
	lea	matrix_enclave_begin + ENCLAVE_BUFFER(%rip), %rsi
	movq	$0x77, 0x1007(%rsi)
	lea	matrix_enclave_begin + ENCLAVE_BUFFER + 0x1ff1(%rip), %rdi
	mov	$0x1ff3, %ecx
	cld
	site
	rep movsb
	test	%rcx, %rcx
	wrong_if nz
	cmpq	$0x77, matrix_enclave_begin + ENCLAVE_BUFFER + 0x1ff1 + 0x1007(%rip)
	wrong_if ne
	next

wrong:
	ud2

matrix_enclave_end:

	.section .note.GNU-stack, "", @progbits
