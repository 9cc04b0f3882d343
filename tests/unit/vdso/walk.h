// SPDX-License-Identifier: Apache-2.0
// Steps through an entry function and unwinds at each instruction.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <set>

#include "kernel/vdso/entry_code.h"
#include "unit/vdso/probe.h"
#include "unit/vdso/unwinders.h"
#include "unit/vdso/vdso_images.h"

namespace enclume::test {

/// Single-steps one call and unwinds, by two unwinders, at each instruction of the image's entry function.
class Walk {
 public:
  Walk(const LoadedImage& image, const kernel::EntryCode& code, ProbeCall& call);
  ~Walk();
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  void run();

  /// Unwinds from `context` and from here, if it is inside the function.
  void look(ucontext_t& context);

  /// Offsets in the function.
  const std::set<std::uintptr_t>& seen() const { return seen_; }

 private:
  static void on_sigtrap(int, siginfo_t*, void* context);
  void expect_caller(const CallerFrame& caller, const char* unwinder, std::uintptr_t place,
                     std::uint64_t rbx) const;

  std::uintptr_t code_;
  std::size_t size_;
  bool saves_rbx_;  ///< else RBX is the caller's as it is
  ProbeCall& call_;
  std::set<std::uintptr_t> seen_;
  struct sigaction before_ = {};
};

/// Offsets of the instructions of a function, by an independent decoder.
std::set<std::uintptr_t> instructions_of(const kernel::EntryCode& code);

}  // namespace enclume::test
