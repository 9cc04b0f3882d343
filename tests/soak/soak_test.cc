// SPDX-License-Identifier: Apache-2.0
//
// Threads that enter, fault and leave for a while, under signals that are counted. Runs under `enclume run`,
// for two seconds each or as long as ENCLUME_SOAK_SECONDS says.
#include <gtest/gtest.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "enclaves/probe_enclave.h"

namespace enclume::test {
namespace {

using Clock = std::chrono::steady_clock;

std::chrono::seconds duration() {
  const char* text = std::getenv("ENCLUME_SOAK_SECONDS");
  const long seconds = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
  return std::chrono::seconds(seconds > 0 ? seconds : 2);
}

// A loop as long as that, of so many rounds at least.
class Rounds {
 public:
  explicit Rounds(unsigned long least) : least_(least) {}
  bool more() { return done_++ < least_ || Clock::now() < end_; }

 private:
  const unsigned long least_;
  const Clock::time_point end_ = Clock::now() + duration();
  unsigned long done_ = 0;
};

void handle(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART | flags;
  sigemptyset(&action.sa_mask);
  if (sigaction(signal, &action, nullptr) != 0) std::abort();
}

class IntervalTimer {
 public:
  explicit IntervalTimer(long microseconds) {
    const itimerval value{.it_interval = {0, microseconds}, .it_value = {0, microseconds}};
    setitimer(ITIMER_REAL, &value, nullptr);
  }
  ~IntervalTimer() {
    const itimerval off{};
    setitimer(ITIMER_REAL, &off, nullptr);
  }
};

std::uint64_t address_of(const volatile void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}

// The size of the address space and of what is resident, in pages.
struct Memory {
  long size = 0, resident = 0;
};
Memory memory_now() {
  Memory now;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re"); file != nullptr) {
    if (std::fscanf(file, "%ld %ld", &now.size, &now.resident) != 2) now = {};
    std::fclose(file);
  }
  return now;
}

// ---- Storm ----

thread_local volatile int t_last = 0;  // The newest payload; they count from 1.
thread_local volatile unsigned t_disorder = 0;
std::atomic<unsigned> g_alarms = 0;

void on_payload(int, siginfo_t* info, void*) {
  if (info->si_value.sival_int != t_last + 1) t_disorder = t_disorder + 1;
  t_last = info->si_value.sival_int;
}

struct Worker {
  std::thread thread;
  std::atomic<int> expected = -1;  // Set when the storm is over: how many signals were sent.
  std::atomic<int> seen = 0;
  std::atomic<unsigned> faults = 0;
  unsigned calls = 0, wrong = 0, disorder = 0;
  int received = 0;
};

void work(const ProbeEnclave& probe, unsigned number, Worker& worker) {
  const auto deadline = Clock::now() + duration() + std::chrono::seconds(20);
  for (int expected = -1; expected < 0 || t_last < expected; expected = worker.expected) {
    if (Clock::now() > deadline) break;
    const std::uint64_t seed = worker.calls;
    const CallResult sum = probe.call(PROBE_OP_SUM, {seed, number}, number);
    if (!sum.exited() || sum.args.out[0] != seed + number) ++worker.wrong;
    ++worker.calls;
    worker.seen = t_last;
    if (worker.calls % 16 != 0) continue;
    const CallResult fault = probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}, number);
    if (fault.faulted() && fault.run.exception_vector == kVectorUd) {
      ++worker.faults;
      probe.abandon(number);
    } else {
      ++worker.wrong;
    }
  }
  worker.received = t_last;
  worker.disorder = t_disorder;
}

TEST(SoakTest, RealTimeSignalsComeOnceAndInOrder) {
  constexpr unsigned kThreads = 4;
  constexpr int kAhead = 200;  // How many may be pending at once: well below RLIMIT_SIGPENDING.
  ProbeOptions options;
  options.threads = kThreads;
  const ProbeEnclave probe(options);
  g_alarms = 0;
  handle(SIGRTMIN, on_payload);
  handle(SIGALRM, [](int, siginfo_t*, void*) { ++g_alarms; });
  std::vector<Worker> workers(kThreads);
  std::vector<int> sent(kThreads);
  for (unsigned i = 0; i < kThreads; ++i) {
    workers[i].thread = std::thread([&, i] { work(probe, i, workers[i]); });
  }
  {
    const IntervalTimer timer(500);
    // Longer where each instruction costs a signal and the machine has other work.
    const auto has_faulted = [](const Worker& worker) { return worker.faults > 10; };
    const auto end = Clock::now() + duration(), last = end + std::chrono::seconds(15);
    while (Clock::now() < end || (!std::ranges::all_of(workers, has_faulted) && Clock::now() < last)) {
      for (unsigned i = 0; i < kThreads; ++i) {
        // A burst, so that some queue up behind one that is being delivered.
        for (int burst = 0; burst < 5 && sent[i] - workers[i].seen < kAhead; ++burst) {
          const sigval payload{.sival_int = sent[i] + 1};
          if (pthread_sigqueue(workers[i].thread.native_handle(), SIGRTMIN, payload) == 0) ++sent[i];
        }
      }
      usleep(50);
    }
  }
  for (unsigned i = 0; i < kThreads; ++i) workers[i].expected = sent[i];
  for (unsigned i = 0; i < kThreads; ++i) {
    workers[i].thread.join();
    EXPECT_EQ(workers[i].received, sent[i]) << "thread " << i;
    EXPECT_EQ(workers[i].disorder, 0u) << "thread " << i;
    EXPECT_EQ(workers[i].wrong, 0u) << "thread " << i;
    EXPECT_GT(workers[i].faults, 10u) << "thread " << i;
    EXPECT_GT(sent[i], 100) << "thread " << i;
  }
  EXPECT_GT(g_alarms, 100u);
}

// ---- One TCS ----

// Whether it comes to be, however busy the machine.
template <typename Condition>
bool eventually(Condition condition) {
  for (int tenths = 0; tenths < 600; ++tenths) {
    if (condition()) return true;
    usleep(100'000);
  }
  return false;
}

TEST(SoakTest, OneThreadAtATimeIsInATcs) {
  const ProbeEnclave probe;
  // An asynchronous exit frees the TCS, and then the ERESUME may be the one that is refused: none shall come.
  probe.touch();
  ASSERT_TRUE(probe.call(PROBE_OP_WORK, {2000, 7}).exited());
  std::atomic<bool> stop = false;
  std::atomic<unsigned> entered = 0, refused = 0, wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const CallResult result = probe.call(PROBE_OP_WORK, {2000, 7});
        if (result.exited()) {
          ++entered;
        } else if (result.status == 0 && result.run.function == static_cast<std::uint32_t>(Leaf::kEenter) &&
                   result.run.exception_vector == kVectorGp) {
          ++refused;
        } else {
          ++wrong;
        }
      }
    });
  }
  // One thread that stays inside for a while: none of the others may get in meanwhile.
  volatile std::uint64_t go = 0, progress = 0;
  std::thread holder([&] {
    for (;;) {
      const CallResult result = probe.call(PROBE_OP_SPIN, {address_of(&go), address_of(&progress)});
      if (result.exited()) break;
    }
  });
  while (progress == 0) usleep(100);
  const unsigned before = entered;
  usleep(200'000);
  // A call that had left the enclave before the holder came may not have been counted yet: one for each
  // thread.
  EXPECT_LE(entered - before, 4u);
  const unsigned refused_before = refused;
  EXPECT_TRUE(eventually([&] { return refused > refused_before; }));
  go = 1;
  holder.join();
  EXPECT_TRUE(eventually([&] { return entered > before + 4; })) << "the TCS is free again";
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {1, 2}).args.out[0], 3u);
}

// ---- Threads ----

TEST(SoakTest, ThreadsComeAndGo) {
  const ProbeEnclave probe;
  Memory settled;
  Rounds rounds(1000);
  for (std::uint64_t i = 0; rounds.more(); ++i) {
    std::uint64_t sum = 0;
    std::thread([&] { sum = probe.call(PROBE_OP_SUM, {i, 1}).args.out[0]; }).join();
    ASSERT_EQ(sum, i + 1);
    if (i == 500) settled = memory_now();
  }
  const Memory now = memory_now();
  EXPECT_LE(now.size, settled.size + 256);
  EXPECT_LE(now.resident, settled.resident + 512);
}

const ProbeEnclave* g_probe;
char g_not_reached;

TEST(SoakTest, ThreadsEndInHandlers) {
  ProbeOptions options;
  options.threads = 1;
  options.frames = 4;
  const ProbeEnclave probe(options);
  g_probe = &probe;
  static volatile std::uint64_t go, progress;
  handle(SIGUSR1, [](int, siginfo_t*, void*) { pthread_exit(nullptr); });
  const auto inside = [](void*) -> void* {
    // Nothing on this stack needs a destructor.
    sgx_enclave_run run{};
    ProbeArgs args{.in = {address_of(&go), address_of(&progress)}, .out = {}};
    run.tcs = g_probe->tcs();
    enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&args), 0, static_cast<std::uint32_t>(Leaf::kEenter), 0,
                           0, &run, vdso_function());
    return nullptr;
  };
  for (Rounds rounds(100); rounds.more();) {
    go = 0;
    progress = 0;
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, inside, nullptr), 0);
    while (progress == 0) usleep(50);
    pthread_kill(thread, SIGUSR1);
    ASSERT_EQ(pthread_join(thread, nullptr), 0);
    // The level that the thread left behind is still there; it ends here.
    probe.abandon();
  }
  // And at the end of an entry: in the vDSO function's user handler.
  const auto in_user_handler = [](void*) -> void* {
    sgx_enclave_run run{};
    ProbeArgs args{};
    run.tcs = g_probe->tcs();
    run.user_handler = reinterpret_cast<std::uint64_t>(
        +[](long, long, long, long, long, long, sgx_enclave_run*) -> int { pthread_exit(nullptr); });
    enclume_test_call_vdso(PROBE_OP_NOP, address_of(&args), 0, static_cast<std::uint32_t>(Leaf::kEenter), 0,
                           0, &run, vdso_function());
    return static_cast<void*>(&g_not_reached);
  };
  for (Rounds rounds(300); rounds.more();) {
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, in_user_handler, nullptr), 0);
    void* result = nullptr;
    ASSERT_EQ(pthread_join(thread, &result), 0);
    ASSERT_EQ(result, nullptr);
  }
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {1, 2}).args.out[0], 3u);
}

TEST(SoakTest, ThreeHundredThreadsAtOnce) {
  constexpr unsigned kThreads = 300;
  ProbeOptions options;
  options.threads = kThreads;
  options.frames = 2;
  const ProbeEnclave probe(options);
  std::atomic<unsigned> good = 0, here = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      ++here;
      while (here < kThreads) sched_yield();
      for (std::uint64_t round = 0; round < 10; ++round) {
        const CallResult result = probe.call(PROBE_OP_SUM, {i, round}, i);
        if (result.exited() && result.args.out[0] == i + round) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads * 10);
}

// ---- Handlers that do not return ----

sigjmp_buf g_jump;
std::byte* g_stack;
constexpr std::size_t kStackSize = 65536;
volatile unsigned g_off_stack = 0;

TEST(SoakTest, HandlersLeaveByLongjmp) {
  ProbeOptions options;
  options.frames = 4;
  const ProbeEnclave probe(options);
  const auto stack = std::make_unique<std::byte[]>(kStackSize);
  g_stack = stack.get();
  const stack_t alternate{.ss_sp = g_stack, .ss_flags = 0, .ss_size = kStackSize};
  ASSERT_EQ(sigaltstack(&alternate, nullptr), 0);
  const auto jump = [](int, siginfo_t*, void*) {
    std::byte here{};
    if (&here < g_stack || &here >= g_stack + kStackSize) g_off_stack = g_off_stack + 1;
    siglongjmp(g_jump, 1);
  };
  handle(SIGUSR1, jump, SA_ONSTACK);
  handle(SIGILL, jump, SA_ONSTACK);
  g_off_stack = 0;
  Memory settled;
  static std::atomic<unsigned long> jumps, i;  // A jump leaves them as they are.
  static Rounds rounds(5000);
  jumps = 0;
  RegisterFile in{}, out{};
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  for (i = 0; rounds.more(); ++i) {
    if (i == 1000) settled = memory_now();
    if (sigsetjmp(g_jump, 1) != 0) {
      ++jumps;
      if (i % 2 == 0) probe.abandon();  // The level that the jump left behind.
      continue;
    }
    if (i % 2 == 0) {
      // ENCLU outside the vDSO function: the exception inside is a signal of ours at the AEP.
      in = {};
      in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
      in.rbx = probe.tcs();
      in.rdi = PROBE_OP_RAISE;
      in.rsi = address_of(&args);
      enclume_test_raw_enclu(&in, &out);
    } else {
      raise(SIGUSR1);
    }
  }
  EXPECT_EQ(jumps, i);
  EXPECT_EQ(g_off_stack, 0u) << "handlers ran on the alternate stack, and found it unused";
  const Memory now = memory_now();
  EXPECT_LE(now.size, settled.size + 64);
  EXPECT_LE(now.resident, settled.resident + 64);
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGUSR1), 0);
  EXPECT_EQ(sigismember(&mask, SIGILL), 0);
  stack_t found;
  ASSERT_EQ(sigaltstack(nullptr, &found), 0);
  EXPECT_EQ(found.ss_sp, g_stack);
  EXPECT_EQ(found.ss_flags, 0);
  const stack_t off{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  sigaltstack(&off, nullptr);
}

// ---- Processes ----

TEST(SoakTest, ForkWhileOthersAreInside) {
  ProbeOptions options;
  options.threads = 3;
  const ProbeEnclave probe(options);
  std::atomic<bool> stop = false;
  std::atomic<unsigned> wrong = 0, calls = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t round = 0; !stop; ++round, ++calls) {
        const CallResult result = probe.call(PROBE_OP_SUM, {round, i}, i);
        if (!result.exited() || result.args.out[0] != round + i) ++wrong;
      }
    });
  }
  Rounds rounds(40);
  for (int i = 0; rounds.more(); ++i) {
    const unsigned before = calls;
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(20);
      // Linux shares the enclave's pages with the child (MAP_SHARED); this TCS is free in both.
      const CallResult result = probe.call(PROBE_OP_SUM, {40, 2}, 0);
      if (!result.exited() || result.args.out[0] != 42) _exit(2);
      if (i % 4 != 0) _exit(0);
      execl("/proc/self/exe", "soak_test", "--gtest_filter=SoakTest.ProgramThatWasExecuted",
            "--gtest_brief=1", "--gtest_also_run_disabled_tests", nullptr);
      _exit(3);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << i << ": signal " << WTERMSIG(status);
    ASSERT_EQ(WEXITSTATUS(status), 0) << i;
    while (calls == before) usleep(100);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {1, 2}).args.out[0], 3u);
}

// What the child above turns into: an enclave of its own.
TEST(SoakTest, ProgramThatWasExecuted) {
  const ProbeEnclave probe;
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {20, 22}).args.out[0], 42u);
}

// ---- Interrupted ioctls ----

TEST(SoakTest, SignalsDuringAddPages) {
  constexpr std::uint64_t kPages = 2048;
  handle(SIGALRM, [](int, siginfo_t*, void*) { ++g_alarms; });
  g_alarms = 0;
  void* memory = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 0x5a, kPages * kPage);
  alignas(kPage) static Secinfo secinfo;
  secinfo = {};
  secinfo.flags = kPtReg | kR | kW;
  unsigned interrupted = 0;
  for (Rounds rounds(5); rounds.more();) {
    const Fd fd = open_sgx_enclave();
    ASSERT_TRUE(fd);
    const Reservation range = Reservation::aligned(kPages * kPage);
    ProbeOptions options;
    options.minimum_size = kPages * kPage;
    Secs secs = probe_image(options).secs(range.base());
    ASSERT_EQ(create_enclave(fd.get(), secs), 0);
    std::uint64_t done = 0;
    {
      const IntervalTimer timer(300);
      while (done < kPages * kPage) {
        sgx_enclave_add_pages arguments{};
        arguments.src = address_of(memory) + done;
        arguments.offset = done;
        arguments.length = kPages * kPage - done;
        arguments.secinfo = address_of(&secinfo);
        arguments.flags = SGX_PAGE_MEASURE;
        const int error = add_pages(fd.get(), arguments);
        ASSERT_EQ(arguments.count % kPage, 0u);
        ASSERT_LE(arguments.count, arguments.length);
        // A signal that finds pages added makes a short count, which is success; EINTR means that there are
        // none.
        if (error == 0) {
          ASSERT_GT(arguments.count, 0u);
        } else {
          ASSERT_EQ(error, EINTR);
        }
        if (arguments.count != arguments.length) ++interrupted;
        done += arguments.count;
      }
    }
    // Each page is there once: none can be added again, so none was skipped or added twice.
    sgx_enclave_add_pages again{};
    again.src = address_of(memory);
    again.length = kPage;
    again.secinfo = address_of(&secinfo);
    for (std::uint64_t offset = 0; offset < kPages * kPage; offset += 97 * kPage) {
      again.offset = offset;
      again.count = 0;
      EXPECT_NE(add_pages(fd.get(), again), 0) << std::hex << offset;
    }
  }
  munmap(memory, kPages * kPage);
  EXPECT_GT(g_alarms, 20u);
  EXPECT_GT(interrupted, 5u) << "a pending signal ends the ioctl early";
}

}  // namespace
}  // namespace enclume::test
