// SPDX-License-Identifier: Apache-2.0
//
// The ways into an enclave: the vDSO function, and an ENCLU of our own with our own AEP.
#pragma once

#include <asm/sgx.h>

#include <cstddef>
#include <cstdint>

namespace enclume::test {

// What is loaded before an entry and what was found after the exit. RSP and RBP are found only.
struct RegisterFile {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rflags;  // Before enclume_test_raw_enclu: loaded if not zero.
};
static_assert(sizeof(RegisterFile) == 17 * 8 && offsetof(RegisterFile, rflags) == 128);

// __vdso_sgx_enter_enclave by the ELF image that AT_SYSINFO_EHDR points to, through DT_HASH or DT_GNU_HASH;
// nullptr if there is none.
vdso_sgx_enter_enclave_t find_vdso_function();

}  // namespace enclume::test

extern "C" {

// Calls `function` by its contract and keeps what that contract lets it clobber: the callee-saved registers,
// MXCSR, the x87 control word and DF.
int enclume_test_call_vdso(std::uint64_t rdi, std::uint64_t rsi, std::uint64_t rdx, std::uint32_t leaf,
                           std::uint64_t r8, std::uint64_t r9, sgx_enclave_run* run,
                           vdso_sgx_enter_enclave_t function);

// The same with all general registers but RAX, RBX, RCX (run, leaf), RSP and RBP taken from *in, and all
// registers as they are on return stored to *out. RCX of *in is the leaf.
int enclume_test_call_vdso_registers(const enclume::test::RegisterFile* in, enclume::test::RegisterFile* out,
                                     sgx_enclave_run* run, vdso_sgx_enter_enclave_t function);

// For the probe enclave, after an AEX: enters once with PROBE_OP_ADOPT, so that the interrupted level finds
// the stack of this call and not one that may be gone, then resumes from exactly the same stack pointer. The
// status of the resuming call; -1000 if the enclave could not be entered.
int enclume_test_adopt_and_resume(sgx_enclave_run* run, vdso_sgx_enter_enclave_t function,
                                  const void* probe_args);

// enclume_test_call_vdso_registers between an XRSTOR of *state_in and an XSAVE to *state_out (either may be
// null), both with `mask`.
int enclume_test_call_vdso_xstate(const enclume::test::RegisterFile* in, enclume::test::RegisterFile* out,
                                  sgx_enclave_run* run, vdso_sgx_enter_enclave_t function,
                                  const void* state_in, void* state_out, std::uint64_t mask);

// ENCLU with RAX (the leaf) and RBX (the TCS) of *in, at enclume_test_enclu; RCX = enclume_test_aep, where an
// ENCLU resumes. An EEXIT to the address after either ENCLU comes back here. A signal handler that wants to
// end the call sets RIP to enclume_test_enclu_done and leaves RSP alone.
void enclume_test_raw_enclu(const enclume::test::RegisterFile* in, enclume::test::RegisterFile* out);
// The same with another AEP in RCX.
void enclume_test_raw_enclu_aep(const enclume::test::RegisterFile* in, enclume::test::RegisterFile* out,
                                const void* aep);
// Calls a function by the contract of include/enclume/uapi/sgx_vdso_enclu.h with all registers of *in but RSP
// and RBP, and keeps all registers as they are on return in *out.
void enclume_test_call_enclu(const enclume::test::RegisterFile* in, enclume::test::RegisterFile* out,
                             const void* function);
// Such a function of our own, ENCLU and RET, whose AEP is what RCX says. The second is the RET.
extern const char enclume_test_enclu_function[];
extern const char enclume_test_enclu_function_return[];
// For entries that end by EEXIT, where the vDSO has no function: as that one, with an ENCLU of its own and no
// fixup.
int enclume_test_own_enter(unsigned long rdi, unsigned long rsi, unsigned long rdx, unsigned int leaf,
                           unsigned long r8, unsigned long r9, sgx_enclave_run* run);
extern const char enclume_test_enclu[];
extern const char enclume_test_aep[];
extern const char enclume_test_enclu_done[];
// The same with the AEP in R9. Its frame is laid out as that of the vDSO function.
int enclume_test_own_enter_aep(unsigned long rdi, unsigned long rsi, unsigned long rdx, unsigned int leaf,
                               unsigned long r8, unsigned long aep, sgx_enclave_run* run);

// EENTER by an ENCLU of our own into the probe enclave, with an AEP that is no ENCLU: each time that the
// enclave leaves asynchronously, code there counts in *count, enters the same TCS once more with
// PROBE_OP_SSA_READ and the arguments *spy, and only then resumes. What a runtime does that looks at EXITINFO
// after every exit.
void enclume_test_spied_enclu(const enclume::test::RegisterFile* in, enclume::test::RegisterFile* out,
                              const void* spy, std::uint64_t* count);
}
