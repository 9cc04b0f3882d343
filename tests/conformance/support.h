// SPDX-License-Identifier: Apache-2.0
//
// What the conformance programs share: caught signals, children that may die, XSAVE areas.
#pragma once

#include <signal.h>
#include <sys/ucontext.h>
#include <ucontext.h>

#include <array>
#include <cstdint>
#include <functional>

#include "enclaves/probe_enclave.h"

namespace enclume::test {

// Whether an enclave computes, and whether a fault inside comes out as it should.
bool works(const ProbeEnclave& probe);
bool faults(const ProbeEnclave& probe);

// Installs a handler and puts the old one back.
class ScopedSigaction {
 public:
  using Handler = void (*)(int, siginfo_t*, void*);
  ScopedSigaction(int signal, Handler handler, unsigned flags = 0, std::initializer_list<int> mask = {});
  ~ScopedSigaction();
  ScopedSigaction(const ScopedSigaction&) = delete;
  ScopedSigaction& operator=(const ScopedSigaction&) = delete;

 private:
  int signal_;
  struct sigaction old_;
};

class ScopedSignalMask {
 public:
  ScopedSignalMask(int how, std::initializer_list<int> signals);
  ~ScopedSignalMask();
  ScopedSignalMask(const ScopedSignalMask&) = delete;
  ScopedSignalMask& operator=(const ScopedSignalMask&) = delete;

 private:
  sigset_t old_;
};

// What a handler saw.
struct CaughtSignal {
  volatile int count = 0;
  int signal = 0;
  int code = 0;
  std::uint64_t address = 0;
  std::array<std::uint64_t, NGREG> registers{};
  std::uint16_t fcw = 0, fsw = 0;
  std::uint32_t mxcsr = 0;
  std::array<std::uint32_t, 64> xmm{};

  std::uint64_t reg(int number) const { return registers[static_cast<std::size_t>(number)]; }
};

// Catches one synchronous signal at a time: records it and goes on at `resume_at`, or, where that is 0, where
// the interrupted code was.
class SignalCatcher {
 public:
  SignalCatcher(std::initializer_list<int> signals, const void* resume_at, int flags = 0);
  ~SignalCatcher();
  const CaughtSignal& caught() const;

 private:
  std::array<struct sigaction, NSIG> old_;
  std::uint64_t installed_ = 0;
};

// Runs `body` in a forked child and gives the status of waitpid. The child exits with what `body` returns.
int in_child(const std::function<int()>& body);
// The same, with a deadline after which the child is killed.
int in_child(const std::function<int()>& body, unsigned seconds);

// prctl(PR_SET_MDWE) of Linux 6.3: no mapping becomes executable that was not made so, and none is writable,
// too. False where the kernel has no such thing.
bool deny_write_exec();

// An XSAVE area, large enough for all that this machine has.
class XsaveArea {
 public:
  XsaveArea();
  XsaveArea(const XsaveArea&) = delete;
  XsaveArea& operator=(const XsaveArea&) = delete;
  std::uint8_t* data() { return bytes_; }
  const std::uint8_t* data() const { return bytes_; }
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(bytes_); }
  std::uint64_t xstate_bv() const;
  std::uint32_t mxcsr() const;
  std::uint16_t fcw() const;

  // Fills the components of `mask` (x87, SSE, AVX, AVX-512) with values that are valid and tell each register
  // from the others.
  void fill_pattern(std::uint64_t mask, std::uint8_t seed);
  // The first component of `mask` that differs, as its number; -1 if none does. An absent component
  // (XSTATE_BV) counts as its initial value, zero; MXCSR and the x87 control word are compared where `mask`
  // has SSE and x87.
  int first_difference(const XsaveArea& other, std::uint64_t mask) const;

 private:
  static constexpr std::size_t kSize = 16384;
  alignas(64) std::uint8_t bytes_[kSize];
};

// Where component `number` (2 and above) lies in the standard format; size 0 if this machine has none.
struct XsaveComponent {
  std::uint32_t offset;
  std::uint32_t size;
};
XsaveComponent xsave_component(unsigned number);

// The part of XFRM that the tests use: x87, SSE, and AVX and AVX-512 where the machine and the SGX leaf have
// them.
std::uint64_t testable_xfrm();

// Registers with a value of its own in each; RFLAGS has CF, PF, AF, ZF, SF, OF set.
RegisterFile register_pattern();
inline constexpr std::uint64_t kStatusFlags = 0x8d5;
inline constexpr std::uint64_t kFlagTf = 0x100;
inline constexpr std::uint64_t kFlagDf = 0x400;
inline constexpr std::uint64_t kFlagRf = 0x10000;
inline constexpr std::uint64_t kFlagAc = 0x40000;

inline std::uint64_t address_of(const void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}

}  // namespace enclume::test
