// SPDX-License-Identifier: Apache-2.0
//
// What the debugging tests share: the debugger's door to an enclave, and a thread that steps itself.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {

inline constexpr std::uint64_t kTcsDbgOptIn = 1;

// EXITINFO for INT3 after an opt-in entry.
inline constexpr std::uint32_t exitinfo_software(int vector) {
  return kExitinfoValid | 6u << 8 | static_cast<std::uint32_t>(vector);
}

ProbeOptions debug_options();

// /proc/self/mem, where Linux does EDBGRD and EDBGWR on a debug enclave.
class OwnMemory {
 public:
  OwnMemory();
  ~OwnMemory();
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;

  int fd() const { return fd_; }
  // The number of bytes moved, or -errno.
  long read(std::uint64_t address, void* to, std::size_t size) const;
  long write(std::uint64_t address, const void* from, std::size_t size) const;
  // Throw std::system_error.
  std::uint64_t word(std::uint64_t address) const;
  void set_word(std::uint64_t address, std::uint64_t value) const;

 private:
  int fd_;
};

// A probe enclave with ATTRIBUTES.DEBUG, and what its debugger can do.
class DebuggedProbe : public ProbeEnclave {
 public:
  explicit DebuggedProbe(bool opt_in);

  void set_opt_in(bool on, unsigned thread = 0) const;
  std::uint32_t cssa(unsigned thread = 0) const;
  // GPRSGX of frame CSSA - 1.
  Gprsgx newest_frame(unsigned thread = 0) const;
  void set_newest_rip(std::uint64_t rip, unsigned thread = 0) const;
  const OwnMemory& memory() const { return memory_; }

 private:
  std::uint64_t newest_frame_address(unsigned thread) const;
  OwnMemory memory_;
};

// The ENCLU of the vDSO function, and the function's extent with some room behind it.
std::uint64_t vdso_enclu();
bool in_vdso_function(std::uint64_t address);

// One SIGTRAP in the host code that is watched.
struct Step {
  int code;               // si_code
  std::uint64_t address;  // si_addr
  std::array<std::uint64_t, NGREG> registers;
  bool framed;  // RIP is the AEP after an AEX, and `frame` is what the enclave's debugger sees there.
  Gprsgx frame;

  std::uint64_t reg(int number) const { return registers[static_cast<std::size_t>(number)]; }
  std::uint64_t rip() const { return reg(REG_RIP); }
};

// Runs `body` with RFLAGS.TF set and gives the stops for which `watched` holds. Stepping ends with `body`, or
// once `last` says so of a stop that is watched. With `probe` the frame is looked at where there is one, and
// `act` may change it.
struct StepOptions {
  std::function<bool(std::uint64_t rip)> watched = in_vdso_function;
  std::function<bool(const Step&)> last = [](const Step&) { return false; };
  std::function<void(const Step&, ucontext_t&)> act = [](const Step&, ucontext_t&) {};
  const DebuggedProbe* probe = nullptr;
  bool set_tf = true;  // False: record only; somebody else sets TF.
};
std::vector<Step> step_through(const std::function<void()>& body, const StepOptions& options = {});

// Index of the first stop at `rip` with RAX = `rax`, from `begin` on; the size if there is none.
std::size_t find_step(std::span<const Step> steps, std::uint64_t rip, std::uint64_t rax,
                      std::size_t begin = 0);

}  // namespace enclume::test
