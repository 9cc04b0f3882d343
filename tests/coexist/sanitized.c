/* SPDX-License-Identifier: Apache-2.0
 *
 * coexist_sanitized MODE: enters an enclave and takes its exceptions, then does what MODE says. Built with
 * AddressSanitizer, whose own SIGSEGV handler has to report what is the program's mistake and nothing else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coexist/library.h"

static int* volatile nowhere;

__attribute__((noinline)) static void read_null(void) {
  *nowhere = 1;
}

__attribute__((noinline)) static void overflow(void) {
  volatile size_t size = 16;
  volatile char* block = malloc(size);
  block[size] = 1;
  free((void*)block);
}

static uint64_t seen;

static void look(const volatile uint64_t* word) {
  seen = *word;
}

/* The sanitizer checks each access of this program by a shadow of the address. */
static int enter_at_many_places(void) {
  static const uint64_t places[] = {0x1000000,      0x20000000,     0x40000000,
                                    0x100080000000, 0x200000000000, 0x550000000000};
  for (unsigned i = 0; i < sizeof places / sizeof places[0]; ++i) {
    if (!coexist_at(places[i], look)) return 4;
    /* Of the EPC host code sees the abort page, or the contents where the machine has no protection keys. */
    if (seen != ~0ULL && seen != places[i]) return 5;
  }
  return 0;
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  const unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
  for (unsigned long i = 0; i < rounds; ++i) {
    char* block = malloc(i % 256 + 1);
    memset(block, 1, i % 256 + 1);
    if (coexist_sum(i, (uint64_t)block[i % 256]) != i + 1) return 3;
    if (i % 4 == 0) coexist_fault((unsigned)i / 4);
    free(block);
  }
  printf("%llu entries, %llu exceptions\n", (unsigned long long)coexist_entries(),
         (unsigned long long)coexist_exceptions());
  fflush(stdout);
  if (strcmp(mode, "places") == 0) return enter_at_many_places();
  if (strcmp(mode, "child") == 0)
    return execl("/bin/sh", "sh", "-c", "echo LD_PRELOAD=$LD_PRELOAD", (char*)NULL);
  if (strcmp(mode, "null") == 0) read_null();
  if (strcmp(mode, "overflow") == 0) overflow();
  return 0;
}
