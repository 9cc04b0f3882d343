// SPDX-License-Identifier: Apache-2.0
//
// Exceptions of enclave code: which vector, error code and address reach the host, and what the frame says.
// Sources: Intel SDM volume 3D (June 2016) 39.6, 40.4, 42; Linux 6.12 arch/x86/mm/fault.c and
// selftests/sgx/main.c.
#include <cpuid.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);

// ---- Instructions ----

struct Instruction {
  const char* name;
  std::uint64_t number;
  int vector;
};

class InstructionTest : public ::testing::TestWithParam<Instruction> {
 protected:
  ProbeEnclave probe_;
};

TEST_P(InstructionTest, RaisesItsVectorAtItselfAndTheEnclaveCanGoOnBehindIt) {
  const auto& [name, number, vector] = GetParam();
  CallResult result = probe_.call(PROBE_OP_RAISE, {number});
  ASSERT_EQ(result.status, 0);
  ASSERT_EQ(result.run.function, kEresume) << "it did not fault";
  EXPECT_EQ(result.run.exception_vector, vector);
  EXPECT_EQ(result.run.exception_error_code, 0);
  EXPECT_EQ(result.run.exception_addr, 0u);

  const Gprsgx frame = probe_.ssa_registers();
  const RaiseSite site = raise_site(number);
  EXPECT_EQ(frame.rip, probe_.base() + site.instruction);
  const bool reported = vector != kVectorGp && vector != kVectorSs;
  EXPECT_EQ(frame.exitinfo, reported ? exitinfo_hardware(vector) : 0);

  // The same operation again: its arguments in `result` went away with the call, those of a new one stay.
  probe_.abandon();
  ProbeArgs args{.in = {number}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe_.tcs();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_RAISE, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  probe_.set_ssa_rip(probe_.base() + site.next);
  ASSERT_EQ(probe_.resume(run), 0);
  EXPECT_EQ(run.function, static_cast<std::uint32_t>(Leaf::kEexit));
  EXPECT_EQ(args.out[0], 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Illegal, InstructionTest,
    ::testing::Values(
        Instruction{"Ud2", PROBE_RAISE_UD2, kVectorUd}, Instruction{"Int3", PROBE_RAISE_INT3, kVectorUd},
        Instruction{"Int1", PROBE_RAISE_INT1, kVectorUd}, Instruction{"IntN", PROBE_RAISE_INT_N, kVectorUd},
        Instruction{"Int3InTwoBytes", PROBE_RAISE_INT_3, kVectorUd},
        Instruction{"Int4InTwoBytes", PROBE_RAISE_INT_4, kVectorUd},
        Instruction{"Int80", PROBE_RAISE_INT80, kVectorUd},
        Instruction{"Cpuid", PROBE_RAISE_CPUID, kVectorUd},
        Instruction{"Syscall", PROBE_RAISE_SYSCALL, kVectorUd},
        Instruction{"Sysenter", PROBE_RAISE_SYSENTER, kVectorUd},
        Instruction{"Sgdt", PROBE_RAISE_SGDT, kVectorUd}, Instruction{"Sidt", PROBE_RAISE_SIDT, kVectorUd},
        Instruction{"Sldt", PROBE_RAISE_SLDT, kVectorUd}, Instruction{"Str", PROBE_RAISE_STR, kVectorUd},
        Instruction{"Smsw", PROBE_RAISE_SMSW, kVectorUd}, Instruction{"In", PROBE_RAISE_IN, kVectorUd},
        Instruction{"Out", PROBE_RAISE_OUT, kVectorUd}, Instruction{"Insb", PROBE_RAISE_INSB, kVectorUd},
        Instruction{"Outsb", PROBE_RAISE_OUTSB, kVectorUd},
        Instruction{"Rdpmc", PROBE_RAISE_RDPMC, kVectorUd},
        Instruction{"FarReturn", PROBE_RAISE_FAR_RETURN, kVectorUd},
        Instruction{"Iret", PROBE_RAISE_IRET, kVectorUd}, Instruction{"MovDs", PROBE_RAISE_MOV_DS, kVectorUd},
        Instruction{"PopFs", PROBE_RAISE_POP_FS, kVectorUd},
        Instruction{"Vmcall", PROBE_RAISE_VMCALL, kVectorUd},
        Instruction{"Vmmcall", PROBE_RAISE_VMMCALL, kVectorUd},
        Instruction{"Encls", PROBE_RAISE_ENCLS, kVectorUd}),
    [](const ::testing::TestParamInfo<Instruction>& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Privileged, InstructionTest,
    ::testing::Values(Instruction{"Hlt", PROBE_RAISE_HLT, kVectorGp},
                      Instruction{"Cli", PROBE_RAISE_CLI, kVectorGp},
                      Instruction{"MovCr", PROBE_RAISE_MOV_CR, kVectorGp},
                      Instruction{"Lgdt", PROBE_RAISE_LGDT, kVectorGp},
                      Instruction{"Rdmsr", PROBE_RAISE_RDMSR, kVectorGp},
                      Instruction{"Xsetbv", PROBE_RAISE_XSETBV, kVectorGp},
                      Instruction{"EncluEenter", PROBE_RAISE_ENCLU_EENTER, kVectorGp},
                      Instruction{"EncluUnknownLeaf", PROBE_RAISE_ENCLU_UNKNOWN, kVectorGp}),
    [](const ::testing::TestParamInfo<Instruction>& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Computing, InstructionTest,
    ::testing::Values(Instruction{"DivideByZero", PROBE_RAISE_DIVIDE, kVectorDe},
                      Instruction{"UnalignedAccessWithAc", PROBE_RAISE_UNALIGNED, kVectorAc},
                      Instruction{"SseDivideByZero", PROBE_RAISE_SSE_DIVIDE, kVectorXm},
                      Instruction{"X87DivideByZero", PROBE_RAISE_X87_DIVIDE, kVectorMf},
                      Instruction{"NonCanonicalLoad", PROBE_RAISE_NON_CANONICAL_LOAD, kVectorGp},
                      Instruction{"NonCanonicalStackAccess", PROBE_RAISE_NON_CANONICAL_STACK, kVectorSs}),
    [](const ::testing::TestParamInfo<Instruction>& tested) { return tested.param.name; });

class LegalInstructionTest : public ::testing::TestWithParam<Instruction> {
 protected:
  ProbeEnclave probe_;
};

TEST_P(LegalInstructionTest, Completes) {
  const CallResult result = probe_.call(PROBE_OP_RAISE, {GetParam().number});
  EXPECT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
  EXPECT_EQ(result.args.out[0], 1u);
}

INSTANTIATE_TEST_SUITE_P(Legal, LegalInstructionTest,
                         ::testing::Values(Instruction{"Rdtsc", PROBE_RAISE_RDTSC, 0},
                                           Instruction{"Rdtscp", PROBE_RAISE_RDTSCP, 0},
                                           Instruction{"Rdrand", PROBE_RAISE_RDRAND, 0},
                                           Instruction{"Xgetbv", PROBE_RAISE_XGETBV, 0},
                                           Instruction{"Pause", PROBE_RAISE_PAUSE, 0},
                                           Instruction{"Rdfsbase", PROBE_RAISE_RDFSBASE, 0}),
                         [](const ::testing::TestParamInfo<Instruction>& tested) {
                           return tested.param.name;
                         });

// ---- Page faults ----

class PageFaultTest : public ::testing::Test {
 protected:
  void expect_page_fault(const CallResult& result, std::uint32_t code, std::uint64_t address) {
    ASSERT_EQ(result.status, 0);
    ASSERT_EQ(result.run.function, kEresume) << "it did not fault";
    EXPECT_EQ(result.run.exception_vector, kVectorPf);
    EXPECT_EQ(result.run.exception_error_code, code);
    EXPECT_EQ(result.run.exception_addr, address);
  }
  ProbeEnclave probe_;
};

TEST_F(PageFaultTest, WriteToAReadOnlyMappingIs0x7) {
  expect_page_fault(probe_.call(PROBE_OP_WRITE, {probe_.base() + 8, 1}), kPfPresent | kPfWrite | kPfUser,
                    probe_.base());
}

TEST_F(PageFaultTest, AddressIsThatOfThePage) {
  probe_.read(probe_.base() + kPage);  // without a PTE the error code would be 0x6
  expect_page_fault(probe_.call(PROBE_OP_WRITE, {probe_.base() + kPage + 0xabc, 1}), 0x7,
                    probe_.base() + kPage);
}

TEST_F(PageFaultTest, WriteToAReadOnlyPageThatWasNeverTouchedIs0x6) {
  expect_page_fault(probe_.call(PROBE_OP_WRITE, {probe_.base() + 3 * kPage, 1}), 0x6,
                    probe_.base() + 3 * kPage);
}

TEST_F(PageFaultTest, ReadOfAPageProtectedAgainstAllIs0x4AndCanBeMended) {
  probe_.write(probe_.scratch() + kPage, 4711);
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe_.scratch() + kPage), kPage, PROT_NONE), 0);
  ProbeArgs args{.in = {probe_.scratch() + kPage}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe_.tcs();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_READ, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  EXPECT_EQ(run.exception_vector, kVectorPf);
  EXPECT_EQ(run.exception_error_code, kPfUser);
  EXPECT_EQ(run.exception_addr, probe_.scratch() + kPage);
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe_.scratch() + kPage), kPage, PROT_READ), 0);
  ASSERT_EQ(probe_.resume(run), 0);
  EXPECT_EQ(run.function, static_cast<std::uint32_t>(Leaf::kEexit));
  EXPECT_EQ(args.out[0], 4711u);
}

TEST_F(PageFaultTest, WriteToAPageProtectedAgainstAllIs0x6) {
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe_.scratch() + kPage), kPage, PROT_NONE), 0);
  expect_page_fault(probe_.call(PROBE_OP_WRITE, {probe_.scratch() + kPage, 1}), kPfUser | kPfWrite,
                    probe_.scratch() + kPage);
}

TEST_F(PageFaultTest, FetchFromAMappingWithoutExecuteIs0x15) {
  probe_.write(probe_.scratch() + kPage, 0xc3);
  expect_page_fault(probe_.call(PROBE_OP_CALL, {probe_.scratch() + kPage}), kPfPresent | kPfUser | kPfFetch,
                    probe_.scratch() + kPage);
}

TEST_F(PageFaultTest, FetchFromAnExecutablePageWorks) {
  EXPECT_TRUE(probe_.call(PROBE_OP_CALL, {probe_.base() + probe_labels().plain_return}).exited());
}

TEST_F(PageFaultTest, ReadOfTheOwnTcsIs0x8005) {
  expect_page_fault(probe_.call(PROBE_OP_READ, {probe_.tcs() + 16}), kPfPresent | kPfUser | kPfSgx,
                    probe_.tcs());
}

TEST_F(PageFaultTest, WriteToTheOwnTcsIs0x8007) {
  expect_page_fault(probe_.call(PROBE_OP_WRITE, {probe_.tcs() + 8, 1}),
                    kPfPresent | kPfWrite | kPfUser | kPfSgx, probe_.tcs());
}

TEST_F(PageFaultTest, ReadOfUnmappedHostMemoryIs0x4) {
  const Reservation hole = Reservation::aligned(kPage);
  expect_page_fault(probe_.call(PROBE_OP_READ, {hole.base() + 0x18}), kPfUser, hole.base());
}

TEST_F(PageFaultTest, NullDereferenceIs0x4AtZero) {
  expect_page_fault(probe_.call(PROBE_OP_READ, {0x20}), kPfUser, 0);
}

TEST_F(PageFaultTest, ReadOfTheKernelsHalfIsReportedAsProtection) {
  // Linux hides whether anything is mapped there: sanitize_error_code() in arch/x86/mm/fault.c.
  expect_page_fault(probe_.call(PROBE_OP_READ, {0xffff'ffff'8100'0123}), kPfPresent | kPfUser,
                    0xffff'ffff'8100'0000);
}

TEST_F(PageFaultTest, HostMemoryMapsInOnDemand) {
  void* area = mmap(nullptr, 16 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(area, MAP_FAILED);
  for (std::uint64_t page = 0; page < 16; ++page) {
    probe_.write(address_of(area) + page * kPage, page + 1);
    EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(address_of(area) + page * kPage), page + 1);
  }
  munmap(area, 16 * kPage);
}

TEST_F(PageFaultTest, CopyAcrossABadPageStopsThereAndGoesOnWhenMended) {
  // REP MOVSB saves its progress in the frame, like any interrupted string instruction.
  std::array<std::uint8_t, 2 * kPage> source;
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::uint8_t>(i * 13);
  const std::uint64_t to = probe_.scratch(), bad = probe_.scratch() + kPage;
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(bad), kPage, PROT_NONE), 0);
  ProbeArgs args{.in = {to, address_of(source.data()), source.size()}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe_.tcs();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_COPY, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  EXPECT_EQ(run.exception_vector, kVectorPf);
  EXPECT_EQ(run.exception_addr, bad);
  const Gprsgx frame = probe_.ssa_registers();
  EXPECT_EQ(frame.rdi, bad);
  EXPECT_EQ(frame.rcx, kPage);
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(bad), kPage, PROT_READ | PROT_WRITE), 0);
  ASSERT_EQ(probe_.resume(run), 0);
  ASSERT_EQ(run.function, static_cast<std::uint32_t>(Leaf::kEexit));
  std::array<std::uint8_t, 2 * kPage> back{};
  probe_.copy(address_of(back.data()), to, back.size());
  EXPECT_EQ(back, source);
}

// ---- Control flow out of ELRANGE ----

volatile bool g_host_code_ran = false;
void host_function() {
  g_host_code_ran = true;
}

TEST_F(PageFaultTest, JumpOutOfElrangeIsAGeneralProtectionFaultAtTheTarget) {
  g_host_code_ran = false;
  const auto target = reinterpret_cast<std::uint64_t>(&host_function);
  const CallResult result = probe_.call(PROBE_OP_JUMP, {target});
  EXPECT_FALSE(g_host_code_ran) << "host code ran in enclave mode";
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorGp);
  EXPECT_EQ(result.run.exception_error_code, 0);
  EXPECT_EQ(probe_.ssa_registers().rip, target);
}

TEST_F(PageFaultTest, JumpToUnmappedMemoryOutsideIsAGeneralProtectionFaultToo) {
  const Reservation hole = Reservation::aligned(kPage);
  const CallResult result = probe_.call(PROBE_OP_JUMP, {hole.base()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorGp) << "ELRANGE is checked before the page";
  EXPECT_EQ(result.run.exception_addr, 0u);
}

TEST_F(PageFaultTest, EexitToANonCanonicalAddressIsAGeneralProtectionFaultInTheEnclave) {
  const CallResult result = probe_.call(PROBE_OP_EXIT_TO, {0x8000'0000'0000'0000});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.function, kEresume);
  EXPECT_EQ(result.run.exception_vector, kVectorGp);
  probe_.abandon();
}

// ---- Access from outside ----

bool machine_has_protection_keys() {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid_count(7, 0, eax, ebx, ecx, edx);
  return (ecx >> 4 & 1) != 0;  // OSPKE
}

class AbortPageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!machine_has_protection_keys() && access("/sys/devices/virtual/misc/sgx_enclave", F_OK) != 0) {
      GTEST_SKIP() << "a machine without SGX and without protection keys cannot hide the EPC from host code";
    }
  }
  ProbeEnclave probe_;
};

TEST_F(AbortPageTest, HostReadsAllOnes) {
  probe_.write(probe_.scratch(), 0x1234);
  EXPECT_EQ(*reinterpret_cast<volatile std::uint64_t*>(probe_.scratch()), ~std::uint64_t{0});
  EXPECT_EQ(*reinterpret_cast<volatile std::uint8_t*>(probe_.scratch() + 3), 0xff);
}

TEST_F(AbortPageTest, HostWritesVanish) {
  probe_.write(probe_.scratch(), 0x1234);
  *reinterpret_cast<volatile std::uint64_t*>(probe_.scratch()) = 1;
  EXPECT_EQ(probe_.read(probe_.scratch()), 0x1234u);
}

TEST_F(AbortPageTest, HostReadModifyWriteIsHarmless) {
  probe_.write(probe_.scratch(), 41);
  __atomic_fetch_add(reinterpret_cast<std::uint64_t*>(probe_.scratch()), 1, __ATOMIC_SEQ_CST);
  EXPECT_EQ(probe_.read(probe_.scratch()), 41u);
}

TEST_F(AbortPageTest, HostCopyReadsAllOnes) {
  probe_.write(probe_.scratch(), 0x1234);
  std::array<std::uint8_t, 256> copy{};
  std::memcpy(copy.data(), reinterpret_cast<void*>(probe_.scratch()), copy.size());
  for (const std::uint8_t byte : copy) EXPECT_EQ(byte, 0xff);
}

TEST_F(AbortPageTest, AnotherEnclaveReadsAllOnes) {
  probe_.write(probe_.scratch(), 0x1234);
  const ProbeEnclave other;
  const CallResult result = other.call(PROBE_OP_READ, {probe_.scratch()});
  ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
  EXPECT_EQ(result.args.out[0], ~std::uint64_t{0});
}

}  // namespace
}  // namespace enclume::test
