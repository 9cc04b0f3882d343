// SPDX-License-Identifier: Apache-2.0
// An enclave with an identity, about to ask for keys and reports.
#pragma once

#include <gtest/gtest.h>

#include <random>

#include "arch/structs/keyrequest.h"
#include "arch/structs/report.h"
#include "arch/structs/targetinfo.h"
#include "unit/arch_enclu/openssl_reference.h"
#include "unit/arch_enclu/operand_checks.h"

namespace enclume::test {

template <std::size_t N>
arch::Bytes<N> numbered(unsigned seed) {
  std::mt19937 random(seed);
  arch::Bytes<N> bytes;
  for (std::byte& b : bytes) {
    b = static_cast<std::byte>(random());
  }
  return bytes;
}

inline constexpr std::uint64_t kAllKeyAttributes =
    arch::attribute::kInit | arch::attribute::kDebug | arch::attribute::kMode64Bit |
    arch::attribute::kProvisionKey | arch::attribute::kEinitTokenKey | arch::attribute::kKss;

/// Fills all of the SECS that EINIT would have, and enters.
inline void with_identity(World& w) {
  arch::Secs& s = w.secs();
  s.mrenclave = numbered<32>(1);
  s.mrsigner = numbered<32>(2);
  s.config_id = numbered<64>(3);
  s.isv_prod_id = 0x1357;
  s.isv_svn = 9;
  s.config_svn = 5;
  s.internal.isv_ext_prod_id = numbered<16>(4);
  s.internal.isv_family_id = numbered<16>(5);
  s.internal.padding = reference_padding();
  ASSERT_TRUE(w.eenter().has_value());
  w.cpu.rip = kBase + at::kCode;
}

inline WorldOptions identity_options() {
  WorldOptions options;
  options.attributes = kAllKeyAttributes;
  options.xfrm = 0xe7;
  return options;
}

}  // namespace enclume::test
