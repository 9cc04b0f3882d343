/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one instruction by which all of our C++ calls the kernel. Where it stands decides, under syscall user
 * dispatch, whether the call traps; so the engine may lead enclume_system_call to another one (see
 * engine/start/gate.h).
 */
        .text
        .p2align 4
        .hidden enclume_plain_system_call
        .globl  enclume_plain_system_call
        .type   enclume_plain_system_call, @function
enclume_plain_system_call:
        .cfi_startproc
        syscall
        ret
        .cfi_endproc
        .size   enclume_plain_system_call, . - enclume_plain_system_call

        .data
        .p2align 3
        .hidden enclume_system_call
        .globl  enclume_system_call
        .type   enclume_system_call, @object
enclume_system_call:
        .quad   enclume_plain_system_call
        .size   enclume_system_call, 8

        .section .note.GNU-stack, "", @progbits
