// SPDX-License-Identifier: Apache-2.0
// What the parts of enter_test share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "conformance/support.h"

namespace enclume::test {

inline constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
inline constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
inline constexpr auto kEexit = static_cast<std::uint32_t>(Leaf::kEexit);

// For code that is called back without an argument to find its enclave by.
inline const ProbeEnclave* g_probe = nullptr;

class VdsoTest : public ::testing::Test {
 protected:
  // EENTER with all registers from *in, all found afterwards in *out.
  int call_registers(RegisterFile& in, RegisterFile& out, std::uint64_t operation, const ProbeArgs& args) {
    in.rdi = operation;
    in.rsi = address_of(&args);
    in.rcx = kEenter;
    return enclume_test_call_vdso_registers(&in, &out, &run_, vdso_function());
  }
  sgx_enclave_run& fresh_run() {
    run_ = {};
    run_.tcs = probe_.tcs();
    return run_;
  }

  ProbeEnclave probe_;
  sgx_enclave_run run_{.tcs = probe_.tcs(),
                       .function = 0,
                       .exception_vector = 0,
                       .exception_error_code = 0,
                       .exception_addr = 0,
                       .user_handler = 0,
                       .user_data = 0,
                       .reserved = {}};
};

}  // namespace enclume::test
