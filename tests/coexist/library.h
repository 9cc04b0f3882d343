/* SPDX-License-Identifier: Apache-2.0
 *
 * A native library with an enclave of its own, as programs in Java, Go, Python and C use one: plain C calls,
 * from any thread. What is wrong inside ends the process with a message.
 */
#ifndef ENCLUME_TESTS_COEXIST_LIBRARY_H
#define ENCLUME_TESTS_COEXIST_LIBRARY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Builds the enclave; the calls below do it as well. */
void coexist_open(void);

/* a + b, computed in the enclave. */
uint64_t coexist_sum(uint64_t a, uint64_t b);

/* Raises an exception in the enclave, which the vDSO function reports: kind modulo COEXIST_KINDS chooses it.
 * The vector. The library checks it, and that the enclave works afterwards. */
#define COEXIST_KINDS 4
int coexist_fault(unsigned kind);

/* The same at an ENCLU of the library's own: it is the process's business who handles the signal. The handler
 * finds RIP = coexist_aep() and goes on at coexist_landing(). */
void coexist_raw_fault(void);
uint64_t coexist_aep(void);
uint64_t coexist_landing(void);

/* Builds another enclave with ELRANGE at `base`, takes a sum and an exception there, lets `look` see a word
 * of it and takes it down. Whether all went well. */
int coexist_at(uint64_t base, void (*look)(const volatile uint64_t* word));

/* What has been done so far, by all threads. */
uint64_t coexist_entries(void);
uint64_t coexist_exceptions(void);

#ifdef __cplusplus
}
#endif

#endif
