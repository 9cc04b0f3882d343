// SPDX-License-Identifier: Apache-2.0
#include "runtime/enclave/processor.h"

#include <atomic>
#include <cstring>

#include "enclume/enclave/exception.h"
#include "runtime/enclave/self.h"
#include "runtime/enclave/wipe.h"

// ENCLU, which assemblers before binutils 2.26 do not know.
#define ENCLUME_ENCLU ".byte 0x0f, 0x01, 0xd7"

namespace enclume::enclave {
namespace {

constexpr std::uint64_t kEreport = 0, kEgetkey = 1;
// Intel's "Digital Random Number Generator Software Implementation Guide", 5.2.1.
constexpr int kRdrandTries = 10;

bool draw(std::uint64_t& value) noexcept {
  for (int i = 0; i < kRdrandTries; ++i) {
    bool good;
    asm volatile("rdrand %0" : "=r"(value), "=@ccc"(good) : :);
    if (good) return true;
    __builtin_ia32_pause();
  }
  return false;
}

enum class Aes : int {
  kUntried,
  kThere,
  kMissing
};
std::atomic<Aes> aes = Aes::kUntried;

}  // namespace

std::uint32_t get_key(const KeyRequest& request, AesKey& key) noexcept {
  alignas(512) KeyRequest operand = request;
  alignas(16) AesKey result{};
  std::uint64_t rax = kEgetkey;
  asm volatile(ENCLUME_ENCLU : "+a"(rax) : "b"(&operand), "c"(&result) : "cc", "memory");
  key = result;
  wipe(&result, sizeof result);
  return static_cast<std::uint32_t>(rax);
}

Report make_report(const TargetInfo& target, const ReportData& data) noexcept {
  alignas(512) TargetInfo target_operand = target;
  alignas(512) Report report{};
  alignas(128) ReportData data_operand = data;
  asm volatile(ENCLUME_ENCLU
               :
               : "a"(kEreport), "b"(&target_operand), "c"(&data_operand), "d"(&report)
               : "cc", "memory");
  return report;
}

ReportBody own_report() noexcept {
  enum class Known : int {
    kNo,
    kSoon,
    kYes
  };
  static std::atomic<Known> known = Known::kNo;
  static ReportBody body;
  if (known.load(std::memory_order_acquire) == Known::kYes) return body;
  const ReportBody asked = make_report({}, {}).body;
  // If whoever comes first is interrupted for good, it is asked for each time.
  Known no = Known::kNo;
  if (known.compare_exchange_strong(no, Known::kSoon)) {
    body = asked;
    known.store(Known::kYes, std::memory_order_release);
  }
  return asked;
}

[[gnu::noinline]] void wipe_stack() noexcept {
  // More than what is called with keys takes, but not more than there is.
  constexpr std::uint64_t kMost = 4096;
  const edge::ThreadBlock& thread = this_thread();
  const auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  const bool in_handler = here - base() - thread.seed_alt_end < edge::kAltStackSize;
  const std::uint64_t end = in_handler ? base() + thread.seed_alt_end : thread.stack_bottom;
  // Below this function's own frame, which calls nothing.
  std::uint64_t rsp;
  asm volatile("mov %%rsp, %0" : "=r"(rsp));
  const std::uint64_t top = (rsp - 128) & ~std::uint64_t{7};
  if (top <= end) return;
  void* from = reinterpret_cast<void*>(top - end < kMost ? end : top - kMost);
  std::uint64_t words = (top - address_of(from)) / 8;
  asm volatile("rep stosq" : "+D"(from), "+c"(words) : "a"(0) : "memory");
}

bool random_bytes(std::span<std::byte> to) noexcept {
  std::uint64_t last;
  if (!draw(last)) return false;
  while (!to.empty()) {
    std::uint64_t value;
    if (!draw(value) || value == last) return false;
    const std::size_t bytes = to.size() < sizeof value ? to.size() : sizeof value;
    std::memcpy(to.data(), &value, bytes);
    to = to.subspan(bytes);
    last = value;
  }
  wipe(&last, sizeof last);
  return true;
}

bool has_aes() noexcept {
  Aes known = aes.load(std::memory_order_acquire);
  if (known == Aes::kUntried) {
    // A handler may have something else in mind for #UD than the guard, so the answer is looked at.
    const auto answer = guard([] { return aes_gives_known_answer(); });
    known = answer && *answer ? Aes::kThere : Aes::kMissing;
    aes.store(known, std::memory_order_release);
  }
  return known == Aes::kThere;
}

bool is_inside(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return true;
  const std::uint64_t begin = address_of(bytes.data()) - base();
  const std::uint64_t size = layout().size;
  return begin < size && bytes.size() <= size - begin;
}

}  // namespace enclume::enclave
