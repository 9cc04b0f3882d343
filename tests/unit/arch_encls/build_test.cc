// SPDX-License-Identifier: Apache-2.0
// An enclave's life from ECREATE to EINIT, as a kernel builds it.
#include <gtest/gtest.h>

#include "arch/identity/signature.h"
#include "support/enclave_builder.h"

namespace enclume::arch {
namespace {

using test::EnclaveBuilder;
using test::FakeMachine;

TEST(Build, OfACompleteEnclaveSucceedsAndFillsTheSecs) {
  FakeMachine machine;
  EnclaveBuilder enclave(machine, 0);
  ASSERT_EQ(enclave.create(), leaf_success());
  Tcs tcs{};
  tcs.nssa = 1;
  ASSERT_EQ(enclave.add_tcs(1, 0, tcs), leaf_success());
  ASSERT_EQ(enclave.add_reg(2, 0x1000, secinfo_flags::kR | secinfo_flags::kX), leaf_success());
  EXPECT_FALSE(enclave.secs().initialised());
  ASSERT_EQ(enclave.init(), leaf_success());

  Secs& secs = enclave.secs();
  EXPECT_TRUE(secs.initialised());
  EXPECT_EQ(secs.mrenclave, enclave.reference().mrenclave());
  EXPECT_EQ(secs.mrsigner, test::Signer().mrsigner());
  EXPECT_EQ(secs.isv_prod_id, 7);
  EXPECT_EQ(secs.isv_svn, 3);
  EXPECT_EQ(secs.internal.padding, pkcs1_padding());
  EXPECT_EQ(secs.children(), 2U);
  EXPECT_EQ(enclave.init(), LeafResult(raise(general_protection()))) << "a second time";
}

TEST(Build, GivesEveryEnclaveItsOwnEid) {
  FakeMachine machine;
  EnclaveBuilder a(machine, 0);
  EnclaveBuilder b(machine, 1);
  ASSERT_EQ(a.create(), leaf_success());
  ASSERT_EQ(b.create(), leaf_success());
  EXPECT_NE(a.secs().internal.eid, 0U);
  EXPECT_NE(a.secs().internal.eid, b.secs().internal.eid);
}

}  // namespace
}  // namespace enclume::arch
