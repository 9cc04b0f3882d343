/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways into an enclave from C++; prototypes and contracts are in call_enclave.h.
 */

#include "probe_abi.h"
#include "register_file.inc"

	.macro push_callee_saved
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%rbx
	.cfi_rel_offset %rbx, -8
	push	%r12
	.cfi_rel_offset %r12, -16
	push	%r13
	.cfi_rel_offset %r13, -24
	push	%r14
	.cfi_rel_offset %r14, -32
	push	%r15
	.cfi_rel_offset %r15, -40
	sub	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	.endm

	/* RBP is what it was after push_callee_saved. */
	.macro pop_callee_saved
	lea	-48(%rbp), %rsp
	pushq	$2			/* DF, and AC, which an AEX leaks from the enclave */
	popfq
	fnclex				/* an AEX for #MF leaves an unmasked exception pending; FLDCW would raise it */
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	.cfi_def_cfa %rsp, 8
	.endm

	/* All that the contract passes through, from the RegisterFile at RAX. */
	.macro load_registers
	mov	REG_RDX(%rax), %rdx
	mov	REG_RSI(%rax), %rsi
	mov	REG_RDI(%rax), %rdi
	mov	REG_R8(%rax), %r8
	mov	REG_R9(%rax), %r9
	mov	REG_R10(%rax), %r10
	mov	REG_R11(%rax), %r11
	mov	REG_R12(%rax), %r12
	mov	REG_R13(%rax), %r13
	mov	REG_R14(%rax), %r14
	mov	REG_R15(%rax), %r15
	.endm

	/* Everything, to the RegisterFile whose address is at \slot(%rbp). */
	.macro store_registers slot
	pushfq
	push	%rax
	mov	\slot(%rbp), %rax
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
	/* AC may have come out of the enclave; nothing after this must fault for it. */
	pushq	$2
	popfq
	.endm

	.text

/* int enclume_test_call_vdso(rdi, rsi, rdx, leaf, r8, r9, run, function) */
	.globl	enclume_test_call_vdso
	.type	enclume_test_call_vdso, @function
	.hidden	enclume_test_call_vdso
enclume_test_call_vdso:
	.cfi_startproc
	push_callee_saved
	/* The vDSO function wants RSP = 16n + 8 on entry like any other: RBP - 48 is aligned, add two words. */
	push	$0
	push	16(%rbp)
	call	*24(%rbp)
	pop_callee_saved
	ret
	.cfi_endproc
	.size	enclume_test_call_vdso, . - enclume_test_call_vdso

/* int enclume_test_call_vdso_registers(in, out, run, function) */
	.globl	enclume_test_call_vdso_registers
	.type	enclume_test_call_vdso_registers, @function
	.hidden	enclume_test_call_vdso_registers
enclume_test_call_vdso_registers:
	.cfi_startproc
	push_callee_saved
	push	%rsi		/* -56: out */
	push	%rcx		/* -64: the function */
	push	$0
	push	%rdx		/* the function's stack argument */
	mov	%rdi, %rax
	mov	REG_RCX(%rax), %ecx
	mov	REG_RBX(%rax), %rbx
	load_registers
	call	*-64(%rbp)
	store_registers -56
	mov	-56(%rbp), %rax
	mov	REG_RAX(%rax), %eax
	pop_callee_saved
	ret
	.cfi_endproc
	.size	enclume_test_call_vdso_registers, . - enclume_test_call_vdso_registers

/* int enclume_test_adopt_and_resume(run, function, probe_args) */
	.globl	enclume_test_adopt_and_resume
	.type	enclume_test_adopt_and_resume, @function
	.hidden	enclume_test_adopt_and_resume
enclume_test_adopt_and_resume:
	.cfi_startproc
	push_callee_saved
	push	%rdi		/* -56: run */
	push	%rsi		/* -64: the function */
	push	$0
	push	%rdi		/* the function's stack argument, for both calls */
	mov	%rdx, %rsi
	mov	$PROBE_OP_ADOPT, %edi
	mov	$2, %ecx
	call	*-64(%rbp)
	mov	-56(%rbp), %rcx
	cmpl	$4, 8(%rcx)	/* run->function: EEXIT */
	mov	$-1000, %eax
	jne	1f
	mov	$3, %ecx
	call	*-64(%rbp)
1:
	pop_callee_saved
	ret
	.cfi_endproc
	.size	enclume_test_adopt_and_resume, . - enclume_test_adopt_and_resume

/* int enclume_test_call_vdso_xstate(in, out, run, function, state_in, state_out, mask) */
	.globl	enclume_test_call_vdso_xstate
	.type	enclume_test_call_vdso_xstate, @function
	.hidden	enclume_test_call_vdso_xstate
enclume_test_call_vdso_xstate:
	.cfi_startproc
	push_callee_saved
	push	%rsi		/* -56: out */
	push	%rcx		/* -64: the function */
	push	%r9		/* -72: state_out */
	push	%rdx		/* the function's stack argument */
	test	%r8, %r8
	jz	1f
	mov	16(%rbp), %eax
	mov	20(%rbp), %edx
	xrstor64 (%r8)
1:
	mov	%rdi, %rax
	mov	REG_RCX(%rax), %ecx
	mov	REG_RBX(%rax), %rbx
	load_registers
	call	*-64(%rbp)
	store_registers -56
	mov	-72(%rbp), %rcx
	test	%rcx, %rcx
	jz	2f
	mov	16(%rbp), %eax
	mov	20(%rbp), %edx
	xsave64	(%rcx)
2:
	mov	-56(%rbp), %rax
	mov	REG_RAX(%rax), %eax
	pop_callee_saved
	ret
	.cfi_endproc
	.size	enclume_test_call_vdso_xstate, . - enclume_test_call_vdso_xstate

/* int enclume_test_own_enter(rdi, rsi, rdx, leaf, r8, r9, run); the second takes its AEP in R9 */
	.globl	enclume_test_own_enter, enclume_test_own_enter_aep
	.type	enclume_test_own_enter, @function
	.type	enclume_test_own_enter_aep, @function
	.hidden	enclume_test_own_enter, enclume_test_own_enter_aep
enclume_test_own_enter:
	lea	1f(%rip), %r9
	.size	enclume_test_own_enter, . - enclume_test_own_enter
enclume_test_own_enter_aep:
	.cfi_startproc
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%rbx
	.cfi_rel_offset %rbx, -8
	mov	%ecx, %eax
	mov	16(%rbp), %rbx
	mov	(%rbx), %rbx		/* run->tcs */
	mov	%r9, %rcx
1:
	.byte	0x0f, 0x01, 0xd7
	mov	16(%rbp), %rbx
	mov	%eax, 8(%rbx)		/* run->function */
	xor	%eax, %eax
	pop	%rbx
	leave
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size	enclume_test_own_enter_aep, . - enclume_test_own_enter_aep

/* void enclume_test_call_enclu(in, out, function) */
	.globl	enclume_test_call_enclu
	.type	enclume_test_call_enclu, @function
	.hidden	enclume_test_call_enclu
enclume_test_call_enclu:
	.cfi_startproc
	push_callee_saved
	push	%rsi		/* -56: out */
	push	%rdx		/* -64: the function */
	mov	%rdi, %rax
	mov	REG_RBX(%rax), %rbx
	load_registers
	mov	REG_RCX(%rax), %rcx
	mov	REG_RAX(%rax), %rax
	call	*-64(%rbp)
	store_registers -56
	pop_callee_saved
	ret
	.cfi_endproc
	.size	enclume_test_call_enclu, . - enclume_test_call_enclu

	.globl	enclume_test_enclu_function, enclume_test_enclu_function_return
	.hidden	enclume_test_enclu_function, enclume_test_enclu_function_return
	.type	enclume_test_enclu_function, @function
enclume_test_enclu_function:
	.cfi_startproc
	.byte	0x0f, 0x01, 0xd7
enclume_test_enclu_function_return:
	ret
	.cfi_endproc
	.size	enclume_test_enclu_function, . - enclume_test_enclu_function

/* void enclume_test_raw_enclu(in, out) */
	.globl	enclume_test_raw_enclu, enclume_test_raw_enclu_aep
	.globl	enclume_test_enclu, enclume_test_aep, enclume_test_enclu_done
	.type	enclume_test_raw_enclu, @function
	.hidden	enclume_test_raw_enclu, enclume_test_raw_enclu_aep
	.hidden	enclume_test_enclu, enclume_test_aep, enclume_test_enclu_done
enclume_test_raw_enclu:
	lea	enclume_test_aep(%rip), %rdx
	.size	enclume_test_raw_enclu, . - enclume_test_raw_enclu

/* void enclume_test_raw_enclu_aep(in, out, aep) */
	.type	enclume_test_raw_enclu_aep, @function
enclume_test_raw_enclu_aep:
	.cfi_startproc
	push_callee_saved
	push	%rsi		/* -56: out */
	push	REG_RFLAGS(%rdi)
	mov	%rdi, %rax
	mov	%rdx, %rcx
	mov	REG_RBX(%rax), %rbx
	load_registers
	mov	REG_RAX(%rax), %rax
	cmpq	$0, (%rsp)
	je	1f
	popfq
	push	$0
1:
enclume_test_enclu:
	.byte	0x0f, 0x01, 0xd7	/* ENCLU[EENTER] or [ERESUME] */
	jmp	enclume_test_enclu_done
enclume_test_aep:
	.byte	0x0f, 0x01, 0xd7	/* ENCLU[ERESUME] */
enclume_test_enclu_done:
	store_registers -56
	pop_callee_saved
	ret
	.cfi_endproc
	.size	enclume_test_raw_enclu_aep, . - enclume_test_raw_enclu_aep

/* void enclume_test_spied_enclu(in, out, spy, count) */
	.globl	enclume_test_spied_enclu
	.type	enclume_test_spied_enclu, @function
	.hidden	enclume_test_spied_enclu
enclume_test_spied_enclu:
	.cfi_startproc
	push_callee_saved
	push	%rsi		/* -56: out */
	push	%rdx		/* -64: spy */
	push	%rcx		/* -72: count */
	push	REG_RBX(%rdi)	/* -80: the TCS */
	mov	%rdi, %rax
	mov	REG_RBX(%rax), %rbx
	load_registers
	mov	$2, %eax
	lea	1f(%rip), %rcx
	.byte	0x0f, 0x01, 0xd7	/* ENCLU[EENTER] */
	store_registers -56
	pop_callee_saved
	ret
1:	/* The AEP: RBP is as at the entry, RSP too. First the spy, at the next CSSA; then on. */
	mov	-72(%rbp), %rax
	incq	(%rax)
	mov	$PROBE_OP_SSA_READ, %edi
	mov	-64(%rbp), %rsi
	mov	-80(%rbp), %rbx
	mov	$2, %eax
	lea	2f(%rip), %rcx
	.byte	0x0f, 0x01, 0xd7	/* ENCLU[EENTER] */
	mov	$3, %eax
	mov	-80(%rbp), %rbx
	lea	1b(%rip), %rcx
2:	.byte	0x0f, 0x01, 0xd7	/* ENCLU[ERESUME] */
	ud2
	.cfi_endproc
	.size	enclume_test_spied_enclu, . - enclume_test_spied_enclu

	.section .note.GNU-stack, "", @progbits
