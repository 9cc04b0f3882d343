// SPDX-License-Identifier: Apache-2.0
//
// The EPC goes away under a program: what it finds afterwards is what Linux shows on hardware.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "conformance/support.h"
#include "enclume/uapi/enclume_control.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
constexpr int kToParent = 200, kFromParent = 201;
constexpr std::uint16_t kPfSgx = 0x8000, kPfUser = 4, kPfPresent = 1;

int lose(const ProbeEnclave& probe, unsigned long what = ENCLUME_LOSE_ENCLAVE) {
  return ioctl(probe.fd(), ENCLUME_IOC_LOSE_EPC, what);
}

ProbeOptions one_page() {
  ProbeOptions options;
  options.heap_pages = 1;
  return options;
}
ProbeOptions with_threads(unsigned count) {
  ProbeOptions options;
  options.threads = count;
  return options;
}

void expect_lost(const CallResult& result, std::uint32_t function, std::uint64_t tcs) {
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.function, function);
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_error_code, kPfSgx | kPfUser | kPfPresent);
  EXPECT_EQ(result.run.exception_addr, tcs);
}

TEST(EpcLossTest, EenterIsAPageFaultWithTheSgxBitAtTheTcs) {
  const ProbeEnclave probe;
  probe.touch();
  ASSERT_EQ(lose(probe), 1);
  expect_lost(probe.call(PROBE_OP_NOP), kEenter, probe.tcs());
  expect_lost(probe.call(PROBE_OP_NOP), kEenter, probe.tcs());
}

TEST(EpcLossTest, EntriesThatHaveWorkedManyTimesFailAsWell) {
  const ProbeEnclave probe;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(probe.call(PROBE_OP_NOP).exited());
  ASSERT_EQ(lose(probe), 1);
  expect_lost(probe.call(PROBE_OP_NOP), kEenter, probe.tcs());
}

TEST(EpcLossTest, EnclaveThatWasNeverTouchedIsLostAsWell) {
  const ProbeEnclave probe;
  ASSERT_EQ(lose(probe), 1);
  expect_lost(probe.call(PROBE_OP_NOP), kEenter, probe.tcs());
}

TEST(EpcLossTest, EresumeOfAnInterruptedThreadIsOneToo) {
  const ProbeEnclave probe;
  CallResult result = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2});
  ASSERT_TRUE(result.faulted());
  ASSERT_EQ(lose(probe), 1);
  result.status = enclume_test_call_vdso(0, 0, 0, kEresume, 0, 0, &result.run, vdso_function());
  expect_lost(result, kEresume, probe.tcs());
}

TEST(EpcLossTest, RawEncluGetsSigsegvWithTheAddressOfTheTcs) {
  const ProbeEnclave probe;
  ASSERT_EQ(lose(probe), 1);
  const SignalCatcher catcher({SIGSEGV, SIGBUS, SIGILL}, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = kEenter;
  in.rbx = probe.tcs();
  in.rflags = 0;
  enclume_test_raw_enclu(&in, &out);
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGSEGV);
  EXPECT_EQ(catcher.caught().code, SEGV_ACCERR);
  EXPECT_EQ(catcher.caught().address, probe.tcs());
  EXPECT_EQ(catcher.caught().reg(REG_ERR), std::uint64_t{kPfSgx | kPfUser | kPfPresent});
}

// Threads that spin inside until they are told to stop, or have to leave.
class EpcLossInsideTest : public ::testing::Test {
 protected:
  static constexpr unsigned kThreads = 3;
  EpcLossInsideTest() : probe_(with_threads(kThreads)) {
    for (unsigned i = 0; i < kThreads; ++i) {
      results_[i].args.in = {reinterpret_cast<std::uint64_t>(&stop_),
                             reinterpret_cast<std::uint64_t>(&progress_[i])};
      threads_.emplace_back([this, i] {
        CallResult& r = results_[i];
        r.run = {};
        r.run.tcs = probe_.tcs(i);
        r.status = enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&r.args), 0, kEenter, 0, 0, &r.run,
                                          vdso_function());
      });
    }
    for (const volatile std::uint64_t& progress : progress_) {
      while (progress == 0) usleep(100);
    }
  }
  void join() {
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  ~EpcLossInsideTest() override {
    stop_ = 1;
    join();
  }
  const ProbeEnclave probe_;
  volatile std::uint64_t stop_ = 0;
  std::array<volatile std::uint64_t, kThreads> progress_{};
  std::array<CallResult, kThreads> results_{};
  std::vector<std::thread> threads_;
};

TEST_F(EpcLossInsideTest, ThreadsLeaveAndTheirEresumeFaults) {
  ASSERT_EQ(lose(probe_), 1);
  join();
  for (unsigned i = 0; i < kThreads; ++i) expect_lost(results_[i], kEresume, probe_.tcs(i));
}

TEST(EpcLossTest, EnclaveUnderConstructionCannotBeFinished) {
  LoadOptions load;
  load.before_init = [](int fd) { EXPECT_EQ(ioctl(fd, ENCLUME_IOC_LOSE_EPC, ENCLUME_LOSE_ENCLAVE), 1); };
  try {
    const ProbeEnclave probe({}, load);
    FAIL() << "EINIT has found the pages";
  } catch (const LoadError& error) {
    EXPECT_EQ(error.error(), EIO);
  }
}

TEST(EpcLossTest, RestrictPermissionsGivesEfault) {
  const ProbeEnclave probe(one_page());
  ASSERT_EQ(lose(probe), 1);
  sgx_enclave_restrict_permissions argument{};
  argument.offset = probe.heap() - probe.base();
  argument.length = kPage;
  argument.permissions = kR;
  EXPECT_EQ(ioctl(probe.fd(), SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &argument), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST(EpcLossTest, HostCodeSeesTheAbortPageAsBefore) {
  const ProbeEnclave probe(one_page());
  probe.touch();
  ASSERT_EQ(lose(probe), 1);
  // Natively there is nothing left to be read; hardware shows all ones with and without a valid page.
  const SignalCatcher catcher({SIGSEGV, SIGBUS}, nullptr);
  const auto value = *reinterpret_cast<volatile std::uint64_t*>(probe.heap());
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(value, ~std::uint64_t{0});
}

TEST(EpcLossTest, NewEnclaveWorksAtOnce) {
  const ProbeEnclave lost;
  ASSERT_EQ(lose(lost), 1);
  const ProbeEnclave next;
  EXPECT_TRUE(next.call(PROBE_OP_NOP).exited());
  expect_lost(lost.call(PROBE_OP_NOP), kEenter, lost.tcs());
}

TEST(EpcLossTest, OneEnclaveOrAllOfThem) {
  const ProbeEnclave first, second, third;
  ASSERT_EQ(lose(first), 1);
  EXPECT_TRUE(second.call(PROBE_OP_NOP).exited());
  EXPECT_EQ(lose(first, ENCLUME_LOSE_MACHINE), 3);
  expect_lost(second.call(PROBE_OP_NOP), kEenter, second.tcs());
  expect_lost(third.call(PROBE_OP_NOP), kEenter, third.tcs());
}

TEST(EpcLossTest, ForkedChildSharesTheLoss) {
  const ProbeEnclave probe;
  probe.touch();
  const int status = in_child([&] { return lose(probe) == 1 ? 0 : 1; });
  EXPECT_EQ(status, 0);
  expect_lost(probe.call(PROBE_OP_NOP), kEenter, probe.tcs());
}

TEST(EpcLossTest, ThreadOfAnotherProcessIsDrivenOut) {
  const ProbeEnclave probe;
  auto* shared = static_cast<volatile std::uint64_t*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::atomic<int> lost = 0;
  std::thread parent([&] {
    while (shared[1] == 0) usleep(100);
    lost = lose(probe);
  });
  const int status = in_child(
      [&] {
        CallResult result = probe.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&shared[0])),
                                                       address_of(const_cast<std::uint64_t*>(&shared[1]))});
        return result.faulted() && result.run.function == kEresume &&
                       result.run.exception_vector == kVectorPf &&
                       (result.run.exception_error_code & kPfSgx) != 0
                   ? 0
                   : 1;
      },
      20);
  parent.join();
  EXPECT_EQ(lost, 1);
  EXPECT_EQ(status, 0);
}

// What a child of the next test runs, with two pipes' ends for descriptors: a machine of its own.
TEST(EpcLossTest, DISABLED_ProgramOfItsOwn) {
  const ProbeEnclave probe;
  ASSERT_EQ(write(kToParent, "x", 1), 1);
  char byte;
  ASSERT_EQ(read(kFromParent, &byte, 1), 1);
  EXPECT_TRUE(probe.call(PROBE_OP_NOP).exited());
}

TEST(EpcLossTest, ProgramThatAChildHasExecutedKeepsItsOwnEpc) {
  const ProbeEnclave probe;
  int to_parent[2], to_child[2];
  ASSERT_EQ(pipe(to_parent) | pipe(to_child), 0);
  int lost = 0;
  std::thread parent([&] {
    char byte;
    EXPECT_EQ(read(to_parent[0], &byte, 1), 1);
    lost = lose(probe, ENCLUME_LOSE_MACHINE);
    usleep(100'000);  // a signal may be on its way
    EXPECT_EQ(write(to_child[1], "x", 1), 1);
  });
  const int status = in_child(
      [&] {
        dup2(to_parent[1], kToParent);
        dup2(to_child[0], kFromParent);
        execl("/proc/self/exe", "epc_loss_test", "--gtest_also_run_disabled_tests",
              "--gtest_filter=*DISABLED_ProgramOfItsOwn", nullptr);
        return 99;
      },
      20);
  parent.join();
  EXPECT_EQ(lost, 1);
  EXPECT_EQ(status, 0);
}

TEST(EpcLossTest, WrongArgumentsOfTheIoctlAreRefused) {
  const ProbeEnclave probe;
  EXPECT_EQ(lose(probe, 2), -1);
  EXPECT_EQ(errno, EINVAL);
  const int fresh = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(ioctl(fresh, ENCLUME_IOC_LOSE_EPC, ENCLUME_LOSE_ENCLAVE), -1);
  EXPECT_EQ(errno, EINVAL);
  close(fresh);
  EXPECT_EQ(ioctl(probe.fd(), _IO(0xEC, 1), 0), -1);
  EXPECT_EQ(errno, ENOTTY);
  EXPECT_EQ(ioctl(STDERR_FILENO, ENCLUME_IOC_LOSE_EPC, 0), -1);
  EXPECT_TRUE(probe.call(PROBE_OP_NOP).exited());
}

}  // namespace
}  // namespace enclume::test
