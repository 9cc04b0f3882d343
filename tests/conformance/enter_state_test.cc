// SPDX-License-Identifier: Apache-2.0
//
// The state that entries and exits save and restore: XSAVE components, the SSA frame, EXINFO.
#include <gtest/gtest.h>
#include <setjmp.h>

#include <cstring>

#include "conformance/enter_fixture.h"

namespace enclume::test {
namespace {

// ---- XSAVE state ----

class XstateTest : public ::testing::Test {
 protected:
  static ProbeOptions with_xfrm(std::uint64_t xfrm) {
    ProbeOptions options;
    options.image.xfrm = xfrm;
    return options;
  }
  // Calls with the extended state `in` and gives what it is afterwards.
  int call(const ProbeEnclave& probe, std::uint64_t operation, const ProbeArgs& args, const XsaveArea* in,
           XsaveArea* out, std::uint64_t mask) {
    run_ = {};
    run_.tcs = probe.tcs();
    RegisterFile registers = register_pattern(), after;
    registers.rdi = operation;
    registers.rsi = address_of(&args);
    registers.rcx = kEenter;
    return enclume_test_call_vdso_xstate(&registers, &after, &run_, vdso_function(), in, out, mask);
  }

  const std::uint64_t xfrm_ = testable_xfrm();
  RegisterFile registers_{};
  sgx_enclave_run run_{};
};

TEST_F(XstateTest, EenterLeavesTheExtendedStateAlone) {
  const ProbeEnclave probe(with_xfrm(xfrm_));
  XsaveArea in, inside;
  in.fill_pattern(xfrm_, 3);
  ProbeArgs args{.in = {address_of(&registers_), inside.address(), xfrm_}, .out = {}};
  ASSERT_EQ(call(probe, PROBE_OP_ENTRY_STATE, args, &in, nullptr, xfrm_), 0);
  ASSERT_EQ(run_.function, kEexit);
  EXPECT_EQ(in.first_difference(inside, xfrm_), -1);
}

TEST_F(XstateTest, EexitLeavesTheExtendedStateAlone) {
  const ProbeEnclave probe(with_xfrm(xfrm_));
  XsaveArea inside, out;
  inside.fill_pattern(xfrm_, 5);
  const RegisterFile set = register_pattern();
  ProbeArgs args{.in = {inside.address(), address_of(&set), PROBE_TAIL_EEXIT, xfrm_}, .out = {}};
  ASSERT_EQ(call(probe, PROBE_OP_LOAD_STATE, args, nullptr, &out, xfrm_), 0);
  EXPECT_EQ(inside.first_difference(out, xfrm_), -1);
}

TEST_F(XstateTest, AexInitialisesTheComponentsOfXfrm) {
  const ProbeEnclave probe(with_xfrm(xfrm_));
  XsaveArea inside, out, initial;
  inside.fill_pattern(xfrm_, 7);
  const RegisterFile set = register_pattern();
  ProbeArgs args{.in = {inside.address(), address_of(&set), PROBE_TAIL_UD2, xfrm_}, .out = {}};
  ASSERT_EQ(call(probe, PROBE_OP_LOAD_STATE, args, nullptr, &out, xfrm_), 0);
  ASSERT_EQ(run_.exception_vector, kVectorUd);
  const std::uint32_t mxcsr = 0x1fb0;
  std::memcpy(initial.data() + 24, &mxcsr, sizeof mxcsr);
  EXPECT_EQ(out.first_difference(initial, xfrm_), -1);
}

TEST_F(XstateTest, AexLeavesComponentsOutsideXfrmAlone) {
  const std::uint64_t rest = xfrm_ & 4;
  if (rest == 0) GTEST_SKIP() << "needs AVX, so that there is a component beyond x87 and SSE";
  const ProbeEnclave probe(with_xfrm(3));
  XsaveArea in, out;
  in.fill_pattern(7, 9);
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  ASSERT_EQ(call(probe, PROBE_OP_RAISE, args, &in, &out, 7), 0);
  EXPECT_EQ(in.first_difference(out, rest), -1);
}

TEST_F(XstateTest, AexSavesTheExtendedStateInTheFrameAndEresumeRestoresIt) {
  const ProbeEnclave probe(with_xfrm(xfrm_));
  XsaveArea inside, frame, resumed;
  inside.fill_pattern(xfrm_, 13);
  const RegisterFile set = register_pattern();
  RegisterFile dumped;
  ProbeArgs args{.in = {inside.address(), address_of(&set), PROBE_TAIL_UD2, xfrm_, resumed.address(), 0,
                        address_of(&dumped)},
                 .out = {}};
  ASSERT_EQ(call(probe, PROBE_OP_LOAD_STATE, args, nullptr, nullptr, xfrm_), 0);
  ASSERT_EQ(run_.exception_vector, kVectorUd);
  probe.ssa_read(0, frame.data(), kPage - sizeof(Gprsgx) - sizeof(Exinfo));
  EXPECT_EQ(frame.xstate_bv() & ~xfrm_, 0u);
  EXPECT_EQ(inside.first_difference(frame, xfrm_), -1);

  probe.set_ssa_rip(probe.base() + probe_labels().tail_dump);
  sgx_enclave_run run;
  ASSERT_EQ(probe.resume(run), 0);
  ASSERT_EQ(run.function, kEexit);
  EXPECT_EQ(inside.first_difference(resumed, xfrm_), -1);
}

TEST_F(XstateTest, EresumeTakesTheExtendedStateThatTheEnclaveWroteIntoTheFrame) {
  const ProbeEnclave probe(with_xfrm(xfrm_));
  XsaveArea inside, changed, resumed;
  inside.fill_pattern(xfrm_, 17);
  changed.fill_pattern(xfrm_, 19);
  const RegisterFile set = register_pattern();
  RegisterFile dumped;
  ProbeArgs args{.in = {inside.address(), address_of(&set), PROBE_TAIL_UD2, xfrm_, resumed.address(), 0,
                        address_of(&dumped)},
                 .out = {}};
  ASSERT_EQ(call(probe, PROBE_OP_LOAD_STATE, args, nullptr, nullptr, xfrm_), 0);
  const unsigned last = xfrm_ >= 0x80 ? 7 : xfrm_ >= 4 ? 2 : 1;
  const std::uint64_t size =
      last == 1 ? 576 : std::uint64_t{xsave_component(last).offset} + xsave_component(last).size;
  probe.ssa_write(0, changed.data(), size);
  probe.set_ssa_rip(probe.base() + probe_labels().tail_dump);
  sgx_enclave_run run;
  ASSERT_EQ(probe.resume(run), 0);
  ASSERT_EQ(run.function, kEexit);
  EXPECT_EQ(changed.first_difference(resumed, xfrm_), -1);
}

// ---- The SSA frame ----

class SsaTest : public VdsoTest {
 protected:
  // Loads a pattern into all registers in the enclave and runs into a UD2.
  void fault_with_pattern() {
    set_ = register_pattern();
    args_.in = {0, address_of(&set_), PROBE_TAIL_UD2, 0, 0, 0, address_of(&dumped_)};
    RegisterFile in = register_pattern();
    ASSERT_EQ(call_registers(in, out_, PROBE_OP_LOAD_STATE, args_), 0);
    ASSERT_EQ(run_.exception_vector, kVectorUd);
  }

  RegisterFile set_, out_, dumped_{};
  ProbeArgs args_;
};

TEST_F(SsaTest, FrameHasTheRegistersOfTheEnclave) {
  fault_with_pattern();
  const Gprsgx frame = probe_.ssa_registers();
  EXPECT_EQ(frame.rax, set_.rax);
  EXPECT_EQ(frame.rbx, set_.rbx);
  EXPECT_EQ(frame.rcx, set_.rcx);
  EXPECT_EQ(frame.rdx, set_.rdx);
  EXPECT_EQ(frame.rsi, set_.rsi);
  EXPECT_EQ(frame.rdi, set_.rdi);
  EXPECT_EQ(frame.rbp, set_.rbp);
  EXPECT_EQ(frame.r8, set_.r8);
  EXPECT_EQ(frame.r9, set_.r9);
  EXPECT_EQ(frame.r10, set_.r10);
  EXPECT_EQ(frame.r11, set_.r11);
  EXPECT_EQ(frame.r12, set_.r12);
  EXPECT_EQ(frame.r13, set_.r13);
  EXPECT_EQ(frame.r14, set_.r14);
  EXPECT_EQ(frame.r15, set_.r15);
  EXPECT_GT(frame.rsp, probe_.tcs());
  EXPECT_LT(frame.rsp, probe_.tcs() + PROBE_STACK_TOP);
}

TEST_F(SsaTest, RipIsTheFaultingInstruction) {
  fault_with_pattern();
  EXPECT_EQ(probe_.ssa_registers().rip, probe_.base() + probe_labels().tail_ud2);
}

TEST_F(SsaTest, RflagsHasRfSetAndTfClearForAFault) {
  fault_with_pattern();
  const std::uint64_t rflags = probe_.ssa_registers().rflags;
  EXPECT_EQ(rflags & kStatusFlags, kStatusFlags);
  EXPECT_NE(rflags & kFlagRf, 0u);
  EXPECT_EQ(rflags & kFlagTf, 0u);
}

TEST_F(SsaTest, UrspAndUrbpAreTheHostsAtEntry) {
  fault_with_pattern();
  const Gprsgx frame = probe_.ssa_registers();
  // The function's frame: return address, RBP, RBX below the caller's stack pointer.
  EXPECT_EQ(frame.urbp, out_.rsp - 16);
  EXPECT_EQ(frame.ursp, out_.rsp - 24);
}

TEST_F(SsaTest, SegmentBasesAreTheEnclaves) {
  fault_with_pattern();
  const Gprsgx frame = probe_.ssa_registers();
  EXPECT_EQ(frame.fsbase, probe_.tcs() + PROBE_THREAD_PAGE);
  EXPECT_EQ(frame.gsbase, probe_.tcs() + PROBE_GS_PAGE);
}

TEST_F(SsaTest, ExitinfoHasVectorTypeAndValid) {
  fault_with_pattern();
  EXPECT_EQ(probe_.ssa_registers().exitinfo, exitinfo_hardware(kVectorUd));
}

TEST_F(SsaTest, EresumeRestoresEveryRegister) {
  fault_with_pattern();
  const std::uint64_t rsp = probe_.ssa_registers().rsp;
  probe_.set_ssa_rip(probe_.base() + probe_labels().tail_dump);
  sgx_enclave_run run;
  ASSERT_EQ(probe_.resume(run), 0);
  ASSERT_EQ(run.function, kEexit);
  EXPECT_EQ(dumped_.rax, set_.rax);
  EXPECT_EQ(dumped_.rbx, set_.rbx);
  EXPECT_EQ(dumped_.rcx, set_.rcx);
  EXPECT_EQ(dumped_.rdx, set_.rdx);
  EXPECT_EQ(dumped_.rsi, set_.rsi);
  EXPECT_EQ(dumped_.rdi, set_.rdi);
  EXPECT_EQ(dumped_.rbp, set_.rbp);
  EXPECT_EQ(dumped_.rsp, rsp);
  EXPECT_EQ(dumped_.r8, set_.r8);
  EXPECT_EQ(dumped_.r9, set_.r9);
  EXPECT_EQ(dumped_.r10, set_.r10);
  EXPECT_EQ(dumped_.r11, set_.r11);
  EXPECT_EQ(dumped_.r12, set_.r12);
  EXPECT_EQ(dumped_.r13, set_.r13);
  EXPECT_EQ(dumped_.r14, set_.r14);
  EXPECT_EQ(dumped_.r15, set_.r15);
  EXPECT_EQ(dumped_.rflags & kStatusFlags, kStatusFlags);
}

TEST_F(SsaTest, EresumeHonoursWhatTheEnclaveWroteIntoTheFrame) {
  fault_with_pattern();
  Gprsgx frame = probe_.ssa_registers();
  frame.rip = probe_.base() + probe_labels().tail_dump;
  frame.r10 = 0x10101010;
  frame.rdi = 0x20202020;
  frame.rflags = 0x202 | 0x41;
  probe_.ssa_write(probe_.frame_size() - sizeof frame, &frame, sizeof frame);
  sgx_enclave_run run;
  ASSERT_EQ(probe_.resume(run), 0);
  ASSERT_EQ(run.function, kEexit);
  EXPECT_EQ(dumped_.r10, 0x10101010u);
  EXPECT_EQ(dumped_.rdi, 0x20202020u);
  EXPECT_EQ(dumped_.rflags & kStatusFlags, 0x41u);
}

TEST_F(SsaTest, EresumeWithoutARepairFaultsAgainAtTheSameInstruction) {
  fault_with_pattern();
  sgx_enclave_run run;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(probe_.resume(run), 0);
    EXPECT_EQ(run.function, kEresume);
    EXPECT_EQ(run.exception_vector, kVectorUd);
  }
  EXPECT_EQ(probe_.ssa_registers().rip, probe_.base() + probe_labels().tail_ud2);
}

TEST_F(SsaTest, EresumeToAnAddressOutsideFaultsInTheEnclave) {
  fault_with_pattern();
  probe_.set_ssa_rip(address_of(enclume_test_enclu_done));
  sgx_enclave_run run;
  ASSERT_EQ(probe_.resume(run), 0);
  EXPECT_EQ(run.exception_vector, kVectorGp);
  EXPECT_EQ(probe_.ssa_registers().rip, address_of(enclume_test_enclu_done));
}

TEST_F(SsaTest, EresumeToANonCanonicalAddressIsAGeneralProtectionFault) {
  fault_with_pattern();
  probe_.set_ssa_rip(0x8000'0000'0000'0000);
  sgx_enclave_run run;
  ASSERT_EQ(probe_.resume(run), 0);
  EXPECT_EQ(run.exception_vector, kVectorGp);
  // ERESUME itself faulted: the frame is still the newest.
  probe_.set_ssa_rip(probe_.base() + probe_labels().finish);
  ASSERT_EQ(probe_.resume(run), 0);
  EXPECT_EQ(run.function, kEexit);
}

TEST_F(SsaTest, ABadXsaveHeaderInTheFrameIsAGeneralProtectionFaultAtEresume) {
  fault_with_pattern();
  const std::uint64_t beyond_xfrm = std::uint64_t{1} << 62;
  std::uint64_t original;
  probe_.ssa_read(512, &original, sizeof original);
  probe_.ssa_write(512, &beyond_xfrm, sizeof beyond_xfrm);
  sgx_enclave_run run;
  ASSERT_EQ(probe_.resume(run), 0);
  EXPECT_EQ(run.exception_vector, kVectorGp);
  probe_.ssa_write(512, &original, sizeof original);
  probe_.abandon();
}

class ExinfoTest : public ::testing::Test {
 protected:
  static ProbeOptions with_exinfo(bool exinfo) {
    ProbeOptions options;
    options.image.miscselect = exinfo ? kMiscselectExinfo : 0;
    return options;
  }
};

TEST_F(ExinfoTest, PageFaultIsReportedWithFullAddressAndErrorCode) {
  const ProbeEnclave probe(with_exinfo(true));
  ASSERT_TRUE(probe.call(PROBE_OP_WRITE, {probe.base() + 0x123, 1}).faulted());
  EXPECT_EQ(probe.ssa_registers().exitinfo, exitinfo_hardware(kVectorPf));
  EXPECT_EQ(probe.ssa_exinfo().maddr, probe.base() + 0x123) << "inside, the offset in the page is known";
  EXPECT_EQ(probe.ssa_exinfo().errcd, 7u);
}

TEST_F(ExinfoTest, GeneralProtectionIsReportedWithAddressZero) {
  const ProbeEnclave probe(with_exinfo(true));
  ASSERT_TRUE(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_NON_CANONICAL_LOAD}).faulted());
  EXPECT_EQ(probe.ssa_registers().exitinfo, exitinfo_hardware(kVectorGp));
  EXPECT_EQ(probe.ssa_exinfo().maddr, 0u);
  EXPECT_EQ(probe.ssa_exinfo().errcd, 0u);
}

TEST_F(ExinfoTest, WithoutExinfoPageFaultAndGeneralProtectionStayUnreported) {
  const ProbeEnclave probe(with_exinfo(false));
  ASSERT_TRUE(probe.call(PROBE_OP_WRITE, {probe.base(), 1}).faulted());
  EXPECT_EQ(probe.ssa_registers().exitinfo, 0u);
  probe.abandon();
  ASSERT_TRUE(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_NON_CANONICAL_LOAD}).faulted());
  EXPECT_EQ(probe.ssa_registers().exitinfo, 0u);
}

}  // namespace
}  // namespace enclume::test
