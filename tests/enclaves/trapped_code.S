/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two pages of enclave code around CPUID, for the tests of instructions that have to be trapped. The probe calls
 * into them (PROBE_OP_CALL): R15 = ProbeArgs, in0 = what was called; all other registers are free.
 *
 * The handlers are what runtimes have: the host puts their address into the SSA's RIP, and they read the instruction
 * at the address in in1 before they do its work. A CPUID that has been served by one gives EAX = 0x5167, EBX = EAX + 1,
 * EDX = what the handler read there (0xa20f), ECX = the RFLAGS that it saw of itself.
 */
#include "probe_abi.h"

	.macro	label name
	.globl	enclume_trapped_\name
	.hidden	enclume_trapped_\name
enclume_trapped_\name:
	.endm

	.macro	serve
	mov	ARG_IN(1)(%r15), %r8
	movzwl	(%r8), %edx
	pushfq
	pop	%rcx
	mov	$0x5167, %eax
	lea	1(%rax), %ebx
	add	$2, %r8
	jmp	*%r8
	.endm

	.section .rodata.trapped, "a", @progbits
	.balign	4096
	label	start

/* The first page: everything in one place, as in a tiny enclave. */

/* out0..out3 = EAX, EBX, ECX, EDX of CPUID leaf 0; nothing leads here but a pointer. */
	label	cpuid_function
	push	%rbx
	xor	%eax, %eax
	xor	%ecx, %ecx
	label	cpuid
	cpuid
	label	behind_cpuid
	mov	%rax, ARG_OUT(0)(%r15)
	mov	%rbx, ARG_OUT(1)(%r15)
	mov	%rcx, ARG_OUT(2)(%r15)
	mov	%rdx, ARG_OUT(3)(%r15)
	pop	%rbx
	ret

	.balign	16
	label	same_page_handler
	serve

/* out4 = the sum of the table's words and what follows them in the page. */
	.balign	16
	label	sum_same_page
	lea	enclume_trapped_table(%rip), %rsi
	lea	enclume_trapped_second(%rip), %rdi
	xor	%eax, %eax
1:
	add	(%rsi), %rax
	ror	$7, %rax
	add	$8, %rsi
	cmp	%rdi, %rsi
	jb	1b
	mov	%rax, ARG_OUT(4)(%r15)
	ret

/* out5 = how often it has been called: written in the middle of the code. */
	.balign	16
	label	count_calls
	incq	calls(%rip)
	mov	calls(%rip), %rax
	mov	%rax, ARG_OUT(5)(%r15)
	ret
	.balign	8
calls:	.quad	0

/* A site behind prefixes. */
	.balign	16
	label	prefixed_function
	push	%rbx
	xor	%eax, %eax
	label	prefixed_cpuid
	.byte	0xf3, 0x48, 0x0f, 0xa2		/* rep rex.w cpuid */
	label	behind_prefixed_cpuid
	pop	%rbx
	ret

/* 64 times the bytes of CPUID, as data. */
	.balign	64
	label	table
	.rept	64
	.byte	0x0f, 0xa2, 0x80, 0x12, 0x34, 0xc7, 0x0f, 0x01
	.endr

/* The second page: nothing in it is a site, but for what a test writes there. */
	.balign	4096
	label	second
	label	other_page_handler
	serve

/* mov $0xa20f, %eax; mov %eax, out0; ret */
	.balign	16
	label	load_immediate
	mov	$0xa20f, %eax
	mov	%rax, ARG_OUT(0)(%r15)
	ret

/* out0 = the 64-bit word at in2 */
	.balign	16
	label	read_table
	mov	ARG_IN(2)(%r15), %rax
	mov	(%rax), %rax
	mov	%rax, ARG_OUT(0)(%r15)
	ret

	.balign	4096
	label	end

	.section .note.GNU-stack, "", @progbits
