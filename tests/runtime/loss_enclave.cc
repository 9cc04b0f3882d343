// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <mutex>

#include "enclume/enclave/enclave.h"
#include "enclume/enclave/sync.h"
#include "runtime/loss.h"

ENCLUME_ENCLAVE(Loss);

namespace loss {
namespace {

constexpr enclume::Outside<Loss> outside;
std::array<Account, kAccounts> accounts{};

}  // namespace

Account add(std::uint32_t which, std::uint64_t number, std::uint64_t amount) {
  Account& account = accounts[which % kAccounts];
  if (number == account.last) return account;
  if (number != account.last + 1) return {~std::uint64_t{0}, ~std::uint64_t{0}};
  account = {number, account.sum + amount};
  // Before the answer: whoever has that can rely on it.
  static_cast<void>(outside.call<keep>(which, account));
  return account;
}

void restore(std::span<const Account> saved) {
  std::copy_n(saved.begin(), std::min<std::size_t>(saved.size(), kAccounts), accounts.begin());
}

void add_one(std::span<std::uint32_t> numbers) {
  for (std::uint32_t& number : numbers) ++number;
  static_cast<void>(outside.call<meanwhile>());
}

void spin() {
  for (;;) __builtin_ia32_pause();
}

void sleep_for_ever() {
  enclume::Mutex mutex;
  enclume::ConditionVariable never;
  std::unique_lock lock(mutex);
  static_cast<void>(outside.call<meanwhile>());
  never.wait(lock, [] { return false; });
}

void divide_by_zero() {
  std::uint64_t a = 1, high = 0, b = 0;
  asm volatile("divq %2" : "+a"(a), "+d"(high) : "r"(b) : "cc");
}

}  // namespace loss
