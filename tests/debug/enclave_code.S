/* SPDX-License-Identifier: Apache-2.0 */
	.section .rodata
	.globl	debug_enclave_code, debug_enclave_code_end
	.hidden	debug_enclave_code, debug_enclave_code_end
debug_enclave_code:
	.incbin	ENCLAVE_CODE
debug_enclave_code_end:

	.section .note.GNU-stack, "", @progbits
