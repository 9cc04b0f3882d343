// SPDX-License-Identifier: Apache-2.0
//
// Exception design `vdso-registers`: __vdso_sgx_enclu (include/enclume/uapi/sgx_vdso_enclu.h), and the C++
// over it.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "conformance/fixup_support.h"
#include "enclume/host/vdso_enclu.h"
#include "enclume/uapi/enclume_control.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint64_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint64_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint64_t>(Leaf::kEexit);

class RegistersDesign : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(function_, nullptr); }

  RegisterFile call(std::uint64_t leaf, std::uint64_t operation, const ProbeArgs& args) {
    in_ = register_pattern();
    in_.rax = leaf;
    in_.rbx = probe_.tcs();
    in_.rdi = operation;
    in_.rsi = address_of(&args);
    RegisterFile out{};
    enclume_test_call_enclu(&in_, &out, function_);
    return out;
  }

  static bool is_enclu(std::uint64_t address) {
    return std::memcmp(reinterpret_cast<const void*>(address), "\x0f\x01\xd7", 3) == 0;
  }

  const void* const function_ = vdso_symbol("__vdso_sgx_enclu");
  ProbeEnclave probe_;
  RegisterFile in_{};
};

// ---- What a program finds ----

TEST_F(RegistersDesign, TheVdsoHasThisFunctionAndNotLinuxs) {
  EXPECT_EQ(vdso_symbol("__vdso_sgx_enter_enclave"), nullptr);
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "__vdso_sgx_enter_enclave"), nullptr);
  void* vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(vdso, nullptr) << dlerror();
  EXPECT_EQ(dlvsym(vdso, "__vdso_sgx_enclu", SGX_VDSO_ENCLU_VERSION), function_);
}

TEST_F(RegistersDesign, TheDeviceRegistersNoHandler) {
  std::uint64_t argument[2] = {address_of(enclume_test_enclu_done), 0};
  EXPECT_EQ(ioctl(probe_.fd(), _IOC(_IOC_WRITE, 0xa4, 0x80, sizeof argument), argument), -1);
  EXPECT_EQ(errno, ENOTTY);
}

// ---- The register contract ----

TEST_F(RegistersDesign, PassesEveryRegisterToTheEnclave) {
  RegisterFile seen{};
  const ProbeArgs args{.in = {address_of(&seen)}, .out = {}};
  const RegisterFile out = call(kEenter, PROBE_OP_ENTRY_STATE, args);
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(seen.rdi, in_.rdi);
  EXPECT_EQ(seen.rsi, in_.rsi);
  EXPECT_EQ(seen.rdx, in_.rdx);
  EXPECT_EQ(seen.r8, in_.r8);
  EXPECT_EQ(seen.r9, in_.r9);
  EXPECT_EQ(seen.r10, in_.r10);
  EXPECT_EQ(seen.r11, in_.r11);
  EXPECT_EQ(seen.r12, in_.r12);
  EXPECT_EQ(seen.r13, in_.r13);
  EXPECT_EQ(seen.r14, in_.r14);
  EXPECT_EQ(seen.r15, in_.r15);
  EXPECT_EQ(seen.rbp, out.rbp) << "the function has no frame";
  EXPECT_TRUE(is_enclu(seen.rcx - 3)) << "EENTER leaves the address behind it in RCX";
  EXPECT_EQ(out.rcx, seen.rcx - 3) << "the AEP is that ENCLU";
}

TEST_F(RegistersDesign, GivesEveryRegisterOfTheExitToTheCaller) {
  RegisterFile set = register_pattern();
  for (std::uint64_t* word = &set.rax; word <= &set.r15; ++word) *word = ~*word;
  const ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_EEXIT}, .out = {}};
  const RegisterFile out = call(kEenter, PROBE_OP_LOAD_STATE, args);
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(out.rdi, set.rdi);
  EXPECT_EQ(out.rsi, set.rsi);
  EXPECT_EQ(out.rdx, set.rdx);
  EXPECT_EQ(out.r8, set.r8);
  EXPECT_EQ(out.r11, set.r11);
  EXPECT_EQ(out.r12, set.r12);
  EXPECT_EQ(out.r15, set.r15);
}

class RegistersDesignException : public RegistersDesign,
                                 public ::testing::WithParamInterface<EnclaveException> {};

TEST_P(RegistersDesignException, IsReturnedInRegistersAndNoSignalComes) {
  const EnclaveException& exception = GetParam();
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args = exception.args(probe_);
  const RegisterFile out = call(kEenter, exception.operation, args);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rax, kEresume);
  EXPECT_EQ(out.rdi, exception.vector);
  EXPECT_EQ(out.rsi, exception.error_code);
  EXPECT_EQ(out.rdx, exception.address(probe_));
  EXPECT_EQ(out.rbx, probe_.tcs());
  EXPECT_TRUE(is_enclu(out.rcx));
  for (const std::uint64_t reg : {out.r8, out.r9, out.r10, out.r11, out.r12, out.r13, out.r14, out.r15}) {
    EXPECT_EQ(reg, 0u);
  }
  EXPECT_EQ(current_ssa(probe_), 1u);
  probe_.abandon();
  EXPECT_EQ(current_ssa(probe_), 0u);
}

TEST_P(RegistersDesignException, NeedsNoHandlerAndNoUnblockedSignal) {
  const EnclaveException& exception = GetParam();
  const ProbeArgs args = exception.args(probe_);
  const int status = in_child([&] {
    for (const int signal : kFaultSignals) ::signal(signal, SIG_IGN);
    const ScopedSignalMask blocked(SIG_BLOCK, kFaultSignals);
    return call(kEenter, exception.operation, args).rdi == exception.vector ? 42 : 1;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

INSTANTIATE_TEST_SUITE_P(All, RegistersDesignException, ::testing::ValuesIn(enclave_exceptions()),
                         [](const auto& tested) { return tested.param.name; });

class RegistersDesignEntryFault : public RegistersDesign, public ::testing::WithParamInterface<EntryFault> {};

TEST_P(RegistersDesignEntryFault, IsReturnedWithItsLeafAndAllElseAsItWas) {
  const EntryFault& fault = GetParam();
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = fault.leaf;
  in.rbx = probe_.tcs() + fault.tcs_offset;
  enclume_test_call_enclu(&in, &out, function_);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rax, fault.leaf);
  EXPECT_EQ(out.rdi, fault.vector);
  EXPECT_EQ(out.rsi & fault.error_code, fault.error_code);
  EXPECT_EQ(out.rdx, fault.page_fault_at_tcs ? in.rbx : 0);
  EXPECT_EQ(out.rbx, in.rbx);
  EXPECT_EQ(out.r8, in.r8);
  EXPECT_EQ(out.r9, in.r9);
  EXPECT_EQ(out.r10, in.r10);
  EXPECT_EQ(out.r11, in.r11);
  EXPECT_EQ(out.r12, in.r12);
  EXPECT_EQ(out.r13, in.r13);
  EXPECT_EQ(out.r14, in.r14);
  EXPECT_EQ(out.r15, in.r15);
  EXPECT_EQ(current_ssa(probe_), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, RegistersDesignEntryFault, ::testing::ValuesIn(entry_faults()),
                         [](const auto& tested) { return tested.param.name; });

TEST_F(RegistersDesign, EntryOfAnEnclaveThatHasLostItsEpcIsReturnedWithTheSgxBit) {
  ASSERT_EQ(ioctl(probe_.fd(), ENCLUME_IOC_LOSE_EPC, ENCLUME_LOSE_ENCLAVE), 1);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = kEenter;
  in.rbx = probe_.tcs();
  enclume_test_call_enclu(&in, &out, function_);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rdi, kVectorPf);
  EXPECT_EQ(out.rsi, 0x8005u);
  EXPECT_EQ(out.rdx, probe_.tcs());
}

class RegistersDesignTrap : public RegistersDesign, public ::testing::WithParamInterface<SoftwareTrap> {};

TEST_P(RegistersDesignTrap, OfADebugEnclaveIsSigtrapAtTheEncluAndIsNotReturned) {
  const DebuggedProbe probe(true);
  const ProbeArgs args{.in = {GetParam().instruction}, .out = {}};
  RegisterFile in = register_pattern(), out{};
  in.rax = kEenter;
  in.rbx = probe.tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  const TrapsSeen seen =
      watch_for_traps(probe, GetParam(), [&] { enclume_test_call_enclu(&in, &out, function_); });
  EXPECT_EQ(seen.count, 1);
  EXPECT_EQ(seen.code, GetParam().code);
  EXPECT_EQ(seen.vector, GetParam().vector);
  EXPECT_TRUE(is_enclu(seen.rip));
  EXPECT_EQ(seen.rax, kEresume);
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(args.out[0], 1u);
}

INSTANTIATE_TEST_SUITE_P(All, RegistersDesignTrap, ::testing::ValuesIn(software_traps()),
                         [](const auto& tested) { return tested.param.name; });

// ---- Elsewhere than in the vDSO ----

TEST_F(RegistersDesign, AnEncluOfTheProgramGetsASignal) {
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGILL);
}

TEST_F(RegistersDesign, AnAepThatIsTheVdsosEncluIsFixedUpWhoeverEntered) {
  const ProbeArgs none;
  const std::uint64_t enclu = call(kEenter, PROBE_OP_NOP, none).rcx;
  // The fixup is a return: so RSP at the entry must have the place to return to.
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  RegisterFile in = register_pattern(), out{};
  in.rax = kEenter;
  in.rbx = probe_.tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  in.rcx = enclu;
  enclume_test_call_enclu(&in, &out, enclume_test_enclu_function);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rax, kEresume);
  EXPECT_EQ(out.rdi, static_cast<std::uint64_t>(kVectorUd));
  EXPECT_EQ(out.rcx, enclu);
}

TEST_F(RegistersDesign, AnAepThatIsNoEncluGetsTheSignal) {
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args, enclume_test_enclu_done);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), address_of(enclume_test_enclu_done));
}

// ---- The C++ wrapper ----

EncluRegisters operation(std::uint64_t number, const ProbeArgs& args) {
  return {.rdi = number, .rsi = address_of(&args)};
}

class EncluWrapper : public RegistersDesign {
 protected:
  const EncluFunction enclu_ = find_vdso_enclu().value();
};

TEST_F(EncluWrapper, EntersAndReturns) {
  const ProbeArgs args{.in = {40, 2}, .out = {}};
  const EncluExit exit = enclu_.enter(probe_.tcs(), operation(PROBE_OP_SUM, args));
  EXPECT_TRUE(exit.exited());
  EXPECT_EQ(exit.vector, 0);
  EXPECT_EQ(args.out[0], 42u);
}

TEST_F(EncluWrapper, ReportsAnException) {
  const ProbeArgs args{.in = {probe_.base() + 0x123, 1}, .out = {}};
  const EncluExit exit = enclu_.enter(probe_.tcs(), operation(PROBE_OP_WRITE, args));
  EXPECT_FALSE(exit.exited());
  EXPECT_EQ(exit.leaf, EncluLeaf::kEresume);
  EXPECT_EQ(exit.vector, kVectorPf);
  EXPECT_EQ(exit.error_code, 7);
  EXPECT_EQ(exit.address, probe_.base());
}

TEST_F(EncluWrapper, KeepsTheCallersRegistersAndFloatingPointControl) {
  // The exception takes R12 to R15, MXCSR and the x87 control word; the sum here lives in some of them.
  std::uint32_t mxcsr_before = 0x3f80, mxcsr_after = 0;
  asm volatile("ldmxcsr %0" ::"m"(mxcsr_before));
  std::uint64_t sums[6] = {1, 2, 3, 4, 5, 6};
  for (const int instruction : {PROBE_RAISE_UD2, PROBE_RAISE_X87_DIVIDE, PROBE_RAISE_UNALIGNED}) {
    const ProbeArgs args{.in = {static_cast<std::uint64_t>(instruction)}, .out = {}};
    const EncluExit exit = enclu_.enter(probe_.tcs(), operation(PROBE_OP_RAISE, args));
    EXPECT_FALSE(exit.exited());
    for (std::uint64_t i = 0; i < 6; ++i) sums[i] += exit.vector * i;
    probe_.abandon();
  }
  asm volatile("stmxcsr %0" : "=m"(mxcsr_after));
  const std::uint32_t initial = 0x1f80;
  asm volatile("ldmxcsr %0" ::"m"(initial));
  EXPECT_EQ(mxcsr_after & ~0x3fu, mxcsr_before);
  EXPECT_EQ(sums[5], 6u + 5 * (kVectorUd + kVectorMf + kVectorAc));
  EXPECT_EQ(__builtin_ia32_readeflags_u64() & kFlagAc, 0u);
}

TEST_F(EncluWrapper, ResumesAfterAHandlerHasRepaired) {
  const ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  int exceptions = 0;
  const EncluExit exit = enclu_.enter(
      probe_.tcs(), operation(PROBE_OP_RAISE, args), [&](const EncluExit& exception, EncluRegisters&) {
        ++exceptions;
        EXPECT_EQ(exception.vector, kVectorDe);
        probe_.set_ssa_rip(probe_.base() + raise_site(PROBE_RAISE_DIVIDE).next);
        return EncluLeaf::kEresume;
      });
  EXPECT_TRUE(exit.exited());
  EXPECT_EQ(exceptions, 1);
  EXPECT_EQ(args.out[0], 1u);
}

TEST_F(EncluWrapper, AHandlerMayGiveUp) {
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  const EncluExit exit = enclu_.enter(probe_.tcs(), operation(PROBE_OP_RAISE, args),
                                      [](const EncluExit&, EncluRegisters&) { return EncluLeaf::kEexit; });
  EXPECT_EQ(exit.leaf, EncluLeaf::kEresume);
  EXPECT_EQ(exit.vector, kVectorUd);
}

TEST_F(EncluWrapper, AHandlerMayThrow) {
  struct Counted {
    explicit Counted(int& count) : count_(count) { ++count_; }
    ~Counted() { --count_; }
    int& count_;
  };
  int alive = 0;
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  const std::string text = "kept in a callee-saved register, perhaps";
  try {
    const Counted counted(alive);
    static_cast<void>(enclu_.enter(probe_.tcs(), operation(PROBE_OP_RAISE, args),
                                   [&](const EncluExit& exception, EncluRegisters&) -> EncluLeaf {
                                     throw std::runtime_error("vector " + std::to_string(exception.vector));
                                   }));
    ADD_FAILURE() << "it returned";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "vector 6");
  }
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(text, "kept in a callee-saved register, perhaps");
}

TEST_F(EncluWrapper, AHandlerMayEnterAnotherEnclaveWhoseHandlerEntersAThird) {
  // Each fault finds the handler of its own entry, down to a depth of 16.
  std::vector<std::unique_ptr<ProbeEnclave>> enclaves;
  for (int i = 0; i < 16; ++i) enclaves.push_back(std::make_unique<ProbeEnclave>());
  std::vector<std::size_t> order;
  const std::function<void(std::size_t)> enter = [&](std::size_t depth) {
    if (depth == enclaves.size()) return;
    const ProbeEnclave& probe = *enclaves[depth];
    const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
    const EncluExit exit = enclu_.enter(probe.tcs(), operation(PROBE_OP_RAISE, args),
                                        [&, depth](const EncluExit&, EncluRegisters&) {
                                          order.push_back(depth);
                                          enter(depth + 1);
                                          probe.set_ssa_rip(probe.base() + raise_site(PROBE_RAISE_UD2).next);
                                          return EncluLeaf::kEresume;
                                        });
    EXPECT_TRUE(exit.exited());
    EXPECT_EQ(args.out[0], 1u) << depth;
  };
  enter(0);
  ASSERT_EQ(order.size(), enclaves.size());
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i);
}

TEST_F(EncluWrapper, ThreadsHaveHandlersOfTheirOwnInOneEnclave) {
  constexpr unsigned kThreads = 8;
  ProbeOptions options;
  options.threads = kThreads;
  const ProbeEnclave probe(options);
  std::vector<std::thread> threads;
  std::array<unsigned, kThreads> seen{};
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
        static_cast<void>(enclu_.enter(
            probe.tcs(i), operation(PROBE_OP_RAISE, args), [&](const EncluExit&, EncluRegisters&) {
              ++seen[i];
              probe.set_ssa_rip(probe.base() + raise_site(PROBE_RAISE_UD2).next, i);
              return EncluLeaf::kEresume;
            }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const unsigned count : seen) EXPECT_EQ(count, 50u);
}

}  // namespace
}  // namespace enclume::test
