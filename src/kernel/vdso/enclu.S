// SPDX-License-Identifier: Apache-2.0
// __vdso_sgx_enclu, the function of design `vdso-registers`, as a blob that image.cc copies into the vDSO image:
// ENCLU and a return. include/enclume/uapi/sgx_vdso_enclu.h is its contract.
//
// The RFC of 2018 wrapped this in a C function that stored the facts in a struct, and the objection was that it
// clobbered more registers than it had to. Here nothing is clobbered but RCX, which has to hold the AEP: what
// else changes, the enclave or the processor's AEX changes. EEXIT and the kernel's fixup both continue at the
// return; RAX tells them apart, since an enclave can't leave with another value than EEXIT's in EAX.
//
// It is data here, not code: it lies in .rodata, is position-independent, and refers to nothing outside.
// It must hold exactly one ENCLU.

#include "kernel/vdso/cfi_macros.inc"
#include "kernel/vdso/entry_macros.inc"

// A test assembles this file a second time, under other names.
#ifndef ENCLU_SYMBOL
#define ENCLU_SYMBOL(name) enclume_vdso_enclu_##name
#endif

  .pushsection CFI_SECTION
object ENCLU_SYMBOL(cfi)
.Lcfi:
  .popsection

  .section .rodata.enclume_vdso_enclu, "a", @progbits
  .balign 64
object ENCLU_SYMBOL(code)
.Lcode:
  cfi_begin
  endbr64
  lea .Lenclu(%rip), %rcx
.Lenclu:
  .byte 0x0f, 0x01, 0xd7  // ENCLU: both the way in and the AEP
.Lfixup:
  ret
  cfi_end
.Lcode_end:
  .size ENCLU_SYMBOL(code), .Lcode_end - .Lcode

  .pushsection CFI_SECTION
.Lcfi_end:
  .popsection

// struct EntryLayout of entry_code.cc.
  .section .rodata.enclume_vdso_layout, "a", @progbits
  .balign 4
object ENCLU_SYMBOL(layout)
.Llayout:
  .long .Lcode_end - .Lcode
  .long .Lenclu - .Lcode
  .long .Lfixup - .Lcode
  .long .Lcfi_end - .Lcfi
  .long 0  // no direct entry
  .size ENCLU_SYMBOL(layout), . - .Llayout

  .section .note.GNU-stack, "", @progbits
