// SPDX-License-Identifier: Apache-2.0
//
// Dynamic memory (SGX2): pages that come by EAUG, permissions, types and removal. Error codes of ENCLU are
// those of the SDM's leaf pages; the flows are those of Linux's selftests/sgx, and more of them.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kAttributesMismatch = 19;  // SGX_PAGE_ATTRIBUTES_MISMATCH
constexpr std::uint64_t kZf = 0x40;
constexpr std::uint64_t kNewRw = kPtReg | kR | kW | kPending;

void* pointer(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

class Sgx2Test : public ::testing::Test {
 protected:
  static ProbeOptions options() {
    ProbeOptions options;
    options.threads = 2;
    options.heap_pages = 8;
    options.minimum_size = 0x80000;
    options.image.miscselect = kMiscselectExinfo;
    return options;
  }
  static LoadOptions load() {
    LoadOptions load;
    load.map_holes = true;
    return load;
  }
  void SetUp() override {
    sgx_enclave_remove_pages nothing{};
    if (remove_pages(probe_.fd(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  }

  // A page of the hole that nothing has touched yet.
  std::uint64_t hole(std::uint64_t page = 0) const { return probe_.base() + 0x60000 + page * kPage; }
  std::uint64_t heap(std::uint64_t page = 0) const { return probe_.heap() + page * kPage; }

  int restrict_page(std::uint64_t address, std::uint64_t permissions) {
    sgx_enclave_restrict_permissions arguments{.offset = address - probe_.base(),
                                               .length = kPage,
                                               .permissions = permissions,
                                               .result = 0,
                                               .count = 0};
    return restrict_permissions(probe_.fd(), arguments);
  }
  int modify_page(std::uint64_t address, std::uint64_t type) {
    sgx_enclave_modify_types arguments{
        .offset = address - probe_.base(), .length = kPage, .page_type = type, .result = 0, .count = 0};
    return modify_types(probe_.fd(), arguments);
  }
  int remove_page(std::uint64_t address) {
    sgx_enclave_remove_pages arguments{.offset = address - probe_.base(), .length = kPage, .count = 0};
    return remove_pages(probe_.fd(), arguments);
  }
  std::uint64_t accept(std::uint64_t secinfo_flags, std::uint64_t address) {
    return probe_.enclu_secinfo(Leaf::kEaccept, secinfo_flags, address).rax;
  }
  void expect_fault(const CallResult& result, std::uint32_t code, std::uint64_t address) {
    ASSERT_TRUE(result.faulted());
    EXPECT_EQ(result.run.exception_vector, kVectorPf);
    EXPECT_EQ(result.run.exception_error_code, code);
    EXPECT_EQ(result.run.exception_addr, address);
    probe_.abandon();
  }

  ProbeEnclave probe_{options(), load()};
};

// ---- New pages ----

using AugmentTest = Sgx2Test;

TEST_F(AugmentTest, TouchOfAHoleBringsAPendingPageThatFaults) {
  expect_fault(probe_.call(PROBE_OP_WRITE, {hole(), 1}), 0x8007, hole());
  expect_fault(probe_.call(PROBE_OP_READ, {hole()}), 0x8005, hole());
}

TEST_F(AugmentTest, EacceptMakesThePendingPageUsableAndItIsZero) {
  expect_fault(probe_.call(PROBE_OP_READ, {hole()}), 0x8005, hole());
  const auto result = probe_.enclu_secinfo(Leaf::kEaccept, kNewRw, hole());
  EXPECT_EQ(result.rax, 0u);
  EXPECT_EQ(result.rflags & kStatusFlags, 0u);
  EXPECT_EQ(probe_.read(hole()), 0u);
  probe_.write(hole() + 8, 77);
  EXPECT_EQ(probe_.read(hole() + 8), 77u);
}

TEST_F(AugmentTest, EacceptOfAnUntouchedAddressNeedsNoTouchBefore) {
  // EACCEPT faults, Linux adds the page, EACCEPT goes on; the host sees nothing of it.
  EXPECT_EQ(accept(kNewRw, hole(1)), 0u);
  probe_.write(hole(1), 5);
}

TEST_F(AugmentTest, EacceptWithOtherPermissionsIsAttributesMismatchWithZf) {
  ASSERT_TRUE(probe_.call(PROBE_OP_READ, {hole()}).faulted());
  probe_.abandon();
  const auto result = probe_.enclu_secinfo(Leaf::kEaccept, kPtReg | kR | kPending, hole());
  EXPECT_EQ(result.rax, kAttributesMismatch);
  EXPECT_EQ(result.rflags & kStatusFlags, kZf);
  EXPECT_EQ(accept(kNewRw, hole()), 0u) << "nothing was changed";
}

TEST_F(AugmentTest, SecondEacceptIsAttributesMismatch) {
  ASSERT_EQ(accept(kNewRw, hole()), 0u);
  EXPECT_EQ(accept(kNewRw, hole()), kAttributesMismatch);
}

TEST_F(AugmentTest, EacceptOfAnImpossibleRequestIsAGeneralProtectionFault) {
  const Secinfo secinfo{.flags = kPtReg | kR | kW, .reserved = {}};  // Neither PENDING nor PR.
  probe_.copy(probe_.scratch(), address_of(&secinfo), sizeof secinfo);
  const CallResult result =
      probe_.call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEaccept), probe_.scratch(), heap()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorGp);
}

TEST_F(AugmentTest, EacceptWithABadOperandIsAGeneralProtectionFault) {
  const Secinfo secinfo{.flags = kNewRw, .reserved = {}};
  probe_.copy(probe_.scratch(), address_of(&secinfo), sizeof secinfo);
  const std::uint64_t leaf = static_cast<std::uint64_t>(Leaf::kEaccept);
  const std::vector<std::uint64_t> cases[] = {
      {leaf, probe_.scratch() + 8, hole()},  // SECINFO not 64-aligned
      {leaf, probe_.scratch(), hole() + 8},  // page not page aligned
      {leaf, probe_.scratch(), probe_.base() + probe_.enclave().size()},
      {leaf, address_of(&secinfo), hole()}};  // SECINFO outside
  for (const auto& tested : cases) {
    const CallResult result = probe_.call(PROBE_OP_ENCLU, tested);
    ASSERT_TRUE(result.faulted());
    EXPECT_EQ(result.run.exception_vector, kVectorGp);
    probe_.abandon();
  }
}

TEST_F(AugmentTest, ReservedBitsOfSecinfoAreAGeneralProtectionFault) {
  const Secinfo secinfo{.flags = kNewRw | 0x40, .reserved = {}};
  probe_.copy(probe_.scratch(), address_of(&secinfo), sizeof secinfo);
  const CallResult result =
      probe_.call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEaccept), probe_.scratch(), hole()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorGp);
}

TEST_F(AugmentTest, EacceptcopyFillsThePageAndGivesItItsPermissions) {
  ASSERT_EQ(probe_.call(PROBE_OP_FILL, {heap(), kPage / 8, 99}).status, 0);
  EXPECT_EQ(probe_.enclu_secinfo(Leaf::kEacceptcopy, kPtReg | kR | kX, hole(), heap()).rax, 0u);
  EXPECT_EQ(probe_.call(PROBE_OP_CHECK, {hole(), kPage / 8, 99}).args.out[0], 0u);
  // The mapping allows writing, the EPCM does not any more.
  expect_fault(probe_.call(PROBE_OP_WRITE, {hole(), 1}), 0x8007, hole());
}

TEST_F(AugmentTest, EacceptcopyToAPageThatIsNotPendingIsAttributesMismatch) {
  EXPECT_EQ(probe_.enclu_secinfo(Leaf::kEacceptcopy, kPtReg | kR | kW, heap(1), heap()).rax,
            kAttributesMismatch);
}

TEST_F(AugmentTest, NewPagesCanBecomeExecutableAndRun) {
  ASSERT_EQ(accept(kNewRw, hole()), 0u);
  const std::uint64_t ret = 0xc3;
  probe_.copy(hole(), address_of(&ret), sizeof ret);
  ASSERT_EQ(probe_.enclu_secinfo(Leaf::kEmodpe, kPtReg | kR | kW | kX, hole()).rax,
            static_cast<std::uint64_t>(Leaf::kEmodpe))
      << "EMODPE leaves RAX alone";
  ASSERT_EQ(mprotect(pointer(hole()), kPage, PROT_READ | PROT_EXEC), 0);
  EXPECT_TRUE(probe_.call(PROBE_OP_CALL, {hole()}).exited());
}

TEST_F(AugmentTest, ExecuteOnlyPageIsNotReadBeforeItIsExecuted) {
  ASSERT_EQ(accept(kNewRw, hole()), 0u);
  const std::uint64_t ret = 0xc3;
  probe_.copy(hole(), address_of(&ret), sizeof ret);
  ASSERT_EQ(mprotect(pointer(hole(1)), kPage, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
  ASSERT_EQ(probe_.enclu_secinfo(Leaf::kEacceptcopy, kPtReg | kX, hole(1), hole()).rax, 0u);
  expect_fault(probe_.call(PROBE_OP_READ, {hole(1)}), 0x8005, hole(1));
  EXPECT_TRUE(probe_.call(PROBE_OP_CALL, {hole(1)}).exited());
}

TEST_F(AugmentTest, ManyPagesComeOnDemandAndAreAllKept) {
  for (std::uint64_t page = 0; page < 24; ++page) {
    ASSERT_EQ(accept(kNewRw, hole(page)), 0u);
    probe_.write(hole(page), page * 3);
  }
  for (std::uint64_t page = 0; page < 24; ++page) EXPECT_EQ(probe_.read(hole(page)), page * 3);
}

// What is done natively for the pages to come lets nobody at them.
class AugmentInTurnTest : public Sgx2Test {
 protected:
  void touch_and_accept(std::uint64_t page) {
    expect_fault(probe_.call(PROBE_OP_WRITE, {hole(page), 1}), 0x8007, hole(page));
    ASSERT_EQ(accept(kNewRw, hole(page)), 0u);
    probe_.write(hole(page), page * 3);
  }
  void touch_and_accept(std::uint64_t first, std::uint64_t end) {
    for (std::uint64_t page = first; page < end; ++page) touch_and_accept(page);
  }
  void expect_contents(std::uint64_t pages) {
    for (std::uint64_t page = 0; page < pages; ++page) EXPECT_EQ(probe_.read(hole(page)), page * 3);
  }
};

TEST_F(AugmentInTurnTest, EachPageFaults) {
  touch_and_accept(0, 24);
  expect_contents(24);
}

TEST_F(AugmentInTurnTest, AnyOfThePagesToComeFaults) {
  touch_and_accept(0, 4);
  for (const std::uint64_t page : {9u, 15u, 16u, 5u, 6u}) touch_and_accept(page);
  expect_fault(probe_.call(PROBE_OP_READ, {hole(4)}), 0x8005, hole(4));
  expect_fault(probe_.call(PROBE_OP_READ, {hole(14)}), 0x8005, hole(14));
  expect_contents(4);
}

TEST_F(AugmentInTurnTest, TheNextPageFaultsInAForkedChildAndIsThereForItsParent) {
  touch_and_accept(0, 4);
  const int status = in_child([&] {
    touch_and_accept(4, 6);
    return HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(status, 0);
  expect_contents(6);
  touch_and_accept(6, 8);
}

TEST_F(AugmentInTurnTest, TheMappingsPermissionsGoAndComeBackMeanwhile) {
  touch_and_accept(0, 4);
  ASSERT_EQ(mprotect(pointer(hole()), 16 * kPage, PROT_NONE), 0);
  ASSERT_TRUE(probe_.call(PROBE_OP_READ, {hole(4)}).faulted());
  probe_.abandon();
  ASSERT_EQ(mprotect(pointer(hole()), 16 * kPage, PROT_READ | PROT_WRITE), 0);
  touch_and_accept(4, 8);
  ASSERT_EQ(mprotect(pointer(hole(8)), kPage, PROT_READ), 0);
  expect_fault(probe_.call(PROBE_OP_READ, {hole(8)}), 0x8005, hole(8));
  ASSERT_EQ(mprotect(pointer(hole(8)), kPage, PROT_READ | PROT_WRITE), 0);
  ASSERT_EQ(accept(kNewRw, hole(8)), 0u);
  touch_and_accept(9, 18);
}

TEST_F(AugmentInTurnTest, ARemovedPageFaultsAgain) {
  touch_and_accept(0, 4);
  ASSERT_EQ(modify_page(hole(2), 4), 0);
  ASSERT_EQ(accept(kPtTrim | kModified, hole(2)), 0u);
  ASSERT_EQ(remove_page(hole(2)), 0);
  touch_and_accept(2);
  touch_and_accept(4);
  expect_contents(5);
}

// Leaves that follow one another, with nothing but plain code between them.
TEST_F(AugmentTest, LoopOfEacceptEndsAtThePageThatIsRefused) {
  ASSERT_EQ(accept(kNewRw, hole(17)), 0u);
  const Secinfo secinfo{.flags = kNewRw, .reserved = {}};
  probe_.copy(probe_.scratch(), address_of(&secinfo), sizeof secinfo);
  const auto result = probe_.call(PROBE_OP_ACCEPT, {probe_.scratch(), hole(), 24});
  ASSERT_TRUE(result.exited());
  EXPECT_EQ(result.args.out[0], 17u);
  for (std::uint64_t page = 0; page < 18; ++page) {
    EXPECT_EQ(probe_.read(hole(page)), 0u);
  }
  expect_fault(probe_.call(PROBE_OP_READ, {hole(18)}), 0x8005, hole(18));
}

std::atomic<int> g_interrupted{0};
constexpr int kEnoughSignals = 10;

// Accepts pages of the upper half of a large enclave in loops; how many signals have come in them.
// (None while it is made: its ioctls would have to be repeated.)
int accept_under_signals() {
  ProbeOptions options;
  options.minimum_size = 512 << 20;
  LoadOptions load;
  load.map_holes = true;
  std::optional<ProbeEnclave> probe;
  {
    const ScopedSignalMask blocked(SIG_BLOCK, {SIGUSR1});
    probe.emplace(options, load);
    const Secinfo secinfo{.flags = kNewRw, .reserved = {}};
    probe->copy(probe->scratch(), address_of(&secinfo), sizeof secinfo);
  }
  constexpr std::uint64_t kPages = 2048;
  int interrupted = 0;
  std::uint64_t at = probe->base() + probe->image().size() / 2;
  for (int round = 0; round < 16 && interrupted < kEnoughSignals; ++round, at += kPages * kPage) {
    const int before = g_interrupted;
    const auto result = probe->call(PROBE_OP_ACCEPT, {probe->scratch(), at, kPages});
    interrupted += g_interrupted - before;
    EXPECT_TRUE(result.exited());
    EXPECT_EQ(result.args.out[0], kPages);
  }
  return interrupted;
}

TEST(AugmentLoopTest, SignalsComeBetweenItsLeaves) {
  {
    const ProbeEnclave probe;
    sgx_enclave_remove_pages nothing{};
    if (remove_pages(probe.fd(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  }
  g_interrupted = 0;
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) { ++g_interrupted; };
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  std::atomic<bool> stop = false;
  std::atomic<int> sent = 0;
  const pthread_t looping = pthread_self();
  std::thread sender([&] {
    while (!stop) {
      // The next one only when this one has come: none may be lost, or wait for the end of the loop.
      pthread_kill(looping, SIGUSR1);
      ++sent;
      while (g_interrupted != sent && !stop) std::this_thread::yield();
    }
  });
  // The sender has to get a processor meanwhile.
  int during = 0;
  for (int enclaves = 0; enclaves < 200 && during < kEnoughSignals && !HasFailure(); ++enclaves) {
    during += accept_under_signals();
  }
  stop = true;
  sender.join();
  EXPECT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
  EXPECT_GE(during, kEnoughSignals);
  EXPECT_EQ(g_interrupted, sent);
}

TEST_F(AugmentTest, HostTouchOfAHoleAddsThePageToo) {
  // The page fault of host code augments just the same; what it then reads is the abort page, or, where
  // nothing can hide the EPC, the page's zeros.
  *reinterpret_cast<volatile std::uint8_t*>(hole(3));
  EXPECT_EQ(accept(kNewRw, hole(3)), 0u);
}

// ---- Permissions ----

using RestrictTest = Sgx2Test;

TEST_F(RestrictTest, RestrictedPageDeniesByTheEpcmWhileTheMappingAllows) {
  probe_.write(heap(), 9);
  ASSERT_EQ(restrict_page(heap(), kR), 0);
  EXPECT_EQ(accept(kPtReg | kR | kPr, heap()), 0u);
  EXPECT_EQ(probe_.read(heap()), 9u);
  expect_fault(probe_.call(PROBE_OP_WRITE, {heap(), 1}), 0x8007, heap());
}

TEST_F(RestrictTest, RestrictionHoldsBeforeItIsAccepted) {
  ASSERT_EQ(restrict_page(heap(), kR), 0);
  expect_fault(probe_.call(PROBE_OP_WRITE, {heap(), 1}), 0x8007, heap());
}

TEST_F(RestrictTest, ExinfoTellsTheEnclaveOfTheDenial) {
  ASSERT_EQ(restrict_page(heap(), kR), 0);
  ASSERT_TRUE(probe_.call(PROBE_OP_WRITE, {heap() + 0x238, 1}).faulted());
  EXPECT_EQ(probe_.ssa_registers().exitinfo, exitinfo_hardware(kVectorPf));
  EXPECT_EQ(probe_.ssa_exinfo().errcd, 0x8007u);
  EXPECT_EQ(probe_.ssa_exinfo().maddr, heap() + 0x238);
}

TEST_F(RestrictTest, EmodpeGivesBackWhatWasRestricted) {
  ASSERT_EQ(restrict_page(heap(), kR), 0);
  ASSERT_EQ(accept(kPtReg | kR | kPr, heap()), 0u);
  probe_.enclu_secinfo(Leaf::kEmodpe, kPtReg | kR | kW, heap());
  probe_.write(heap(), 4);
  EXPECT_EQ(probe_.read(heap()), 4u);
}

TEST_F(RestrictTest, EmodpeDuringAFaultLetsTheAccessGoOn) {
  ASSERT_EQ(restrict_page(heap(), kR), 0);
  ProbeArgs args{.in = {heap(), 1234}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe_.tcs();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_WRITE, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  ASSERT_EQ(run.exception_error_code, 0x8007);
  probe_.enclu_secinfo(Leaf::kEmodpe, kPtReg | kR | kW, heap());
  ASSERT_EQ(probe_.resume(run), 0);
  EXPECT_EQ(run.function, 4u);
  EXPECT_EQ(probe_.read(heap()), 1234u);
}

TEST_F(RestrictTest, MappingStillLimitsWhatEmodpeGives) {
  ASSERT_EQ(mprotect(pointer(heap()), kPage, PROT_READ), 0);
  probe_.enclu_secinfo(Leaf::kEmodpe, kPtReg | kR | kW, heap());
  expect_fault(probe_.call(PROBE_OP_WRITE, {heap(), 1}), 0x7, heap());
}

TEST_F(RestrictTest, RestrictingToMoreThanThereIsChangesNothing) {
  ASSERT_EQ(restrict_page(heap(), kR | kW | kX), 0);
  EXPECT_EQ(accept(kPtReg | kR | kW | kX | kPr, heap()), kAttributesMismatch) << "X was not added";
  EXPECT_EQ(accept(kPtReg | kR | kW | kPr, heap()), 0u);
  probe_.write(heap(), 1);
}

TEST_F(RestrictTest, ToNothingDeniesEveryAccess) {
  ASSERT_EQ(restrict_page(heap(), 0), 0);
  expect_fault(probe_.call(PROBE_OP_READ, {heap()}), 0x8005, heap());
}

TEST_F(RestrictTest, WholeRangeInOneCall) {
  sgx_enclave_restrict_permissions arguments{
      .offset = heap() - probe_.base(), .length = 8 * kPage, .permissions = kR, .result = 0, .count = 0};
  ASSERT_EQ(restrict_permissions(probe_.fd(), arguments), 0);
  EXPECT_EQ(arguments.count, 8 * kPage);
  EXPECT_EQ(arguments.result, 0u);
  for (std::uint64_t page = 0; page < 8; ++page) {
    expect_fault(probe_.call(PROBE_OP_WRITE, {heap(page), 1}), 0x8007, heap(page));
  }
}

TEST_F(RestrictTest, ThreadInsideTheEnclaveLosesThePermissionAtOnce) {
  // The thread spins on its own writes to the page until one is refused.
  const std::uint64_t never = 0;
  std::uint16_t vector = 0, code = 0;
  volatile std::uint64_t* started = reinterpret_cast<volatile std::uint64_t*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::thread writer([&] {
    *started = 1;
    // SPIN counts its rounds in the word at in1: here, in the enclave's own page.
    const CallResult result = probe_.call(PROBE_OP_SPIN, {address_of(&never), heap()}, 1);
    vector = result.run.exception_vector;
    code = result.run.exception_error_code;
  });
  while (*started == 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(restrict_page(heap(), kR), 0);
  writer.join();
  EXPECT_EQ(vector, kVectorPf);
  EXPECT_EQ(code, 0x8007);
}

TEST_F(RestrictTest, OnAMappingThatForbidsAllItIsDoneAndCannotBeAccepted) {
  ASSERT_EQ(mprotect(pointer(heap()), kPage, PROT_NONE), 0);
  ASSERT_EQ(restrict_page(heap(), kR), 0);
  const Secinfo secinfo{.flags = kPtReg | kR | kPr, .reserved = {}};
  probe_.copy(probe_.scratch(), address_of(&secinfo), sizeof secinfo);
  const CallResult result =
      probe_.call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEaccept), probe_.scratch(), heap()});
  ASSERT_TRUE(result.faulted()) << "EACCEPT reaches its operand through the page tables";
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_error_code & kPfSgx, 0);
  probe_.abandon();
  ASSERT_EQ(mprotect(pointer(heap()), kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(accept(kPtReg | kR | kPr, heap()), 0u);
}

// ---- Types and removal ----

using ModifyTest = Sgx2Test;

TEST_F(ModifyTest, NewTcsCanBeEntered) {
  // A page that came by EAUG gets a TCS's contents, becomes a TCS, is accepted, and is entered.
  ASSERT_EQ(accept(kNewRw, hole()), 0u);
  Tcs tcs{};
  tcs.ossa = tcs_offset(probe_.options(), 1) + PROBE_SSA;  // The frames of thread 1 serve it.
  tcs.nssa = 1;
  tcs.oentry = probe_labels().entry;
  tcs.ofsbase = tcs.ogsbase = tcs_offset(probe_.options(), 1) + PROBE_THREAD_PAGE;
  tcs.fslimit = tcs.gslimit = 0xfff;
  // The probe keeps its save area and stack behind its TCS: pages of the same sort.
  for (std::uint64_t page = 1; page * kPage < PROBE_SSA; ++page) ASSERT_EQ(accept(kNewRw, hole(page)), 0u);
  probe_.copy(hole(), address_of(&tcs), sizeof tcs);
  ASSERT_EQ(modify_page(hole(), 1), 0);
  ASSERT_EQ(accept(kPtTcs | kModified, hole()), 0u);
  ProbeArgs args{.in = {17, 4}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = hole();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_SUM, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  EXPECT_EQ(run.function, 4u) << "vector " << run.exception_vector << ", code " << run.exception_error_code;
  EXPECT_EQ(args.out[0], 21u);
}

TEST_F(ModifyTest, TcsThatIsNotAcceptedCannotBeEntered) {
  ASSERT_EQ(accept(kNewRw, hole()), 0u);
  ASSERT_EQ(modify_page(hole(), 1), 0);
  ProbeArgs args;
  sgx_enclave_run run{};
  run.tcs = hole();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_NOP, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  EXPECT_EQ(run.function, 2u);
  EXPECT_EQ(run.exception_vector, kVectorPf);
  EXPECT_NE(run.exception_error_code & kPfSgx, 0);
}

TEST_F(ModifyTest, TrimmedPageIsGoneForTheEnclaveBeforeAndAfterItsAcceptance) {
  ASSERT_EQ(modify_page(heap(), 4), 0);
  expect_fault(probe_.call(PROBE_OP_READ, {heap()}), 0x8005, heap());
  ASSERT_EQ(accept(kPtTrim | kModified, heap()), 0u);
  expect_fault(probe_.call(PROBE_OP_READ, {heap()}), 0x8005, heap());
}

TEST_F(ModifyTest, EacceptOfTrimWithoutModifiedIsAGeneralProtectionFault) {
  ASSERT_EQ(modify_page(heap(), 4), 0);
  const Secinfo secinfo{.flags = kPtTrim, .reserved = {}};
  probe_.copy(probe_.scratch(), address_of(&secinfo), sizeof secinfo);
  const CallResult result =
      probe_.call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEaccept), probe_.scratch(), heap()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorGp);
}

TEST_F(ModifyTest, TrimAcceptRemoveThenTheAddressIsAHoleAgain) {
  probe_.write(heap(), 42);
  ASSERT_EQ(modify_page(heap(), 4), 0);
  EXPECT_EQ(remove_page(heap()), EPERM) << "not accepted yet";
  ASSERT_EQ(accept(kPtTrim | kModified, heap()), 0u);
  ASSERT_EQ(remove_page(heap()), 0);
  EXPECT_EQ(remove_page(heap()), EFAULT) << "there is nothing any more";
  // A new page comes on demand, without the old contents.
  ASSERT_EQ(accept(kNewRw, heap()), 0u);
  EXPECT_EQ(probe_.read(heap()), 0u);
}

TEST_F(ModifyTest, TcsCanBeTrimmedAndRemoved) {
  const std::uint64_t tcs = probe_.tcs(1);
  ASSERT_EQ(modify_page(tcs, 4), 0);
  ASSERT_EQ(accept(kPtTrim | kModified, tcs), 0u);
  ASSERT_EQ(remove_page(tcs), 0);
  const CallResult result = probe_.call(PROBE_OP_NOP, {}, 1);
  EXPECT_EQ(result.run.function, 2u);
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
}

TEST_F(ModifyTest, RangeOfManyPagesIsTrimmedAcceptedAndRemoved) {
  sgx_enclave_modify_types trim{
      .offset = heap() - probe_.base(), .length = 8 * kPage, .page_type = 4, .result = 0, .count = 0};
  ASSERT_EQ(modify_types(probe_.fd(), trim), 0);
  EXPECT_EQ(trim.count, 8 * kPage);
  for (std::uint64_t page = 0; page < 5; ++page) ASSERT_EQ(accept(kPtTrim | kModified, heap(page)), 0u);
  sgx_enclave_remove_pages remove{.offset = heap() - probe_.base(), .length = 8 * kPage, .count = 0};
  EXPECT_EQ(remove_pages(probe_.fd(), remove), EPERM) << "the sixth page was not accepted";
  EXPECT_EQ(remove.count, 5 * kPage);
}

TEST_F(ModifyTest, PageThatAThreadUsesIsTrimmedUnderItAndNotRemovedBeforeItAgrees) {
  const std::uint64_t never = 0;
  CallResult result{};
  std::thread user([&] { result = probe_.call(PROBE_OP_SPIN, {address_of(&never), heap()}, 1); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(remove_page(heap()), EPERM) << "not trimmed";
  EXPECT_EQ(modify_page(heap(), 4), 0);
  user.join();
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_error_code, 0x8007);
  EXPECT_EQ(remove_page(heap()), EPERM) << "trimmed, and not accepted";
  EXPECT_EQ(accept(kPtTrim | kModified, heap()), 0u);
  EXPECT_EQ(remove_page(heap()), 0) << "with thread 1 still at its fault";
  EXPECT_EQ(probe_.read(heap(1)), 1u) << "the enclave answers";
}

TEST_F(ModifyTest, RemovedPageIsGoneFromItsMappingsToo) {
  ASSERT_EQ(modify_page(heap(), 4), 0);
  ASSERT_EQ(accept(kPtTrim | kModified, heap()), 0u);
  ASSERT_EQ(remove_page(heap()), 0);
  expect_fault(probe_.call(PROBE_OP_WRITE, {heap(), 1}), 0x8007, heap());
}

}  // namespace
}  // namespace enclume::test
