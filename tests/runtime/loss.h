// SPDX-License-Identifier: Apache-2.0
// An enclave that keeps accounts, and may be lost while it does.
#pragma once

#include <cstdint>
#include <span>

#include "enclume/edge/interface.h"

namespace loss {

inline constexpr std::uint32_t kAccounts = 4;

/// All that an account is. Requests are numbered, so that one that comes again is not carried out again.
struct Account {
  std::uint64_t last, sum;
  bool operator==(const Account&) const = default;
};

// In the enclave.
/// Request `number` of the account adds `amount`; the account afterwards, which the host has been given to
/// keep before. All ones if it is out of turn.
Account add(std::uint32_t account, std::uint64_t number, std::uint64_t amount);
void restore(std::span<const Account> accounts);
/// Adds one to each number, half of them before it calls outside.
void add_one(std::span<std::uint32_t> numbers);
void spin();
void sleep_for_ever();
void divide_by_zero();

// In the host.
void meanwhile();
void keep(std::uint32_t account, const Account& state);

}  // namespace loss

using Loss = enclume::Interface<enclume::Ecalls<loss::add, loss::restore, loss::add_one, loss::spin,
                                                loss::sleep_for_ever, loss::divide_by_zero>,
                                enclume::Ocalls<loss::meanwhile, loss::keep>>;
