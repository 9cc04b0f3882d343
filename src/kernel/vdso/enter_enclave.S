// SPDX-License-Identifier: Apache-2.0
// Our own __vdso_sgx_enter_enclave, as a blob that image.cc copies into the vDSO image.
//
//   int f(rdi, rsi, rdx, unsigned int function /* ECX */, r8, r9, struct sgx_enclave_run *run /* stack */)
//
// It does what Linux 6.12 does (arch/x86/entry/vdso/vsgx.S gives the facts, the text is ours):
//   - `function` other than EENTER or ERESUME, or a non-zero reserved quadword in *run: -EINVAL. Nothing
//     else is checked.
//   - ENCLU with EAX = function, RBX = run->tcs, RCX = the address of the ENCLU itself: it is both the way
//     in and the AEP. All other registers pass through in both directions.
//   - EEXIT comes back behind the ENCLU: run->function = EEXIT.
//   - An exception at the ENCLU comes back at `fixup`, with RAX the leaf, DI the vector, SI the error code
//     and RDX the address: they are stored in *run.
//   - Without a user handler the result is 0. With one it is called, on a stack aligned for it, with DF
//     clear; its result is ours if <= 0, else it is the next `function`.
//
// Between ENCLU and return only RBP is relied upon. RSP is where the enclave left it (it may have pushed
// data for the handler), so RBX is popped from there, as on Linux.
//
// It is data here, not code: it lies in .rodata, is position-independent, and refers to nothing outside.
// It must hold exactly one ENCLU.

#include "kernel/uapi/sgx_enclave_run_offsets.h"
#include "kernel/vdso/cfi_macros.inc"
#include "kernel/vdso/entry_macros.inc"

#define EINVAL 22
#define RUN_FROM_RBP 16  // the only stack argument: above the saved RBP and the return address
#define RESERVED_END ENCLUME_RUN_SIZE

// A test assembles this file a second time, under other names.
#ifndef ENTER_SYMBOL
#define ENTER_SYMBOL(name) enclume_vdso_enter_##name
#endif
// And the engine a second time, where the image will lie, for the unwind information.
#ifndef ENTER_SECTION
#define ENTER_SECTION .rodata.enclume_vdso_enter, "a", @progbits
#endif

  .pushsection CFI_SECTION
object ENTER_SYMBOL(cfi)
.Lcfi:
  .popsection

  .section ENTER_SECTION
  .balign 64
object ENTER_SYMBOL(code)
.Lcode:
  cfi_begin
  endbr64
  push %rbp
  cfi_cfa DW_REG_RSP, 16
  cfi_saved DW_REG_RBP, 2
  mov %rsp, %rbp
  cfi_cfa DW_REG_RBP, 16
  push %rbx
  cfi_saved DW_REG_RBX, 3
  mov %ecx, %eax

.Lenter:
  // EAX is what the caller or its handler asked for.
  lea -ENCLUME_ENCLU_EENTER(%rax), %ecx
  cmp $(ENCLUME_ENCLU_ERESUME - ENCLUME_ENCLU_EENTER), %ecx
  ja .Linvalid

  mov RUN_FROM_RBP(%rbp), %rcx
  mov $(ENCLUME_RUN_RESERVED - RESERVED_END), %rbx
.Lnext_reserved:
  cmpq $0, RESERVED_END(%rcx, %rbx)
  jne .Linvalid
  add $8, %rbx
  jnz .Lnext_reserved

  mov ENCLUME_RUN_TCS(%rcx), %rbx
  lea .Lenclu(%rip), %rcx
.Ldirect:
  // Room for a jump through a slot, which image.cc puts here where entering needs no trap. What cannot be done
  // there comes back to the ENCLU with all registers as they are now.
  .byte 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00  // NOP
.Lenclu:
  .byte 0x0f, 0x01, 0xd7  // ENCLU

  // EEXIT lands here, unless the enclave chose another place.
  mov RUN_FROM_RBP(%rbp), %rbx
  movl $ENCLUME_ENCLU_EEXIT, ENCLUME_RUN_FUNCTION(%rbx)

.Lreport:
  // RBX = run. RAX and RCX are free; the handler gets the rest as it is.
  mov ENCLUME_RUN_USER_HANDLER(%rbx), %rax
  test %rax, %rax
  jnz .Lcall_handler

.Lreturn:
  // EAX = result.
  pop %rbx
  cfi_restored DW_REG_RBX
  leave
  cfi_restored DW_REG_RBP
  cfi_cfa DW_REG_RSP, 8
  ret

  // Everything below runs in the full frame again.
  cfi_cfa DW_REG_RBP, 16
  cfi_saved DW_REG_RBP, 2
  cfi_saved DW_REG_RBX, 3
.Linvalid:
  mov $-EINVAL, %eax
  jmp .Lreturn

.Lfixup:
  mov RUN_FROM_RBP(%rbp), %rbx
  mov %eax, ENCLUME_RUN_FUNCTION(%rbx)
  mov %di, ENCLUME_RUN_EXCEPTION_VECTOR(%rbx)
  mov %si, ENCLUME_RUN_EXCEPTION_ERROR_CODE(%rbx)
  mov %rdx, ENCLUME_RUN_EXCEPTION_ADDR(%rbx)
  jmp .Lreport

.Lcall_handler:
  // RAX = handler. Fourth argument: RSP at the exit. Seventh, on the stack: run, pushed twice so that
  // the stack is 16-byte aligned at the call.
  mov %rsp, %rcx
  and $-16, %rsp
  push %rbx
  push %rbx
  // What the alignment took off, kept where a function must preserve it.
  mov %ecx, %ebx
  and $15, %ebx
  cld
  lfence  // the handler's address was loaded from memory that an attacker may steer (LVI)
  call *%rax
  lea 16(%rsp, %rbx), %rsp
  test %eax, %eax
  jg .Lenter
  jmp .Lreturn
  cfi_end
.Lcode_end:
  .size ENTER_SYMBOL(code), .Lcode_end - .Lcode

  .pushsection CFI_SECTION
.Lcfi_end:
  .popsection

// struct EntryLayout of entry_code.cc.
  .section .rodata.enclume_vdso_layout, "a", @progbits
  .balign 4
object ENTER_SYMBOL(layout)
.Llayout:
  .long .Lcode_end - .Lcode
  .long .Lenclu - .Lcode
  .long .Lfixup - .Lcode
  .long .Lcfi_end - .Lcfi
  .long .Ldirect - .Lcode
  .size ENTER_SYMBOL(layout), . - .Llayout

  .section .note.GNU-stack, "", @progbits
