// SPDX-License-Identifier: Apache-2.0
// The function of design `vdso-registers` once more, with call frame information written by the assembler.
#define ENCLUME_CFI_BY_ASSEMBLER
#define ENCLU_SYMBOL(name) assembled_enclu_##name
#include "kernel/vdso/enclu.S"
