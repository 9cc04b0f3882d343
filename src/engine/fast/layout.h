/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that the direct paths' assembly shares with C++, which checks each against the real type
 * (fast/door.h, arch/structs, arch/epc). */
#ifndef ENCLUME_ENGINE_FAST_LAYOUT_H
#define ENCLUME_ENGINE_FAST_LAYOUT_H

/* enclume_fast_on: whether threads may enter directly, and how they are told apart. */
#define FAST_OFF 0
#define FAST_BY_LIBC 1                 /* a variable in libc's TLS, FS, the stack */
#define FAST_BY_DESCRIPTOR_AND_STACK 2 /* the descriptor (thread_descriptor.h), FS, the stack */
#define FAST_BY_DESCRIPTOR 3           /* the descriptor */

/* The last of the descriptors in the GDT that are the thread's own (Linux GDT_ENTRY_TLS_MAX), with requested
 * privilege level 3. Its limit is the number of the thread's slot, and above that a mark. */
#define THREAD_SELECTOR 0x73
#define THREAD_SLOT_BITS 15
#define THREAD_MARK 0xa8000

/* FastThread, from its start. */
#define FAST_FS 0
#define FAST_STACK_LOW 8
#define FAST_STACK_SIZE 16
#define FAST_DOOR 24
#define FAST_ONE 32
#define FAST_EPOCH 40
#define FAST_STALE 44
#define FAST_RCX 48
#define FAST_RDX 56
#define FAST_FLAGS 64
#define FAST_TAIL 72
#define FAST_ES 84
#define FAST_COUNTS 88
#define FAST_ENTERED_AT 96
#define FAST_RESUME 112 /* what IRETQ pops: RIP, CS, RFLAGS, RSP, SS */
#define FAST_RESUME_FS 152
#define FAST_RESUME_GS 160
#define FAST_HELD 168
#define FAST_RSI 176
#define FAST_DOORS 192

/* DirectCounts, from its start. */
#define COUNT_EENTER 0
#define COUNT_ERESUME 8
#define COUNT_EEXIT 16
#define COUNT_TICKS 24

/* FastDoor, from its start. */
#define DOOR_TCS 0
#define DOOR_SECS 8
#define DOOR_PAGE 16
#define DOOR_TRACKING 24
#define DOOR_VMAS 32
#define DOOR_PROTECTION_AT 40
#define DOOR_PROTECTION 48
#define DOOR_FLAGS 56
#define DOOR_OSSA 64
#define DOOR_CSSA 72
#define DOOR_OENTRY 80
#define DOOR_OFSBASE 88
#define DOOR_OGSBASE 96
#define DOOR_EPCM 104
#define DOOR_EPCM_WORD 112
#define DOOR_PAGES 120
#define DOOR_SSA_EPCM 168
#define DOOR_ENTRY 200
#define DOOR_FS 208
#define DOOR_GS 216
#define DOOR_GPR 224
#define DOOR_XSAVE 232
#define DOOR_XFRM 240
#define DOOR_BASE 248
#define DOOR_LIMIT 256
#define DOOR_OTHER 264
#define DOOR_PKRU 272
#define DOOR_CLOSED 280
#define DOOR_SIZE 448
#define DOOR_TCSS_LOG2 2 /* TCSs that a thread remembers, each with two frames */
#define DOOR_HASH 0x9e3779b1

/* Tcs, EpcmEntry, Gprsgx, and the word of arch/epc/tracking.h. */
#define TCS_STATE 0
#define TCS_FLAGS 8
#define TCS_AEXNOTIFY 2 /* of FLAGS */
#define TCS_OSSA 16
#define TCS_CSSA 24
#define TCS_OENTRY 32
#define TCS_AEP 40
#define TCS_OFSBASE 48
#define TCS_OGSBASE 56
#define EPCM_OWNER 28
#define GPRSGX_RFLAGS 128
#define GPRSGX_RIP 136
#define GPRSGX_URSP 144
#define GPRSGX_URBP 152
#define GPRSGX_FSBASE 168
#define GPRSGX_GSBASE 176
#define XSAVE_XSTATE_BV 512
#define XSAVE_XCOMP_BV 520
#define PKRU_COMPONENT 9
#define PKRU_KEY_ZERO 3
/* RFLAGS that ERESUME takes from the frame: CF PF AF ZF SF DF OF NT RF AC ID (arch/enclu/eresume.cc). */
#define RESUMED_RFLAGS 0x254cd5
#define TRACKING_EPOCH_BITS 24
#define TRACKING_COUNT_BITS 20

/* What the way in keeps below the program's RSP, from the lowest address. */
#define ENTER_TARGET 0
#define ENTER_R8 8
#define ENTER_RDI 16
#define ENTER_RSI 24
#define ENTER_RDX 32
#define ENTER_RAX 40
#define ENTER_FLAGS 48
#define ENTER_SIZE 56

/* Labels that fast/entry.h knows. */
#define ENTER_PLACES 32
#define LEAVE_PLACES 19

#endif
