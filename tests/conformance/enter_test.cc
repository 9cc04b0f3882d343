// SPDX-License-Identifier: Apache-2.0
//
// Entering and leaving: the contract of __vdso_sgx_enter_enclave (Linux 6.12 arch/x86/entry/vdso/vsgx.S and
// <asm/sgx.h>) and of EENTER, EEXIT and ERESUME below it (Intel SDM volume 3D).
#include <gtest/gtest.h>
#include <setjmp.h>

#include <cstring>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint32_t>(Leaf::kEexit);

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

TEST_F(VdsoTest, EexitReturnsZeroAndReportsEexit) {
  const CallResult result = probe_.call(PROBE_OP_SUM, {40, 2});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.run.function, kEexit);
  EXPECT_EQ(result.args.out[0], 42u);
}

TEST_F(VdsoTest, EexitLeavesTheExceptionFieldsAlone) {
  run_.exception_vector = 0x1234;
  run_.exception_error_code = 0x5678;
  run_.exception_addr = 0x9abc;
  ProbeArgs args;
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_NOP, address_of(&args), 0, kEenter, 0, 0, &run_, vdso_function()),
            0);
  EXPECT_EQ(run_.exception_vector, 0x1234);
  EXPECT_EQ(run_.exception_error_code, 0x5678);
  EXPECT_EQ(run_.exception_addr, 0x9abcu);
}

TEST_F(VdsoTest, OtherLeavesThanEenterAndEresumeAreEinval) {
  for (const std::uint32_t leaf : {0u, 1u, 4u, 5u, 7u, 0x80000002u, 0xffffffffu}) {
    fresh_run().function = 77;
    EXPECT_EQ(enclume_test_call_vdso(0, 0, 0, leaf, 0, 0, &run_, vdso_function()), -EINVAL) << leaf;
    EXPECT_EQ(run_.function, 77u) << "run was written to";
  }
}

TEST_F(VdsoTest, AnyNonZeroReservedByteIsEinval) {
  for (std::size_t i = 0; i < sizeof run_.reserved; ++i) {
    fresh_run().reserved[i] = 1;
    EXPECT_EQ(enclume_test_call_vdso(PROBE_OP_NOP, 0, 0, kEenter, 0, 0, &run_, vdso_function()), -EINVAL)
        << i;
  }
}

TEST_F(VdsoTest, NullRunIsAnOrdinarySegmentationFault) {
  const int status = in_child([] {
    signal(SIGSEGV, SIG_DFL);
    return enclume_test_call_vdso(0, 0, 0, kEenter, 0, 0, nullptr, vdso_function()) == 0 ? 0 : 1;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST_F(VdsoTest, PassesTheRegistersThroughToTheEnclave) {
  RegisterFile in = register_pattern(), out, seen{};
  ProbeArgs args{.in = {address_of(&seen)}, .out = {}};
  ASSERT_EQ(call_registers(in, out, PROBE_OP_ENTRY_STATE, args), 0);
  ASSERT_EQ(run_.function, kEexit);
  EXPECT_EQ(seen.rax, 0u) << "CSSA";
  EXPECT_EQ(seen.rbx, probe_.tcs());
  EXPECT_EQ(seen.rdi, in.rdi);
  EXPECT_EQ(seen.rsi, in.rsi);
  EXPECT_EQ(seen.rdx, in.rdx);
  EXPECT_EQ(seen.r8, in.r8);
  EXPECT_EQ(seen.r9, in.r9);
  EXPECT_EQ(seen.r10, in.r10);
  EXPECT_EQ(seen.r11, in.r11);
  EXPECT_EQ(seen.r12, in.r12);
  EXPECT_EQ(seen.r13, in.r13);
  EXPECT_EQ(seen.r14, in.r14);
  EXPECT_EQ(seen.r15, in.r15);
  // RBP is the function's frame, just below the caller's stack pointer: push RBP after the return address.
  EXPECT_EQ(seen.rbp, out.rsp - 16);
}

TEST_F(VdsoTest, RcxInTheEnclaveIsTheAddressAfterTheFunctionsEnclu) {
  RegisterFile in = register_pattern(), out, seen{};
  ProbeArgs args{.in = {address_of(&seen)}, .out = {}};
  ASSERT_EQ(call_registers(in, out, PROBE_OP_ENTRY_STATE, args), 0);
  const auto* enclu = reinterpret_cast<const std::uint8_t*>(seen.rcx - 3);
  EXPECT_EQ(std::memcmp(enclu, "\x0f\x01\xd7", 3), 0);
  // One ENCLU is both entry and AEP, and EEXIT gives the AEP in RCX.
  EXPECT_EQ(out.rcx, seen.rcx - 3);
}

TEST_F(VdsoTest, ExitRegistersReachTheCaller) {
  RegisterFile in = register_pattern(), out;
  RegisterFile set = register_pattern();
  for (std::uint64_t* word = &set.rax; word <= &set.r15; ++word) *word = ~*word;
  ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_EEXIT}, .out = {}};
  ASSERT_EQ(call_registers(in, out, PROBE_OP_LOAD_STATE, args), 0);
  ASSERT_EQ(run_.function, kEexit);
  EXPECT_EQ(out.rdi, set.rdi);
  EXPECT_EQ(out.rsi, set.rsi);
  EXPECT_EQ(out.rdx, set.rdx);
  EXPECT_EQ(out.r8, set.r8);
  EXPECT_EQ(out.r9, set.r9);
  EXPECT_EQ(out.r10, set.r10);
  EXPECT_EQ(out.r11, set.r11);
  EXPECT_EQ(out.r12, set.r12);
  EXPECT_EQ(out.r13, set.r13);
  EXPECT_EQ(out.r14, set.r14);
  EXPECT_EQ(out.r15, set.r15);
}

TEST_F(VdsoTest, RbxAndRbpOfTheCallerSurviveAnException) {
  RegisterFile in = register_pattern(), out;
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  ASSERT_EQ(call_registers(in, out, PROBE_OP_RAISE, args), 0);
  EXPECT_EQ(out.rbx, in.rbx);
  EXPECT_EQ(out.rbp, out.rsp + 80) << "the frame of enclume_test_call_vdso_registers";
}

TEST_F(VdsoTest, ExceptionInTheEnclaveReturnsZeroWithItsFacts) {
  const CallResult result = probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.run.function, kEresume) << "RAX at an AEX";
  EXPECT_EQ(result.run.exception_vector, kVectorUd);
  EXPECT_EQ(result.run.exception_error_code, 0);
  EXPECT_EQ(result.run.exception_addr, 0u);
}

TEST_F(VdsoTest, RegistersAfterAnExceptionAreTheSyntheticOnes) {
  RegisterFile in = register_pattern(), out;
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  ASSERT_EQ(call_registers(in, out, PROBE_OP_RAISE, args), 0);
  EXPECT_EQ(out.rdi, static_cast<std::uint64_t>(kVectorUd)) << "DI: vector";
  EXPECT_EQ(out.rsi, 0u) << "SI: error code";
  EXPECT_EQ(out.rdx, 0u) << "RDX: address";
  for (const std::uint64_t reg : {out.r8, out.r9, out.r10, out.r11, out.r12, out.r13, out.r14, out.r15}) {
    EXPECT_EQ(reg, 0u);
  }
}

TEST_F(VdsoTest, UnalignedTcsIsAGeneralProtectionFaultAtEenter) {
  run_.tcs = probe_.tcs() + 8;
  RegisterFile in = register_pattern(), out;
  ProbeArgs args;
  EXPECT_EQ(call_registers(in, out, PROBE_OP_NOP, args), 0);
  EXPECT_EQ(run_.function, kEenter) << "RAX at the ENCLU that faulted";
  EXPECT_EQ(run_.exception_vector, kVectorGp);
  EXPECT_EQ(run_.exception_error_code, 0);
  EXPECT_EQ(run_.exception_addr, 0u);
  // No AEX, so nothing is made up but what the fixup writes.
  EXPECT_EQ(out.r8, in.r8);
  EXPECT_EQ(out.r9, in.r9);
  EXPECT_EQ(out.r12, in.r12);
  EXPECT_EQ(out.r15, in.r15);
}

TEST_F(VdsoTest, TcsThatIsNoTcsPageIsAnSgxPageFaultAtEenter) {
  run_.tcs = probe_.scratch();
  ProbeArgs args;
  EXPECT_EQ(enclume_test_call_vdso(PROBE_OP_NOP, address_of(&args), 0, kEenter, 0, 0, &run_, vdso_function()),
            0);
  EXPECT_EQ(run_.function, kEenter);
  EXPECT_EQ(run_.exception_vector, kVectorPf);
  EXPECT_NE(run_.exception_error_code & kPfSgx, 0);
  EXPECT_EQ(run_.exception_addr, probe_.scratch());
}

TEST_F(VdsoTest, TcsAtAnUnmappedAddressIsAnOrdinaryPageFaultAtEenter) {
  const Reservation nothing = Reservation::aligned(kPage);
  run_.tcs = nothing.base();
  ProbeArgs args;
  EXPECT_EQ(enclume_test_call_vdso(PROBE_OP_NOP, address_of(&args), 0, kEenter, 0, 0, &run_, vdso_function()),
            0);
  EXPECT_EQ(run_.function, kEenter);
  EXPECT_EQ(run_.exception_vector, kVectorPf);
  EXPECT_EQ(run_.exception_error_code & kPfSgx, 0);
  EXPECT_EQ(run_.exception_addr, nothing.base());
}

TEST_F(VdsoTest, EresumeWithoutAnAexIsAGeneralProtectionFault) {
  EXPECT_EQ(enclume_test_call_vdso(0, 0, 0, kEresume, 0, 0, &run_, vdso_function()), 0);
  EXPECT_EQ(run_.function, kEresume);
  EXPECT_EQ(run_.exception_vector, kVectorGp);
}

TEST_F(VdsoTest, EenterWithAllFramesInUseIsAGeneralProtectionFault) {
  for (std::uint32_t level = 0; level < probe_.options().frames; ++level) {
    const CallResult nested = probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2});
    ASSERT_TRUE(nested.faulted());
    ASSERT_EQ(nested.run.exception_vector, kVectorUd) << "level " << level;
  }
  const CallResult one_too_many = probe_.call(PROBE_OP_NOP);
  EXPECT_EQ(one_too_many.run.function, kEenter);
  EXPECT_EQ(one_too_many.run.exception_vector, kVectorGp);
}

// ---- User handlers ----

struct HandlerRecord {
  int calls = 0;
  long rdi = 0, rsi = 0, rdx = 0, rsp = 0, r8 = 0, r9 = 0;
  std::uint64_t flags = 0, frame = 0;
  sgx_enclave_run* run = nullptr;
  int result = 0;
};
HandlerRecord g_handler;

int record_exit(long rdi, long rsi, long rdx, long rsp, long r8, long r9, sgx_enclave_run* run) {
  g_handler.flags = __builtin_ia32_readeflags_u64();
  g_handler.frame = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  ++g_handler.calls;
  g_handler.rdi = rdi;
  g_handler.rsi = rsi;
  g_handler.rdx = rdx;
  g_handler.rsp = rsp;
  g_handler.r8 = r8;
  g_handler.r9 = r9;
  g_handler.run = run;
  return g_handler.result;
}

class UserHandlerTest : public VdsoTest {
 protected:
  UserHandlerTest() { g_handler = {}; }
  void use(sgx_enclave_user_handler_t handler) {
    run_.user_handler = reinterpret_cast<std::uint64_t>(handler);
  }
  int call(std::uint64_t operation, const ProbeArgs& args) {
    return enclume_test_call_vdso(operation, address_of(&args), 0, kEenter, 0, 0, &run_, vdso_function());
  }
};

TEST_F(UserHandlerTest, GetsTheRegistersOfTheExit) {
  use(record_exit);
  const RegisterFile set = register_pattern();
  ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_EEXIT}, .out = {}};
  ASSERT_EQ(call(PROBE_OP_LOAD_STATE, args), 0);
  EXPECT_EQ(g_handler.calls, 1);
  EXPECT_EQ(g_handler.run, &run_);
  EXPECT_EQ(static_cast<std::uint64_t>(g_handler.rdi), set.rdi);
  EXPECT_EQ(static_cast<std::uint64_t>(g_handler.rsi), set.rsi);
  EXPECT_EQ(static_cast<std::uint64_t>(g_handler.rdx), set.rdx);
  EXPECT_EQ(static_cast<std::uint64_t>(g_handler.r8), set.r8);
  EXPECT_EQ(static_cast<std::uint64_t>(g_handler.r9), set.r9);
}

TEST_F(UserHandlerTest, GetsTheFactsOfAnException) {
  use(record_exit);
  ProbeArgs args{.in = {probe_.base(), 1}, .out = {}};
  ASSERT_EQ(call(PROBE_OP_WRITE, args), 0);
  EXPECT_EQ(g_handler.calls, 1);
  EXPECT_EQ(g_handler.rdi, kVectorPf);
  EXPECT_EQ(g_handler.rsi, 7);
  EXPECT_EQ(static_cast<std::uint64_t>(g_handler.rdx), probe_.base());
  EXPECT_EQ(run_.exception_vector, kVectorPf);
  EXPECT_EQ(run_.function, kEresume);
}

TEST_F(UserHandlerTest, IsCalledForAFaultOfEenterItself) {
  use(record_exit);
  run_.tcs = probe_.tcs() + 16;
  ProbeArgs args;
  ASSERT_EQ(call(PROBE_OP_NOP, args), 0);
  EXPECT_EQ(g_handler.calls, 1);
  EXPECT_EQ(g_handler.rdi, kVectorGp);
  EXPECT_EQ(run_.function, kEenter);
}

TEST_F(UserHandlerTest, SeesTheStackPointerThatTheEnclaveLeft) {
  use(record_exit);
  ProbeArgs args{.in = {0, 0}, .out = {}};
  ASSERT_EQ(call(PROBE_OP_NOP, args), 0);
  const long plain = g_handler.rsp;

  // What an enclave pushes for an o-call is found below; the handler runs below that, and the function
  // returns as if nothing had been pushed only if somebody takes it off again.
  use([](long, long, long, long rsp, long, long, sgx_enclave_run*) {
    g_handler.rsp = rsp;
    g_handler.rdi = *reinterpret_cast<long*>(rsp);
    ++g_handler.calls;
    return 0;
  });
  args.in = {48, 0x1234567890abcdef};
  call(PROBE_OP_HOST_PUSH, args);
  EXPECT_EQ(g_handler.calls, 2);
  EXPECT_EQ(g_handler.rsp, plain - 48);
  EXPECT_EQ(g_handler.rdi, 0x1234567890abcdef);
}

TEST_F(UserHandlerTest, RunsWithAnAlignedStackWhateverTheEnclaveLeft) {
  use(record_exit);
  for (const std::uint64_t pushed : {8u, 16u, 24u, 40u}) {
    ProbeArgs args{.in = {pushed, 0}, .out = {}};
    call(PROBE_OP_HOST_PUSH, args);
    // RBP of the handler: 16 bytes below the aligned stack pointer at the call.
    EXPECT_EQ(g_handler.frame % 16, 0u) << pushed;
  }
}

TEST_F(UserHandlerTest, RunsWithTheDirectionFlagClear) {
  use(record_exit);
  RegisterFile set = register_pattern();
  set.rflags |= kFlagDf;
  ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_EEXIT}, .out = {}};
  ASSERT_EQ(call(PROBE_OP_LOAD_STATE, args), 0);
  EXPECT_EQ(g_handler.calls, 1);
  EXPECT_EQ(g_handler.flags & kFlagDf, 0u);
}

TEST_F(UserHandlerTest, ZeroAndNegativeResultsAreReturnedToTheCaller) {
  use(record_exit);
  ProbeArgs args;
  for (const int result : {0, -1, -14, -1000000}) {
    g_handler.result = result;
    EXPECT_EQ(call(PROBE_OP_NOP, args), result);
  }
}

TEST_F(UserHandlerTest, PositiveResultThatIsNoEntryLeafIsEinval) {
  use(record_exit);
  ProbeArgs args;
  for (const int result : {1, 4, 5, 1000}) {
    g_handler.result = result;
    EXPECT_EQ(call(PROBE_OP_NOP, args), -EINVAL) << result;
  }
}

const ProbeEnclave* g_probe = nullptr;
int g_exceptions = 0;

// The way of every runtime: on an exception enter the same TCS again, let the enclave repair its frame,
// resume.
int skip_and_resume(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function == kEexit) return 0;
  ++g_exceptions;
  const Gprsgx registers = g_probe->ssa_registers();
  g_probe->set_ssa_rip(registers.rip + 2);
  return static_cast<int>(kEresume);
}

TEST_F(UserHandlerTest, ResultEresumeResumesTheEnclave) {
  use(skip_and_resume);
  g_probe = &probe_;
  g_exceptions = 0;
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  EXPECT_EQ(call(PROBE_OP_RAISE, args), 0);
  EXPECT_EQ(g_exceptions, 1);
  EXPECT_EQ(args.out[0], 1u) << "the operation went on after its UD2";
  EXPECT_EQ(run_.function, kEexit);
}

jmp_buf g_jump;

TEST_F(UserHandlerTest, MayLeaveByLongjmp) {
  use([](long, long, long, long, long, long, sgx_enclave_run*) -> int { longjmp(g_jump, 1); });
  ProbeArgs args;
  if (setjmp(g_jump) == 0) {
    call(PROBE_OP_NOP, args);
    FAIL() << "the call returned";
  }
  run_.user_handler = 0;
  EXPECT_EQ(call(PROBE_OP_NOP, args), 0) << "and the enclave can be entered again";
}

TEST_F(UserHandlerTest, MayThrow) {
  use([](long, long, long, long, long, long, sgx_enclave_run*) -> int { throw 17; });
  ProbeArgs args;
  EXPECT_THROW(call(PROBE_OP_NOP, args), int) << "unwinding needs the function's CFI";
}

// ---- OCALLs and nesting ----

TEST_F(VdsoTest, EnclaveCanLeaveAndBeEnteredAgainWithItsStackKept) {
  ProbeArgs args{.in = {5}, .out = {}};
  std::uint64_t operation = PROBE_OP_OCALL;
  int exits = 0;
  do {
    fresh_run();
    ASSERT_EQ(enclume_test_call_vdso(operation, address_of(&args), 0, kEenter, 0, 0, &run_, vdso_function()),
              0);
    ASSERT_EQ(run_.function, kEexit);
    operation = PROBE_OP_OCALL_RETURN;
    args.in[0] = 100;
    ++exits;
  } while (args.out[1] == 1 && exits < 100);
  EXPECT_EQ(exits, 6);
  EXPECT_EQ(args.out[0], 500u);
}

TEST_F(VdsoTest, NestedEntryFindsCssaInRaxAndGoesToTheSameEntryPoint) {
  for (std::uint64_t level = 0; level < probe_.options().frames; ++level) {
    RegisterFile seen{};
    const CallResult look = probe_.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)});
    ASSERT_TRUE(look.exited());
    EXPECT_EQ(seen.rax, level);
    if (level + 1 == probe_.options().frames) break;
    ASSERT_TRUE(probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted());
  }
}

TEST_F(VdsoTest, ExceptionInTheInnerLevelUsesTheNextFrame) {
  ASSERT_TRUE(probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted());
  const CallResult inner =
      probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_DIVIDE});  // Its arguments are used again below.
  ASSERT_TRUE(inner.faulted());
  // At CSSA = 2 the newest frame is that of the division.
  EXPECT_EQ(probe_.ssa_registers().rip, probe_.base() + raise_site(PROBE_RAISE_DIVIDE).instruction);
  probe_.set_ssa_rip(probe_.base() + raise_site(PROBE_RAISE_DIVIDE).next);
  sgx_enclave_run run;
  ASSERT_EQ(probe_.resume(run), 0);
  ASSERT_EQ(run.function, kEexit);
  EXPECT_EQ(probe_.ssa_registers().rip, probe_.base() + raise_site(PROBE_RAISE_UD2).instruction);
}

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
