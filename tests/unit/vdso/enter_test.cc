// SPDX-License-Identifier: Apache-2.0
// What `__vdso_sgx_enter_enclave` does, register by register, with the test as processor and kernel.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>

#include "unit/vdso/probe.h"
#include "unit/vdso/vdso_images.h"

namespace enclume::test {
namespace {

using kernel::SgxEnclaveRun;
using Registers = FakeProcessor::Registers;

constexpr unsigned kEenter = 2;
constexpr unsigned kEresume = 3;
constexpr std::uint32_t kUntouched = 0x5a5a5a5a;

std::int32_t result_of(const ProbeCall& call) {
  return static_cast<std::int32_t>(call.out.rax);
}

class VdsoEnterFunction : public testing::Test {
 protected:
  VdsoEnterFunction() : processor_(image_.address(image_.layout().enclu)) {
    run_.tcs = 0x7c57c5000;
    run_.function = kUntouched;
    run_.exception_vector = 0x5a5a;
    run_.exception_error_code = 0x5a5a;
    run_.exception_addr = kUntouched;
    run_.user_data = 0xda7a;
    probe_hook = [this] {
      handler_calls_++;
      return handler_results_.at(handler_calls_ - 1);
    };
  }

  void use_handler(std::vector<int> results) {
    run_.user_handler = reinterpret_cast<std::uintptr_t>(&vdso_probe_handler);
    handler_results_ = std::move(results);
  }

  ProbeCall call(std::uint32_t function) {
    ProbeCall call = probe_call(image_.enter(), &run_, function);
    vdso_probe_call(&call);
    // Whatever happened, the frame is gone and the caller has its frame pointer.
    EXPECT_EQ(call.out.rsp, call.in.rsp);
    EXPECT_EQ(call.out.rbp, call.in.rbp);
    return call;
  }

  std::uintptr_t fixup() const { return image_.address(image_.layout().fixup); }

  const MappedImage image_;
  SgxEnclaveRun run_ = {};
  FakeProcessor processor_;
  std::vector<int> handler_results_;
  std::size_t handler_calls_ = 0;
};

TEST_F(VdsoEnterFunction, TakesEenterAndEresumeOnly) {
  for (const std::uint32_t function :
       {0U, 1U, 4U, 5U, 9U, 0x7fffffffU, 0x80000000U, 0x80000002U, 0xffffffffU}) {
    const ProbeCall done = call(function);
    EXPECT_EQ(result_of(done), -EINVAL) << function;
    EXPECT_EQ(done.out.rbx, done.in.rbx) << function;
  }
  EXPECT_EQ(processor_.entries(), 0U);
  EXPECT_EQ(run_.function, kUntouched);

  for (const std::uint32_t function : {kEenter, kEresume}) {
    processor_.then([function](Registers& registers) {
      EXPECT_EQ(registers[REG_RAX], static_cast<greg_t>(function));  // all 64 bits, from ECX alone
      eexit(registers);
    });
    EXPECT_EQ(result_of(call(function)), 0);
  }
  EXPECT_EQ(processor_.entries(), 2U);
}

TEST_F(VdsoEnterFunction, WantsEveryReservedByteZero) {
  for (std::size_t i = 0; i < sizeof run_.reserved; i++) {
    run_.reserved[i] = 0x80;
    const ProbeCall done = call(kEenter);
    EXPECT_EQ(result_of(done), -EINVAL) << i;
    EXPECT_EQ(done.out.rbx, done.in.rbx) << i;
    run_.reserved[i] = 0;
  }
  EXPECT_EQ(processor_.entries(), 0U);
}

TEST_F(VdsoEnterFunction, ReadsRunWhereverItIs) {
  // At an odd address, and as the last bytes that can be read.
  void* pages = mmap(nullptr, 2 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  auto* bytes = static_cast<std::byte*>(pages);
  ASSERT_EQ(mprotect(bytes + kPageSize, kPageSize, PROT_NONE), 0);
  for (const std::size_t place : {std::size_t{1}, kPageSize - sizeof(SgxEnclaveRun)}) {
    ProbeCall call = probe_call(image_.enter(), reinterpret_cast<SgxEnclaveRun*>(bytes + place), kEenter);
    processor_.then(eexit);
    vdso_probe_call(&call);
    EXPECT_EQ(result_of(call), 0);
    EXPECT_EQ(bytes[place + ENCLUME_RUN_FUNCTION], std::byte{4});
  }
  munmap(pages, 2 * kPageSize);
}

TEST_F(VdsoEnterFunction, PassesRegistersToTheEnclave) {
  ProbeCall call = probe_call(image_.enter(), &run_, kEenter);
  processor_.then([&](Registers& registers) {
    const auto is = [&](int index, std::uint64_t value) {
      EXPECT_EQ(static_cast<std::uint64_t>(registers[index]), value) << "gregs index " << index;
    };
    is(REG_RAX, kEenter);
    is(REG_RBX, run_.tcs);
    is(REG_RCX, image_.address(image_.layout().enclu));
    is(REG_RDI, call.in.rdi);
    is(REG_RSI, call.in.rsi);
    is(REG_RDX, call.in.rdx);
    is(REG_R8, call.in.r8);
    is(REG_R9, call.in.r9);
    is(REG_R10, call.in.r10);
    is(REG_R11, call.in.r11);
    is(REG_R12, call.in.r12);
    is(REG_R13, call.in.r13);
    is(REG_R14, call.in.r14);
    is(REG_R15, call.in.r15);
    // Return address, saved RBP, saved RBX.
    is(REG_RBP, call.in.rsp - 16);
    is(REG_RSP, call.in.rsp - 24);
    eexit(registers);
  });
  vdso_probe_call(&call);
  EXPECT_EQ(processor_.entries(), 1U);
}

TEST_F(VdsoEnterFunction, ReturnsFromEexit) {
  processor_.then([](Registers& registers) {
    eexit(registers);
    registers[REG_R12] = 0xe012;
    registers[REG_EFL] |= kDirectionFlag;
  });
  const ProbeCall done = call(kEenter);
  EXPECT_EQ(result_of(done), 0);
  EXPECT_EQ(run_.function, 4U);
  EXPECT_EQ(run_.exception_vector, 0x5a5a);
  EXPECT_EQ(run_.exception_error_code, 0x5a5a);
  EXPECT_EQ(run_.exception_addr, kUntouched);
  EXPECT_EQ(run_.user_data, 0xda7aU);
  EXPECT_EQ(done.out.rbx, done.in.rbx);
  // The rest is the enclave's, DF too.
  EXPECT_EQ(done.out.rdi, 0xe0d1U);
  EXPECT_EQ(done.out.rsi, 0xe051U);
  EXPECT_EQ(done.out.rdx, 0xe0d0U);
  EXPECT_EQ(done.out.r8, 0xe008U);
  EXPECT_EQ(done.out.r9, 0xe009U);
  EXPECT_EQ(done.out.r10, 0xe010U);
  EXPECT_EQ(done.out.r11, 0xe011U);
  EXPECT_EQ(done.out.r12, 0xe012U);
  EXPECT_NE(done.out.rflags & std::uint64_t{kDirectionFlag}, 0U);
}

TEST_F(VdsoEnterFunction, ReportsAnException) {
  for (const unsigned leaf : {kEenter, kEresume}) {
    processor_.then([&](Registers& registers) {
      fix_up(registers, fixup(), leaf, 0xaaaaaaaaaaaa000e, 0xbbbbbbbbbbbb8007, 0x123456789abcd000);
    });
    const ProbeCall done = call(kEenter);
    EXPECT_EQ(result_of(done), 0);
    EXPECT_EQ(run_.function, leaf);
    EXPECT_EQ(run_.exception_vector, 14);
    EXPECT_EQ(run_.exception_error_code, 0x8007);
    EXPECT_EQ(run_.exception_addr, 0x123456789abcd000U);
    EXPECT_EQ(run_.user_data, 0xda7aU);
    EXPECT_EQ(done.out.rbx, done.in.rbx);
    // The AEX took them; their caller has to save them.
    EXPECT_EQ(done.out.r12, 0U);
  }
}

TEST_F(VdsoEnterFunction, CallsTheHandlerAfterEexit) {
  use_handler({-77});
  std::uint64_t ursp = 0;
  processor_.then([&](Registers& registers) {
    eexit(registers);
    ursp = static_cast<std::uint64_t>(registers[REG_RSP]);
    registers[REG_EFL] |= kDirectionFlag;
  });
  const ProbeCall done = call(kEenter);
  EXPECT_EQ(result_of(done), -77);
  EXPECT_EQ(handler_calls_, 1U);
  EXPECT_EQ(run_.function, 4U);

  const ProbeRegisters& seen = vdso_probe_at_handler;
  EXPECT_EQ(seen.rdi, 0xe0d1U);
  EXPECT_EQ(seen.rsi, 0xe051U);
  EXPECT_EQ(seen.rdx, 0xe0d0U);
  EXPECT_EQ(seen.rcx, ursp);
  EXPECT_EQ(seen.r8, 0xe008U);
  EXPECT_EQ(seen.r9, 0xe009U);
  EXPECT_EQ(seen.r10, 0xe010U);
  EXPECT_EQ(seen.r11, 0xe011U);
  EXPECT_EQ(vdso_probe_handler_run, &run_);
  EXPECT_EQ((seen.rsp + 8) % 16, 0U);
  EXPECT_EQ(seen.rflags & std::uint64_t{kDirectionFlag}, 0U);
  EXPECT_EQ(done.out.rbx, done.in.rbx);
}

TEST_F(VdsoEnterFunction, CallsTheHandlerAfterAnException) {
  use_handler({0});
  processor_.then([&](Registers& registers) { fix_up(registers, fixup(), kEresume, 6, 0, 0x6ff8); });
  const ProbeCall done = call(kEenter);
  EXPECT_EQ(result_of(done), 0);
  EXPECT_EQ(handler_calls_, 1U);
  EXPECT_EQ(run_.exception_vector, 6);
  EXPECT_EQ(vdso_probe_at_handler.rdi, 6U);
  EXPECT_EQ(vdso_probe_at_handler.rsi, 0U);
  EXPECT_EQ(vdso_probe_at_handler.rdx, 0x6ff8U);
  EXPECT_EQ(vdso_probe_at_handler.rcx, done.in.rsp - 24);
  EXPECT_EQ(vdso_probe_handler_run, &run_);
  EXPECT_EQ(done.out.rbx, done.in.rbx);
}

TEST_F(VdsoEnterFunction, NeverCallsTheHandlerForBadArguments) {
  use_handler({});
  EXPECT_EQ(result_of(call(5)), -EINVAL);
  run_.reserved[0] = 1;
  EXPECT_EQ(result_of(call(kEenter)), -EINVAL);
  EXPECT_EQ(handler_calls_, 0U);
}

TEST_F(VdsoEnterFunction, DoesAsTheHandlerSays) {
  for (const int result : {0, -1, -EINVAL, static_cast<int>(0x80000000)}) {
    handler_calls_ = 0;
    use_handler({result});
    processor_.then(eexit);
    EXPECT_EQ(result_of(call(kEenter)), result);
  }
  for (const int result : {1, 4, 5, 0x7fffffff}) {
    handler_calls_ = 0;
    use_handler({result});
    processor_.then(eexit);
    const std::size_t before = processor_.entries();
    EXPECT_EQ(result_of(call(kEenter)), -EINVAL) << result;
    EXPECT_EQ(processor_.entries(), before + 1);
  }
}

TEST_F(VdsoEnterFunction, EntersAgainWithTheHandlersRegisters) {
  use_handler({kEresume, kEenter, 0});
  vdso_probe_from_handler = {};
  vdso_probe_from_handler.rdi = 0xf0d1;
  vdso_probe_from_handler.rsi = 0xf051;
  vdso_probe_from_handler.rdx = 0xf0d0;
  vdso_probe_from_handler.rcx = 0xf0c0;
  vdso_probe_from_handler.r8 = 0xf008;
  vdso_probe_from_handler.r9 = 0xf009;
  vdso_probe_from_handler.r10 = 0xf010;
  vdso_probe_from_handler.r11 = 0xf011;
  greg_t first_rsp = 0;
  processor_.then([&](Registers& registers) {
    first_rsp = registers[REG_RSP];
    fix_up(registers, fixup(), kEresume, 14, 7, 0x1000);
  });
  for (const unsigned leaf : {kEresume, kEenter}) {
    processor_.then([&, leaf](Registers& registers) {
      EXPECT_EQ(registers[REG_RAX], static_cast<greg_t>(leaf));
      EXPECT_EQ(registers[REG_RBX], static_cast<greg_t>(run_.tcs));
      EXPECT_EQ(registers[REG_RCX], static_cast<greg_t>(image_.address(image_.layout().enclu)));
      EXPECT_EQ(registers[REG_RDI], 0xf0d1);
      EXPECT_EQ(registers[REG_RSI], 0xf051);
      EXPECT_EQ(registers[REG_RDX], 0xf0d0);
      EXPECT_EQ(registers[REG_R8], 0xf008);
      EXPECT_EQ(registers[REG_R9], 0xf009);
      EXPECT_EQ(registers[REG_R10], 0xf010);
      EXPECT_EQ(registers[REG_R11], 0xf011);
      EXPECT_EQ(registers[REG_RSP], first_rsp);
      eexit(registers);
    });
  }
  const ProbeCall done = call(kEenter);
  EXPECT_EQ(result_of(done), 0);
  EXPECT_EQ(processor_.entries(), 3U);
  EXPECT_EQ(handler_calls_, 3U);
  EXPECT_EQ(done.out.rbx, done.in.rbx);
}

TEST_F(VdsoEnterFunction, ReadsRunAnewAtEachEntry) {
  use_handler({kEenter, kEenter});
  probe_hook = [this] {
    handler_calls_++;
    run_.tcs += 0x1000;
    run_.reserved[215] = handler_calls_ == 2 ? 1 : 0;
    return handler_results_.at(handler_calls_ - 1);
  };
  processor_.then(eexit);
  processor_.then([&](Registers& registers) {
    EXPECT_EQ(registers[REG_RBX], static_cast<greg_t>(0x7c57c6000));
    eexit(registers);
  });
  EXPECT_EQ(result_of(call(kEenter)), -EINVAL);
  EXPECT_EQ(processor_.entries(), 2U);
}

TEST_F(VdsoEnterFunction, LetsTheEnclavePushForTheHandler) {
  // 1 to 24 bytes below: every alignment.
  for (greg_t pushed = 1; pushed <= 24; pushed++) {
    handler_calls_ = 0;
    use_handler({0});
    std::uint64_t ursp = 0;
    processor_.then([&](Registers& registers) {
      eexit(registers);
      registers[REG_RSP] -= pushed;
      ursp = static_cast<std::uint64_t>(registers[REG_RSP]);
      const std::uint64_t mark = 0x9a9a9a9a9a9a9a9a;
      __builtin_memcpy(reinterpret_cast<void*>(ursp), &mark, sizeof mark);
    });
    const ProbeCall done = call(kEenter);
    EXPECT_EQ(vdso_probe_at_handler.rcx, ursp);
    EXPECT_EQ((vdso_probe_at_handler.rsp + 8) % 16, 0U);
    EXPECT_LT(vdso_probe_at_handler.rsp + 16, ursp) << "the handler's frame must not overlap the data";
    EXPECT_EQ(vdso_probe_handler_run, &run_);
    // RBX is popped from where the enclave left RSP, as on Linux: nobody rebalanced it.
    if (pushed >= 8) {
      EXPECT_EQ(done.out.rbx, 0x9a9a9a9a9a9a9a9aU);
    }
  }
}

}  // namespace
}  // namespace enclume::test
