// SPDX-License-Identifier: Apache-2.0
//
// What libc does to threads by signals of its own, while they are in an enclave; and signals that come while
// the thread is anywhere between the program and the kernel.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);

const ProbeEnclave* g_probe;
volatile std::uint64_t g_stop, g_progress;
std::atomic<int> g_cleaned, g_went_on;

void* spin_inside(void* type) {
  int old;
  pthread_setcanceltype(type == nullptr ? PTHREAD_CANCEL_DEFERRED : PTHREAD_CANCEL_ASYNCHRONOUS, &old);
  pthread_cleanup_push([](void*) { ++g_cleaned; }, nullptr);
  // Nothing on this stack needs a destructor.
  sgx_enclave_run run{};
  ProbeArgs args{
      .in = {reinterpret_cast<std::uint64_t>(&g_stop), reinterpret_cast<std::uint64_t>(&g_progress)},
      .out = {}};
  run.tcs = g_probe->tcs();
  enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&args), 0, kEenter, 0, 0, &run, vdso_function());
  ++g_went_on;
  pthread_testcancel();
  pthread_cleanup_pop(0);
  return nullptr;
}

class CancelTest : public ::testing::Test {
 protected:
  CancelTest() {
    g_probe = &probe_;
    g_stop = 0;
    g_progress = 0;
    g_cleaned = 0;
    g_went_on = 0;
  }
  pthread_t start(bool asynchronous) {
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, nullptr, spin_inside, asynchronous ? this : nullptr), 0);
    while (g_progress == 0) usleep(100);
    return thread;
  }
  const ProbeEnclave probe_;
};

TEST_F(CancelTest, DeferredCancellationLetsTheEnclaveFinish) {
  const pthread_t thread = start(false);
  pthread_cancel(thread);
  const std::uint64_t then = g_progress;
  while (g_progress == then) usleep(100);
  EXPECT_EQ(g_went_on, 0);
  g_stop = 1;
  void* result = nullptr;
  pthread_join(thread, &result);
  EXPECT_EQ(result, PTHREAD_CANCELED);
  EXPECT_EQ(g_went_on, 1);
  EXPECT_EQ(g_cleaned, 1);
}

TEST_F(CancelTest, AsynchronousCancellationEndsTheThreadInTheEnclave) {
  for (int round = 0; round < 20; ++round) {
    g_cleaned = 0;
    g_progress = 0;
    const pthread_t thread = start(true);
    pthread_cancel(thread);
    void* result = nullptr;
    pthread_join(thread, &result);
    EXPECT_EQ(result, PTHREAD_CANCELED);
    EXPECT_EQ(g_went_on, 0);
    EXPECT_EQ(g_cleaned, 1);
    // The interrupt has freed the TCS; its interrupted level is still there.
    RegisterFile seen;
    ASSERT_TRUE(probe_.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)}).exited());
    EXPECT_EQ(seen.rax, 1u);
    probe_.abandon();
  }
}

TEST_F(CancelTest, SetuidReachesThreadsInEnclaves) {
  // libc has every thread make the system call, by a signal of its own.
  const pthread_t thread = start(false);
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(setuid(getuid()), 0);
    const std::uint64_t then = g_progress;
    while (g_progress == then) usleep(100);
  }
  g_stop = 1;
  pthread_join(thread, nullptr);
  EXPECT_EQ(g_went_on, 1);
}

// ---- Front doors ----

std::atomic<unsigned> g_count;
void use_doors(int, siginfo_t*, void*) {
  ++g_count;
  // What takes the engine's locks; were one of them held by what this handler interrupted, it would wait for
  // ever.
  const int fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
  void* memory = mmap(nullptr, kPage, PROT_NONE, MAP_SHARED, fd, 0);
  if (memory != MAP_FAILED) munmap(memory, kPage);
  close(fd);
  struct sigaction action {};
  sigaction(SIGWINCH, nullptr, &action);
  sigaction(SIGWINCH, &action, nullptr);
}

TEST(FrontDoorTest, SentSynchronousSignalsWaitUntilADoorIsShut) {
  const ScopedSigaction handlers[] = {{SIGSEGV, use_doors}, {SIGTRAP, use_doors}, {SIGILL, use_doors}};
  g_count = 0;
  std::atomic<bool> stop = false;
  std::atomic<unsigned> doors = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const int fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
        void* memory = mmap(nullptr, 4 * kPage, PROT_NONE, MAP_SHARED, fd, 0);
        mprotect(memory, kPage, PROT_READ);
        munmap(memory, 4 * kPage);
        close(fd);
        struct sigaction action {};
        sigaction(SIGWINCH, nullptr, &action);
        sigaction(SIGWINCH, &action, nullptr);
        ++doors;
      }
    });
  }
  while (g_count < 200 || doors < 50) {
    for (auto& thread : threads) {
      for (const int signal : {SIGSEGV, SIGTRAP, SIGILL}) pthread_kill(thread.native_handle(), signal);
    }
    usleep(300);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace enclume::test
