// SPDX-License-Identifier: Apache-2.0
// Where the vDSO image lies: within the engine's library, so that the dynamic linker has it mapped already, and
// unwinders find in the engine's tables what they have to know. At start the whole image is written here, over
// the same function in the same place.
#include "engine/start/vdso_place_size.h"
#include "kernel/vdso/image_layout.h"

#define ENTER_SECTION .enclume_vdso_place, "aw", @progbits
#define ENTER_SYMBOL(name) PLACED_##name
#define OBJECT_DIRECTIVES(name) .type name, @function
// The function has its own name: ld.so links programs to it that refer to it (weakly, or by dlsym(RTLD_DEFAULT)),
// since their relocations are done before there is an image; dladdr() tells of it, and so do debuggers. A design
// that does not have it takes the symbol back before the program runs, and so does a process whose image is elsewhere.
#define PLACED_code __vdso_sgx_enter_enclave
#define PLACED_cfi enclume_placed_cfi
#define PLACED_layout enclume_placed_layout
#define ENCLUME_CFI_BY_ASSEMBLER

  .section ENTER_SECTION
  .balign 4096
  .globl enclume_vdso_place
  .hidden enclume_vdso_place
  .type enclume_vdso_place, @object
enclume_vdso_place:
  .skip ENCLUME_VDSO_ENTRY_OFFSET

#include "kernel/vdso/enter_enclave.S"

  .hidden enclume_placed_cfi
  .hidden enclume_placed_layout

// Behind it functions that only jump.
  .section ENTER_SECTION
  .cfi_startproc
  .skip ENCLUME_VDSO_PLACE_SIZE - (. - enclume_vdso_place)
  .cfi_endproc
  .size enclume_vdso_place, . - enclume_vdso_place
