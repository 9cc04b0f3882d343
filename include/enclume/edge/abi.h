/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What host and enclave agree on: registers at an entry, the mailbox in the host's memory, the thread block
 * in the enclave's. Included by C++ and by assembly, so that no offset stands anywhere twice.
 */
#ifndef ENCLUME_EDGE_ABI_H_
#define ENCLUME_EDGE_ABI_H_

/*
 * EENTER: RDI = command, RSI = mailbox, RDX = number of the call or status of the OCALL that returns. All
 * other registers are ignored. EEXIT: what there is to say is in the mailbox; all registers are scrubbed.
 */
#define ENCLUME_COMMAND_START 1  /* once, before all others: RDX = fingerprint of the interface */
#define ENCLUME_COMMAND_CALL 2   /* an ECALL */
#define ENCLUME_COMMAND_RETURN 3 /* the OCALL that the enclave has left by is done */
#define ENCLUME_COMMAND_EXCEPTION \
  4 /* look at the exception that has interrupted this TCS; RDX = 1: just end it */

#define ENCLUME_COMMAND_CANCEL \
  5 /* end the call that was interrupted, which has had its time; EXIT_RESUME, value 1: not at this place */

/* Why the enclave has left: Mailbox.exit. */
#define ENCLUME_EXIT_REFUSED 0 /* the enclave wrote nothing: the host had put this there */
#define ENCLUME_EXIT_DONE 1    /* the ECALL is over; value: status */
#define ENCLUME_EXIT_OCALL 2   /* value: number of the call; words: where its arguments are */
#define ENCLUME_EXIT_RESUME 3  /* the exception has been seen to: ERESUME */

/* What the platform has, in Mailbox.words of COMMAND_START. The host's word: if it lies, less works. */
#define ENCLUME_PLATFORM_DYNAMIC_MEMORY 1 /* pages can come later: SGX2, and the kernel's part of it */
#define ENCLUME_PLATFORM_XINUSE 2         /* XGETBV knows ECX = 1 (CPUID.0DH.1:EAX[2]) */

/* OCALLs of the runtime's own; the user's count up from 0. */
#define ENCLUME_OCALL_ALLOCATE \
  0x80000000 /* words[0] = bytes; on return words[0] = address, valid until DONE */
/* Each thread (TCS) has an event. words[0] = nanoseconds, all ones: no limit; waits for the event and takes
 * it; on return words[0] = 0, or 1 if the time was over first. */
#define ENCLUME_OCALL_SLEEP 0x80000001
#define ENCLUME_OCALL_WAKE 0x80000002 /* words[0] = index of the thread whose event comes */

/* Offsets in the thread block, which FS leads to. The first eight words are the compiler's (0: self, 0x28:
 * stack protector). What begins with SEED is put there by the loader, measured, as offsets from the enclave's
 * base. */
#define ENCLUME_TB_SELF 0x00
#define ENCLUME_TB_CANARY 0x28
#define ENCLUME_TB_STACK 0x40        /* RSP for the next entry; 0: this thread has never run */
#define ENCLUME_TB_LEVEL 0x48        /* the CSSA that the running code was entered with */
#define ENCLUME_TB_FRAME 0x50        /* innermost EntryFrame; 0: none */
#define ENCLUME_TB_OUTSIDE 0x58      /* 1: left by an OCALL, which may be returned to */
#define ENCLUME_TB_CRITICAL 0x68     /* how many things must not be left undone now */
#define ENCLUME_TB_STACK_LIMIT 0x70  /* lowest address that the stack may grow down to */
#define ENCLUME_TB_STACK_BOTTOM 0x78 /* lowest address that it has pages for */
#define ENCLUME_TB_SEED_STACK_TOP 0x80
#define ENCLUME_TB_SEED_STACK_END 0x88 /* lowest address that the loader adds */
#define ENCLUME_TB_SEED_ALT_TOP 0x90   /* stack for exception handlers */
#define ENCLUME_TB_SEED_ALT_END 0x98
#define ENCLUME_TB_SEED_TCS 0xa0
#define ENCLUME_TB_SEED_SSA 0xa8
#define ENCLUME_TB_SEED_BLOCK 0xb0 /* of the thread block itself */
#define ENCLUME_TB_SEED_INDEX 0xb8

/* Offsets in an EntryFrame, which each entry leaves on the enclave's stack: how to go back. */
#define ENCLUME_FRAME_HOST_RSP 0x00
#define ENCLUME_FRAME_HOST_RBP 0x08
#define ENCLUME_FRAME_HOST_RIP 0x10
#define ENCLUME_FRAME_OUTER 0x18   /* the next EntryFrame */
#define ENCLUME_FRAME_OUTSIDE 0x20 /* TB_OUTSIDE before this entry */
#define ENCLUME_FRAME_MAILBOX 0x28
#define ENCLUME_FRAME_STACK 0x30 /* TB_STACK before this entry */
#define ENCLUME_FRAME_CONTEXT 0x38
#define ENCLUME_FRAME_SIZE 0x40

#ifndef __ASSEMBLER__
#include <cstddef>
#include <cstdint>

namespace enclume::edge {

/// In the host's memory, one for each ECALL that is under way. The enclave reads each field once.
struct Mailbox {
  // Host to enclave.
  std::uint64_t words;         ///< Address of the arguments, and of the result: see marshal.h.
                               ///< COMMAND_START: ENCLUME_PLATFORM_*.
  std::uint64_t scratch;       ///< Host memory that the enclave may use for data that go out.
  std::uint64_t scratch_size;  ///< Bytes.
  std::uint64_t dumps;         ///< COMMAND_EXCEPTION: address of a DumpRecord for each SSA frame; 0: none.
  // Enclave to host.
  std::uint64_t exit;          ///< ENCLUME_EXIT_*
  std::uint64_t value;         ///< Depends on `exit`.
  std::uint64_t out_words;     ///< EXIT_OCALL: address of its arguments, in the scratch memory.
  std::uint64_t scratch_used;  ///< EXIT_OCALL: bytes from its start that the host must leave alone.
};
static_assert(sizeof(Mailbox) == 64 && alignof(Mailbox) == 8);

struct ThreadBlock {
  std::uint64_t self;
  std::uint64_t compiler[4];
  std::uint64_t canary;
  std::uint64_t compiler2[2];
  std::uint64_t stack;
  std::uint64_t level;
  std::uint64_t frame;
  std::uint64_t outside;
  std::uint64_t reserved[1];
  std::uint64_t critical;
  std::uint64_t stack_limit;
  std::uint64_t stack_bottom;
  std::uint64_t seed_stack_top;
  std::uint64_t seed_stack_end;
  std::uint64_t seed_alt_top;
  std::uint64_t seed_alt_end;
  std::uint64_t seed_tcs;
  std::uint64_t seed_ssa;
  std::uint64_t seed_block;
  std::uint64_t seed_index;
};
static_assert(offsetof(ThreadBlock, canary) == ENCLUME_TB_CANARY);
static_assert(offsetof(ThreadBlock, stack) == ENCLUME_TB_STACK);
static_assert(offsetof(ThreadBlock, level) == ENCLUME_TB_LEVEL);
static_assert(offsetof(ThreadBlock, frame) == ENCLUME_TB_FRAME);
static_assert(offsetof(ThreadBlock, outside) == ENCLUME_TB_OUTSIDE);
static_assert(offsetof(ThreadBlock, critical) == ENCLUME_TB_CRITICAL);
static_assert(offsetof(ThreadBlock, stack_limit) == ENCLUME_TB_STACK_LIMIT);
static_assert(offsetof(ThreadBlock, stack_bottom) == ENCLUME_TB_STACK_BOTTOM);
static_assert(offsetof(ThreadBlock, seed_stack_top) == ENCLUME_TB_SEED_STACK_TOP);
static_assert(offsetof(ThreadBlock, seed_stack_end) == ENCLUME_TB_SEED_STACK_END);
static_assert(offsetof(ThreadBlock, seed_alt_top) == ENCLUME_TB_SEED_ALT_TOP);
static_assert(offsetof(ThreadBlock, seed_alt_end) == ENCLUME_TB_SEED_ALT_END);
static_assert(offsetof(ThreadBlock, seed_tcs) == ENCLUME_TB_SEED_TCS);
static_assert(offsetof(ThreadBlock, seed_ssa) == ENCLUME_TB_SEED_SSA);
static_assert(offsetof(ThreadBlock, seed_block) == ENCLUME_TB_SEED_BLOCK);
static_assert(offsetof(ThreadBlock, seed_index) == ENCLUME_TB_SEED_INDEX);

/// What each entry leaves on the enclave's stack.
struct EntryFrame {
  std::uint64_t host_rsp, host_rbp, host_rip;
  std::uint64_t outer;
  std::uint64_t outside;
  std::uint64_t mailbox;
  std::uint64_t stack;
  std::uint64_t context;  ///< what C++ keeps of this entry; 0: nothing yet
};
static_assert(offsetof(EntryFrame, host_rsp) == ENCLUME_FRAME_HOST_RSP);
static_assert(offsetof(EntryFrame, host_rbp) == ENCLUME_FRAME_HOST_RBP);
static_assert(offsetof(EntryFrame, host_rip) == ENCLUME_FRAME_HOST_RIP);
static_assert(offsetof(EntryFrame, outer) == ENCLUME_FRAME_OUTER);
static_assert(offsetof(EntryFrame, outside) == ENCLUME_FRAME_OUTSIDE);
static_assert(offsetof(EntryFrame, mailbox) == ENCLUME_FRAME_MAILBOX);
static_assert(offsetof(EntryFrame, stack) == ENCLUME_FRAME_STACK);
static_assert(offsetof(EntryFrame, context) == ENCLUME_FRAME_CONTEXT);
static_assert(sizeof(EntryFrame) == ENCLUME_FRAME_SIZE);

}  // namespace enclume::edge
#endif

#endif
