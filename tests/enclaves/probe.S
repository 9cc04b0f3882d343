/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The code of the probe enclave: an entry point that saves everything, a table of operations (probe_abi.h), and an
 * exit that gives the host back what it had. It is position independent and copied to the start of the enclave.
 *
 * While an operation runs: R12 = save area, R13 = TCS, R14 = CSSA, R15 = ProbeArgs (host memory).
 * With CSSA > 0 the same operations serve the host's exception handling; each level has its own save area and stack.
 */
#include "probe_abi.h"
#include "register_file.inc"

/* A save area is a RegisterFile with the address of the ProbeArgs behind it. */
#define SAVE_ARGS 136

	.macro ENCLU
	.byte	0x0f, 0x01, 0xd7
	.endm

	.section .rodata.probe, "a", @progbits
	.balign	64
	.globl	enclume_probe_start, enclume_probe_end, enclume_probe_entry, enclume_probe_finish
	.globl	enclume_probe_return, enclume_probe_tail_ud2, enclume_probe_tail_dump
	.hidden	enclume_probe_start, enclume_probe_end, enclume_probe_entry, enclume_probe_finish
	.hidden	enclume_probe_return, enclume_probe_tail_ud2, enclume_probe_tail_dump

/*
 * Jumps of five bytes each, by number. They are not data: with protection keys a page that an enclave leaves by is
 * not to be read by each call (docs/fast-paths.md).
 */
	.macro	jump_to target
	.byte	0xe9
	.long	\target - . - 4
	.endm

	.globl	enclume_probe_sites
	.hidden	enclume_probe_sites
	.subsection 1			/* the host's table that the instructions of PROBE_OP_RAISE add to */
	.balign	4
enclume_probe_sites:
	.subsection 2			/* and the enclave's */
raise_jumps:
	.subsection 0

enclume_probe_start:
enclume_probe_return:			/* something to call */
	ret
	.balign	16

enclume_probe_entry:
	/* RAX = CSSA -> save area, without touching RFLAGS. */
	lea	(, %rax, 8), %rax
	lea	(, %rax, 8), %rax
	lea	(, %rax, 4), %rax
	lea	PROBE_THREAD_PAGE + PROBE_T_SAVE_AREA(%rbx, %rax), %rax
	mov	%rbx, REG_RBX(%rax)
	mov	%rcx, REG_RCX(%rax)
	mov	%rdx, REG_RDX(%rax)
	mov	%rsi, REG_RSI(%rax)
	mov	%rdi, REG_RDI(%rax)
	mov	%rbp, REG_RBP(%rax)
	mov	%rsp, REG_RSP(%rax)
	mov	%r8, REG_R8(%rax)
	mov	%r9, REG_R9(%rax)
	mov	%r10, REG_R10(%rax)
	mov	%r11, REG_R11(%rax)
	mov	%r12, REG_R12(%rax)
	mov	%r13, REG_R13(%rax)
	mov	%r14, REG_R14(%rax)
	mov	%r15, REG_R15(%rax)
	mov	%rsi, SAVE_ARGS(%rax)
	mov	%rax, %r12
	mov	%rbx, %r13
	mov	%rsi, %r15
	/* R14 = CSSA * 0x100, then RSP = top - CSSA * 0x800; NOT is the one that leaves RFLAGS alone. */
	lea	PROBE_THREAD_PAGE + PROBE_T_SAVE_AREA(%rbx), %r14
	not	%r14
	lea	1(%rax, %r14), %r14
	lea	(, %r14, 8), %r14
	not	%r14
	lea	PROBE_STACK_TOP + 1(%rbx, %r14), %rsp
	pushfq
	pop	REG_RFLAGS(%r12)
	pushq	$2			/* DF and AC are the host's choice: clear them */
	popfq
	sub	$64, %rsp		/* what an o-call left on this stack lies below */
	mov	%r12, %r14
	sub	%r13, %r14
	sub	$PROBE_THREAD_PAGE + PROBE_T_SAVE_AREA, %r14
	shr	$8, %r14
	mov	%r14, REG_RAX(%r12)
	mov	%r12, PROBE_THREAD_PAGE + PROBE_T_SAVE_AREAS(%r13, %r14, 8)

	cmp	$PROBE_OP_COUNT, %rdi
	jae	op_unknown
	lea	operations(%rip), %rax
	lea	(%rdi, %rdi, 4), %rcx
	add	%rax, %rcx
	jmp	*%rcx

op_unknown:
	ud2

/* Back to the host from level 0, wherever the enclave was: a handler puts this into the SSA's RIP. */
enclume_probe_finish:
	pushq	$2
	popfq
	mov	%fs:PROBE_T_SAVE_AREAS, %r12

/* Back to the host with its registers. Needs R12. */
op_nop:
exit:
	mov	REG_RCX(%r12), %rbx	/* the address after the ENCLU that entered */
	mov	REG_RDX(%r12), %rdx
	mov	REG_RSI(%r12), %rsi
	mov	REG_RDI(%r12), %rdi
	mov	REG_RBP(%r12), %rbp
	mov	REG_RSP(%r12), %rsp
	mov	REG_R8(%r12), %r8
	mov	REG_R9(%r12), %r9
	mov	REG_R10(%r12), %r10
	mov	REG_R11(%r12), %r11
	mov	REG_R13(%r12), %r13
	mov	REG_R14(%r12), %r14
	mov	REG_R15(%r12), %r15
	mov	REG_R12(%r12), %r12
	mov	$4, %eax
	ENCLU				/* EEXIT */
	ud2

op_sum:
	mov	ARG_IN(0)(%r15), %rax
	add	ARG_IN(1)(%r15), %rax
	mov	%rax, ARG_OUT(0)(%r15)
	jmp	exit

op_read:
	mov	ARG_IN(0)(%r15), %rax
	mov	(%rax), %rax
	mov	%rax, ARG_OUT(0)(%r15)
	jmp	exit

op_write:
	mov	ARG_IN(0)(%r15), %rax
	mov	ARG_IN(1)(%r15), %rcx
	mov	%rcx, (%rax)
	jmp	exit

op_call:
	call	*ARG_IN(0)(%r15)
	jmp	exit

op_jump:
	jmp	*ARG_IN(0)(%r15)

op_entry_state:
	mov	ARG_IN(2)(%r15), %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	ARG_IN(1)(%r15), %rcx
	test	%rcx, %rcx
	jz	1f
	xsave64	(%rcx)
1:
	mov	ARG_IN(0)(%r15), %rdi
	mov	%r12, %rsi
	mov	$17, %ecx
	rep movsq
	jmp	exit

op_segments:
	mov	%fs:PROBE_T_FS_WORD, %rax
	mov	%rax, ARG_OUT(0)(%r15)
	mov	%gs:0, %rax
	mov	%rax, ARG_OUT(1)(%r15)
	rdfsbase %rax
	mov	%rax, ARG_OUT(2)(%r15)
	rdgsbase %rax
	mov	%rax, ARG_OUT(3)(%r15)
	jmp	exit

op_load_state:
	mov	ARG_IN(3)(%r15), %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	ARG_IN(0)(%r15), %rcx
	test	%rcx, %rcx
	jz	1f
	xrstor64 (%rcx)
1:
	mov	ARG_IN(2)(%r15), %rcx
	cmp	$PROBE_TAIL_COUNT, %rcx
	jae	op_unknown
	lea	tails(%rip), %rax
	lea	(%rcx, %rcx, 4), %rcx
	add	%rax, %rcx
	push	%rcx
	mov	ARG_IN(1)(%r15), %rax
	push	REG_RFLAGS(%rax)
	mov	REG_RBX(%rax), %rbx
	mov	REG_RCX(%rax), %rcx
	mov	REG_RDX(%rax), %rdx
	mov	REG_RSI(%rax), %rsi
	mov	REG_RDI(%rax), %rdi
	mov	REG_RBP(%rax), %rbp
	mov	REG_R8(%rax), %r8
	mov	REG_R9(%rax), %r9
	mov	REG_R10(%rax), %r10
	mov	REG_R11(%rax), %r11
	mov	REG_R12(%rax), %r12
	mov	REG_R13(%rax), %r13
	mov	REG_R14(%rax), %r14
	mov	REG_R15(%rax), %r15
	mov	REG_RAX(%rax), %rax
	popfq
	ret

tail_eexit:
	mov	%fs:PROBE_T_SAVE_AREAS, %rax
	mov	REG_RCX(%rax), %rbx
	mov	REG_RSP(%rax), %rsp
	mov	REG_RBP(%rax), %rbp
	mov	$4, %eax
	ENCLU
	ud2

enclume_probe_tail_ud2:
	ud2
	jmp	enclume_probe_tail_dump

tail_spin:				/* MOV and JRCXZ leave RFLAGS alone */
	push	%rax
	push	%rcx
1:
	mov	%fs:PROBE_T_SAVE_AREAS, %rax
	mov	SAVE_ARGS(%rax), %rax
	mov	ARG_IN(5)(%rax), %rcx
	mov	(%rcx), %rcx
	pause
	jrcxz	1b
	pop	%rcx
	pop	%rax

enclume_probe_tail_dump:
	pushfq
	push	%rax
	mov	%fs:PROBE_T_SAVE_AREAS, %rax
	mov	SAVE_ARGS(%rax), %rax
	mov	ARG_IN(6)(%rax), %rax
	mov	%rbx, REG_RBX(%rax)
	mov	%rcx, REG_RCX(%rax)
	mov	%rdx, REG_RDX(%rax)
	mov	%rsi, REG_RSI(%rax)
	mov	%rdi, REG_RDI(%rax)
	mov	%rbp, REG_RBP(%rax)
	lea	16(%rsp), %rbx
	mov	%rbx, REG_RSP(%rax)
	mov	%r8, REG_R8(%rax)
	mov	%r9, REG_R9(%rax)
	mov	%r10, REG_R10(%rax)
	mov	%r11, REG_R11(%rax)
	mov	%r12, REG_R12(%rax)
	mov	%r13, REG_R13(%rax)
	mov	%r14, REG_R14(%rax)
	mov	%r15, REG_R15(%rax)
	pop	%rbx
	mov	%rbx, REG_RAX(%rax)
	pop	%rbx
	mov	%rbx, REG_RFLAGS(%rax)
	pushq	$2
	popfq
	mov	%fs:PROBE_T_SAVE_AREAS, %r12
	mov	SAVE_ARGS(%r12), %r15
	mov	ARG_IN(3)(%r15), %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	ARG_IN(4)(%r15), %rcx
	test	%rcx, %rcx
	jz	exit
	xsave64	(%rcx)
	jmp	exit

op_raise:
	mov	ARG_IN(0)(%r15), %rcx
	cmp	$PROBE_RAISE_COUNT, %rcx
	jae	op_unknown
	lea	raise_jumps(%rip), %rax
	lea	(%rcx, %rcx, 4), %rcx
	add	%rax, %rcx
	jmp	*%rcx

raise_done:
	movq	$1, ARG_OUT(0)(%r15)
	mov	%rax, ARG_OUT(1)(%r15)
	pushq	$2			/* whatever it was that got here, leave nothing odd to the host */
	popfq
	fninit
	movl	$0x1f80, -4(%rsp)
	ldmxcsr	-4(%rsp)
	jmp	exit

op_copy:
	mov	ARG_IN(0)(%r15), %rdi
	mov	ARG_IN(1)(%r15), %rsi
	mov	ARG_IN(2)(%r15), %rcx
	rep movsb
	jmp	exit

op_enclu:
	mov	ARG_IN(0)(%r15), %rax
	mov	ARG_IN(1)(%r15), %rbx
	mov	ARG_IN(2)(%r15), %rcx
	mov	ARG_IN(3)(%r15), %rdx
	ENCLU
	mov	%rax, ARG_OUT(0)(%r15)
	pushfq
	pop	ARG_OUT(1)(%r15)
	jmp	exit

op_spin:
	mov	ARG_IN(0)(%r15), %rax
	mov	ARG_IN(1)(%r15), %rcx
	xor	%edx, %edx
1:
	inc	%rdx
	mov	%rdx, (%rcx)
	pause
	cmpq	$0, (%rax)
	je	1b
	mov	%rdx, ARG_OUT(0)(%r15)
	jmp	exit

op_ocall:
	mov	ARG_IN(0)(%r15), %rbx	/* calls left to make */
	xor	%ecx, %ecx		/* the sum */
1:
	test	%rbx, %rbx
	jz	2f
	push	%rbx
	push	%rcx
	mov	%rsp, PROBE_THREAD_PAGE + PROBE_T_OCALL_RSP(%r13)
	movq	$1, ARG_OUT(1)(%r15)
	jmp	exit
op_ocall_return:
	mov	PROBE_THREAD_PAGE + PROBE_T_OCALL_RSP(%r13), %rsp
	pop	%rcx
	pop	%rbx
	add	ARG_IN(0)(%r15), %rcx
	dec	%rbx
	jmp	1b
2:
	mov	%rcx, ARG_OUT(0)(%r15)
	movq	$0, ARG_OUT(1)(%r15)
	jmp	exit

	/* RAX = address of the byte at offset in0 of frame CSSA-1. */
	.macro	ssa_address
	lea	-1(%r14), %rax
	imul	PROBE_THREAD_PAGE + PROBE_T_SSA_FRAME_SIZE(%r13), %rax
	lea	PROBE_SSA(%r13, %rax), %rax
	add	ARG_IN(0)(%r15), %rax
	mov	ARG_IN(1)(%r15), %rcx
	.endm

op_ssa_read:
	ssa_address
	mov	%rax, %rsi
	mov	ARG_IN(2)(%r15), %rdi
	rep movsb
	jmp	exit

op_ssa_write:
	ssa_address
	mov	%rax, %rdi
	mov	ARG_IN(2)(%r15), %rsi
	rep movsb
	jmp	exit

op_host_push:
	mov	REG_RSP(%r12), %rax
	sub	ARG_IN(0)(%r15), %rax
	mov	ARG_IN(1)(%r15), %rcx
	mov	%rcx, (%rax)
	mov	%rax, REG_RSP(%r12)
	jmp	exit

op_work:
	mov	ARG_IN(0)(%r15), %rcx
	mov	ARG_IN(1)(%r15), %rax
	call	enclume_probe_work
	mov	%rax, ARG_OUT(0)(%r15)
	jmp	exit

op_exit_to:
	mov	ARG_IN(0)(%r15), %rax
	mov	%rax, REG_RCX(%r12)
	jmp	exit

/*
 * A host may resume from another stack frame than the one that entered. ERESUME does not write URSP and URBP anew, and
 * the exit below uses the host's registers saved at entry: put this entry's in their place.
 */
op_adopt:
	mov	REG_RSP(%r12), %rcx
	mov	REG_RBP(%r12), %rdx
	mov	REG_RCX(%r12), %r8
	mov	%rcx, REG_RSP - 0x100(%r12)	/* the save area one level down */
	mov	%rdx, REG_RBP - 0x100(%r12)
	mov	%r8, REG_RCX - 0x100(%r12)
	mov	%r14, %rax
	imul	PROBE_THREAD_PAGE + PROBE_T_SSA_FRAME_SIZE(%r13), %rax
	lea	PROBE_SSA - 184(%r13, %rax), %rax	/* GPRSGX of frame CSSA-1 */
	mov	%rcx, 144(%rax)			/* URSP */
	mov	%rdx, 152(%rax)			/* URBP */
	jmp	exit

	/* EACCEPT keeps RBX and RCX. It stops at the first page that it does not accept. */
op_accept:
	mov	ARG_IN(0)(%r15), %rbx
	mov	ARG_IN(1)(%r15), %rcx
	mov	ARG_IN(2)(%r15), %rdx
	xor	%esi, %esi
1:	cmp	%rdx, %rsi
	je	2f
	mov	$5, %eax
	ENCLU
	test	%eax, %eax
	jnz	2f
	add	$4096, %rcx
	inc	%rsi
	jmp	1b
2:	mov	%rsi, ARG_OUT(0)(%r15)
	jmp	exit

op_stride:
	mov	ARG_IN(0)(%r15), %rdi
	mov	ARG_IN(1)(%r15), %rcx
	xor	%eax, %eax
	jrcxz	2f
1:	add	(%rdi), %rax
	incq	(%rdi)
	add	ARG_IN(2)(%r15), %rdi
	dec	%rcx
	jnz	1b
2:	mov	%rax, ARG_OUT(0)(%r15)
	jmp	exit

op_random:
	mov	ARG_IN(0)(%r15), %rdi
	mov	ARG_IN(1)(%r15), %rcx
	mov	ARG_IN(2)(%r15), %rsi
	dec	%rsi
	movabs	$6364136223846793005, %r8
	mov	ARG_IN(3)(%r15), %rdx	/* seed */
	xor	%eax, %eax
	jrcxz	2f
1:	imul	%r8, %rdx
	inc	%rdx
	mov	%rdx, %r9
	shr	$33, %r9
	and	%rsi, %r9
	shl	$12, %r9
	add	(%rdi,%r9), %rax
	incq	(%rdi,%r9)
	dec	%rcx
	jnz	1b
2:	mov	%rax, ARG_OUT(0)(%r15)
	jmp	exit

	/* The next word of the pattern in RAX: a 64-bit linear congruential generator. */
	.macro	next_word
	imul	%r8, %rax
	add	%r9, %rax
	.endm
	.macro	pattern_start
	mov	ARG_IN(0)(%r15), %rdi
	mov	ARG_IN(1)(%r15), %rcx
	mov	ARG_IN(2)(%r15), %rax
	movabs	$6364136223846793005, %r8
	movabs	$1442695040888963407, %r9
	xor	%edx, %edx
	.endm

op_fill:
	pattern_start
	jrcxz	exit_far
1:
	next_word
	mov	%rax, (%rdi)
	add	$8, %rdi
	dec	%rcx
	jnz	1b
exit_far:
	jmp	exit

op_check:
	pattern_start
	jrcxz	3f
1:
	next_word
	cmp	%rax, (%rdi)
	je	2f
	inc	%rdx
2:
	add	$8, %rdi
	dec	%rcx
	jnz	1b
3:
	mov	%rdx, ARG_OUT(0)(%r15)
	jmp	exit

/*
 * RAX = seed -> result, RCX = rounds (> 0). Also called natively by the benchmark of code speed: a mix of
 * multiplication, shifts and a load and store each round.
 */
	.balign	64
	.globl	enclume_probe_work
	.hidden	enclume_probe_work
enclume_probe_work:
	movabs	$6364136223846793005, %rdx
1:
	imul	%rdx, %rax
	mov	%rax, -8(%rsp)
	rol	$13, %rax
	xor	-8(%rsp), %rax
	add	%rcx, %rax
	dec	%rcx
	jnz	1b
	ret

/* The instructions of PROBE_OP_RAISE. "site": where the exception is due; "next": where it would go on. */
	.set	raise_count, 0
	.macro	raise number
	.if	\number != raise_count
	.error	"instructions of PROBE_OP_RAISE are not in the order of probe_abi.h"
	.endif
	.set	raise_count, raise_count + 1
	.subsection 1
	.long	661f - enclume_probe_start, 662f - enclume_probe_start, 663f - enclume_probe_start
	.subsection 2
	jump_to	661f
	.subsection 0
661:
	.endm
	.macro	site
662:
	.endm
	.macro	next
663:
	jmp	raise_done
	.endm

	raise	PROBE_RAISE_UD2
	site
	ud2
	next

	raise	PROBE_RAISE_INT3
	site
	.byte	0xcc
	next

	raise	PROBE_RAISE_INT1
	site
	.byte	0xf1
	next

	raise	PROBE_RAISE_INT_N
	site
	int	$0x21
	next

	raise	PROBE_RAISE_INT80
	mov	$20, %eax		/* getpid */
	site
	int	$0x80
	next

	raise	PROBE_RAISE_DIVIDE
	xor	%edx, %edx
	mov	$1, %eax
	xor	%ecx, %ecx
	site
	div	%ecx
	next

	raise	PROBE_RAISE_CPUID
	xor	%eax, %eax
	xor	%ecx, %ecx
	site
	cpuid
	next

	raise	PROBE_RAISE_SYSCALL
	mov	$39, %eax		/* getpid */
	site
	syscall
	next

	raise	PROBE_RAISE_SYSENTER
	mov	$39, %eax
	site
	sysenter
	next

	raise	PROBE_RAISE_SGDT
	site
	sgdt	-64(%rsp)
	next

	raise	PROBE_RAISE_SIDT
	site
	sidt	-64(%rsp)
	next

	raise	PROBE_RAISE_SLDT
	site
	sldt	%eax
	next

	raise	PROBE_RAISE_STR
	site
	str	%eax
	next

	raise	PROBE_RAISE_SMSW
	site
	smsw	%eax
	next

	raise	PROBE_RAISE_IN
	mov	$0x80, %edx
	site
	inb	%dx, %al
	next

	raise	PROBE_RAISE_OUT
	mov	$0x80, %edx
	xor	%eax, %eax
	site
	outb	%al, %dx
	next

	raise	PROBE_RAISE_INSB
	mov	$0x80, %edx
	lea	-64(%rsp), %rdi
	site
	insb
	next

	raise	PROBE_RAISE_OUTSB
	mov	$0x80, %edx
	lea	-64(%rsp), %rsi
	site
	outsb
	next

	raise	PROBE_RAISE_RDPMC
	xor	%ecx, %ecx
	site
	rdpmc
	next

	raise	PROBE_RAISE_HLT
	site
	hlt
	next

	raise	PROBE_RAISE_CLI
	site
	cli
	next

	raise	PROBE_RAISE_MOV_CR
	site
	mov	%cr0, %rax
	next

	raise	PROBE_RAISE_LGDT
	site
	lgdt	-64(%rsp)
	next

	raise	PROBE_RAISE_UNALIGNED
	pushfq
	orl	$0x40000, (%rsp)	/* AC */
	popfq
	site
	mov	-63(%rsp), %rax
	next

	raise	PROBE_RAISE_SSE_DIVIDE
	movl	$0, -8(%rsp)
	movl	$0x3f800000, -4(%rsp)	/* 1.0 */
	movss	-4(%rsp), %xmm0
	movss	-8(%rsp), %xmm1
	movl	$0x1d80, -8(%rsp)	/* zero divide unmasked */
	ldmxcsr	-8(%rsp)
	site
	divss	%xmm1, %xmm0
	next

	raise	PROBE_RAISE_X87_DIVIDE
	fninit
	movw	$0x037b, -8(%rsp)	/* zero divide unmasked */
	fldcw	-8(%rsp)
	fld1
	fldz
	fdivrp
	site
	fwait
	next

	raise	PROBE_RAISE_NON_CANONICAL_LOAD
	movabs	$0x8000000000000000, %rax
	site
	mov	(%rax), %rax
	next

	raise	PROBE_RAISE_NON_CANONICAL_STACK
	movabs	$0x8000000000000000, %rbp
	site
	mov	(%rbp), %rax
	next

	raise	PROBE_RAISE_FAR_RETURN
	mov	%cs, %eax
	push	%rax
	lea	1f(%rip), %rax
	push	%rax
	site
	lretq
1:
	next

	raise	PROBE_RAISE_IRET
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

	raise	PROBE_RAISE_MOV_DS
	mov	%ds, %eax
	site
	mov	%eax, %ds
	next

	raise	PROBE_RAISE_POP_FS
	mov	%fs, %eax
	push	%rax
	site
	pop	%fs
	next

	raise	PROBE_RAISE_VMCALL
	mov	$0x7fff0000, %eax	/* no hypercall of anybody's */
	site
	.byte	0x0f, 0x01, 0xc1
	next

	raise	PROBE_RAISE_ENCLU_EENTER
	mov	$2, %eax
	mov	%r13, %rbx
	lea	enclume_probe_return(%rip), %rcx
	site
	ENCLU
	next

	raise	PROBE_RAISE_ENCLU_UNKNOWN
	mov	$0x7fff, %eax
	site
	ENCLU
	next

	raise	PROBE_RAISE_ENCLS
	xor	%eax, %eax
	site
	.byte	0x0f, 0x01, 0xcf
	next

	raise	PROBE_RAISE_RDMSR
	mov	$0x3a, %ecx
	site
	rdmsr
	next

	raise	PROBE_RAISE_XSETBV
	xor	%ecx, %ecx
	mov	$3, %eax
	xor	%edx, %edx
	site
	xsetbv
	next

	raise	PROBE_RAISE_RDTSC
	site
	rdtsc
	next

	raise	PROBE_RAISE_RDTSCP
	site
	rdtscp
	next

	raise	PROBE_RAISE_RDRAND
	site
	rdrand	%rax
	next

	raise	PROBE_RAISE_XGETBV
	xor	%ecx, %ecx
	site
	xgetbv
	next

	raise	PROBE_RAISE_PAUSE
	site
	pause
	next

	raise	PROBE_RAISE_RDFSBASE
	site
	rdfsbase %rax
	next

	raise	PROBE_RAISE_INT_3
	site
	.byte	0xcd, 3
	next

	raise	PROBE_RAISE_INT_4
	site
	.byte	0xcd, 4
	next

	raise	PROBE_RAISE_VMMCALL
	mov	$0x7fff0000, %eax
	site
	.byte	0x0f, 0x01, 0xd9
	next

	.if	raise_count != PROBE_RAISE_COUNT
	.error	"probe_abi.h names another number of instructions for PROBE_OP_RAISE"
	.endif

operations:
	.irp	name, nop, sum, read, write, call, jump, entry_state, segments, load_state, raise, copy, enclu, spin
	jump_to	op_\name
	.endr
	.irp	name, ocall, ocall_return, ssa_read, ssa_write, host_push, work, exit_to, fill, check, adopt, accept
	jump_to	op_\name
	.endr
	.irp	name, stride, random
	jump_to	op_\name
	.endr
	.if	. - operations != 5 * PROBE_OP_COUNT
	.error	"probe_abi.h names another number of operations"
	.endif
tails:
	.irp	target, tail_eexit, enclume_probe_tail_ud2, tail_spin, enclume_probe_tail_dump
	jump_to	\target
	.endr

	.subsection 2
enclume_probe_end:
	.subsection 0

	.section .note.GNU-stack, "", @progbits
