// SPDX-License-Identifier: Apache-2.0
// Which thread this is, kept by the kernel. Three descriptors of the GDT are each thread's own: the kernel
// loads them when it switches to the thread, as 32-bit programs have it for their thread-local storage. The
// limit of the last one is the number of the thread's slot. LSL reads it, with no segment register, and
// nothing but a system call changes it: set_thread_area(2), which only INT 0x80 makes.
#pragma once

#include <cstdint>

#include "engine/threads/thread_block.h"

namespace enclume::engine {

extern "C" {
/// Signal context: safe, once it is known that there is INT 0x80.
long enclume_int80(std::uint32_t number, std::uint32_t argument);
// Addresses in the assembly.
extern const char enclume_int80_instruction[];
extern const char enclume_int80_missing[];
}

/// Whether this kernel has such descriptors and nothing forbids to make them. Signals are not blocked, and
/// their handlers are there: where there is no INT 0x80, it is found out by a fault. `block` is the calling
/// thread's, or null. Signal context: safe where the engine's own faults are.
[[nodiscard]] bool has_thread_descriptors(ThreadBlock* block);

/// Gives the calling thread one for `block`, which is its own, if it can have one; FastThread::descriptor
/// says so then. The first time, unless has_thread_descriptors() was asked before, that is: most programs
/// never enter an enclave. Signal context: safe where the engine's own faults are.
void give_descriptor(ThreadBlock& block);

/// Whether there is no use in trying that again: the kernel has none, memory is missing below 2 GiB, or
/// there is a seccomp filter.
[[nodiscard]] bool no_descriptors();

/// A new thread has its creator's descriptor: takes it away, before anything of the program's can run. Where
/// that can't be done, nobody enters directly any more. Signals are blocked, all of them, and syscall user
/// dispatch is not armed yet. Signal context: safe.
void drop_inherited_descriptor();

}  // namespace enclume::engine
