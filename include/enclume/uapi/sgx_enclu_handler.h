/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ENCLU exception handler of an address space: exception design `per-mm` (enclume run --fixup=per-mm).
 *Linux does not have it; it stands for the RFC of 10 December 2018 ("x86: Add exception fixup for SGX ENCLU",
 *v3). The numbers, the struct, the errors and the register contract are Enclume's own: only parts of those
 *patches are to be had.
 *
 * A fault in user code that would become a signal, other than #DB and #BP, is redirected to the handler if
 *the three bytes at RIP are ENCLU, 0F 01 D7. After an asynchronous exit RIP is the AEP. No signal is
 *generated; masks and dispositions play no part. The handler starts like this:
 *
 *	RIP	the registered address
 *	RDI	vector
 *	RSI	error code
 *	RDX	address for a page fault (after an asynchronous exit without its low 12 bits), else 0
 *	RCX	address of the ENCLU: the RIP of the fault
 *	RAX	as it was: the leaf. 2: EENTER faulted. 3: ERESUME did, or there was an exception in the
 *enclave rest	as at the fault: RBX is the TCS; RSP and RBP are those of the entry; after an asynchronous
 *exit R8 to R15 are 0 and MXCSR and the x87 state are synthetic
 *
 * It is not called but jumped to: there is no return address on the stack, and the 128 bytes below RSP may be
 *in use. A single RET does as a handler for ENCLUs that are a function, "ENCLU; RET", which are called.
 *
 * The ioctls work on any descriptor of /dev/sgx_enclave, whatever the state of its enclave, and concern the
 *address space of the caller, not that enclave. Threads have one handler together, and so has a vfork()ed
 *child with its parent. A fork()ed child begins with a copy and can then change its own. Exec begins without
 *one. Closing the descriptor changes nothing.
 */
#ifndef ENCLUME_UAPI_SGX_ENCLU_HANDLER_H_
#define ENCLUME_UAPI_SGX_ENCLU_HANDLER_H_

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct sgx_enclu_handler - argument of both ioctls
 * @handler:	address of the handler
 * @flags:	SGX_ENCLU_HANDLER_* for the registration, 0 to undo it
 */
struct sgx_enclu_handler {
  __u64 handler;
  __u64 flags;
};

/* Nobody can unregister the handler any more, until exec. */
#define SGX_ENCLU_HANDLER_WRITE_ONCE 0x01

/*
 * Errors of both: ENOTTY (another design, or Linux), EFAULT (the struct can't be read), EINVAL (flags that do
 *not exist; @handler is 0 or no address of user space; whether there is code is not looked at).
 *
 * REGISTER	EBUSY	there is a handler, the same or another
 * UNREGISTER	ENOENT	@handler is not the one that is registered
 *		EPERM	it is, but was registered with SGX_ENCLU_HANDLER_WRITE_ONCE
 *
 * An exception on another thread may still reach a handler that has just been unregistered.
 */
#define SGX_IOC_ENCLU_HANDLER_REGISTER _IOW(0xA4, 0x80, struct sgx_enclu_handler)
#define SGX_IOC_ENCLU_HANDLER_UNREGISTER _IOW(0xA4, 0x81, struct sgx_enclu_handler)

#endif
