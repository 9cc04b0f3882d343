// SPDX-License-Identifier: Apache-2.0
//
// Page faults that the kernel resolves by itself. Nobody outside is told, but the exit was taken: the SSA
// frame has the registers, and with MISCSELECT.EXINFO the fault itself, as if it were one to handle. (SDM
// Vol. 3D, "AEX Operational Detail"; Linux sgx_vma_fault().)
#include "conformance/benign_faults.h"

#include <sys/mman.h>

#include <cerrno>

namespace enclume::test {
namespace {

constexpr std::uint32_t kPageFault = exitinfo_hardware(kVectorPf);

TEST_F(BenignFaultTest, FirstReadOfAPageIsRecorded) {
  EXPECT_EQ(probe_.read(heap(3) + 8), 0u);
  EXPECT_TRUE(has_left());
  EXPECT_EQ(exitinfo(), kPageFault);
  EXPECT_EQ(maddr(), heap(3) + 8) << "all bits of the address";
  EXPECT_EQ(errcd(), kPfUser) << "not present";
}

TEST_F(BenignFaultTest, FirstWriteToAPageIsRecorded) {
  probe_.write(heap(3) + 16, 5);
  EXPECT_EQ(exitinfo(), kPageFault);
  EXPECT_EQ(maddr(), heap(3) + 16);
  EXPECT_EQ(errcd(), kPfUser | kPfWrite);
}

TEST_F(BenignFaultTest, SecondTouchIsNoFault) {
  probe_.read(heap(3));
  forget();
  probe_.write(heap(3), 5);
  EXPECT_EQ(probe_.read(heap(3)), 5u);
  EXPECT_FALSE(has_left());
  EXPECT_EQ(exitinfo(), 0u);
}

TEST_F(BenignFaultTest, TouchAfterANewMappingIsAFaultAgain) {
  probe_.write(heap(3), 5);
  void* const page = reinterpret_cast<void*>(heap(3));
  ASSERT_EQ(munmap(page, kPage), 0);
  ASSERT_EQ(mmap(page, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, probe_.fd(), 0), page);
  forget();
  EXPECT_EQ(probe_.read(heap(3)), 5u);
  EXPECT_EQ(exitinfo(), kPageFault);
  EXPECT_EQ(maddr(), heap(3));
}

TEST_F(EvictedPageTest, IsRecordedWhenItComesBack) {
  probe_.write(heap(3) + 24, 77);
  evict(3);
  forget();
  EXPECT_EQ(probe_.read(heap(3) + 24), 77u);
  if (!has_left()) GTEST_SKIP() << "the EPC is too large to drive the page out";
  EXPECT_EQ(exitinfo(), kPageFault);
  EXPECT_EQ(maddr(), heap(3) + 24);
  EXPECT_EQ(errcd(), kPfUser);
}

TEST_F(BenignFaultTest, APageThatIsAddedByEacceptIsRecorded) {
  if (!has_sgx2()) GTEST_SKIP() << "the machine has SGX1 only";
  // Once, for the code; the next page is the one that counts.
  ASSERT_EQ(probe_.enclu_secinfo(Leaf::kEaccept, kPtReg | kR | kW | kPending, hole()).rax, 0u);
  forget();
  ASSERT_EQ(probe_.enclu_secinfo(Leaf::kEaccept, kPtReg | kR | kW | kPending, hole() + kPage).rax, 0u);
  EXPECT_TRUE(has_left());
  EXPECT_EQ(exitinfo(), kPageFault);
  EXPECT_EQ(maddr(), hole() + kPage);
  EXPECT_EQ(errcd() & (kPfPresent | kPfUser), kPfUser) << "there was nothing, and no EPCM was asked";
}

// The mistake that some runtimes have made: code that looks at the last EXITINFO whenever the enclave has
// left takes such a fault for one that it has to handle, though no signal and no fixup tells of it.
TEST_F(BenignFaultTest, CodeAtTheAepFindsAFaultThatNobodyWasToldOf) {
  std::uint64_t exits = 0;
  Gprsgx seen{};
  ProbeArgs args{.in = {heap(5) + 8}, .out = {}};
  ProbeArgs spy{.in = {probe_.frame_size() - sizeof(Gprsgx), sizeof seen, address_of(&seen)}, .out = {}};
  RegisterFile in{}, out{};
  in.rbx = probe_.tcs();
  in.rdi = PROBE_OP_READ;
  in.rsi = address_of(&args);
  // The code of the spy, too, has to be there.
  ASSERT_TRUE(probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted());
  (void)probe_.ssa_registers();
  probe_.abandon();

  const SignalCatcher catcher({SIGSEGV, SIGBUS, SIGILL}, nullptr);
  enclume_test_spied_enclu(&in, &out, &spy, &exits);
  EXPECT_EQ(out.rax, static_cast<std::uint64_t>(Leaf::kEexit));
  EXPECT_EQ(args.out[0], 0u) << "the read itself went on";
  EXPECT_EQ(exits, 1u);
  EXPECT_EQ(seen.exitinfo, kPageFault);
  EXPECT_GE(seen.rip, probe_.base());
  EXPECT_LT(seen.rip, probe_.base() + PROBE_CODE_SIZE);
  EXPECT_EQ(catcher.caught().count, 0);
}

class WithoutExinfo : public BenignFaultTest {
 protected:
  WithoutExinfo() : BenignFaultTest(0) {}
};

TEST_F(WithoutExinfo, TheExitIsTakenButNothingIsTold) {
  probe_.read(heap(3));
  EXPECT_TRUE(has_left());
  EXPECT_EQ(exitinfo(), 0u);
}

}  // namespace
}  // namespace enclume::test
