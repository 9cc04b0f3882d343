/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to read memory, each a function to be called in an enclave, or in host code: R15 = ProbeArgs, whose second word
 * is the state that the instruction finds and leaves. RSI is the address to be read, R9 the same aligned to 16, R8 a
 * buffer. R10 is free.
 */
#include "enclaves/probe_abi.h"

#define S_RAX 0
#define S_RCX 8
#define S_RDX 16
#define S_RBX 24
#define S_RSI 32
#define S_RDI 40
#define S_R8 48
#define S_R9 56
#define S_FLAGS 64
#define S_X87 72
#define S_YMM0 96
#define S_YMM1 128
#define S_MM0 160

	.section .rodata, "a", @progbits
	.globl	enclume_readers_code, enclume_readers_code_end
	.hidden	enclume_readers_code, enclume_readers_code_end
	.balign	64
enclume_readers_code:
load_state:
	vmovdqu	S_YMM0(%r11), %ymm0
	vmovdqu	S_YMM1(%r11), %ymm1
	mov	S_RAX(%r11), %rax
	mov	S_RCX(%r11), %rcx
	mov	S_RDX(%r11), %rdx
	mov	S_RBX(%r11), %rbx
	mov	S_RSI(%r11), %rsi
	mov	S_RDI(%r11), %rdi
	mov	S_R8(%r11), %r8
	mov	S_R9(%r11), %r9
	fninit
	pushq	S_FLAGS(%r11)
	popfq
	ret
keep_state:
	pushfq
	popq	S_FLAGS(%r11)
	cld
	mov	%rax, S_RAX(%r11)
	mov	%rcx, S_RCX(%r11)
	mov	%rdx, S_RDX(%r11)
	mov	%rbx, S_RBX(%r11)
	mov	%rsi, S_RSI(%r11)
	mov	%rdi, S_RDI(%r11)
	mov	%r9, S_R9(%r11)
	vmovdqu	%ymm0, S_YMM0(%r11)
	vmovdqu	%ymm1, S_YMM1(%r11)
	movq	%mm0, S_MM0(%r11)
	emms
	vzeroupper
	ret

	.section .data.rel.ro, "aw", @progbits
	.globl	enclume_readers, enclume_readers_end
	.hidden	enclume_readers, enclume_readers_end
	.balign	8
enclume_readers:
	.text

/* A reader, by the first two words of the table: its name and its offset in the code. */
	.macro	reader code:req
	.section .rodata.str, "a", @progbits
1:	.asciz	"\code"
	.section .data.rel.ro, "aw", @progbits
	.quad	1b, 2f - enclume_readers_code
	.section .rodata, "a", @progbits
	.balign	16
2:	push	%rbx
	push	%rbp
	mov	ARG_IN(1)(%r15), %r11
	call	load_state
	\code
	call	keep_state
	pop	%rbp
	pop	%rbx
	ret
	.endm

	/* Loads, and the address in the register that is loaded. */
	reader	"movb (%rsi), %al"
	reader	"movb (%rsi), %ah"
	reader	"movw (%rsi), %ax"
	reader	"movl (%rsi), %eax"
	reader	"movq (%rsi), %rax"
	reader	"movzbl (%rsi), %eax"
	reader	"movzwl (%rsi), %eax"
	reader	"movsbq (%rsi), %rax"
	reader	"movsbw (%rsi), %ax"
	reader	"movswl (%rsi), %eax"
	reader	"movslq (%rsi), %rax"
	reader	"movl (%rsi), %esi"
	reader	"movq (%rsi), %rsi"
	reader	"movb (%rsi), %sil"
	reader	"movw (%rsi), %si; movzwl %si, %esi"
	reader	"movzbl (%rsi), %esi"
	reader	"movsbl (%rsi), %esi"
	reader	"addq $-64, %rsi; movl 64(%rsi), %esi"
	reader	"movq %rsi, %rbx; xorl %ecx, %ecx; movl (%rbx, %rcx, 8), %ebx"
	reader	"movq %rsi, %rbx; movl $5, %ecx; subq %rcx, %rbx; movzbl (%rbx, %rcx), %ecx"
	reader	"movbe (%rsi), %eax"
	reader	"movbe (%rsi), %rsi"
	reader	"stc; cmovcl (%rsi), %eax"
	reader	"clc; cmovcq (%rsi), %rax"
	reader	"stc; cmovcq (%rsi), %rsi"
	reader	"popcntq (%rsi), %rax"
	reader	"lzcntl (%rsi), %eax"
	reader	"tzcntl (%rsi), %eax"
	reader	"bsrq (%rsi), %rax"
	reader	"leaq -2(%rsi), %rbx; movl $2, %eax; xlat"
	/* Flags. */
	reader	"cmpb (%rsi), %al"
	reader	"cmpl %eax, (%rsi)"
	reader	"cmpq (%rsi), %rax"
	reader	"cmpb $0xe9, (%rsi)"
	reader	"cmpw $0x04b8, (%rsi)"
	reader	"cmpl $4, (%rsi)"
	reader	"testl %eax, (%rsi)"
	reader	"testb $1, (%rsi)"
	reader	"btl $7, (%rsi)"
	reader	"movl $-5, %eax; btl %eax, 4(%rsi)"
	/* Arithmetic. */
	reader	"addb (%rsi), %al"
	reader	"addb (%rsi), %ch"
	reader	"addw (%rsi), %ax"
	reader	"addl (%rsi), %eax"
	reader	"addq (%rsi), %rax"
	reader	"movq %rsi, %rbx; addq (%rsi), %rsi; subq %rbx, %rsi; testq %rsi, %rsi"
	reader	"subb (%rsi), %al"
	reader	"subl (%rsi), %eax"
	reader	"subq (%rsi), %rax"
	reader	"stc; adcb (%rsi), %al"
	reader	"stc; adcl (%rsi), %eax"
	reader	"clc; adcq (%rsi), %rax"
	reader	"stc; sbbl (%rsi), %eax"
	reader	"clc; sbbq (%rsi), %rax"
	reader	"stc; sbbb (%rsi), %cl"
	reader	"xorb (%rsi), %al"
	reader	"xorl (%rsi), %eax"
	reader	"xorq (%rsi), %rax"
	reader	"imull $3, (%rsi), %eax"
	reader	"mull (%rsi)"
	reader	"mulq (%rsi)"
	reader	"imulq (%rsi)"
	reader	"xorl %edx, %edx; divl (%rsi)"
	reader	"xorl %edx, %edx; divq (%rsi)"
	reader	"xorl %edx, %edx; shrl $1, %eax; idivl (%rsi)"
	reader	"crc32b (%rsi), %eax"
	reader	"crc32w (%rsi), %eax"
	reader	"crc32l (%rsi), %eax"
	reader	"crc32q (%rsi), %rax"
	/* The stack. */
	reader	"pushq (%rsi); popq %rax"
	reader	"movq %rsp, %r10; movq %rsi, %rsp; popq %rax; movq %r10, %rsp"
	reader	"movq %rsp, %r10; movq %rsi, %rsp; popq %rcx; xchgq %r10, %rsp; subq %rsi, %r10; movq %r10, %rdx"
	reader	"movq %rsp, %r10; movq %rsi, %rbp; leave; movq %rsp, %rdx; movq %r10, %rsp; movq %rbp, %rax; subq %rsi, %rdx"
	/* Strings. */
	reader	"lodsb"
	reader	"lodsw"
	reader	"lodsl"
	reader	"lodsq"
	reader	"std; lodsb"
	reader	"movq %r8, %rdi; movsb"
	reader	"movq %r8, %rdi; movsq"
	reader	"movq %r8, %rdi; cmpsb"
	reader	"movq %rsi, %rdi; scasb"
	reader	"movq %rsi, %rdi; scasl"
	reader	"movq %r8, %rdi; subq $8, %rsi; movl $24, %ecx; rep movsb"
	reader	"movq %r8, %rdi; movl $1, %ecx; rep movsb"
	reader	"movq %r8, %rdi; subq $8, %rsi; movl $6, %ecx; rep movsl"
	reader	"movq %r8, %rdi; subq $8, %rsi; movl $3, %ecx; rep movsq"
	reader	"leaq 40(%r8), %rdi; addq $12, %rsi; movl $24, %ecx; std; rep movsb"
	reader	"leaq 64(%r8), %rdi; subq $8, %rsi; movl $24, %ecx; repe cmpsb"
	reader	"leaq -8(%rsi), %rdi; movl $24, %ecx; movb $0xd7, %al; repne scasb"
	reader	"leaq -8(%rsi), %rdi; movl $24, %ecx; movb $0xe9, %al; repne scasb"
	reader	"subq $8, %rsi; movl $24, %ecx; rep lodsb"
	/* Loops of one instruction that reads. */
	reader	"subq $16, %rsi; movl $32, %ecx; 3: xorb (%rsi), %al; rolq $8, %rax; incq %rsi; decl %ecx; jnz 3b"
	reader	"subq $16, %rsi; movl $32, %ecx; 3: addb (%rsi), %al; adcb %al, %ah; incq %rsi; decl %ecx; jnz 3b"
	reader	"subq $16, %rsi; movl $8, %ecx; 3: crc32l (%rsi), %eax; addq $4, %rsi; decl %ecx; jnz 3b"
	/* Vectors. */
	reader	"movdqu (%rsi), %xmm0"
	reader	"lddqu (%rsi), %xmm0"
	reader	"movups (%rsi), %xmm1"
	reader	"movdqa (%r9), %xmm0"
	reader	"movntdqa (%r9), %xmm0"
	reader	"movd (%rsi), %xmm0"
	reader	"movq (%rsi), %xmm0"
	reader	"movss (%rsi), %xmm0"
	reader	"movsd (%rsi), %xmm0"
	reader	"movhps (%rsi), %xmm0"
	reader	"movlps (%rsi), %xmm0"
	reader	"pinsrb $3, (%rsi), %xmm0"
	reader	"pinsrw $3, (%rsi), %xmm0"
	reader	"pinsrq $1, (%rsi), %xmm0"
	reader	"pshufd $0x1b, (%r9), %xmm0"
	reader	"pmovzxbw (%rsi), %xmm0"
	reader	"pabsb (%r9), %xmm0"
	reader	"ptest (%r9), %xmm0"
	reader	"pcmpestri $0, (%rsi), %xmm0"
	reader	"pxor (%r9), %xmm0"
	reader	"xorps (%r9), %xmm0"
	reader	"paddb (%r9), %xmm0"
	reader	"paddw (%r9), %xmm0"
	reader	"paddd (%r9), %xmm0"
	reader	"paddq (%r9), %xmm0"
	reader	"psubb (%r9), %xmm0"
	reader	"psubw (%r9), %xmm0"
	reader	"psubd (%r9), %xmm0"
	reader	"psubq (%r9), %xmm0"
	reader	"aesenc (%r9), %xmm0"
	reader	"aesdeclast (%r9), %xmm0"
	reader	"cvtsi2sdl (%rsi), %xmm0"
	reader	"movq (%rsi), %mm0"
	reader	"pshufw $0x1b, (%rsi), %mm0"
	reader	"vmovdqu (%rsi), %ymm0"
	reader	"vmovdqu (%rsi), %xmm1"
	reader	"vpbroadcastb (%rsi), %ymm0"
	reader	"vpbroadcastq (%rsi), %ymm1"
	reader	"vinserti128 $1, (%rsi), %ymm0, %ymm0"
	reader	"vpxor (%rsi), %ymm0, %ymm0"
	reader	"vpxor (%rsi), %ymm0, %ymm1"
	reader	"vpaddd (%rsi), %ymm1, %ymm1"
	reader	"vpaddb -16(%rsi), %ymm1, %ymm1"
	reader	"vpsubq (%rsi), %ymm0, %ymm0"
	reader	"vpand (%rsi), %ymm0, %ymm1"
	reader	"vpcmpeqb (%rsi), %ymm0, %ymm1"
	reader	"vpminub -20(%rsi), %ymm0, %ymm1"
	reader	"vpshufb (%rsi), %ymm0, %ymm1"
	reader	"vpermq $0x1b, (%rsi), %ymm0"
	reader	"vptest (%rsi), %ymm0"
	reader	"vpmovzxbd (%rsi), %ymm0"
	reader	"vpmaskmovd (%rsi), %ymm0, %ymm1"
	reader	"andnq (%rsi), %rcx, %rax"
	reader	"bextrq %rcx, (%rsi), %rax"
	reader	"pdepq (%rsi), %rcx, %rax"
	reader	"pextq (%rsi), %rcx, %rax"
	reader	"rorxq $5, (%rsi), %rax"
	reader	"shlxq %rcx, (%rsi), %rax"
	reader	"mulxq (%rsi), %rax, %rcx"
	reader	"blsrq (%rsi), %rax"
	/* The x87. */
	reader	"flds (%rsi); fstpt 72(%r11); fnstsw %ax"
	reader	"fld1; fldl (%rsi); fstpt 72(%r11); fnstsw %ax"
	reader	"fldpi; fld1; fildq (%rsi); faddp; fstpt 72(%r11); fstpl 88(%r11); fnstsw %ax"
	reader	"fildl (%rsi); fstpt 72(%r11)"
	reader	"fld1; ficoml (%rsi); fnstsw %ax"

	.section .data.rel.ro, "aw", @progbits
enclume_readers_end:
	.section .rodata, "a", @progbits
enclume_readers_code_end:
	.section .note.GNU-stack, "", @progbits
