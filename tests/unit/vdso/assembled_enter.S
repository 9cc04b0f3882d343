// SPDX-License-Identifier: Apache-2.0
// The enter function once more, with call frame information written by the assembler.
#define ENCLUME_CFI_BY_ASSEMBLER
#define ENTER_SYMBOL(name) assembled_##name
#include "kernel/vdso/enter_enclave.S"
