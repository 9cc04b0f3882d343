// SPDX-License-Identifier: Apache-2.0
//
// Threads without libc enter enclaves: nothing that they have in user space need tell them apart. They share
// one TLS block, change FS, GS and ES as they like, trade stacks, and come from threads that are inside. Each
// must enter as itself. Nothing of libc is called in them.
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <deque>
#include <iterator>

#include "conformance/raw_clone.h"
#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr unsigned kThreads = 24;
constexpr std::size_t kStackSize = 65536;

std::uint64_t fs_base() {
  std::uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
std::uint64_t gs_base() {
  std::uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
void set_fs_base(std::uint64_t base) {
  asm volatile("wrfsbase %0" : : "r"(base) : "memory");
}
void set_gs_base(std::uint64_t base) {
  asm volatile("wrgsbase %0" : : "r"(base) : "memory");
}

// Calls function(argument) on another stack.
void call_on(void* stack_top, void (*function)(void*), void* argument) {
  asm volatile(
      "mov %%rsp, %%rbx\n\t"
      "mov %[stack], %%rsp\n\t"
      "call *%[function]\n\t"
      "mov %%rbx, %%rsp"
      : "+D"(argument)
      : [stack] "r"(stack_top), [function] "r"(function)
      : "rbx", "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
}

// What a thread of these tests has.
struct Member {
  const ProbeEnclave* probe = nullptr;
  vdso_sgx_enter_enclave_t function = nullptr;
  unsigned tcs = 0;
  unsigned calls = 0;
  void (*between)(Member&, unsigned call) = nullptr;
  Member* partner = nullptr;
  char* stack = nullptr;
  std::atomic<std::uint32_t> ready = 0;  // rounds done
  std::atomic<std::uint32_t> tid = 0;
  std::atomic<std::uint32_t> bad = 0;
  std::atomic<std::uint32_t> good = 0;
  std::uint64_t spare[16] = {};
  std::uint64_t handled = 0;

  [[nodiscard]] void* top() const { return stack + kStackSize; }
};

// One call, of which the result, the TCS that the enclave was entered by, and the bases behind it are
// checked.
void enter(Member& member, unsigned tcs, std::uint64_t a, std::uint64_t b) {
  ProbeArgs args{.in = {a, b}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = member.probe->tcs(tcs);
  const std::uint64_t fs = fs_base(), gs = gs_base();
  const int status =
      enclume_test_call_vdso(PROBE_OP_SUM, address_of(&args), 0, 2, 0, 0, &run, member.function);
  const bool as_it_was = fs_base() == fs && gs_base() == gs;
  if (status != 0 || run.function != static_cast<std::uint32_t>(Leaf::kEexit) || args.out[0] != a + b ||
      !as_it_was) {
    member.bad.fetch_add(1);
  } else {
    member.good.fetch_add(1);
  }
}

long work(void* argument) {
  Member& member = *static_cast<Member*>(argument);
  for (unsigned call = 0; call < member.calls; ++call) {
    enter(member, member.tcs, call, member.tcs * 1000);
    if (member.between != nullptr) member.between(member, call);
  }
  return 0;
}

class RawEntryTest : public ::testing::Test {
 protected:
  RawEntryTest() : probe_(options()), function_(vdso_function()) {
    for (unsigned i = 0; i < kThreads; ++i) {
      Member& member = members_.emplace_back();
      member.probe = &probe_;
      member.function = function_;
      member.tcs = i;
      member.stack = static_cast<char*>(
          mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      probe_.touch(i);
    }
  }
  ~RawEntryTest() override {
    for (const Member& member : members_) munmap(member.stack, kStackSize);
  }

  static ProbeOptions options() {
    ProbeOptions options;
    options.threads = kThreads;
    return options;
  }

  static void start(Member& member, RawFunction function = &work) {
    member.tid = 1;
    const long made = enclume_test_clone(kRawThread | CLONE_CHILD_CLEARTID, member.top(), function, &member,
                                         &member.tid, nullptr);
    ASSERT_GT(made, 0);
  }
  static void join(Member& member) {
    while (const std::uint32_t now = member.tid) raw(__NR_futex, &member.tid, FUTEX_WAIT, now, nullptr);
  }

  void run_all(unsigned calls, void (*between)(Member&, unsigned)) {
    for (Member& member : members_) {
      member.calls = calls;
      member.between = between;
      start(member);
    }
    for (Member& member : members_) join(member);
    for (const Member& member : members_) {
      EXPECT_EQ(member.bad, 0u) << "thread " << member.tcs;
      EXPECT_EQ(member.good, calls) << "thread " << member.tcs;
    }
  }

  ProbeEnclave probe_;
  vdso_sgx_enter_enclave_t function_;
  std::deque<Member> members_;
};

TEST_F(RawEntryTest, ManyThreadsOnOneTlsBlock) {
  run_all(1500, nullptr);
}

TEST_F(RawEntryTest, ThreadsThatChangeTheirBases) {
  run_all(600, [](Member& member, unsigned call) {
    const std::uint64_t base = address_of(&member.spare[call % 8]);
    switch (call % 5) {
      case 0:
        set_fs_base(base);
        break;
      case 1:
        set_gs_base(base);
        break;
      case 2:
        raw(__NR_arch_prctl, ARCH_SET_FS, base);
        break;
      case 3:
        set_fs_base(address_of(&member.probe));  // what others may have, too
        break;
      default:
        set_gs_base(0);
        break;
    }
  });
}

TEST_F(RawEntryTest, ThreadsThatTakeEachOthersSelectors) {
  static std::atomic<std::uint32_t> last;
  run_all(600, [](Member&, unsigned) {
    std::uint32_t own;
    asm volatile("mov %%es, %0" : "=r"(own));
    const std::uint32_t other = last.exchange(own);
    asm volatile("mov %0, %%es" : : "r"(other));
  });
}

// Pairs: each round both enter at once, then they trade stacks. FS is the same all the time.
TEST_F(RawEntryTest, ThreadsThatTradeStacks) {
  for (unsigned i = 0; i < kThreads; ++i) members_[i].partner = &members_[i ^ 1];
  const RawFunction pair = [](void* argument) -> long {
    Member& member = *static_cast<Member*>(argument);
    static char places[kThreads][2][16384];
    for (unsigned round = 0; round < 300; ++round) {
      const unsigned pair_number = member.tcs & ~1U;
      const unsigned place = (member.tcs + round) & 1;
      call_on(
          places[pair_number][place] + 16384,
          [](void* m) {
            Member& self = *static_cast<Member*>(m);
            enter(self, self.tcs, self.ready, 5);
            enter(self, self.tcs, self.ready, 6);
          },
          &member);
      member.ready.fetch_add(1);
      while (member.partner->ready <= round) raw(__NR_sched_yield);
    }
    return 0;
  };
  for (Member& member : members_) start(member, pair);
  for (Member& member : members_) join(member);
  for (const Member& member : members_) {
    EXPECT_EQ(member.bad, 0u);
    EXPECT_EQ(member.good, 600u);
  }
}

// A thread begins with all that its creator has, and goes in while that is inside, by a TCS that its creator
// has used, too.
TEST_F(RawEntryTest, NewThreadIsNotItsCreator) {
  const RawFunction creator = [](void* argument) -> long {
    Member& member = *static_cast<Member*>(argument);
    Member& child = *member.partner;
    for (unsigned round = 0; round < 100; ++round) {
      for (unsigned call = 0; call < 4; ++call)
        enter(member, call % 2 != 0 ? member.tcs : child.tcs, round, call);
      child.tid = 1;
      if (enclume_test_clone(kRawThread | CLONE_CHILD_CLEARTID, child.top(), &work, &child, &child.tid,
                             nullptr) < 0)
        member.bad.fetch_add(1);
      for (unsigned call = 0; call < 40 || child.tid != 0; ++call) {
        enter(member, member.tcs, round, call);
        member.good.fetch_sub(1);
      }
    }
    return 0;
  };
  for (unsigned i = 0; i < 4; i += 2) {
    members_[i].partner = &members_[i + 1];
    members_[i + 1].calls = 1000;
    start(members_[i], creator);
  }
  for (unsigned i = 0; i < 4; i += 2) {
    join(members_[i]);
    EXPECT_EQ(members_[i].bad, 0u);
    EXPECT_EQ(members_[i].good, 400u);
    EXPECT_EQ(members_[i + 1].bad, 0u);
    EXPECT_EQ(members_[i + 1].good, 100000u);
  }
}

// The same where the creator stands still in an enclave: what the child takes of it would be missed later.
TEST_F(RawEntryTest, ThreadMadeByAHandlerThatHasInterruptedTheEnclave) {
  static Member* creator;
  static Member* child;
  creator = &members_[0];
  child = &members_[1];
  child->calls = 50;
  const ScopedSigaction action(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        child->tid = 1;
        enclume_test_clone(kRawThread | CLONE_CHILD_CLEARTID, child->top(), &work, child, &child->tid,
                           nullptr);
        while (const std::uint32_t now = child->tid) raw(__NR_futex, &child->tid, FUTEX_WAIT, now, nullptr);
        *reinterpret_cast<volatile std::uint64_t*>(creator->spare) = 1;  // ends the spinning
      },
      0);
  for (unsigned call = 0; call < 10; ++call) enter(*creator, call % 2, call, 1);
  static std::atomic<int> main_tid;
  main_tid = static_cast<int>(raw(__NR_gettid));
  const RawFunction sender = [](void*) -> long {
    auto& rounds = *reinterpret_cast<volatile std::uint64_t*>(creator->spare + 1);
    while (rounds == 0) raw(__NR_sched_yield);
    raw(__NR_tgkill, raw(__NR_getpid), main_tid.load(), SIGUSR1);
    return 0;
  };
  for (int round = 0; round < 20; ++round) {
    creator->spare[0] = creator->spare[1] = 0;
    start(members_[2], sender);
    ProbeArgs args{.in = {address_of(creator->spare), address_of(creator->spare + 1)}, .out = {}};
    sgx_enclave_run run{};
    run.tcs = probe_.tcs(0);
    ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&args), 0, 2, 0, 0, &run, function_), 0);
    ASSERT_EQ(run.function, static_cast<std::uint32_t>(Leaf::kEexit));
    join(members_[2]);
    enter(*creator, 0, 20, 22);
  }
  EXPECT_EQ(creator->bad, 0u);
  EXPECT_EQ(creator->good, 30u);
  EXPECT_EQ(child->bad, 0u);
  EXPECT_EQ(child->good, 1000u);
}

// With their parent's memory, and for vfork its alternate stack, too.
TEST_F(RawEntryTest, ChildrenInTheSameMemoryAreNotTheirParent) {
  Member& parent = members_[0];
  Member& child = members_[1];
  child.calls = 1000;
  std::uint32_t calls = 0;
  for (int round = 0; round < 50; ++round) {
    for (unsigned call = 0; call < 6; ++call, ++calls) enter(parent, call % 2, call, 1);
    const long pid =
        round % 2 != 0 ? enclume_test_vfork(&work, &child)
                       : enclume_test_clone(CLONE_VM | SIGCHLD, child.top(), &work, &child, nullptr, nullptr);
    ASSERT_GT(pid, 0);
    int status = -1;
    while (waitpid(static_cast<pid_t>(pid), &status, WNOHANG) == 0) {
      enter(parent, 0, calls++, 2);
    }
    ASSERT_EQ(status, 0);
  }
  EXPECT_EQ(parent.bad, 0u);
  EXPECT_EQ(parent.good, calls);
  EXPECT_EQ(child.bad, 0u);
  EXPECT_EQ(child.good, 50000u);
}

TEST_F(RawEntryTest, ForkedChildrenAndTheirThreads) {
  for (unsigned call = 0; call < 6; ++call) enter(members_[0], call % 2, call, 1);
  for (int round = 0; round < 10; ++round) {
    const long pid = raw(__NR_fork);
    if (pid == 0) {
      for (unsigned call = 0; call < 20; ++call) enter(members_[0], 0, call, 1);
      members_[1].calls = 1000;
      members_[1].tid = 1;
      enclume_test_clone(kRawThread | CLONE_CHILD_CLEARTID, members_[1].top(), &work, &members_[1],
                         &members_[1].tid, nullptr);
      while (members_[1].tid != 0) enter(members_[0], 0, 20, 22);
      join(members_[1]);
      const bool good = members_[0].bad == 0 && members_[1].bad == 0 && members_[1].good == 1000;
      raw(__NR_exit_group, good ? 0 : 1);
    }
    ASSERT_GT(pid, 0);
    int status = -1;
    ASSERT_EQ(waitpid(static_cast<pid_t>(pid), &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
}

// A filter that kills for what is no 64-bit call: new threads of one that has entered before go on as they
// are.
TEST_F(RawEntryTest, UnderAFilterThatKnowsNo32BitCalls) {
  for (unsigned call = 0; call < 6; ++call) enter(members_[0], call % 2, call, 1);
  const long pid = raw(__NR_fork);
  if (pid == 0) {
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{std::size(rules), rules};
    for (unsigned call = 0; call < 6; ++call) enter(members_[0], call % 2, call, 1);
    if (raw(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        raw(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
      raw(__NR_exit_group, 2);
    for (unsigned i = 1; i < 4; ++i) {
      Member& member = members_[i];
      member.calls = 100;
      member.tid = 1;
      enclume_test_clone(kRawThread | CLONE_CHILD_CLEARTID, member.top(), &work, &member, &member.tid,
                         nullptr);
    }
    bool good = true;
    for (unsigned i = 1; i < 4; ++i) {
      while (members_[i].tid != 0) enter(members_[0], 0, 20, 22);
      good = good && members_[i].good == 100;
    }
    raw(__NR_exit_group, good && members_[0].bad == 0 ? 0 : 1);
  }
  ASSERT_GT(pid, 0);
  int status = -1;
  ASSERT_EQ(waitpid(static_cast<pid_t>(pid), &status, 0), pid);
  EXPECT_EQ(status, 0);
}

// One of the program's, by its own system call: an entry that did not execute the ENCLU would pass it by.
TEST_F(RawEntryTest, BreakpointOnTheEncluCountsEachEntry) {
  for (unsigned call = 0; call < 6; ++call) enter(members_[0], 0, call, 1);
  const auto* const begin = reinterpret_cast<const unsigned char*>(function_);
  constexpr unsigned char kEnclu[] = {0x0f, 0x01, 0xd7};
  const auto* const enclu = std::search(begin, begin + 256, std::begin(kEnclu), std::end(kEnclu));
  ASSERT_NE(enclu, begin + 256);
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = PERF_TYPE_BREAKPOINT;
  attr.bp_type = HW_BREAKPOINT_X;
  attr.bp_addr = reinterpret_cast<std::uint64_t>(enclu);
  attr.bp_len = sizeof(long);
  attr.exclude_kernel = 1;
  attr.exclude_hv = 1;
  const long fd = raw(__NR_perf_event_open, &attr, 0, -1, -1, 0);
  if (fd < 0) GTEST_SKIP() << "no hardware breakpoints here: perf_event_open gives " << fd;
  std::uint64_t before = 0, after = 0;
  raw(__NR_read, fd, &before, sizeof before);
  for (unsigned call = 0; call < 10; ++call) enter(members_[0], 0, call, 1);
  raw(__NR_read, fd, &after, sizeof after);
  raw(__NR_close, fd);
  EXPECT_GE(after - before, 10u);
  EXPECT_EQ(members_[0].bad, 0u);
}

// Handlers enter, too, by a TCS of their own, whatever they have interrupted.
TEST_F(RawEntryTest, HandlersEnterOnThreadsWithoutTls) {
  constexpr unsigned kWorkers = 6;
  const ScopedSigaction action(
      SIGUSR2,
      [](int, siginfo_t* info, void*) {
        Member& member = *static_cast<Member*>(info->si_value.sival_ptr);
        enter(member, member.tcs + kWorkers, member.handled++, 9);
      },
      0);
  static std::atomic<bool> stop;
  stop = false;
  const RawFunction worker = [](void* argument) -> long {
    Member& member = *static_cast<Member*>(argument);
    member.ready = static_cast<std::uint32_t>(raw(__NR_gettid));
    for (unsigned call = 0; !stop; ++call) enter(member, member.tcs, call, 3);
    return 0;
  };
  for (unsigned i = 0; i < kWorkers; ++i) start(members_[i], worker);
  for (int round = 0; round < 1500; ++round) {
    Member& member = members_[static_cast<unsigned>(round) % kWorkers];
    while (member.ready == 0) raw(__NR_sched_yield);
    siginfo_t info{};
    info.si_code = SI_QUEUE;
    info.si_value.sival_ptr = &member;
    raw(__NR_rt_tgsigqueueinfo, getpid(), static_cast<int>(member.ready), SIGUSR2, &info);
  }
  stop = true;
  for (unsigned i = 0; i < kWorkers; ++i) {
    join(members_[i]);
    EXPECT_EQ(members_[i].bad, 0u);
    EXPECT_GT(members_[i].good, members_[i].handled);
    EXPECT_GT(members_[i].handled, 0u);
  }
}

}  // namespace
}  // namespace enclume::test
