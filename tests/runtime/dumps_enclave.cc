// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/enclave.h"
#include "enclume/enclave/exception.h"
#include "runtime/dumps.h"

ENCLUME_ENCLAVE(Dumps);

namespace dumps {
namespace {

using enclume::Exception;
using enclume::Verdict;
constexpr enclume::Outside<Dumps> outside;

[[gnu::noinline]] void fail(std::uint64_t secret) {
  // A register that nothing else has a reason to hold that value in.
  asm volatile("mov %0, %%r15; ud2" : : "r"(secret) : "r15");
}

[[gnu::noinline]] void descend(std::uint64_t secret, std::uint32_t depth) {
  if (depth == 0) {
    fail(secret);
  } else {
    descend(secret, depth - 1);
  }
  asm volatile("");  // so that each is a call
}

[[gnu::noinline]] unsigned fill_stack(unsigned depth) {
  volatile unsigned char page[512];
  page[0] = static_cast<unsigned char>(depth);
  return depth == 0 ? 0 : fill_stack(depth - 1) + page[0];
}

}  // namespace

[[gnu::noinline]] void fail_with_secret(std::uint64_t secret, std::uint32_t depth) {
  descend(secret, depth);
  asm volatile("");
}

void read_from(std::uint64_t address) {
  static_cast<void>(*reinterpret_cast<const volatile std::uint64_t*>(address));
}

void fail_in_handler(std::uint32_t levels) {
  const enclume::ThreadHandler innermost([](Exception&) {
    fail(3);
    return Verdict::kPassOn;
  });
  const enclume::ThreadHandler outer([levels](Exception&) {
    if (levels > 1) fail(2);
    return Verdict::kPassOn;
  });
  fail(1);
}

void overflow_the_stack() {
  volatile unsigned depth = 100'000;  // more than any stack here has room for
  static_cast<void>(fill_stack(depth));
}

void fail_with_frame_pointer(std::uint64_t rbp) {
  asm volatile("mov %0, %%rbp; ud2" : : "r"(rbp));
}

void fail_with_frames_in_a_circle() {
  // A frame whose caller's frame is itself.
  asm volatile(
      "lea 1f(%%rip), %%rax\n\t"
      "1: push %%rax\n\t"
      "push %%rsp\n\t"
      "mov %%rsp, %%rbp\n\t"
      "mov %%rsp, (%%rsp)\n\t"
      "ud2"
      :
      :
      : "rax", "memory");
}

void fail_in_an_ocall() {
  static_cast<void>(outside.call<call_back>());
  fail(11);
}

std::uint64_t handled() {
  const auto result = enclume::guard([] { fail(5); });
  return result ? 0 : result.error().vector;
}

}  // namespace dumps
