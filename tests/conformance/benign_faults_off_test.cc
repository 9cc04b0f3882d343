// SPDX-License-Identifier: Apache-2.0
//
// `enclume run --benign-faults=off`: what hardware does not offer.
#include <cerrno>

#include "conformance/benign_faults.h"

namespace enclume::test {
namespace {

TEST_F(BenignFaultTest, FirstTouchIsNoFault) {
  EXPECT_EQ(probe_.read(heap(3) + 8), 0u);
  probe_.write(heap(4), 1);
  EXPECT_FALSE(has_left());
  EXPECT_EQ(exitinfo(), 0u);
}

TEST_F(EvictedPageTest, LooksLikeAnInterruptWhenItComesBack) {
  probe_.write(heap(3) + 24, 77);
  evict(3);
  forget();
  EXPECT_EQ(probe_.read(heap(3) + 24), 77u);
  EXPECT_TRUE(has_left());
  EXPECT_EQ(exitinfo(), 0u);
}

TEST_F(BenignFaultTest, APageThatIsAddedLooksLikeAnInterrupt) {
  ASSERT_TRUE(has_sgx2());
  ASSERT_EQ(probe_.enclu_secinfo(Leaf::kEaccept, kPtReg | kR | kW | kPending, hole()).rax, 0u);
  EXPECT_TRUE(has_left());
  EXPECT_EQ(exitinfo(), 0u);
}

TEST_F(BenignFaultTest, AFaultThatSomebodyGetsIsRecordedAsEver) {
  const CallResult result = probe_.call(PROBE_OP_WRITE, {probe_.base() + 8, 1});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_error_code, 0x7);
  EXPECT_EQ(probe_.ssa_registers().exitinfo, exitinfo_hardware(kVectorPf));
  EXPECT_EQ(probe_.ssa_exinfo().maddr, probe_.base() + 8);
  probe_.abandon();
}

}  // namespace
}  // namespace enclume::test
