// SPDX-License-Identifier: Apache-2.0
//
// AEX-Notify and EDECCSSA as a program sees them: SDM Vol. 3D, "ENCLU[ERESUME]" and "ENCLU[EDECCSSA]".
#include <cpuid.h>
#include <gtest/gtest.h>

#include <cstddef>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kAttributeAexNotify = 1 << 10;
constexpr std::uint64_t kTcsAexNotify = 1 << 1;
constexpr std::uint64_t kAexNotifyOffset = 167;  // in GPRSGX
constexpr auto kEdeccssa = static_cast<Leaf>(9);

bool offered() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __cpuid_count(0x12, 1, a, b, c, d);
  return (a & kAttributeAexNotify) != 0;
}

ProbeOptions options(std::uint64_t tcs_flags = kTcsAexNotify) {
  ProbeOptions o;
  o.image.attributes |= kAttributeAexNotify;
  o.tcs_flags = tcs_flags;
  return o;
}

class AexNotifyTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!offered()) GTEST_SKIP() << "the processor has no AEX-Notify";
  }
  // An exception that brings CSSA to 1; the enclave then asks to be told when it is resumed.
  static void interrupt(const ProbeEnclave& probe, ProbeArgs& args, sgx_enclave_run& run, bool notify) {
    args.in = {PROBE_RAISE_UD2};
    run = {};
    run.tcs = probe.tcs();
    ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_RAISE, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run,
                                     vdso_function()),
              0);
    ASSERT_EQ(run.exception_vector, 6);
    const std::uint8_t on = notify ? 1 : 0;
    probe.ssa_write(probe.frame_size() - sizeof(Gprsgx) + kAexNotifyOffset, &on, sizeof on);
  }
};

TEST_F(AexNotifyTest, CpuidOffersBothOrNeither) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __cpuid_count(0x12, 0, a, b, c, d);
  EXPECT_NE(a & 1 << 11, 0u) << "EDECCSSA";
}

TEST_F(AexNotifyTest, EresumeEntersAtTheEntryPointAndKeepsTheFrame) {
  const ProbeEnclave probe(options());
  ProbeArgs args;
  sgx_enclave_run run;
  interrupt(probe, args, run, true);
  const Gprsgx before = probe.ssa_registers();

  RegisterFile seen{};
  ProbeArgs look{.in = {reinterpret_cast<std::uint64_t>(&seen)}, .out = {}};
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_ENTRY_STATE, reinterpret_cast<std::uint64_t>(&look), 0x1234, 3, 8,
                                   9, &run, vdso_function()),
            0);
  ASSERT_EQ(run.function, 4u) << "the handler has left by EEXIT";
  EXPECT_EQ(seen.rax, 1u) << "CSSA, which still counts the frame";
  EXPECT_EQ(seen.rbx, probe.tcs());
  EXPECT_EQ(seen.rdx, 0x1234u) << "registers are the host's";
  EXPECT_EQ(seen.r8, 8u);
  const Gprsgx after = probe.ssa_registers();
  EXPECT_EQ(after.rip, before.rip);
  EXPECT_EQ(after.rsp, before.rsp);
  probe.abandon();
}

TEST_F(AexNotifyTest, WithoutTheFramesBitEresumeRestores) {
  const ProbeEnclave probe(options());
  ProbeArgs args;
  sgx_enclave_run run;
  interrupt(probe, args, run, false);
  ASSERT_EQ(probe.resume(run), 0);
  EXPECT_EQ(run.exception_vector, 6) << "UD2 once more";
  probe.abandon();
}

TEST_F(AexNotifyTest, EdeccssaGivesTheFrameBackInsideTheEnclave) {
  const ProbeEnclave probe(options());
  ProbeArgs args;
  sgx_enclave_run run;
  interrupt(probe, args, run, true);
  // At level 1, by an ordinary EENTER: it works without a notification, too.
  RegisterFile seen{};
  probe.enclu(kEdeccssa, 0, 0);
  const CallResult next = probe.call(PROBE_OP_ENTRY_STATE, {reinterpret_cast<std::uint64_t>(&seen)});
  ASSERT_TRUE(next.exited());
  EXPECT_EQ(seen.rax, 0u) << "CSSA";
}

TEST_F(AexNotifyTest, EdeccssaWithoutAFrameIsAGeneralProtectionFault) {
  const ProbeEnclave probe(options());
  const CallResult result = probe.call(PROBE_OP_ENCLU, {9, 0, 0, 0});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, 13);
  probe.abandon();
}

TEST_F(AexNotifyTest, TcsMustAgreeWithTheEnclave) {
  const ProbeEnclave probe(options(0));
  const CallResult result = probe.call(PROBE_OP_NOP);
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, 13);
  EXPECT_EQ(result.run.function, 2u);
}

TEST_F(AexNotifyTest, TheLastFrameIsNeededForTheHandler) {
  ProbeOptions o = options();
  o.frames = 2;
  const ProbeEnclave probe(o);
  ProbeArgs args;
  sgx_enclave_run run;
  interrupt(probe, args, run, true);
  // A second exception uses the second frame up; that frame asks to be told as well.
  ProbeArgs second{.in = {PROBE_RAISE_UD2}, .out = {}};
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_RAISE, reinterpret_cast<std::uint64_t>(&second), 0, 2, 0, 0, &run,
                                   vdso_function()),
            0);
  ASSERT_EQ(run.exception_vector, 6);
  EXPECT_FALSE(probe.call(PROBE_OP_NOP).exited()) << "no frame is left for EENTER";
  // Its own bit is clear, so it goes on where it was.
  ASSERT_EQ(enclume_test_call_vdso(0, 0, 0, 3, 0, 0, &run, vdso_function()), 0);
  EXPECT_EQ(run.exception_vector, 6);
}

}  // namespace
}  // namespace enclume::test
