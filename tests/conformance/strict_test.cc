// SPDX-License-Identifier: Apache-2.0
//
// What native execution lets an enclave do and hardware does not: run with `enclume run --strict`, and on
// hardware as it is. The other programs run in strict mode, too (conformance.strict.*). Sources: Intel SDM
// volume 3D (June 2016) 39.6 (illegal instructions), 42.7 (XSAVE), 40.4.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

// Code that PROBE_OP_CALL calls, R15 = ProbeArgs; at the start of a page of its own.
std::vector<std::uint8_t> bytes(std::initializer_list<unsigned> list) {
  std::vector<std::uint8_t> out;
  for (const unsigned b : list) out.push_back(static_cast<std::uint8_t>(b));
  return out;
}

class StrictTest : public ::testing::Test {
 protected:
  // Loads an enclave with this code and calls it with in1 and in2.
  CallResult run(const std::vector<std::uint8_t>& code, std::uint64_t in1 = 0, std::uint64_t in2 = 0,
                 std::uint64_t xfrm = 3) {
    ProbeOptions options;
    options.code = code;
    options.image.xfrm = xfrm;
    options.minimum_size = 0x40000;
    probe_ = std::make_unique<ProbeEnclave>(options);
    return probe_->call(PROBE_OP_CALL, {probe_->code(), in1, in2});
  }
  void expect_fault(const CallResult& result, int vector, std::uint64_t offset) {
    ASSERT_TRUE(result.faulted()) << "it did not fault";
    EXPECT_EQ(result.run.exception_vector, vector);
    EXPECT_EQ(probe_->ssa_registers().rip, probe_->code() + offset);
  }
  std::unique_ptr<ProbeEnclave> probe_;
};

// mov %rax, out0(%r15); mov %rdx, out1(%r15); ret
#define STORE_RAX_RDX 0x49, 0x89, 0x47, ARG_OUT(0), 0x49, 0x89, 0x57, ARG_OUT(1), 0xc3

TEST_F(StrictTest, XgetbvShowsXfrm) {
  // xor %ecx,%ecx; xgetbv
  const CallResult result = run(bytes({0x31, 0xc9, 0x0f, 0x01, 0xd0, STORE_RAX_RDX}));
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0], 3u);
  EXPECT_EQ(result.args.out[1], 0u);
}

TEST_F(StrictTest, XgetbvOfAnUnknownRegisterIsAGeneralProtectionFault) {
  // mov $7,%ecx; xgetbv
  expect_fault(run(bytes({0xb9, 7, 0, 0, 0, 0x0f, 0x01, 0xd0, 0xc3})), kVectorGp, 5);
}

TEST_F(StrictTest, AvxOutsideXfrmIsUndefined) {
  expect_fault(run(bytes({0x90, 0xc5, 0xf8, 0x57, 0xc0, 0xc3})), kVectorUd, 1);  // vxorps %xmm0,%xmm0,%xmm0
}

TEST_F(StrictTest, Avx512OutsideXfrmIsUndefined) {
  // vpxord %zmm0,%zmm0,%zmm0
  expect_fault(run(bytes({0x62, 0xf1, 0x7d, 0x48, 0xef, 0xc0, 0xc3}), 0, 0, testable_xfrm() & 7), kVectorUd,
               0);
}

TEST_F(StrictTest, AvxWithinXfrmWorks) {
  if ((testable_xfrm() & 4) == 0) GTEST_SKIP() << "no AVX";
  EXPECT_TRUE(run(bytes({0xc5, 0xf8, 0x57, 0xc0, 0xc3}), 0, 0, 7).exited());
}

TEST_F(StrictTest, BmiNeedsNoPartOfXfrm) {
  // andn %eax,%ecx,%eax: encoded as AVX is, on general registers
  EXPECT_TRUE(run(bytes({0xc4, 0xe2, 0x70, 0xf2, 0xc0, 0xc3})).exited());
}

TEST_F(StrictTest, XsaveOfAllSavesWhatXfrmHas) {
  // mov in1,%rdi; mov $-1,%eax; mov $-1,%edx; xsave64 (%rdi)
  const CallResult result = run(bytes({0x49, 0x8b, 0x7f, ARG_IN(1), 0xb8, 0xff, 0xff, 0xff, 0xff, 0xba, 0xff,
                                       0xff, 0xff, 0xff, 0x48, 0x0f, 0xae, 0x27, STORE_RAX_RDX}),
                                [] {
                                  static XsaveArea area;
                                  std::memset(area.data() + 512, 0, 64);
                                  return area.address();
                                }());
  ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
  EXPECT_EQ(result.args.out[0], 0xffff'ffffu) << "the mask is the program's";
  EXPECT_EQ(result.args.out[1], 0xffff'ffffu);
  std::uint64_t xstate_bv;
  std::memcpy(&xstate_bv, reinterpret_cast<const std::uint8_t*>(result.args.in[1]) + 512, sizeof xstate_bv);
  EXPECT_EQ(xstate_bv & ~std::uint64_t{3}, 0u);
}

TEST_F(StrictTest, XrstorOfAComponentOutsideXfrmIsAGeneralProtectionFault) {
  if ((machine_xcr0() & 4) == 0) GTEST_SKIP() << "no AVX";
  static XsaveArea area;
  std::memset(area.data(), 0, 1024);
  const std::uint64_t avx = 4;
  std::memcpy(area.data() + 512, &avx, sizeof avx);
  const std::uint32_t mxcsr = 0x1f80;
  std::memcpy(area.data() + 24, &mxcsr, sizeof mxcsr);
  // mov in1,%rdi; mov $7,%eax; xor %edx,%edx; xrstor64 (%rdi)
  expect_fault(
      run(bytes({0x49, 0x8b, 0x7f, ARG_IN(1), 0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xae, 0x2f, 0xc3}),
          area.address()),
      kVectorGp, 11);
}

TEST_F(StrictTest, SyscallIsUndefinedBeforeItTouchesARegister) {
  // mov $39,%eax; mov $0x1234,%ecx; mov $0x5678,%r11d; syscall
  expect_fault(
      run(bytes({0xb8, 39, 0, 0, 0, 0xb9, 0x34, 0x12, 0, 0, 0x41, 0xbb, 0x78, 0x56, 0, 0, 0x0f, 0x05, 0xc3})),
      kVectorUd, 16);
  const Gprsgx frame = probe_->ssa_registers();
  EXPECT_EQ(frame.rcx, 0x1234u);
  EXPECT_EQ(frame.r11, 0x5678u);
}

struct Illegal {
  const char* name;
  std::vector<std::uint8_t> code;
};
class IllegalTest : public StrictTest, public ::testing::WithParamInterface<Illegal> {};

TEST_P(IllegalTest, IsUndefinedAtItself) {
  auto code = GetParam().code;
  code.push_back(0xc3);
  expect_fault(run(code), kVectorUd, 0);
}

INSTANTIATE_TEST_SUITE_P(
    StrictTest, IllegalTest,
    ::testing::Values(Illegal{"FarCall", bytes({0xff, 0x1c, 0x24})},
                      Illegal{"FarJmp", bytes({0xff, 0x2c, 0x24})}, Illegal{"FarReturn", bytes({0xcb})},
                      Illegal{"Iretq", bytes({0x48, 0xcf})}, Illegal{"MovToEs", bytes({0x8e, 0xc0})},
                      Illegal{"MovToSs", bytes({0x8e, 0xd0})}, Illegal{"PopGs", bytes({0x0f, 0xa9})},
                      Illegal{"Lss", bytes({0x0f, 0xb2, 0x04, 0x24})},
                      Illegal{"Lfs", bytes({0x0f, 0xb4, 0x04, 0x24})},
                      Illegal{"PrefixedCpuid", bytes({0xf3, 0x48, 0x0f, 0xa2})}),
    [](const ::testing::TestParamInfo<Illegal>& tested) { return std::string(tested.param.name); });

TEST_F(StrictTest, PushedFlagsDoNotShowTheTrap) {
  // pushfq; pop %rax; mov %eax,%edx
  const CallResult result = run(bytes({0x9c, 0x58, 0x89, 0xc2, STORE_RAX_RDX}));
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0] & kFlagTf, 0u);
}

TEST_F(StrictTest, LoadedTrapFlagIsIgnoredAfterAnOptOutEntry) {
  // pushfq; orl $0x100,(%rsp); popfq; nop; pushfq; pop %rax
  const CallResult result =
      run(bytes({0x9c, 0x81, 0x0c, 0x24, 0x00, 0x01, 0x00, 0x00, 0x9d, 0x90, 0x9c, 0x58, STORE_RAX_RDX}));
  ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
  EXPECT_EQ(result.args.out[0] & kFlagTf, 0u);
}

TEST_F(StrictTest, SavedFlagsDoNotShowTheTrap) {
  const CallResult result = run(bytes({0x90, 0x0f, 0x0b}));
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(probe_->ssa_registers().rflags & kFlagTf, 0u);
}

TEST_F(StrictTest, WriteToOrdinaryMemoryInsideElrangeIsAPageFault) {
  ProbeOptions options;
  options.minimum_size = 0x40000;
  const ProbeEnclave probe(options);
  const std::uint64_t hole = probe.base() + 0x30000;
  ASSERT_NE(mmap(reinterpret_cast<void*>(hole), kPage, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  const CallResult result = probe.call(PROBE_OP_WRITE, {hole + 0x10, 7});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_addr, hole);
  EXPECT_NE(result.run.exception_error_code & kPfWrite, 0);
  EXPECT_EQ(*reinterpret_cast<volatile std::uint64_t*>(hole + 0x10), 0u);
}

TEST_F(StrictTest, CopyIntoAHoleStopsAtIt) {
  // REP MOVSB: the iterations before it are done.
  ProbeOptions options;
  options.minimum_size = 0x40000;
  const ProbeEnclave probe(options);
  const std::uint64_t hole = probe.base() + 0x30000;
  ASSERT_NE(mmap(reinterpret_cast<void*>(hole), kPage, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  const std::array<std::uint8_t, 32> source{1, 2, 3};
  const CallResult result = probe.call(PROBE_OP_COPY, {hole, address_of(source.data()), source.size()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_addr, hole);
  EXPECT_EQ(probe.ssa_registers().rcx, source.size());
}

TEST_F(StrictTest, ConditionsLoopsAndCallsGoWhereTheyShould) {
  // xor %eax,%eax; mov $10,%ecx; 1: add $3,%eax; call 2f; loop 1b; jmp 3f; 2: add $1,%eax; ret; 3: xor
  // %edx,%edx
  const CallResult result =
      run(bytes({0x31, 0xc0, 0xb9, 10,   0,    0, 0,    0x83, 0xc0, 3,    0xe8, 4,    0,
                 0,    0,    0xe2, 0xf6, 0xeb, 4, 0x83, 0xc0, 1,    0xc3, 0x31, 0xd2, STORE_RAX_RDX}));
  ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
  EXPECT_EQ(result.args.out[0], 40u);
}

}  // namespace
}  // namespace enclume::test
