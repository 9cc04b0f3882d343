// SPDX-License-Identifier: Apache-2.0
// Sequences of what a program does to the pages of a running enclave, from several threads: ioctls, mprotect,
// leaves of ENCLU, accesses, entries. Executed under Linux's ABI and on the second model, printed as C.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "property/linux_model.h"

namespace enclume::property {

enum class Order : std::uint8_t {
  Turns,       ///< one step at a time, while other threads may stay inside
  Concurrent,  ///< each thread at its own pace, on its own share of the pages
};

enum class Op : std::uint8_t {
  Read,        ///< page
  Write,       ///< page, value
  Execute,     ///< page
  PutTcs,      ///< page
  Accept,      ///< page, SECINFO.FLAGS
  AcceptCopy,  ///< to, from, SECINFO.FLAGS
  Extend,      ///< page, SECINFO.FLAGS
  Enter,       ///< page
  Stay,        ///< for so many further steps
  Press,
  Restrict,  ///< page, count, permissions
  Modify,    ///< page, count, type
  Remove,    ///< page, count
  Protect,   ///< page, PROT_ bits
};
inline constexpr unsigned kOps = static_cast<unsigned>(Op::Protect) + 1;

struct Call {
  Op op{};
  unsigned thread = 0;
  std::array<std::uint64_t, 3> operands{};
};

std::vector<Call> random_calls(std::uint64_t seed, unsigned length, Order order);

struct Mismatch {
  std::size_t step = 0;
  std::string expected, got;
};

/// How often each call has ended in each way, for tests of the test.
using CallEnds = std::map<std::string, unsigned>;

/// Executes the calls in a fresh enclave. The first result that is not the model's.
std::optional<Mismatch> run(const std::vector<Call>& calls, Order order, CallEnds* ends = nullptr);

/// A whole C program that does the same and ends with 0 if everything is as the model says.
std::string as_program(const std::vector<Call>& calls, Order order);

}  // namespace enclume::property
