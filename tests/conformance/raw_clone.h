// SPDX-License-Identifier: Apache-2.0
//
// Threads and processes by system calls of the program's own.
#pragma once

#include <linux/sched.h>
#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace enclume::test {

using RawFunction = long (*)(void*);

inline constexpr std::uint64_t kRawThread =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

}  // namespace enclume::test

extern "C" {

// The child calls function(argument) on its stack, and exits with what that returns, by exit and not
// exit_group. Every call here is one SYSCALL. -errno if there is no child.
long enclume_test_clone(std::uint64_t flags, void* stack, enclume::test::RawFunction function, void* argument,
                        std::atomic<std::uint32_t>* clear_tid, void* tls);
long enclume_test_clone3(clone_args* arguments, std::size_t size, enclume::test::RawFunction function,
                         void* argument);
// The child of vfork, which may not return from where the call was made, calls function(argument).
long enclume_test_vfork(enclume::test::RawFunction function, void* argument);

}  // extern "C"
