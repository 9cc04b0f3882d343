// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <cstring>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/exception.h"
#include "runtime/exceptions.h"

ENCLUME_ENCLAVE(Exceptions);

namespace exceptions {
namespace {

using enclume::Exception;
using enclume::Verdict;
constexpr enclume::Outside<Exceptions> outside;

constexpr std::uint8_t kDivideError = 0, kInvalidOpcode = 6, kPageFault = 14;

// Divides by RCX.
[[gnu::noinline]] std::uint64_t divide(std::uint64_t a, std::uint64_t b) {
  std::uint64_t high = 0;
  asm volatile("divq %%rcx" : "+a"(a), "+d"(high) : "c"(b) : "cc");
  return a;
}

std::uint64_t read(std::uint64_t address) {
  return *reinterpret_cast<const volatile std::uint64_t*>(address);
}

Verdict divide_by_two(Exception& exception) {
  exception.registers.rcx = 2;
  return Verdict::kResume;
}

}  // namespace

std::uint64_t repair_division() {
  const enclume::ThreadHandler handler([](Exception& exception) {
    return exception.vector == kDivideError ? divide_by_two(exception) : Verdict::kPassOn;
  });
  return divide(84, 0);
}

std::uint32_t skip_cpuid() {
  const enclume::EnclaveHandler handler([](Exception& exception) {
    if (exception.vector != kInvalidOpcode) return Verdict::kPassOn;
    exception.registers.rax = 0xc001;
    return Verdict::kSkip;
  });
  std::uint32_t a = 0, b, c = 0, d;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return a;
}

Caught guarded_read(std::uint64_t address) {
  const auto result = enclume::guard([&] { return read(address); });
  if (result) return {~0U, 0, *result};
  return {result.error().vector, result.error().error_code, result.error().address};
}

std::uint64_t unwind_by_handler() {
  const enclume::ThreadHandler handler([](Exception&) { return Verdict::kUnwind; });
  volatile std::uint64_t kept = 5;
  const auto outer = enclume::guard([&] {
    const auto inner = enclume::guard([&] { return divide(1, 0); });
    return inner ? 0 : kept + 1;
  });
  return outer.value_or(0);
}

std::string order() {
  std::string said;
  const auto sayer = [&](char name) {
    return [&said, name](Exception&) {
      said += name;
      return Verdict::kPassOn;
    };
  };
  const enclume::EnclaveHandler first(sayer('1'));
  const enclume::ThreadHandler early(sayer('a'));
  const enclume::EnclaveHandler second(sayer('2'));
  const enclume::ThreadHandler late(sayer('b'));
  const auto result = enclume::guard([] { return divide(1, 0); });
  return said + (result ? "?" : "g");
}

std::string call_out_of_handler() {
  bool spoke = false;
  const enclume::ThreadHandler handler([&](Exception& exception) {
    spoke = outside.call<say>("from the handler").has_value();
    return divide_by_two(exception);
  });
  const bool good = divide(10, 0) == 5;
  return good && spoke ? "good" : "bad";
}

std::uint64_t fault_in_handler() {
  // Made first, so asked last: also for what the other one does.
  const enclume::ThreadHandler repairs(divide_by_two);
  const enclume::ThreadHandler divides([](Exception& exception) {
    exception.registers.rcx = divide(8, 0);  // becomes 4
    return Verdict::kResume;
  });
  return divide(100, 0);
}

void fault_in_every_handler() {
  const auto fault = [](Exception&) {
    divide(1, 0);
    return Verdict::kPassOn;
  };
  const enclume::ThreadHandler a(fault), b(fault), c(fault), d(fault), e(fault);
  divide(1, 0);
}

namespace {
[[gnu::noinline]] unsigned fill_stack(unsigned depth) {
  volatile unsigned char page[512];
  page[0] = static_cast<unsigned char>(depth);
  return depth == 0 ? 0 : fill_stack(depth - 1) + page[0];
}
}  // namespace

void overflow_the_handlers_stack() {
  const enclume::ThreadHandler handler([](Exception&) {
    volatile unsigned depth = 100'000;
    depth = fill_stack(depth);
    return Verdict::kResume;
  });
  divide(1, 0);
}

std::string guard_around_ocall() {
  const auto result = enclume::guard([] { return outside.call<say>("call me").has_value(); });
  if (!result) return "the guard was reached from another call";
  return *result ? "good" : "bad";
}

void divide_by_zero() {
  divide(1, 0);
}

std::uint64_t handlers_left() {
  // Nothing is asked: the guard alone sees it.
  return enclume::guard([] { return divide(1, 0); }).has_value() ? 1 : 0;
}

// The second argument is copied out when its page has gone; before it comes back, a handler calls outside,
// too.
bool fault_between_arguments() {
  alignas(4096) static char page[4096];
  std::memset(page, 'b', sizeof page);
  const auto address = reinterpret_cast<std::uint64_t>(page);
  const enclume::ThreadHandler handler([address](Exception& exception) {
    if (exception.vector != kPageFault || exception.address != address) return Verdict::kPassOn;
    const auto both = outside.call<say_both>(std::string(300, 'c'), std::string(300, 'd'));
    if (both != std::string(300, 'c') + std::string(300, 'd')) return Verdict::kPassOn;
    return outside.call<set_page>(address, true) ? Verdict::kResume : Verdict::kPassOn;
  });
  const std::string first(100, 'a');
  if (!outside.call<set_page>(address, false)) return false;
  return outside.call<say_both>(first, std::string_view(page, 64)) == first + std::string(64, 'b');
}

// The allocator comes upon a free block whose list leads nowhere, with its lock held.
void fault_in_heap() {
  void* const block = std::malloc(64);
  void* const behind = std::malloc(64);
  const auto list = reinterpret_cast<std::uint64_t>(block);
  std::free(block);
  constexpr std::uint64_t kNowhere = 0x10;
  asm volatile("movq %0, (%1)" : : "r"(kNowhere), "r"(list) : "memory");
  static_cast<void>(enclume::guard([] {
    void* volatile next = std::malloc(64);
    std::free(next);
  }));
  std::free(behind);
}

// Whether it is noticed, and the heap is good afterwards.
bool free_twice() {
  void* volatile block = std::malloc(64);
  void* const behind = std::malloc(64);
  std::free(block);
  const auto again = enclume::guard([&] { std::free(block); });
  std::free(behind);
  void* const next = std::malloc(64);
  std::free(next);
  return !again && again.error().vector == kInvalidOpcode && next != nullptr;
}

namespace {

void raise_now(std::uint32_t vector) {
  constexpr std::uint16_t kX87DivideUnmasked = 0x37b;
  constexpr std::uint32_t kSseDivideUnmasked = 0x1d80;
  switch (vector) {
    case 0:
      divide(1, 0);
      break;
    case 3:
      asm volatile("int3");
      break;
    case 6:
      asm volatile("ud2");
      break;
    case 13:
      asm volatile("hlt");
      break;
    case 14:
      read(0x1238);
      break;
    case 16:
      asm volatile("fldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait" : : "m"(kX87DivideUnmasked));
      break;
    case 17: {
      alignas(16) static std::uint64_t words[2];
      asm volatile("pushfq\n\torl $0x40000, (%%rsp)\n\tpopfq\n\tmov 1(%0), %%eax"
                   :
                   : "r"(words)
                   : "rax", "cc");
      break;
    }
    case 19: {
      const float one = 1, zero = 0;
      asm volatile("ldmxcsr %0\n\tmovss %1, %%xmm0\n\tdivss %2, %%xmm0"
                   :
                   : "m"(kSseDivideUnmasked), "m"(one), "m"(zero)
                   : "xmm0");
      break;
    }
    default:
      break;
  }
}

}  // namespace

std::uint32_t raise(std::uint32_t vector) {
  const auto result = enclume::guard([=] { raise_now(vector); });
  // Were one of them still unmasked or pending, this would raise it again.
  volatile double one = 1, zero = 0;
  volatile long double long_one = 1, long_zero = 0;
  one = one / zero;
  long_one = long_one / long_zero;
  return result ? ~0U : result.error().vector;
}

// Whether each alignment that no address of the enclave has is refused, and the heap is good afterwards.
bool align_beyond_reason() {
  for (unsigned bits = 33; bits < 64; ++bits) {
    if (std::aligned_alloc(std::size_t{1} << bits, 16) != nullptr) return false;
  }
  void* const next = std::aligned_alloc(4096, 16);
  std::free(next);
  return next != nullptr;
}

}  // namespace exceptions
