// SPDX-License-Identifier: Apache-2.0
//
// The probe enclave: loads the code of probe.S and calls its operations. Every result comes back as the vDSO
// function reported it, so that a test can look at the way there and not only at the answer.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "enclaves/call_enclave.h"
#include "enclaves/probe_abi.h"
#include "enclaves/sgx_loader.h"

namespace enclume::test {

// Arguments and results of one operation; see probe_abi.h.
struct ProbeArgs {
  std::array<std::uint64_t, 8> in{};
  std::array<std::uint64_t, 24> out{};
};
static_assert(offsetof(ProbeArgs, out) == ARG_OUT(0));

struct ProbeOptions {
  unsigned threads = 1;
  std::uint32_t frames = 3;  // NSSA; at most PROBE_MAX_LEVELS are of use
  ImageOptions image;
  std::uint64_t tcs_flags = 0;
  // Read-write pages behind the threads, filled with a pattern of their own and not measured.
  std::uint64_t heap_pages = 0;
  // Pages behind the heap, measured, for code of a test's own.
  std::vector<std::uint8_t> code{};
  std::uint64_t code_permissions = kR | kX;
  // SECS.SIZE at least; the rest beyond the pages is a hole.
  std::uint64_t minimum_size = 0;
};

// What one instruction of PROBE_OP_RAISE looks like in the image, in offsets from the base.
struct RaiseSite {
  std::uint64_t instruction;
  std::uint64_t next;
};
RaiseSite raise_site(std::uint64_t number);

// Offsets of labels of the probe's code from the base.
struct ProbeLabels {
  std::uint64_t entry, finish, plain_return, work, tail_ud2, tail_dump;
};
ProbeLabels probe_labels();
std::span<const std::uint8_t> probe_code();

EnclaveImage probe_image(const ProbeOptions& options);

// Offsets in that image.
std::uint64_t tcs_offset(const ProbeOptions& options, unsigned thread);
std::uint64_t heap_offset(const ProbeOptions& options);
std::uint64_t code_offset(const ProbeOptions& options);

// XCR0 of this machine, as XGETBV gives it; the XFRM that an enclave may ask for at most.
std::uint64_t machine_xcr0();

struct CallResult {
  int status;  // Of the vDSO function.
  sgx_enclave_run run;
  ProbeArgs args;

  bool exited() const { return status == 0 && run.function == static_cast<std::uint32_t>(Leaf::kEexit); }
  bool faulted() const { return status == 0 && !exited(); }
};

class ProbeEnclave {
 public:
  explicit ProbeEnclave(const ProbeOptions& options = {}, const LoadOptions& load = {});

  const ProbeOptions& options() const { return options_; }
  const EnclaveImage& image() const { return image_; }
  LoadedEnclave& enclave() { return enclave_; }
  int fd() const { return enclave_.fd(); }
  std::uint64_t base() const { return enclave_.base(); }
  std::uint64_t tcs(unsigned thread = 0) const { return base() + tcs_offset(options_, thread); }
  std::uint64_t scratch() const { return base() + PROBE_SCRATCH; }
  std::uint64_t heap() const { return base() + heap_offset(options_); }
  std::uint64_t code() const { return base() + code_offset(options_); }

  // EENTER by the vDSO function with an operation and its arguments.
  CallResult call(std::uint64_t operation, const std::vector<std::uint64_t>& in = {},
                  unsigned thread = 0) const;
  // ERESUME after an exception, from this stack. The interrupted operation goes on using the ProbeArgs that
  // it was called with, so those must still be there.
  int resume(sgx_enclave_run& run, unsigned thread = 0) const;

  // Touches every page that the enclave can read, so that no page fault comes of it later.
  void touch(unsigned thread = 0) const;

  // Operations that must succeed; they throw std::runtime_error with the exception's facts otherwise.
  std::uint64_t read(std::uint64_t address, unsigned thread = 0) const;
  void write(std::uint64_t address, std::uint64_t value, unsigned thread = 0) const;
  void copy(std::uint64_t to, std::uint64_t from, std::uint64_t length, unsigned thread = 0) const;
  struct LeafResult {
    std::uint64_t rax;
    std::uint64_t rflags;
  };
  LeafResult enclu(Leaf leaf, std::uint64_t rbx, std::uint64_t rcx, std::uint64_t rdx = 0,
                   unsigned thread = 0) const;
  // EACCEPT and the like with a SECINFO, which is put into the scratch pages first.
  LeafResult enclu_secinfo(Leaf leaf, std::uint64_t secinfo_flags, std::uint64_t address,
                           std::uint64_t rdx = 0, unsigned thread = 0) const;

  // After an exception (CSSA > 0): the enclave reads or writes its own newest SSA frame.
  Gprsgx ssa_registers(unsigned thread = 0) const;
  Exinfo ssa_exinfo(unsigned thread = 0) const;
  void ssa_read(std::uint64_t offset, void* to, std::uint64_t length, unsigned thread = 0) const;
  void ssa_write(std::uint64_t offset, const void* from, std::uint64_t length, unsigned thread = 0) const;
  void set_ssa_rip(std::uint64_t rip, unsigned thread = 0) const;
  std::uint64_t frame_size() const { return options_.image.ssa_frame_pages * kPage; }

  // Ends an operation that has faulted: the enclave leaves by its ordinary exit, CSSA is 0 again.
  void abandon(unsigned thread = 0) const;

 private:
  CallResult must_exit(CallResult result) const;

  ProbeOptions options_;
  EnclaveImage image_;
  LoadedEnclave enclave_;
};

// The vDSO function; throws if there is none.
vdso_sgx_enter_enclave_t vdso_function();
// The same, or where there is none one of our own, by which entries that end in an EEXIT work. ProbeEnclave
// uses it, so that it serves in every exception design.
vdso_sgx_enter_enclave_t entry_function();

}  // namespace enclume::test
