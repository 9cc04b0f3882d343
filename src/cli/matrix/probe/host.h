// SPDX-License-Identifier: Apache-2.0
// The host's side of the exception matrix, in assembly (host.S): ways into an enclave, places to land at, and
// code that raises exceptions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cli/matrix/probe/abi.h"

namespace enclume::cli::matrix::probe {

struct Registers {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rflags;
  std::uint64_t rip;
};
static_assert(sizeof(Registers) == REGISTERS_SIZE && offsetof(Registers, rbp) == AT_RBP &&
              offsetof(Registers, r15) == AT_R15 && offsetof(Registers, rip) == AT_RIP);

// How an attempt ended, and the registers as they were then.
struct Landing {
  Registers registers;
  std::uint32_t mxcsr;
  std::uint16_t fcw, fsw;
  std::uint32_t how;  // LANDED_…
  std::uint32_t padding;
  std::uint64_t anchor;  // what RSP was when matrix_jump() jumped
};
static_assert(offsetof(Landing, mxcsr) == LANDING_MXCSR && offsetof(Landing, fcw) == LANDING_FCW &&
              offsetof(Landing, fsw) == LANDING_FSW && offsetof(Landing, how) == LANDING_HOW &&
              offsetof(Landing, anchor) == LANDING_ANCHOR);

// A piece of code that raises an exception, by name.
struct Trigger {
  const char* name;
  const std::uint8_t* code;
  const std::uint8_t* site;   // the instruction in question
  const std::uint8_t* after;  // what is behind it
};

}  // namespace enclume::cli::matrix::probe

extern "C" {
// Where the attempt under way lands, and the host's RSP in it. One thread.
extern enclume::cli::matrix::probe::Landing matrix_landing;
extern enclume::cli::matrix::probe::Registers matrix_at_site;
extern std::uint64_t matrix_anchor;

// Loads all registers but RSP and goes on at RIP, with RSP = matrix_anchor. Comes back when something has
// landed. Attempts nest.
void matrix_jump(const enclume::cli::matrix::probe::Registers* registers);
// The same with a call of a function that has one argument on the stack, at RSP = matrix_anchor - 8.
void matrix_call(const enclume::cli::matrix::probe::Registers* registers, const void* function,
                 void* stack_argument);
// EENTER of another thread, which returns when the enclave has left by EEXIT.
int matrix_plain_enter(std::uint64_t tcs, std::uint64_t routine, std::uint64_t argument);

extern const std::uint8_t matrix_land_exit[];
extern const std::uint8_t matrix_land_handler[];  // as the address space's handler
extern const std::uint8_t matrix_land_signal[];  // for a signal handler to go on at, with RSP = matrix_anchor

// For the vDSO function; goes on in matrix_on_vdso_exit(), which door.cc defines.
extern const std::uint8_t matrix_vdso_handler[];

extern const std::uint8_t matrix_enclu[];
extern const std::uint8_t matrix_lock_enclu[];
extern const std::uint8_t matrix_aep_enclu[];
extern const std::uint8_t matrix_aep_nop[];
extern const std::uint8_t matrix_nop_ud2[];
extern const std::uint8_t matrix_aep_ud2[];
extern const std::uint8_t matrix_aep_int3[];
extern const std::uint8_t matrix_aep_load[];  // of address 18h

extern const enclume::cli::matrix::probe::Trigger __start_matrix_host_triggers[];
extern const enclume::cli::matrix::probe::Trigger __stop_matrix_host_triggers[];
extern const enclume::cli::matrix::probe::Trigger __start_matrix_enclave_triggers[];
extern const enclume::cli::matrix::probe::Trigger __stop_matrix_enclave_triggers[];

extern const std::uint8_t matrix_enclave_begin[];
extern const std::uint8_t matrix_enclave_end[];
extern const std::uint8_t matrix_enclave_entry[];
extern const std::uint8_t matrix_enclave_dump[];
extern const std::uint8_t matrix_enclave_poke[];
extern const std::uint8_t matrix_enclave_leave[];
}
