// SPDX-License-Identifier: Apache-2.0
//
// Entering by an ENCLU of our own: what the processor does with registers, flags and bases.
#include <gtest/gtest.h>
#include <setjmp.h>

#include <cstring>

#include "conformance/enter_fixture.h"

namespace enclume::test {
namespace {

// ---- The processor's side ----

class RawEncluTest : public VdsoTest {
 protected:
  // EENTER by our own ENCLU.
  RegisterFile enter(std::uint64_t operation, const ProbeArgs& args, std::uint64_t rflags = 0) {
    RegisterFile in = register_pattern(), out{};
    in.rax = kEenter;
    in.rbx = probe_.tcs();
    in.rdi = operation;
    in.rsi = address_of(&args);
    in.rflags = rflags;
    enclume_test_raw_enclu(&in, &out);
    return out;
  }
};

TEST_F(RawEncluTest, EexitGivesTheAepInRcxAndLeavesTheRest) {
  const RegisterFile set = register_pattern();
  ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_EEXIT}, .out = {}};
  const RegisterFile out = enter(PROBE_OP_LOAD_STATE, args);
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(out.rbx, address_of(enclume_test_enclu) + 3);
  EXPECT_EQ(out.rcx, address_of(enclume_test_aep));
  EXPECT_EQ(out.rdx, set.rdx);
  EXPECT_EQ(out.rsi, set.rsi);
  EXPECT_EQ(out.rdi, set.rdi);
  EXPECT_EQ(out.r8, set.r8);
  EXPECT_EQ(out.r15, set.r15);
  EXPECT_EQ(out.rflags & kStatusFlags, kStatusFlags);
}

TEST_F(RawEncluTest, FlagsOfTheHostReachTheEnclave) {
  RegisterFile seen{};
  ProbeArgs args{.in = {address_of(&seen)}, .out = {}};
  enter(PROBE_OP_ENTRY_STATE, args, 0x202 | kStatusFlags | kFlagDf);
  EXPECT_EQ(seen.rflags & (kStatusFlags | kFlagDf), kStatusFlags | kFlagDf);
  enter(PROBE_OP_ENTRY_STATE, args, 0x202);
  EXPECT_EQ(seen.rflags & (kStatusFlags | kFlagDf), 0u);
}

TEST_F(RawEncluTest, FlagsOfTheEnclaveReachTheHost) {
  RegisterFile set = register_pattern();
  ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_EEXIT}, .out = {}};
  set.rflags = 0x202 | kFlagDf;
  EXPECT_EQ(enter(PROBE_OP_LOAD_STATE, args).rflags & (kStatusFlags | kFlagDf), kFlagDf);
  set.rflags = 0x202 | 0x41;
  EXPECT_EQ(enter(PROBE_OP_LOAD_STATE, args).rflags & (kStatusFlags | kFlagDf), 0x41u);
}

TEST_F(RawEncluTest, ExceptionIsASignalAtTheAepWithSyntheticRegisters) {
  const SignalCatcher catcher({SIGILL}, enclume_test_enclu_done);
  const RegisterFile set = register_pattern();
  ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_UD2}, .out = {}};
  const RegisterFile out = enter(PROBE_OP_LOAD_STATE, args);
  const CaughtSignal& caught = catcher.caught();
  ASSERT_EQ(caught.count, 1);
  EXPECT_EQ(caught.reg(REG_RIP), address_of(enclume_test_aep));
  EXPECT_EQ(caught.address, address_of(enclume_test_aep)) << "si_addr";
  EXPECT_EQ(caught.reg(REG_RAX), kEresume);
  EXPECT_EQ(caught.reg(REG_RBX), probe_.tcs());
  EXPECT_EQ(caught.reg(REG_RCX), address_of(enclume_test_aep));
  for (const int number :
       {REG_RDX, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15}) {
    EXPECT_EQ(caught.reg(number), 0u) << "gregs index " << number;
  }
  EXPECT_EQ(caught.reg(REG_RSP), out.rsp) << "URSP";
  EXPECT_EQ(caught.reg(REG_RBP), out.rbp) << "URBP";
  EXPECT_EQ(caught.reg(REG_EFL) & (kStatusFlags | kFlagTf | kFlagRf), 0u);
  EXPECT_EQ(caught.reg(REG_TRAPNO), static_cast<std::uint64_t>(kVectorUd));
  EXPECT_EQ(caught.reg(REG_ERR), 0u);
}

TEST_F(RawEncluTest, SseAndX87StateAfterAnAexIsTheSyntheticOne) {
  const SignalCatcher catcher({SIGILL}, enclume_test_enclu_done);
  XsaveArea state;
  state.fill_pattern(3, 11);
  const RegisterFile set = register_pattern();
  ProbeArgs args{.in = {state.address(), address_of(&set), PROBE_TAIL_UD2, 3}, .out = {}};
  enter(PROBE_OP_LOAD_STATE, args);
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().mxcsr, 0x1fb0u);
  EXPECT_EQ(catcher.caught().fcw, 0x37f);
  EXPECT_EQ(catcher.caught().fsw, 0);
  for (const std::uint32_t word : catcher.caught().xmm) EXPECT_EQ(word, 0u);
}

TEST_F(RawEncluTest, PageFaultSignalCarriesVectorErrorCodeAndPage) {
  const SignalCatcher catcher({SIGSEGV}, enclume_test_enclu_done);
  ProbeArgs args{.in = {probe_.base() + 0x123, 1}, .out = {}};
  enter(PROBE_OP_WRITE, args);
  const CaughtSignal& caught = catcher.caught();
  ASSERT_EQ(caught.count, 1);
  EXPECT_EQ(caught.code, SEGV_ACCERR);
  EXPECT_EQ(caught.address, probe_.base()) << "si_addr: the offset in the page stays secret";
  EXPECT_EQ(caught.reg(REG_CR2), probe_.base());
  EXPECT_EQ(caught.reg(REG_TRAPNO), static_cast<std::uint64_t>(kVectorPf));
  EXPECT_EQ(caught.reg(REG_ERR), 7u);
  EXPECT_EQ(caught.reg(REG_RIP), address_of(enclume_test_aep));
}

TEST_F(RawEncluTest, FaultOfEenterItselfIsASignalAtTheEnclu) {
  const SignalCatcher catcher({SIGSEGV}, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = kEenter;
  in.rbx = probe_.tcs() + 1;
  enclume_test_raw_enclu(&in, &out);
  const CaughtSignal& caught = catcher.caught();
  ASSERT_EQ(caught.count, 1);
  EXPECT_EQ(caught.reg(REG_RIP), address_of(enclume_test_enclu));
  EXPECT_EQ(caught.reg(REG_RAX), kEenter);
  EXPECT_EQ(caught.reg(REG_RBX), in.rbx);
  EXPECT_EQ(caught.reg(REG_R12), in.r12);
  EXPECT_EQ(caught.reg(REG_TRAPNO), static_cast<std::uint64_t>(kVectorGp));
}

TEST_F(RawEncluTest, UnknownLeafOutsideIsAGeneralProtectionFault) {
  const SignalCatcher catcher({SIGSEGV, SIGILL}, enclume_test_enclu_done);
  for (const std::uint64_t leaf : {4u, 5u, 0x4000u}) {  // EEXIT and EACCEPT are for the inside only
    RegisterFile in = register_pattern(), out{};
    in.rax = leaf;
    in.rbx = probe_.tcs();
    enclume_test_raw_enclu(&in, &out);
    EXPECT_EQ(catcher.caught().reg(REG_TRAPNO), static_cast<std::uint64_t>(kVectorGp)) << leaf;
    EXPECT_EQ(catcher.caught().signal, SIGSEGV) << leaf;
  }
}

TEST_F(RawEncluTest, UpperHalfOfRaxIsIgnored) {
  ProbeArgs args{.in = {20, 22}, .out = {}};
  RegisterFile in = register_pattern(), out{};
  in.rax = 0xdead'beef'0000'0002;
  in.rbx = probe_.tcs();
  in.rdi = PROBE_OP_SUM;
  in.rsi = address_of(&args);
  enclume_test_raw_enclu(&in, &out);
  EXPECT_EQ(args.out[0], 42u);
}

TEST_F(RawEncluTest, NestedEntryFromInsideTheSignalHandlerWorks) {
  g_probe = &probe_;
  static Gprsgx seen;
  seen = {};
  // Like a runtime without the vDSO: enter again from the handler, mend, and let the AEP's ERESUME go on.
  const ScopedSigaction handler(SIGILL, [](int, siginfo_t*, void*) {
    seen = g_probe->ssa_registers();
    g_probe->set_ssa_rip(seen.rip + 2);
  });
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  const RegisterFile out = enter(PROBE_OP_RAISE, args);
  EXPECT_EQ(args.out[0], 1u);
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(seen.rip, probe_.base() + raise_site(PROBE_RAISE_UD2).instruction);
}

volatile int g_steps_inside = 0, g_steps_outside = 0, g_step_after_exit = 0;
std::uint64_t g_elrange_begin = 0, g_elrange_end = 0;

TEST_F(RawEncluTest, SingleStepSkipsTheEnclaveAndTrapsAfterEexit) {
  g_steps_inside = 0;
  g_steps_outside = 0;
  g_step_after_exit = 0;
  g_elrange_begin = probe_.base();
  g_elrange_end = probe_.base() + probe_.enclave().size();
  const ScopedSigaction handler(SIGTRAP, [](int, siginfo_t*, void* raw) {
    auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
    const auto rip = static_cast<std::uint64_t>(registers[REG_RIP]);
    if (rip >= g_elrange_begin && rip < g_elrange_end) g_steps_inside = g_steps_inside + 1;
    if (rip == address_of(enclume_test_enclu) + 3) g_step_after_exit = 1;
    g_steps_outside = g_steps_outside + 1;
    if (g_step_after_exit != 0 || g_steps_outside > 50) registers[REG_EFL] &= ~static_cast<greg_t>(kFlagTf);
  });
  ProbeArgs args{.in = {40, 2}, .out = {}};
  const RegisterFile out = enter(PROBE_OP_SUM, args, 0x202 | kFlagTf);
  EXPECT_EQ(args.out[0], 42u);
  EXPECT_EQ(g_steps_inside, 0) << "a production enclave is one instruction to a debugger";
  EXPECT_EQ(g_step_after_exit, 1);
  EXPECT_EQ(out.rflags & kFlagTf, 0u);
}

// ---- Segment bases ----

class SegmentTest : public VdsoTest {};

TEST_F(SegmentTest, EenterLoadsFsAndGsBaseFromTheTcs) {
  const CallResult result = probe_.call(PROBE_OP_SEGMENTS);
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0], PROBE_FS_MAGIC) << "the word at FS:0";
  EXPECT_EQ(result.args.out[1], PROBE_GS_MAGIC) << "the word at GS:0";
  EXPECT_EQ(result.args.out[2], probe_.tcs() + PROBE_THREAD_PAGE);
  EXPECT_EQ(result.args.out[3], probe_.tcs() + PROBE_GS_PAGE);
}

TEST_F(SegmentTest, HostBasesComeBackAfterEexitAndAex) {
  alignas(64) static std::uint64_t host_gs[8] = {0x6f686f6873};
  std::uint64_t old_gs, fs_before, fs_after, gs_after;
  asm volatile("rdgsbase %0" : "=r"(old_gs));
  asm volatile("rdfsbase %0" : "=r"(fs_before));
  for (const std::uint64_t operation : {std::uint64_t{PROBE_OP_SEGMENTS}, std::uint64_t{PROBE_OP_RAISE}}) {
    asm volatile("wrgsbase %0" ::"r"(address_of(host_gs)));
    const CallResult result = probe_.call(operation, {PROBE_RAISE_UD2});
    asm volatile("rdgsbase %0" : "=r"(gs_after));
    asm volatile("rdfsbase %0" : "=r"(fs_after));
    asm volatile("wrgsbase %0" ::"r"(old_gs));
    EXPECT_EQ(result.exited(), operation == PROBE_OP_SEGMENTS);
    EXPECT_EQ(gs_after, address_of(host_gs));
    EXPECT_EQ(fs_after, fs_before);
  }
}

TEST_F(SegmentTest, SignalHandlerOfAnAexRunsWithTheHostsBases) {
  static volatile std::uint64_t fs_in_handler, gs_in_handler;
  const ScopedSigaction handler(SIGILL, [](int, siginfo_t*, void* raw) {
    std::uint64_t fs, gs;
    asm volatile("rdfsbase %0" : "=r"(fs));
    asm volatile("rdgsbase %0" : "=r"(gs));
    fs_in_handler = fs;
    gs_in_handler = gs;
    static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP] =
        static_cast<greg_t>(address_of(enclume_test_enclu_done));
  });
  std::uint64_t fs, gs;
  asm volatile("rdfsbase %0" : "=r"(fs));
  asm volatile("rdgsbase %0" : "=r"(gs));
  RegisterFile in = register_pattern(), out{};
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  in.rax = kEenter;
  in.rbx = probe_.tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  enclume_test_raw_enclu(&in, &out);
  EXPECT_EQ(fs_in_handler, fs);
  EXPECT_EQ(gs_in_handler, gs);
}

}  // namespace
}  // namespace enclume::test
