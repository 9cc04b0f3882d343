// SPDX-License-Identifier: Apache-2.0
//
// The first transitions of a thread are trapped, later ones need not be: what the enclave and its host see
// must be the same each time. On hardware all are alike in any case.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <thread>

#include "conformance/debug_support.h"
#include "conformance/enter_fixture.h"

namespace enclume::test {
namespace {

constexpr int kCalls = 12;

class DirectPathsTest : public VdsoTest {
 protected:
  static void expect_same(const RegisterFile& is, const RegisterFile& was, int call) {
    const std::uint64_t* a = &is.rax;
    const std::uint64_t* b = &was.rax;
    for (std::size_t i = 0; i < sizeof(RegisterFile) / 8; ++i)
      EXPECT_EQ(a[i], b[i]) << "word " << i << ", call " << call;
  }
};

TEST_F(DirectPathsTest, EveryEntryShowsTheEnclaveTheSameRegisters) {
  RegisterFile first{};
  for (int call = 0; call < kCalls; ++call) {
    RegisterFile in = register_pattern(), seen{}, out;
    const ProbeArgs args{.in = {address_of(&seen)}, .out = {}};
    fresh_run();
    ASSERT_EQ(call_registers(in, out, PROBE_OP_ENTRY_STATE, args), 0);
    if (call == 0) first = seen;
    expect_same(seen, first, call);
  }
}

TEST_F(DirectPathsTest, EveryExitLeavesTheHostTheSameRegistersAndFlags) {
  for (const std::uint64_t flags :
       {0x202ULL, 0xad7ULL, 0x202ULL | 1 << 11, 0x202ULL | 1, 0x202ULL | 0x40 | 0x80}) {
    RegisterFile first{};
    for (int call = 0; call < kCalls; ++call) {
      RegisterFile in = register_pattern(), set = register_pattern(), out{};
      set.rflags = flags;
      const ProbeArgs args{.in = {0, address_of(&set), PROBE_TAIL_EEXIT}, .out = {}};
      fresh_run();
      ASSERT_EQ(call_registers(in, out, PROBE_OP_LOAD_STATE, args), 0);
      ASSERT_EQ(run_.function, kEexit);
      if (call == 0) first = out;
      expect_same(out, first, call);
    }
  }
}

TEST_F(DirectPathsTest, ExitToAnAddressThatIsNotCanonicalFaultsEachTime) {
  for (int call = 0; call < kCalls; ++call) {
    ASSERT_EQ(probe_.call(PROBE_OP_SUM, {1, 2}).args.out[0], 3u);
  }
  for (const std::uint64_t target : {0x8000'0000'0000ULL, 0xffff'7fff'ffff'ffffULL}) {
    const CallResult result = probe_.call(PROBE_OP_EXIT_TO, {target});
    ASSERT_TRUE(result.faulted());
    EXPECT_EQ(result.run.exception_vector, kVectorGp);
    probe_.abandon();
  }
}

TEST_F(DirectPathsTest, BusyTcsIsRefused) {
  for (int call = 0; call < kCalls; ++call) probe_.call(PROBE_OP_NOP);
  volatile std::uint64_t stop = 0, rounds = 0;
  const auto address = [](const volatile std::uint64_t& word) {
    return address_of(const_cast<const std::uint64_t*>(&word));
  };
  std::thread inside([&] {
    EXPECT_TRUE(probe_.call(PROBE_OP_SPIN, {address(stop), address(rounds)}).exited());
  });
  while (rounds == 0) std::this_thread::yield();
  for (int call = 0; call < kCalls; ++call) {
    const CallResult result = probe_.call(PROBE_OP_NOP);
    EXPECT_TRUE(result.faulted());
    EXPECT_EQ(result.run.exception_vector, kVectorGp);
  }
  stop = 1;
  inside.join();
  EXPECT_EQ(probe_.call(PROBE_OP_SUM, {20, 22}).args.out[0], 42u);
}

TEST_F(DirectPathsTest, TcsWhoseMappingIsGoneFaults) {
  for (int call = 0; call < kCalls; ++call) probe_.call(PROBE_OP_NOP);
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe_.tcs()), kPage, PROT_NONE), 0);
  const CallResult result = probe_.call(PROBE_OP_NOP);
  EXPECT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe_.tcs()), kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(probe_.call(PROBE_OP_SUM, {20, 22}).args.out[0], 42u);
}

TEST_F(DirectPathsTest, DebuggerReadsTheEnclavesOwnCode) {
  const DebuggedProbe probe(false);
  std::array<unsigned char, kPage> before{}, after{};
  const std::uint64_t code = probe.base() + (probe_labels().entry & ~(kPage - 1));
  ASSERT_EQ(probe.memory().read(code, before.data(), before.size()), static_cast<long>(kPage));
  for (int call = 0; call < kCalls; ++call) probe.call(PROBE_OP_NOP);
  ASSERT_EQ(probe.memory().read(code, after.data(), after.size()), static_cast<long>(kPage));
  EXPECT_EQ(before, after);
}

TEST_F(DirectPathsTest, ThreadsThatComeAndGoOnOneStackAreToldApart) {
  for (int round = 0; round < 20; ++round) {
    std::thread([&] {
      for (int call = 0; call < kCalls; ++call) {
        EXPECT_EQ(probe_.call(PROBE_OP_SUM, {static_cast<std::uint64_t>(round), 5}).args.out[0],
                  static_cast<std::uint64_t>(round) + 5);
      }
    }).join();
  }
}

TEST_F(DirectPathsTest, HostsSegmentBasesComeBackEachTime) {
  thread_local volatile int mine = 7;
  for (int call = 0; call < kCalls; ++call) {
    const CallResult result = probe_.call(PROBE_OP_SEGMENTS);
    EXPECT_EQ(result.args.out[0], PROBE_FS_MAGIC);
    EXPECT_EQ(result.args.out[1], PROBE_GS_MAGIC);
    EXPECT_EQ(mine, 7);
  }
}

}  // namespace
}  // namespace enclume::test
