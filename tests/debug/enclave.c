// SPDX-License-Identifier: Apache-2.0
// The enclave that gdb looks into: three functions deep. Without optimisation, so that each is there.
#include "debug/layout.h"

static long secret_level(long operation, volatile long* word) {
  volatile long secret = 0x5ec2e7;
  if (operation == DEBUG_OP_UD2) {
    __asm__ volatile("ud2");
  } else if (operation == DEBUG_OP_INT3) {
    __asm__ volatile("int3");
  } else if (operation == DEBUG_OP_WAIT) {
    while (*word == 0) {
      __builtin_ia32_pause();
    }
  }
  return secret + *word;
}

static long middle_level(long operation, volatile long* word) {
  return secret_level(operation, word) + 1;
}

void enclave_main(long operation, volatile long* word) {
  *word = middle_level(operation, word);
}
