/* SPDX-License-Identifier: Apache-2.0 */
/*
 * __vdso_sgx_enclu: the vDSO function of the exception design `vdso-registers` (enclume run
 *--fixup=vdso-registers). Linux does not have it. It stands for the function of the RFC of December 2018
 *("x86: Add vDSO exception fixup for SGX", v1 and v2), of which only the mechanism is kept: ENCLU and a
 *return, and the facts of an exception in registers. Name, version and register contract are Enclume's own.
 *
 * It is no C function. In, by CALL:
 *
 *	EAX	ENCLU leaf: 2 (EENTER) or 3 (ERESUME); others are refused by the processor
 *	RBX	address of the TCS
 *	rest	as the enclave shall find it; RCX is overwritten with the AEP
 *
 * Out:
 *
 *	EAX	4: the enclave has left by EEXIT; all registers are as it left them.
 *		2: EENTER faulted.  3: an exception in the enclave, or at ERESUME.
 *	After an exception:
 *	DI	vector
 *	SI	error code
 *	RDX	address for a page fault, else 0
 *	RBX	address of the TCS
 *	rest	2: as it was.  3: what the processor's AEX leaves: zeros in R8 to R15, synthetic MXCSR and x87
 *state
 *
 * RSP must come out of the enclave as it went in, since the return address is there; a saved frame pointer or
 * callee-saved registers are the caller's business. #DB and #BP are not reported here; they are signals.
 */
#ifndef ENCLUME_UAPI_SGX_VDSO_ENCLU_H_
#define ENCLUME_UAPI_SGX_VDSO_ENCLU_H_

#define SGX_VDSO_ENCLU_NAME "__vdso_sgx_enclu"
#define SGX_VDSO_ENCLU_VERSION "LINUX_2.6"

#endif
