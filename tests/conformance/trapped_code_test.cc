// SPDX-License-Identifier: Apache-2.0
//
// CPUID in the enclave, as programs meet it: in code that only pointers lead to, served by handlers in the
// enclave that read the instruction before they do its work, and next to bytes that only look like it. Where
// the machine does not stop these instructions by itself, something has to find them.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "conformance/support.h"
#include "enclaves/trapped_code.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kServedEax = 0x5167;
constexpr std::uint64_t kCpuidBytes = 0xa20f;

ProbeOptions with_code(std::uint64_t permissions = kR | kX, unsigned threads = 1) {
  ProbeOptions options;
  options.threads = threads;
  options.code.assign(trapped_code_bytes().begin(), trapped_code_bytes().end());
  options.code_permissions = permissions;
  return options;
}

class TrappedCodeTest : public ::testing::Test {
 protected:
  std::uint64_t at(std::uint64_t offset) const { return probe_.code() + offset; }

  // Calls code of the enclave; in1 and in2 are its arguments.
  CallResult call(std::uint64_t offset, std::uint64_t in1 = 0, std::uint64_t in2 = 0) const {
    return probe_.call(PROBE_OP_CALL, {at(offset), in1, in2});
  }

  // A CPUID that a handler in the enclave serves, from the first exception to the end of the call.
  static void serve_cpuid(const ProbeEnclave& probe, std::uint64_t handler, ProbeArgs& args,
                          unsigned thread = 0) {
    const std::uint64_t cpuid = probe.code() + trapped_code().cpuid;
    args.in = {probe.code() + trapped_code().cpuid_function, cpuid};
    args.out = {};
    sgx_enclave_run run{};
    run.tcs = probe.tcs(thread);
    ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_CALL, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
    ASSERT_EQ(run.function, static_cast<std::uint32_t>(Leaf::kEresume)) << "CPUID did not fault";
    ASSERT_EQ(run.exception_vector, kVectorUd);
    ASSERT_EQ(probe.ssa_registers(thread).rip, cpuid);
    probe.set_ssa_rip(handler, thread);
    ASSERT_EQ(probe.resume(run, thread), 0);
    ASSERT_EQ(run.function, static_cast<std::uint32_t>(Leaf::kEexit)) << "vector " << run.exception_vector;
    EXPECT_EQ(args.out[0], kServedEax);
    EXPECT_EQ(args.out[1], kServedEax + 1);
    EXPECT_EQ(args.out[3], kCpuidBytes) << "the handler does not read a CPUID";
    EXPECT_EQ(args.out[2] & kFlagTf, 0u) << "the handler sees a trap flag";
  }

  ProbeEnclave probe_{with_code()};
  TrappedCode code_ = trapped_code();
};

TEST_F(TrappedCodeTest, CpuidBehindAPointerIsUndefined) {
  const CallResult result = call(code_.cpuid_function);
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorUd);
  EXPECT_EQ(probe_.ssa_registers().rip, at(code_.cpuid));
}

TEST_F(TrappedCodeTest, RipIsAtThePrefixes) {
  const CallResult result = call(code_.prefixed_function);
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorUd);
  EXPECT_EQ(probe_.ssa_registers().rip, at(code_.prefixed_cpuid));
}

TEST_F(TrappedCodeTest, HandlerAtCssaOneReadsTheInstruction) {
  ASSERT_TRUE(call(code_.cpuid_function).faulted());
  EXPECT_EQ(probe_.read(at(code_.cpuid)) & 0xffff, kCpuidBytes);
}

TEST_F(TrappedCodeTest, HandlerOnAnotherPageServesIt) {
  ProbeArgs args;
  for (int i = 0; i < 3; ++i) {
    serve_cpuid(probe_, at(code_.other_page_handler), args);
  }
}

TEST_F(TrappedCodeTest, HandlerOnTheSamePageServesIt) {
  ProbeArgs args;
  for (int i = 0; i < 3; ++i) {
    serve_cpuid(probe_, at(code_.same_page_handler), args);
  }
}

TEST_F(TrappedCodeTest, ItIsTrappedAgainAfterAHandlerThatNeverReturns) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(call(code_.cpuid_function).faulted());
    probe_.abandon();
  }
  ProbeArgs args;
  serve_cpuid(probe_, at(code_.same_page_handler), args);
}

TEST_F(TrappedCodeTest, OperandsAreLeftAlone) {
  const CallResult result = call(code_.load_immediate);
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0], kCpuidBytes);
}

TEST_F(TrappedCodeTest, ConstantsAreLeftAlone) {
  std::uint64_t expected;
  std::memcpy(&expected, trapped_code_bytes().data() + code_.table, sizeof expected);
  ASSERT_TRUE(call(code_.count_calls).faulted()) << "the page can't be written, but it is executable now";
  probe_.abandon();
  for (std::uint64_t i = 0; i < 64; ++i) {
    const CallResult result = call(code_.read_table, 0, at(code_.table) + 8 * i);
    ASSERT_TRUE(result.exited());
    EXPECT_EQ(result.args.out[0], expected) << i;
  }
}

TEST_F(TrappedCodeTest, CodeReadsItsOwnPage) {
  std::uint64_t sum = 0;
  for (std::uint64_t offset = code_.table; offset < code_.second; offset += 8) {
    std::uint64_t word;
    std::memcpy(&word, trapped_code_bytes().data() + offset, sizeof word);
    sum += word;
    sum = sum >> 7 | sum << 57;
  }
  const CallResult result = call(code_.sum_same_page);
  ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
  EXPECT_EQ(result.args.out[4], sum);
}

TEST_F(TrappedCodeTest, PermissionsThatGoAndComeBackChangeNothing) {
  void* page = reinterpret_cast<void*>(probe_.code());
  ProbeArgs args;
  serve_cpuid(probe_, at(code_.other_page_handler), args);
  ASSERT_EQ(mprotect(page, kPage, PROT_READ), 0);
  const CallResult refused = call(code_.cpuid_function);
  ASSERT_TRUE(refused.faulted());
  EXPECT_EQ(refused.run.exception_vector, kVectorPf);
  probe_.abandon();
  ASSERT_EQ(mprotect(page, kPage, PROT_READ | PROT_EXEC), 0);
  serve_cpuid(probe_, at(code_.same_page_handler), args);
}

TEST_F(TrappedCodeTest, AForkedChildServesItsOwn) {
  ProbeArgs args;
  serve_cpuid(probe_, at(code_.same_page_handler), args);
  const int status = in_child([&] {
    ProbeArgs own;
    serve_cpuid(probe_, at(code_.same_page_handler), own);
    serve_cpuid(probe_, at(code_.other_page_handler), own);
    return HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(status, 0);
  serve_cpuid(probe_, at(code_.same_page_handler), args);
}

TEST(TrappedCodeThreads, EachCpuidOfTwoThreadsIsServed) {
  // Each thread's handler reads the page while the other executes it. A CPUID that got through would show
  // something else than the handler's answer.
  const ProbeEnclave probe(with_code(kR | kX, 2));
  const TrappedCode code = trapped_code();
  constexpr int kRounds = 300;
  std::array<std::atomic<int>, 2> served{};
  std::array<std::atomic<int>, 2> misread{};
  const auto work = [&](unsigned thread) {
    const std::uint64_t handler =
        probe.code() + (thread == 0 ? code.same_page_handler : code.other_page_handler);
    for (int i = 0; i < kRounds; ++i) {
      ProbeArgs args{.in = {probe.code() + code.cpuid_function, probe.code() + code.cpuid}, .out = {}};
      sgx_enclave_run run{};
      run.tcs = probe.tcs(thread);
      if (enclume_test_call_vdso(PROBE_OP_CALL, address_of(&args), 0, 2, 0, 0, &run, vdso_function()) != 0 ||
          run.exception_vector != kVectorUd) {
        continue;
      }
      probe.set_ssa_rip(handler, thread);
      if (probe.resume(run, thread) == 0 && args.out[0] == kServedEax) {
        ++served[thread];
        misread[thread] += args.out[3] == kCpuidBytes ? 0 : 1;
      }
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_EQ(served[0], kRounds);
  EXPECT_EQ(served[1], kRounds);
  EXPECT_EQ(misread[0], 0);
  EXPECT_EQ(misread[1], 0);
}

// ---- Pages that may be written and executed ----

class WritableCodeTest : public ::testing::Test {
 protected:
  // mov $number, %eax; mov %rax, out0; ret
  void put_load(std::uint64_t address, std::uint32_t number) {
    std::array<std::uint8_t, 16> code = {0xb8, 0, 0, 0, 0, 0x49, 0x89, 0x47, ARG_OUT(0), 0xc3};
    std::memcpy(&code[1], &number, sizeof number);
    probe_.copy(address, address_of(code.data()), code.size());
  }
  // xor %eax,%eax; cpuid; mov %rax, out0; ret
  void put_cpuid(std::uint64_t address) {
    const std::array<std::uint8_t, 16> code = {0x31, 0xc0, 0x0f, 0xa2, 0x49, 0x89, 0x47, ARG_OUT(0), 0xc3};
    probe_.copy(address, address_of(code.data()), code.size());
  }
  CallResult call(std::uint64_t address) const { return probe_.call(PROBE_OP_CALL, {address}); }

  ProbeEnclave probe_{with_code(kR | kW | kX)};
  std::uint64_t page_ = probe_.code() + trapped_code().second;
};

TEST_F(WritableCodeTest, WhatIsWrittenIsExecuted) {
  for (std::uint32_t i = 1; i < 20; ++i) {
    put_load(page_ + 0x400, i);
    const CallResult result = call(page_ + 0x400);
    ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
    EXPECT_EQ(result.args.out[0], i);
  }
}

TEST_F(WritableCodeTest, CpuidThatIsWrittenIsTrappedAndGoesWithTheNextWrite) {
  for (std::uint32_t i = 1; i < 10; ++i) {
    put_cpuid(page_ + 0x400);
    const CallResult trapped = call(page_ + 0x400);
    ASSERT_TRUE(trapped.faulted()) << i;
    EXPECT_EQ(trapped.run.exception_vector, kVectorUd);
    EXPECT_EQ(probe_.ssa_registers().rip, page_ + 0x402);
    probe_.abandon();
    put_load(page_ + 0x400, i);
    const CallResult result = call(page_ + 0x400);
    ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
    EXPECT_EQ(result.args.out[0], i);
  }
}

TEST_F(WritableCodeTest, CodeWritesItsOwnPage) {
  for (std::uint64_t i = 1; i < 50; ++i) {
    const CallResult result = call(probe_.code() + trapped_code().count_calls);
    ASSERT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
    EXPECT_EQ(result.args.out[5], i);
  }
}

TEST_F(WritableCodeTest, ReportsAndKeysLandInAnExecutedPage) {
  // EREPORT with the page itself as its output: the processor writes, not the code.
  ASSERT_TRUE(call(probe_.code() + trapped_code().load_immediate).exited());
  const std::uint64_t report = page_ + 0x800;
  const std::vector<std::uint8_t> zeros(0x400);
  probe_.copy(probe_.scratch(), address_of(zeros.data()), zeros.size());
  ASSERT_EQ(probe_.enclu(Leaf::kEreport, probe_.scratch(), probe_.scratch() + 0x200, report).rax, 0u);
  std::array<std::uint8_t, 16> cpusvn{};
  probe_.copy(address_of(cpusvn.data()), report, cpusvn.size());
  EXPECT_NE(cpusvn, (std::array<std::uint8_t, 16>{}));
  ASSERT_TRUE(call(probe_.code() + trapped_code().load_immediate).exited());
}

TEST(ExtendedCodeTest, CpuidInAPageThatBecomesExecutableIsTrapped) {
  // A page of the hole: EAUG, EACCEPT, then its contents, then EMODPE, of which the kernel hears nothing.
  ProbeOptions options;
  options.minimum_size = 0x80000;
  LoadOptions load;
  load.map_holes = true;
  const ProbeEnclave probe(options, load);
  sgx_enclave_remove_pages nothing{};
  if (remove_pages(probe.fd(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  const std::uint64_t page = probe.base() + 0x60000;
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(page), kPage, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
  ASSERT_EQ(probe.enclu_secinfo(Leaf::kEaccept, kPtReg | kR | kW | kPending, page).rax, 0u);
  probe.copy(page, address_of(trapped_code_bytes().data()), kPage);
  probe.enclu_secinfo(Leaf::kEmodpe, kPtReg | kR | kW | kX, page);
  const CallResult trapped = probe.call(PROBE_OP_CALL, {page + trapped_code().cpuid_function});
  ASSERT_TRUE(trapped.faulted()) << "CPUID did not fault";
  EXPECT_EQ(trapped.run.exception_vector, kVectorUd);
  EXPECT_EQ(probe.ssa_registers().rip, page + trapped_code().cpuid);
}

}  // namespace
}  // namespace enclume::test
