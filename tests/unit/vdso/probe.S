// SPDX-License-Identifier: Apache-2.0
// Register-exact ends of a call to the enter function: the caller, and a user handler.

#include "unit/vdso/probe_offsets.h"

#define FLAGS_AT_REST 0x202

.macro function name
  .globl \name
  .hidden \name
  .type \name, @function
\name:
.endm

  .text

// void vdso_probe_call(ProbeCall *): calls with every register as in `in`, notes every one in `out`.
// Its frame is described relative to RSP only: RBP and RBX hold the test's values during the call.
function vdso_probe_call
  .cfi_startproc
  endbr64
.irp reg, rbx, rbp, r12, r13, r14, r15
  push %\reg
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset \reg, 0
.endr
  push %rdi
  .cfi_adjust_cfa_offset 8
  push PROBE_FUNCTION(%rdi)
  .cfi_adjust_cfa_offset 8
  push PROBE_RUN(%rdi)
  .cfi_adjust_cfa_offset 8
  // RSP is a multiple of 16 here: nine pushes and the return address.
  mov %rsp, PROBE_IN + PROBE_rsp(%rdi)
  push PROBE_IN + PROBE_rflags(%rdi)
  .cfi_adjust_cfa_offset 8
  mov PROBE_IN + PROBE_rax(%rdi), %rax
  mov PROBE_IN + PROBE_rbx(%rdi), %rbx
  mov PROBE_IN + PROBE_rcx(%rdi), %rcx
  mov PROBE_IN + PROBE_rdx(%rdi), %rdx
  mov PROBE_IN + PROBE_rsi(%rdi), %rsi
  mov PROBE_IN + PROBE_rbp(%rdi), %rbp
  mov PROBE_IN + PROBE_r8(%rdi), %r8
  mov PROBE_IN + PROBE_r9(%rdi), %r9
  mov PROBE_IN + PROBE_r10(%rdi), %r10
  mov PROBE_IN + PROBE_r11(%rdi), %r11
  mov PROBE_IN + PROBE_r12(%rdi), %r12
  mov PROBE_IN + PROBE_r13(%rdi), %r13
  mov PROBE_IN + PROBE_r14(%rdi), %r14
  mov PROBE_IN + PROBE_r15(%rdi), %r15
  mov PROBE_IN + PROBE_rdi(%rdi), %rdi
  popfq
  .cfi_adjust_cfa_offset -8
  call *8(%rsp)
function vdso_probe_return
  xchg %rdi, 16(%rsp)
  pop PROBE_OUT + PROBE_rflags(%rdi)  // the run pointer: only to move RSP
  .cfi_adjust_cfa_offset -8
  pushfq
  .cfi_adjust_cfa_offset 8
  pop PROBE_OUT + PROBE_rflags(%rdi)
  .cfi_adjust_cfa_offset -8
  pushq $FLAGS_AT_REST
  .cfi_adjust_cfa_offset 8
  popfq
  .cfi_adjust_cfa_offset -8
  mov %rax, PROBE_OUT + PROBE_rax(%rdi)
  mov %rbx, PROBE_OUT + PROBE_rbx(%rdi)
  mov %rcx, PROBE_OUT + PROBE_rcx(%rdi)
  mov %rdx, PROBE_OUT + PROBE_rdx(%rdi)
  mov %rsi, PROBE_OUT + PROBE_rsi(%rdi)
  mov %rbp, PROBE_OUT + PROBE_rbp(%rdi)
  mov %r8, PROBE_OUT + PROBE_r8(%rdi)
  mov %r9, PROBE_OUT + PROBE_r9(%rdi)
  mov %r10, PROBE_OUT + PROBE_r10(%rdi)
  mov %r11, PROBE_OUT + PROBE_r11(%rdi)
  mov %r12, PROBE_OUT + PROBE_r12(%rdi)
  mov %r13, PROBE_OUT + PROBE_r13(%rdi)
  mov %r14, PROBE_OUT + PROBE_r14(%rdi)
  mov %r15, PROBE_OUT + PROBE_r15(%rdi)
  lea -8(%rsp), %rax
  mov %rax, PROBE_OUT + PROBE_rsp(%rdi)
  add $8, %rsp  // the function
  .cfi_adjust_cfa_offset -8
  pop %rax  // RDI as it came back
  .cfi_adjust_cfa_offset -8
  mov %rax, PROBE_OUT + PROBE_rdi(%rdi)
.irp reg, r15, r14, r13, r12, rbp, rbx
  pop %\reg
  .cfi_adjust_cfa_offset -8
  .cfi_restore \reg
.endr
  ret
  .cfi_endproc
  .size vdso_probe_call, . - vdso_probe_call

// A user handler: notes the registers it was called with in vdso_probe_at_handler, its stack argument in
// vdso_probe_handler_run, asks vdso_probe_hook() what to return, and leaves the registers that it need
// not preserve as vdso_probe_from_handler has them.
function vdso_probe_handler
  .cfi_startproc
  endbr64
  mov %rax, vdso_probe_at_handler + PROBE_rax(%rip)
  mov %rbx, vdso_probe_at_handler + PROBE_rbx(%rip)
  mov %rcx, vdso_probe_at_handler + PROBE_rcx(%rip)
  mov %rdx, vdso_probe_at_handler + PROBE_rdx(%rip)
  mov %rsi, vdso_probe_at_handler + PROBE_rsi(%rip)
  mov %rdi, vdso_probe_at_handler + PROBE_rdi(%rip)
  mov %rbp, vdso_probe_at_handler + PROBE_rbp(%rip)
  mov %rsp, vdso_probe_at_handler + PROBE_rsp(%rip)
  mov %r8, vdso_probe_at_handler + PROBE_r8(%rip)
  mov %r9, vdso_probe_at_handler + PROBE_r9(%rip)
  mov %r10, vdso_probe_at_handler + PROBE_r10(%rip)
  mov %r11, vdso_probe_at_handler + PROBE_r11(%rip)
  mov %r12, vdso_probe_at_handler + PROBE_r12(%rip)
  mov %r13, vdso_probe_at_handler + PROBE_r13(%rip)
  mov %r14, vdso_probe_at_handler + PROBE_r14(%rip)
  mov %r15, vdso_probe_at_handler + PROBE_r15(%rip)
  mov 8(%rsp), %rax
  mov %rax, vdso_probe_handler_run(%rip)
  pushfq
  .cfi_adjust_cfa_offset 8
  pop vdso_probe_at_handler + PROBE_rflags(%rip)
  .cfi_adjust_cfa_offset -8
  sub $8, %rsp
  .cfi_adjust_cfa_offset 8
  call vdso_probe_hook
  add $8, %rsp
  .cfi_adjust_cfa_offset -8
  mov vdso_probe_from_handler + PROBE_rcx(%rip), %rcx
  mov vdso_probe_from_handler + PROBE_rdx(%rip), %rdx
  mov vdso_probe_from_handler + PROBE_rsi(%rip), %rsi
  mov vdso_probe_from_handler + PROBE_rdi(%rip), %rdi
  mov vdso_probe_from_handler + PROBE_r8(%rip), %r8
  mov vdso_probe_from_handler + PROBE_r9(%rip), %r9
  mov vdso_probe_from_handler + PROBE_r10(%rip), %r10
  mov vdso_probe_from_handler + PROBE_r11(%rip), %r11
  ret
  .cfi_endproc
  .size vdso_probe_handler, . - vdso_probe_handler

  .section .note.GNU-stack, "", @progbits
