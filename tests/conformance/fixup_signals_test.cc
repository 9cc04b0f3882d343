// SPDX-License-Identifier: Apache-2.0
//
// Exception design `signals`: no fixup at all, the world before the vDSO function.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include "conformance/fixup_support.h"
#include "enclume/host/vdso_enclu.h"
#include "enclume/uapi/enclume_control.h"

// Weak, and resolved by the dynamic linker before main.
extern "C" int __vdso_sgx_enter_enclave(unsigned long, unsigned long, unsigned long, unsigned int,
                                        unsigned long, unsigned long, sgx_enclave_run*) __attribute__((weak));

namespace enclume::test {
namespace {

constexpr auto kEresume = static_cast<std::uint64_t>(Leaf::kEresume);

// ---- What a program finds ----

TEST(SignalsDesignVdso, HasNoFunctionToEnterEnclavesBy) {
  EXPECT_EQ(find_vdso_function(), nullptr);
  EXPECT_EQ(vdso_symbol("__vdso_sgx_enter_enclave"), nullptr);
  EXPECT_EQ(vdso_symbol("__vdso_sgx_enclu"), nullptr);
  EXPECT_FALSE(find_vdso_enclu().has_value());
  EXPECT_NE(vdso_symbol("__vdso_clock_gettime"), nullptr) << "all else is there";
}

TEST(SignalsDesignVdso, TheDynamicLinkerFindsNoneEither) {
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "__vdso_sgx_enter_enclave"), nullptr);
  EXPECT_EQ(dlvsym(RTLD_DEFAULT, "__vdso_sgx_enter_enclave", "LINUX_2.6"), nullptr);
  void* vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(vdso, nullptr) << dlerror();
  EXPECT_EQ(dlsym(vdso, "__vdso_sgx_enter_enclave"), nullptr);
  EXPECT_EQ(dlsym(vdso, "__vdso_sgx_enclu"), nullptr);
}

TEST(SignalsDesignVdso, AWeakReferenceIsNull) {
  // A runtime that tests it falls back to its own ENCLU.
  EXPECT_EQ(&__vdso_sgx_enter_enclave, nullptr);
}

TEST(SignalsDesignVdso, ALibraryLoadedLaterFindsNoneEither) {
  void* library = dlopen(ENCLUME_WEAK_USER, RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto ask = reinterpret_cast<const void* (*)()>(dlsym(library, "weak_enter_function"));
  ASSERT_NE(ask, nullptr);
  EXPECT_EQ(ask(), nullptr);
  dlclose(library);
}

TEST(SignalsDesignDevice, RegistersNoHandler) {
  const ProbeEnclave probe;
  std::uint64_t argument[2] = {address_of(enclume_test_enclu_done), 0};
  for (unsigned number = 0x80; number < 0x84; ++number) {
    for (const unsigned long direction : {_IOC_WRITE, _IOC_READ | _IOC_WRITE}) {
      EXPECT_EQ(ioctl(probe.fd(), _IOC(direction, 0xa4, number, sizeof argument), argument), -1);
      EXPECT_EQ(errno, ENOTTY);
    }
  }
}

// ---- Exceptions ----

class SignalsDesignException : public ::testing::TestWithParam<EnclaveException> {
 protected:
  ProbeEnclave probe_;
};

TEST_P(SignalsDesignException, IsASignalAtTheAep) {
  const EnclaveException& exception = GetParam();
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args = exception.args(probe_);
  own_enclu(probe_, exception.operation, args);
  const CaughtSignal& caught = catcher.caught();
  ASSERT_EQ(caught.count, 1);
  EXPECT_EQ(caught.signal, exception.signal);
  EXPECT_EQ(caught.code, exception.code);
  EXPECT_EQ(caught.reg(REG_TRAPNO), exception.vector);
  EXPECT_EQ(caught.reg(REG_ERR), exception.error_code);
  EXPECT_EQ(caught.reg(REG_RIP), address_of(enclume_test_aep));
  EXPECT_EQ(caught.reg(REG_RAX), kEresume);
  EXPECT_EQ(caught.reg(REG_RBX), probe_.tcs());
  EXPECT_EQ(caught.reg(REG_RCX), address_of(enclume_test_aep));
  // Nothing but the processor's synthetic state.
  for (const int number : {REG_RDI, REG_RSI, REG_RDX, REG_R8, REG_R15}) EXPECT_EQ(caught.reg(number), 0u);
  if (exception.code_has_address) {
    const std::uint64_t address = exception.address(probe_);
    EXPECT_EQ(caught.address, address != 0 ? address : address_of(enclume_test_aep));
  }
  EXPECT_EQ(current_ssa(probe_), 1u);
  probe_.abandon();
  EXPECT_EQ(current_ssa(probe_), 0u);
}

TEST_P(SignalsDesignException, EndsAProcessWithoutAHandler) {
  const EnclaveException& exception = GetParam();
  const ProbeArgs args = exception.args(probe_);
  const int status = in_child([&] {
    own_enclu(probe_, exception.operation, args);
    return 0;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), exception.signal);
}

INSTANTIATE_TEST_SUITE_P(All, SignalsDesignException, ::testing::ValuesIn(enclave_exceptions()),
                         [](const auto& tested) { return tested.param.name; });

class SignalsDesignEntryFault : public ::testing::TestWithParam<EntryFault> {
 protected:
  ProbeEnclave probe_;
};

TEST_P(SignalsDesignEntryFault, IsASignalAtTheEnclu) {
  const EntryFault& fault = GetParam();
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = fault.leaf;
  in.rbx = probe_.tcs() + fault.tcs_offset;
  in.rflags = 0;
  enclume_test_raw_enclu(&in, &out);
  const CaughtSignal& caught = catcher.caught();
  ASSERT_EQ(caught.count, 1);
  EXPECT_EQ(caught.signal, SIGSEGV);
  EXPECT_EQ(caught.reg(REG_TRAPNO), fault.vector);
  EXPECT_EQ(caught.reg(REG_ERR) & fault.error_code, fault.error_code);
  EXPECT_EQ(caught.reg(REG_RIP), address_of(enclume_test_enclu));
  EXPECT_EQ(caught.reg(REG_RAX), fault.leaf);
  EXPECT_EQ(caught.reg(REG_RBX), in.rbx);
  EXPECT_EQ(caught.reg(REG_RDI), in.rdi);
  EXPECT_EQ(caught.reg(REG_R15), in.r15);
  if (fault.page_fault_at_tcs) {
    EXPECT_EQ(caught.address, in.rbx);
  }
  EXPECT_EQ(current_ssa(probe_), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, SignalsDesignEntryFault, ::testing::ValuesIn(entry_faults()),
                         [](const auto& tested) { return tested.param.name; });

TEST(SignalsDesignLoss, EntryOfAnEnclaveThatHasLostItsEpcIsSigsegvWithTheSgxBit) {
  const ProbeEnclave probe;
  ASSERT_EQ(ioctl(probe.fd(), ENCLUME_IOC_LOSE_EPC, ENCLUME_LOSE_ENCLAVE), 1);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
  in.rbx = probe.tcs();
  in.rflags = 0;
  enclume_test_raw_enclu(&in, &out);
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGSEGV);
  EXPECT_EQ(catcher.caught().code, SEGV_ACCERR);
  EXPECT_EQ(catcher.caught().reg(REG_ERR), 0x8005u);
}

class SignalsDesignTrap : public ::testing::TestWithParam<SoftwareTrap> {};

TEST_P(SignalsDesignTrap, OfADebugEnclaveIsSigtrapAtTheAep) {
  const DebuggedProbe probe(true);
  const ProbeArgs args{.in = {GetParam().instruction}, .out = {}};
  const TrapsSeen seen = watch_for_traps(probe, GetParam(), [&] { own_enclu(probe, PROBE_OP_RAISE, args); });
  EXPECT_EQ(seen.count, 1);
  EXPECT_EQ(seen.code, GetParam().code);
  EXPECT_EQ(seen.vector, GetParam().vector);
  EXPECT_EQ(seen.rip, address_of(enclume_test_aep));
  EXPECT_EQ(args.out[0], 1u);
}

INSTANTIATE_TEST_SUITE_P(All, SignalsDesignTrap, ::testing::ValuesIn(software_traps()),
                         [](const auto& tested) { return tested.param.name; });

TEST(SignalsDesign, ARuntimesHandlerRepairsAndResumes) {
  // What Intel's runtime does without the vDSO: know one's own by RIP and RAX, enter again, let the AEP
  // resume.
  static const ProbeEnclave* probe = nullptr;
  const ProbeEnclave enclave;
  probe = &enclave;
  const ScopedSigaction handler(SIGFPE, [](int, siginfo_t*, void* raw) {
    const auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
    if (static_cast<std::uint64_t>(registers[REG_RIP]) != address_of(enclume_test_aep)) abort();
    probe->set_ssa_rip(probe->base() + raise_site(PROBE_RAISE_DIVIDE).next);
  });
  const ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  const RegisterFile out = own_enclu(enclave, PROBE_OP_RAISE, args);
  EXPECT_EQ(out.rax, static_cast<std::uint64_t>(Leaf::kEexit));
  EXPECT_EQ(args.out[0], 1u);
}

TEST(SignalsDesign, AnAepThatIsNoEncluGetsTheSignalAndGoesOnThere) {
  // Here it is the end of the function that entered: the handler returns, and so does that.
  const SignalCatcher catcher(kFaultSignals, nullptr);
  const ProbeEnclave probe;
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  const RegisterFile out = own_enclu(probe, PROBE_OP_RAISE, args, enclume_test_enclu_done);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGILL);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), address_of(enclume_test_enclu_done));
  EXPECT_EQ(out.rax, kEresume);
  EXPECT_EQ(out.rcx, address_of(enclume_test_enclu_done));
}

}  // namespace
}  // namespace enclume::test
