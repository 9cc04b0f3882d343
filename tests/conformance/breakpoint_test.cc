// SPDX-License-Identifier: Apache-2.0
//
// Hardware breakpoints at and in an enclave, by perf_event_open() with attr.sigtrap: who sees which, after
// opt-out and opt-in entries. Sources: Intel SDM volume 3D (June 2016), 43.3; Linux 6.12
// arch/x86/kernel/hw_breakpoint.c, kernel/events/core.c (perf_sigtrap), kernel/signal.c (send_sig_perf).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "conformance/debug_support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint64_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint64_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint64_t>(Leaf::kEexit);
constexpr int kTrapPerf = 6;
constexpr std::uint32_t kPerfFlagAsync = 1;

// A breakpoint of this thread.
class Breakpoint {
 public:
  enum class Kind {
    Code,
    Write
  };
  enum class Report {
    Sigtrap,
    Signal
  };
  // 0, or errno.
  static int supported() {
    static std::uint64_t word;
    const int fd = open_event(Kind::Write, address_of(&word), Report::Sigtrap);
    const int error = fd < 0 ? errno : 0;
    if (fd >= 0) close(fd);
    return error;
  }

  Breakpoint(Kind kind, std::uint64_t address, Report report = Report::Sigtrap)
      : fd_(open_event(kind, address, report)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "perf_event_open");
  }
  ~Breakpoint() { close(fd_); }
  Breakpoint(const Breakpoint&) = delete;
  Breakpoint& operator=(const Breakpoint&) = delete;

  int fd() const { return fd_; }
  std::uint64_t hits() const {
    std::uint64_t count = 0;
    if (read(fd_, &count, sizeof count) != sizeof count) return ~std::uint64_t{0};
    return count;
  }

 private:
  static int open_event(Kind kind, std::uint64_t address, Report report) {
    perf_event_attr attr{};
    attr.size = sizeof attr;
    attr.type = PERF_TYPE_BREAKPOINT;
    attr.bp_type = kind == Kind::Code ? HW_BREAKPOINT_X : HW_BREAKPOINT_W;
    attr.bp_addr = address;
    attr.bp_len = HW_BREAKPOINT_LEN_8;
    attr.sample_period = 1;
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    if (report == Report::Sigtrap) {
      attr.sigtrap = 1;
      attr.remove_on_exec = 1;
      attr.sig_data = address;
    } else {
      attr.wakeup_events = 1;
    }
    return static_cast<int>(syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
  }

  int fd_;
};

class BreakpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const int error = Breakpoint::supported(); error != 0) {
      GTEST_SKIP() << "no hardware breakpoints here: perf_event_open gives " << std::strerror(error);
    }
  }

  // Every SIGTRAP while `body` runs.
  static std::vector<Step> traps(const std::function<void()>& body, const DebuggedProbe* probe = nullptr,
                                 std::function<void(const Step&, ucontext_t&)> act = {}) {
    if (!act) act = [](const Step&, ucontext_t&) {};
    return step_through(body, {.watched = [](std::uint64_t) { return true; },
                               .act = std::move(act),
                               .probe = probe,
                               .set_tf = false});
  }

  // What a trap that left an enclave looks like.
  static void expect_at_aep(const Step& step, std::uint64_t breakpoint) {
    EXPECT_EQ(step.code, kTrapPerf);
    EXPECT_EQ(step.address, breakpoint);
    EXPECT_EQ(step.rip(), vdso_enclu());
    EXPECT_EQ(step.reg(REG_RAX), kEresume);
    EXPECT_EQ(step.reg(REG_RCX), vdso_enclu());
  }
};

// ---- Instruction breakpoints ----

TEST_F(BreakpointTest, OnTheEncluFiresBeforeIt) {
  const ProbeEnclave probe;
  CallResult result;
  const auto steps = traps([&] {
    const Breakpoint breakpoint(Breakpoint::Kind::Code, vdso_enclu());
    result = probe.call(PROBE_OP_SUM, {1, 2});
  });
  EXPECT_EQ(result.args.out[0], 3u);
  ASSERT_FALSE(steps.empty());
  EXPECT_EQ(steps[0].code, kTrapPerf);
  EXPECT_EQ(steps[0].address, vdso_enclu());
  EXPECT_EQ(steps[0].rip(), vdso_enclu());
  EXPECT_EQ(steps[0].reg(REG_RAX), kEenter);
  EXPECT_NE(steps[0].reg(REG_EFL) & kFlagRf, 0u);
}

void go_on_at_aep(int, siginfo_t*, void*) {}

TEST_F(BreakpointTest, OnTheAepFiresOnceAnExceptionHasLeftTheEnclave) {
  const DebuggedProbe probe(false);
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  RegisterFile in{}, out{};
  in.rax = kEenter;
  in.rbx = probe.tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  const ScopedSigaction illegal(SIGILL, go_on_at_aep);
  const auto steps = traps(
      [&] {
        const Breakpoint breakpoint(Breakpoint::Kind::Code, address_of(enclume_test_aep));
        enclume_test_raw_enclu(&in, &out);
      },
      &probe,
      [&](const Step& step, ucontext_t&) {
        if (step.framed) probe.set_newest_rip(probe.base() + raise_site(PROBE_RAISE_UD2).next);
      });
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(steps[0].rip(), address_of(enclume_test_aep));
  EXPECT_EQ(steps[0].reg(REG_RAX), kEresume);
  EXPECT_EQ(steps[0].frame.exitinfo, exitinfo_hardware(kVectorUd)) << "the breakpoint is not the enclave's";
  EXPECT_EQ(out.rax, kEexit);
}

TEST_F(BreakpointTest, OnEnclaveCodeIsSuppressedAfterAnOptOutEntry) {
  const DebuggedProbe probe(false);
  const std::uint64_t place = probe.base() + probe_labels().plain_return;
  CallResult result;
  const auto steps = traps([&] {
    const Breakpoint breakpoint(Breakpoint::Kind::Code, place);
    result = probe.call(PROBE_OP_CALL, {place});
  });
  EXPECT_TRUE(result.exited());
  EXPECT_TRUE(steps.empty());
}

TEST_F(BreakpointTest, OnEnclaveCodeFiresAfterAnOptInEntryUntilTheDebuggerSetsRfInTheFrame) {
  const DebuggedProbe probe(true);
  const std::uint64_t place = probe.base() + probe_labels().plain_return;
  CallResult result;
  int count = 0;
  const auto steps = traps(
      [&] {
        const Breakpoint breakpoint(Breakpoint::Kind::Code, place);
        result = probe.call(PROBE_OP_CALL, {place});
      },
      &probe,
      [&](const Step& step, ucontext_t&) {
        if (++count < 3 || !step.framed) return;
        const std::uint64_t flags =
            probe.tcs() + PROBE_SSA + probe.frame_size() - sizeof(Gprsgx) + offsetof(Gprsgx, rflags);
        probe.memory().set_word(flags, step.frame.rflags | kFlagRf);
      });
  EXPECT_TRUE(result.exited());
  ASSERT_EQ(steps.size(), 3u) << "ERESUME takes RF from the frame, where it is as before the breakpoint";
  for (const Step& step : steps) {
    expect_at_aep(step, place);
    EXPECT_EQ(step.frame.rip, place) << "a fault: the instruction has not run";
    EXPECT_EQ(step.frame.rflags & kFlagRf, 0u);
    EXPECT_EQ(step.frame.exitinfo, exitinfo_hardware(kVectorDb));
  }
}

// ---- Data breakpoints ----

TEST_F(BreakpointTest, OnEnclaveDataIsSuppressedAfterAnOptOutEntry) {
  const DebuggedProbe probe(false);
  const auto steps = traps([&] {
    const Breakpoint breakpoint(Breakpoint::Kind::Write, probe.scratch());
    probe.write(probe.scratch(), 7);
  });
  EXPECT_TRUE(steps.empty());
  EXPECT_EQ(probe.read(probe.scratch()), 7u);
}

TEST_F(BreakpointTest, OnEnclaveDataFiresAfterAnOptInEntry) {
  const DebuggedProbe probe(true);
  const auto steps = traps(
      [&] {
        const Breakpoint breakpoint(Breakpoint::Kind::Write, probe.scratch());
        probe.write(probe.scratch(), 7);
      },
      &probe);
  ASSERT_EQ(steps.size(), 1u);
  expect_at_aep(steps[0], probe.scratch());
  EXPECT_EQ(steps[0].frame.exitinfo, exitinfo_hardware(kVectorDb));
  EXPECT_EQ(steps[0].frame.rcx, 7u) << "the store has happened";
  EXPECT_EQ(probe.read(probe.scratch()), 7u);
}

class OutsideBreakpointTest : public BreakpointTest, public ::testing::WithParamInterface<bool> {};

TEST_P(OutsideBreakpointTest, FiresWhenTheEnclaveWritesThere) {
  const DebuggedProbe probe(GetParam());
  alignas(8) static volatile std::uint64_t word;
  const std::uint64_t place = address_of(const_cast<std::uint64_t*>(&word));
  word = 0;
  CallResult result;
  const auto steps = traps(
      [&] {
        const Breakpoint breakpoint(Breakpoint::Kind::Write, place);
        result = probe.call(PROBE_OP_WRITE, {place, 7});
      },
      &probe);
  EXPECT_TRUE(result.exited()) << "not fixed up";
  EXPECT_EQ(word, 7u);
  ASSERT_EQ(steps.size(), 1u);
  expect_at_aep(steps[0], place);
  EXPECT_EQ(steps[0].frame.rcx, 7u);
  EXPECT_EQ(steps[0].frame.rflags & kFlagRf, 0u) << "a trap";
  EXPECT_EQ(steps[0].frame.exitinfo, exitinfo_hardware(kVectorDb));
}

INSTANTIATE_TEST_SUITE_P(Entry, OutsideBreakpointTest, ::testing::Bool(),
                         [](const auto& tested) { return std::string(tested.param ? "OptIn" : "OptOut"); });

TEST_F(BreakpointTest, TwoOnOneWordAreBothHit) {
  const DebuggedProbe probe(false);
  alignas(8) static volatile std::uint64_t word;
  const std::uint64_t place = address_of(const_cast<std::uint64_t*>(&word));
  std::uint64_t first_hits = 0, second_hits = 0;
  const auto steps = traps([&] {
    const Breakpoint first(Breakpoint::Kind::Write, place), second(Breakpoint::Kind::Write, place);
    probe.call(PROBE_OP_WRITE, {place, 7});
    first_hits = first.hits();
    second_hits = second.hits();
  });
  EXPECT_EQ(first_hits, 1u);
  EXPECT_EQ(second_hits, 1u);
  ASSERT_FALSE(steps.empty());
  expect_at_aep(steps[0], place);
}

volatile int g_signals = 0;
void count_signal(int, siginfo_t*, void*) {
  g_signals = g_signals + 1;
}

TEST_F(BreakpointTest, ReportedByASignalOfTheProgramsChoice) {
  const ProbeEnclave probe;
  alignas(8) static volatile std::uint64_t word;
  const std::uint64_t place = address_of(const_cast<std::uint64_t*>(&word));
  g_signals = 0;
  const ScopedSigaction handler(SIGUSR1, count_signal);
  CallResult result;
  {
    const Breakpoint breakpoint(Breakpoint::Kind::Write, place, Breakpoint::Report::Signal);
    const f_owner_ex self{F_OWNER_TID, static_cast<int>(syscall(SYS_gettid))};
    ASSERT_EQ(fcntl(breakpoint.fd(), F_SETOWN_EX, &self), 0);
    ASSERT_EQ(fcntl(breakpoint.fd(), F_SETSIG, SIGUSR1), 0);
    ASSERT_EQ(fcntl(breakpoint.fd(), F_SETFL, O_ASYNC), 0);
    result = probe.call(PROBE_OP_WRITE, {place, 7});
    EXPECT_EQ(breakpoint.hits(), 1u);
  }
  EXPECT_TRUE(result.exited());
  EXPECT_EQ(word, 7u);
  EXPECT_EQ(g_signals, 1);
}

// ---- Where only the kernel touches the memory ----

void do_nothing(int, siginfo_t*, void*) {}

TEST_F(BreakpointTest, WritingASignalFrameOverAWatchedWordIsNobodysAccess) {
  const ProbeEnclave probe;
  alignas(16) static std::uint8_t stack[64 * 1024];
  stack_t alternate{}, before{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  ASSERT_EQ(sigaltstack(&alternate, &before), 0);
  const ScopedSigaction handler(SIGSEGV, do_nothing, SA_ONSTACK | SA_RESETHAND);
  static std::uint64_t frame_word;
  {
    // Where the frame of a first signal lies.
    const ScopedSigaction look(
        SIGUSR1, [](int, siginfo_t*, void* context) { frame_word = address_of(context) & ~std::uint64_t{7}; },
        SA_ONSTACK);
    raise(SIGUSR1);
    ASSERT_GE(frame_word, address_of(stack));
    const auto steps = traps([&] {
      const Breakpoint breakpoint(Breakpoint::Kind::Write, frame_word);
      raise(SIGUSR1);
      probe.call(PROBE_OP_NOP);
    });
    EXPECT_TRUE(steps.empty());
  }
  sigaltstack(&before, nullptr);
}

std::uint32_t g_perf_flags = 0;
int g_perf_traps = 0;
void keep_perf_flags(int, siginfo_t* info, void*) {
  std::memcpy(&g_perf_flags, reinterpret_cast<const char*>(info) + 36, sizeof g_perf_flags);
  ++g_perf_traps;
}

TEST_F(BreakpointTest, TrapThatIsBlockedComesLaterAndSaysSo) {
  alignas(8) static volatile std::uint64_t word;
  g_perf_flags = 0;
  g_perf_traps = 0;
  const ScopedSigaction handler(SIGTRAP, keep_perf_flags);
  const Breakpoint breakpoint(Breakpoint::Kind::Write, address_of(const_cast<std::uint64_t*>(&word)));
  word = 1;
  EXPECT_EQ(g_perf_traps, 1);
  EXPECT_EQ(g_perf_flags & kPerfFlagAsync, 0u);
  {
    const ScopedSignalMask blocked(SIG_BLOCK, {SIGTRAP});
    word = 2;
    EXPECT_EQ(g_perf_traps, 1);
  }
  EXPECT_EQ(g_perf_traps, 2);
  EXPECT_NE(g_perf_flags & kPerfFlagAsync, 0u);
}

}  // namespace
}  // namespace enclume::test
