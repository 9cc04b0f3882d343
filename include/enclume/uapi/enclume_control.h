/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program can ask of the emulated machine itself: for tests of a runtime, which bring about what
 * hardware does when nobody wants it. The ioctls work on any descriptor of /dev/sgx_enclave, by any way that
 * system calls reach Enclume. On hardware they give ENOTTY, as does a file that is no enclave.
 */
#ifndef ENCLUME_UAPI_ENCLUME_CONTROL_H_
#define ENCLUME_UAPI_ENCLUME_CONTROL_H_

#include <linux/ioctl.h>

/*
 * The EPC is lost, as by a power transition or when a virtual machine moves to another host: every page of
 * the enclave that the descriptor is for (ENCLUME_LOSE_ENCLAVE) or of all enclaves of the machine, in the
 * processes that share it (ENCLUME_LOSE_MACHINE). The value is the argument itself, no pointer. Threads
 * inside leave by an asynchronous exit. EENTER and ERESUME then raise #PF with the SGX bit at the TCS;
 * docs/memory.md has the rest.
 *
 * Returns how many enclaves of this process have lost their EPC. The other processes of a machine lose theirs
 * a moment later. Errors: ENOTTY; EINVAL (no such argument; ENCLUME_LOSE_ENCLAVE before
 * SGX_IOC_ENCLAVE_CREATE).
 */
#define ENCLUME_IOC_LOSE_EPC _IO(0xEC, 0x00)

#define ENCLUME_LOSE_ENCLAVE 0
#define ENCLUME_LOSE_MACHINE 1

#endif
