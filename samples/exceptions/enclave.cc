// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/enclave.h"
#include "enclume/enclave/exception.h"
#include "exceptions.h"

ENCLUME_ENCLAVE(Exceptions);

namespace exceptions {
namespace {

using enclume::Exception;
using enclume::ThreadHandler;
using enclume::Verdict;

constexpr std::uint8_t kDivideError = 0, kInvalidOpcode = 6;
constexpr enclume::Outside<Exceptions> outside;

// A division by zero is undefined in C++; in assembly it is an exception. The divisor is in RCX.
[[gnu::noinline]] std::uint64_t divide(std::uint64_t dividend, std::uint64_t divisor) {
  std::uint64_t remainder = 0;
  asm volatile("divq %%rcx" : "+a"(dividend), "+d"(remainder) : "c"(divisor) : "cc");
  return dividend;
}

[[gnu::noinline]] void fail_at(std::uint32_t depth) {
  if (depth == 0) {
    divide(1, 0);
  } else {
    fail_at(depth - 1);
  }
  asm volatile("");  // so that it stays a call
}

}  // namespace

// Resume: the handler repairs what was wrong, and the instruction runs again.
std::uint64_t resume(std::uint64_t dividend, std::uint64_t divisor) {
  const ThreadHandler handler([](Exception& exception) {
    if (exception.vector != kDivideError) return Verdict::kPassOn;
    exception.registers.rcx = 1;
    return Verdict::kResume;
  });
  return divide(dividend, divisor);
}

// Skip: the handler does the instruction's work. CPUID is not allowed in an enclave, and raises #UD.
std::uint32_t skip() {
  const ThreadHandler handler([](Exception& exception) {
    if (exception.vector != kInvalidOpcode) return Verdict::kPassOn;
    exception.registers.rax = 7;
    return Verdict::kSkip;
  });
  std::uint32_t a = 0, b, c = 0, d;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return a;
}

// Unwind: execution goes on behind the guard, which has the facts.
std::string unwind(std::uint64_t address) {
  const auto word = enclume::guard([&] { return *reinterpret_cast<const volatile std::uint64_t*>(address); });
  if (word) return "read " + std::to_string(*word);
  return "exception " + std::to_string(word.error().vector) + " at address " +
         std::to_string(word.error().address);
}

// Pass on: the latest handler is asked first, and may leave it to those before it.
std::string pass_on() {
  std::string asked;
  const ThreadHandler early([&](Exception& exception) {
    asked += " early";
    exception.registers.rcx = 1;
    return Verdict::kResume;
  });
  const ThreadHandler late([&](Exception&) {
    asked += " late";
    return Verdict::kPassOn;
  });
  divide(1, 0);
  return "asked:" + asked;
}

// A handler is code like any other: what happens in it goes to the handlers that were made before it.
std::uint64_t nested() {
  const ThreadHandler halves([](Exception& exception) {
    exception.registers.rcx = 2;
    return Verdict::kResume;
  });
  const ThreadHandler divides_itself([](Exception& exception) {
    exception.registers.rcx = divide(10, 0);  // is 5, says the other one
    return Verdict::kResume;
  });
  // The handlers may speak, too; this is only after the fact.
  const std::uint64_t result = divide(100, 0);
  if (!outside.call<print>("two handlers, one in the other, have been at it")) return 0;
  return result;
}

void unhandled(std::uint32_t depth) {
  fail_at(depth);
}

}  // namespace exceptions
