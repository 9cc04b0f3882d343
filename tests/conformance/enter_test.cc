// SPDX-License-Identifier: Apache-2.0
//
// Entering and leaving: the contract of __vdso_sgx_enter_enclave (Linux 6.12 arch/x86/entry/vdso/vsgx.S and
// <asm/sgx.h>) and of EENTER, EEXIT and ERESUME below it (Intel SDM volume 3D).
#include <gtest/gtest.h>
#include <setjmp.h>

#include <cstring>

#include "conformance/enter_fixture.h"

namespace enclume::test {
namespace {

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

}  // namespace
}  // namespace enclume::test
