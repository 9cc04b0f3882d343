// SPDX-License-Identifier: Apache-2.0
//
// Signals at each instruction boundary of the engine's own code. One iteration of the victim takes them at
// one place; the next iteration at the next. Whatever the place, the program must see each signal once, in
// order, with a context that is its own, and neither its registers nor the enclave's may differ afterwards.
//
// Of the C++ between the entry and the exit, every so many instructions are taken: ENCLUME_INTERRUPT_STRIDE=1
// takes all of them.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/entry/layout.h"
#include "engine/fast/layout.h"
#include "interrupt/tracer.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kKickMagic = 0x4b43494b;

// What is sent at the chosen place.
enum class Injection {
  kUser,
  kTrap,
  kFloat,
  kKick,
  kTrapAndFloat,
  kRealTimePair,
  kAll,
  kStep,  // the direct paths only, like the next: TF
  kInt3   // of nobody
};

std::string name_of(Injection injection) {
  switch (injection) {
    case Injection::kUser:
      return "User";
    case Injection::kTrap:
      return "SentTrap";
    case Injection::kFloat:
      return "SentFloat";
    case Injection::kKick:
      return "Kick";
    case Injection::kTrapAndFloat:
      return "SentTrapAndFloat";
    case Injection::kRealTimePair:
      return "RealTimePair";
    case Injection::kAll:
      return "All";
    case Injection::kStep:
      return "Step";
    case Injection::kInt3:
      return "Int3";
  }
  return "";
}

unsigned stride() {
  const char* text = std::getenv("ENCLUME_INTERRUPT_STRIDE");
  const long value = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
  return value > 0 ? static_cast<unsigned>(value) : 13;
}

// Calls of one iteration.
constexpr unsigned kCalls = 5;

// Faults of one iteration, by their number: the first EENTER, the exception inside, the EENTER and the EEXIT
// of a call while an SSA frame is in use, and the ones after it.
constexpr unsigned kEvents[] = {0, 1, 2, 3, 6, 7};

class SweepTest : public ::testing::TestWithParam<Injection> {
 protected:
  explicit SweepTest(Mode mode = Mode::kEnclave, const std::string& options = "--fast off",
                     bool counted = false, bool is_static = false)
      : counted_(counted) {
    tracer_.emplace(mode, options, counted, is_static);
  }

  void inject() {
    auto& expected = tracer_->page().expected;
    const auto expect_one = [&](Sent kind) { ++expected[static_cast<unsigned>(kind)]; };
    const Injection what = GetParam();
    if (what == Injection::kUser || what == Injection::kAll) {
      expect_one(Sent::kUser);
      tracer_->send(SIGUSR1);
    }
    if (what == Injection::kTrap || what == Injection::kTrapAndFloat || what == Injection::kAll) {
      expect_one(Sent::kTrap);
      tracer_->send(SIGTRAP);
    }
    if (what == Injection::kFloat || what == Injection::kTrapAndFloat || what == Injection::kAll) {
      expect_one(Sent::kFloat);
      tracer_->send(SIGFPE);
    }
    if (what == Injection::kKick || what == Injection::kAll) {
      tracer_->send_queued(SIGSYS, SI_QUEUE, kKickMagic);
    }
    if (what == Injection::kRealTimePair || what == Injection::kAll) {
      for (int count = 0; count < 3; ++count) send_payload();
    }
  }

  void send_payload() {
    ++tracer_->page().expected[static_cast<unsigned>(Sent::kRealTime)];
    tracer_->send_queued(SIGRTMIN, SI_QUEUE, ++payload_);
  }

  // Steps `count` instructions; false if that leads out of [begin, end).
  bool step_within(unsigned count, std::uint64_t begin, std::uint64_t end) {
    for (unsigned i = 0; i < count; ++i) {
      if (!tracer_->step() || tracer_->rip() < begin || tracer_->rip() >= end) return false;
    }
    return true;
  }

  // From here on to where the engine is left: each instruction's address where it comes first. A breakpoint
  // there is as good as so many steps, and much faster.
  std::vector<std::uint64_t> record_path() {
    std::vector<std::uint64_t> path;
    std::set<std::uint64_t> known;
    for (std::uint64_t rip = tracer_->rip(); tracer_->in_engine(rip); rip = tracer_->rip()) {
      if (known.insert(rip).second) path.push_back(rip);
      if (!tracer_->step()) break;
    }
    return path;
  }

  // One iteration for every `every`-th instruction of the path that begins where `begin` leads.
  template <typename Begin>
  void sweep_path(const char* place, unsigned event, unsigned every, Begin begin) {
    begin();
    const std::vector<std::uint64_t> path = record_path();
    finish(place, event, 0);
    ASSERT_GE(path.size(), 40u);
    unsigned tried = 0, reached = 0;
    for (std::size_t index = event % every; index < path.size(); index += every) {
      begin();
      ++tried;
      if (tracer_->run_to(path[index])) {
        ++reached;
        inject();
      }
      finish(place, event, static_cast<unsigned>(index));
    }
    // Pages come and go, so that an iteration may take another way than the recorded one; most do not.
    EXPECT_GE(reached * 10, tried * 8) << place << ", fault " << event;
  }

  // Takes the iteration to its end and says in what place it failed, if it did.
  void finish(const char* place, unsigned event, unsigned index) {
    payload_ = 0;
    try {
      tracer_->finish();
    } catch (const VictimError& error) {
      throw VictimError(std::string(error.what()) + " (" + place + ", fault " + std::to_string(event) +
                        ", instruction " + std::to_string(index) + ")");
    }
    if (counted_) expect_all_counted(place, index);
  }

  // Each entry, exit and ERESUME once, whichever way it has gone.
  void expect_all_counted(const char* place, unsigned index) {
    const Tracer::Counts now = tracer_->counts();
    EXPECT_EQ(now.eenter - counts_.eenter, kCalls) << place << ", instruction " << index;
    EXPECT_EQ(now.eexit - counts_.eexit, kCalls) << place << ", instruction " << index;
    EXPECT_EQ(now.eresume - counts_.eresume, now.aex - counts_.aex) << place << ", instruction " << index;
    counts_ = now;
  }

  void sweep_entry() {
    const std::uint64_t begin = tracer_->symbol("enclume_signal_entry");
    const std::uint64_t end = tracer_->symbol("enclume_exit_begin");
    for (const unsigned event : kEvents) {
      unsigned index = 0;
      for (;; ++index) {
        tracer_->run_to_handler(event);
        const bool there = step_within(index, begin, end);
        if (there) inject();
        finish("entry", event, index);
        if (!there) break;
      }
      EXPECT_GE(index, 20u) << "fault " << event;
    }
  }

  void sweep_exit() {
    const std::uint64_t begin = tracer_->symbol("enclume_exit_begin");
    for (const unsigned event : kEvents) {
      unsigned index = 0;
      for (;; ++index) {
        tracer_->run_to_handler(event);
        ASSERT_TRUE(tracer_->run_to(begin));
        const bool there = step_within(index, begin, tracer_->symbol("enclume_exit_end"));
        if (there) inject();
        finish("exit", event, index);
        if (!there) break;
      }
      EXPECT_GE(index, 10u) << "fault " << event;
    }
  }

  void sweep_handler() {
    for (const unsigned event : {0U, 1U, 7U}) {
      sweep_path("handler", event, stride(), [&] { tracer_->run_to_handler(event); });
    }
  }

  std::optional<Tracer> tracer_;
  std::uint64_t payload_ = 0;
  bool counted_;
  Tracer::Counts counts_{};
};

TEST_P(SweepTest, EntryInstructions) {
  sweep_entry();
}

TEST_P(SweepTest, ExitInstructions) {
  sweep_exit();
}

// A signal just before the exit gives it work to do first; more come while it does.
TEST_P(SweepTest, ExitWithDeferredWork) {
  for (const unsigned event : {0U, 1U}) {
    sweep_path("deferred work", event, (stride() + 3) / 4, [&] {
      tracer_->run_to_handler(event);
      ASSERT_TRUE(tracer_->run_to(tracer_->symbol("enclume_exit_begin")));
      tracer_->send_queued(SIGSYS, SI_QUEUE, kKickMagic);
    });
  }
}

// More signals while the engine notes one that interrupted it: the later ones are noted first.
TEST_P(SweepTest, NestedHandler) {
  for (const unsigned event : {0U, 1U}) {
    sweep_path("nested handler", event, (stride() + 3) / 4, [&] {
      tracer_->run_to_handler(event);
      ASSERT_TRUE(step_within(8, tracer_->page().engine_begin, tracer_->page().engine_end));
      send_payload();
      send_payload();
      while (tracer_->rip() != tracer_->symbol("enclume_signal_entry")) ASSERT_TRUE(tracer_->step());
    });
  }
}

TEST_P(SweepTest, Handler) {
  sweep_handler();
}

TEST_P(SweepTest, ReturnFromTheProgramsHandler) {
  sweep_path("restorer", 0, (stride() + 3) / 4, [&] {
    ASSERT_TRUE(tracer_->run_to(tracer_->symbol("enclume_restorer")));
    tracer_->page().may_see_engine = true;
  });
}

// Every system call of the victim's own comes to the engine, whose own ones are made in libc.
class RawSweepTest : public SweepTest {
 protected:
  RawSweepTest() : SweepTest(Mode::kEnclaveClone, "--front raw --fast off") {}
};

TEST_P(RawSweepTest, EntryInstructions) {
  sweep_entry();
}

TEST_P(RawSweepTest, ExitInstructions) {
  sweep_exit();
}

TEST_P(RawSweepTest, Handler) {
  sweep_handler();
}

TEST_P(RawSweepTest, SystemCall) {
  for (const unsigned event : {0U, 4U}) {
    sweep_path("system call", event, stride(), [&] { tracer_->run_to_signal(SIGSYS, event); });
  }
}

// On the way to a call that can't be made in a handler, and back: on the program's own stack.
TEST_P(RawSweepTest, Clone) {
  const std::uint64_t begin = tracer_->symbol("enclume_clone_stubs");
  const std::uint64_t end = tracer_->symbol("enclume_clone_stubs_end");
  unsigned index = 0;
  for (;; ++index) {
    ASSERT_TRUE(tracer_->run_to(begin));
    const bool there = step_within(index, begin, end);
    if (there) inject();
    finish("clone", 0, index);
    if (!there) break;
  }
  EXPECT_GE(index, 5u);
}

// The same way in the child, up to where it has a place of its own for a handler's frame, and from there to
// where it is the program's.
class ChildSweepTest : public SweepTest {
 protected:
  ChildSweepTest() : SweepTest(Mode::kFork, "--front raw") {}

  void follow() {
    tracer_->page().in_child = true;
    tracer_->follow_child();
  }

  void sweep_child(Mode mode, unsigned at_least) {
    tracer_.emplace(mode, "--front raw --fast unwatched");
    const std::uint64_t begin = tracer_->symbol("enclume_clone_stubs");
    const std::uint64_t end = tracer_->symbol("enclume_clone_stubs_end");
    unsigned index = 0;
    for (;; ++index) {
      follow();
      const bool there = step_within(index, begin, end);
      if (there) inject();
      finish("child", 0, index);
      if (!there) break;
    }
    EXPECT_GE(index, at_least);
    if (GetParam() == Injection::kTrap || GetParam() == Injection::kAll) {
      return;  // the engine blocks all in places, and the kernel makes a breakpoint there the end of
               // SIGTRAP's handler
    }
    sweep_path("end of the way", 0, stride(), [&] {
      follow();
      ASSERT_TRUE(tracer_->run_to(tracer_->symbol("enclume_signal_entry")));
    });
  }
};

TEST_P(ChildSweepTest, Forked) {
  sweep_child(Mode::kFork, 6);
}

TEST_P(ChildSweepTest, InTheSameMemory) {
  sweep_child(Mode::kEnclaveClone, 12);
}

TEST_P(ChildSweepTest, Thread) {
  sweep_child(Mode::kThread, 12);
}

// A thread that the engine has not met: the program's handler runs on the frame that the kernel has made.
class UnknownThreadSweepTest : public SweepTest {
 protected:
  UnknownThreadSweepTest() : SweepTest(Mode::kNoEnclave) {}

  void begin() {
    tracer_->run_to_signal(SIGUSR2, 0);
    // What comes now runs on the same stack, above the engine's code.
    tracer_->page().may_see_engine = true;
  }
};

TEST_P(UnknownThreadSweepTest, Handler) {
  sweep_path("unknown thread", 0, 3, [&] { begin(); });
}

// The first signal of such a thread whose handler needs more: the frame moves to the engine's stack. That is
// once in a process.
TEST_P(UnknownThreadSweepTest, FrameThatMoves) {
  std::vector<std::uint64_t> path;
  for (std::size_t index = 0; index == 0 || index < path.size(); index += 8 * stride()) {
    tracer_.emplace(Mode::kMaskedHandler);
    begin();
    const std::uint64_t engine = tracer_->page().engine_begin;
    if (path.empty()) {
      path = record_path();
      for (std::uint64_t& address : path) address -= engine;
      ASSERT_GE(path.size(), 100u);
    } else if (tracer_->run_to(engine + path[index])) {
      inject();
    }
    finish("frame that moves", 0, static_cast<unsigned>(index));
  }
}

// ---- Without traps ----

// The first iterations leave by traps and are remembered.
constexpr int kWarmUp = 4;

// Of an iteration: the EENTER that loads all registers and takes an exception, the one with the next SSA
// frame that handles it, the ERESUME behind it, and (past the one that looks at the segments) the EENTER that
// looks at all state; and the exits of all three calls.
constexpr unsigned kEntries[] = {0, 1, 2, 4};
constexpr unsigned kExits[] = {0, 1, 3};

class DirectTest : public SweepTest {
 protected:
  // The debug registers are left to a tracer, and so are exits that would need them.
  explicit DirectTest(bool counted = false, const std::string& front = "", bool is_static = false)
      : SweepTest(Mode::kEnclave, "--fast unwatched" + front, counted, is_static) {
    for (int i = 0; i < kWarmUp; ++i) finish("warm-up", 0, 0);
  }

  void SetUp() override {
    if (!flag("enclume_fast_on")) {
      GTEST_SKIP() << "enclaves are not entered directly on this machine (docs/fast-paths.md)";
    }
  }

  bool flag(const char* name) { return (tracer_->peek(tracer_->symbol(name)) & 0xff) != 0; }

  // Where a label of the paths is, in their variant for this machine.
  std::uint64_t place_of(const std::string& label) {
    return tracer_->symbol(label + (flag("enclume_has_pkeys") ? "_keys" : ""));
  }

  // From the stop before an iteration to the `call`-th time that this is reached.
  void reach(const char* label, unsigned call) {
    for (unsigned i = 0; i <= call; ++i) {
      ASSERT_TRUE(tracer_->run_to(place_of(label))) << label << ", call " << call;
      if (i < call) {
        ASSERT_TRUE(tracer_->step());
      }
    }
  }

  // Like sweep_path() with each instruction of a path that is the same each time.
  template <typename Begin>
  void sweep_all(const char* place, unsigned call, std::size_t at_least, Begin begin) {
    begin();
    const std::vector<std::uint64_t> path = record_path();
    finish(place, call, 0);
    ASSERT_GE(path.size(), at_least) << place;
    for (std::size_t index = 0; index < path.size(); ++index) {
      begin();
      inject_at(path[index], place);
      finish(place, call, static_cast<unsigned>(index));
    }
  }

  void inject_at(std::uint64_t address, const char* place) {
    if (GetParam() == Injection::kInt3) {
      ASSERT_TRUE(tracer_->run_to_int3(address)) << place << ", at " << std::hex << address;
      return;
    }
    ASSERT_TRUE(tracer_->run_to(address)) << place << ", at " << std::hex << address;
    if (GetParam() == Injection::kStep) {
      // One that ends inside, by an opt-out entry, is none.
      if (ends_outside(address)) ++tracer_->page().expected[static_cast<unsigned>(Sent::kStep)];
      tracer_->send_step();
      return;
    }
    inject();
  }

  // Where a thread that is found at `address` of a direct path stands afterwards.
  bool ends_outside(std::uint64_t address) {
    const auto within = [&](const char* begin, const char* end) {
      return address >= place_of(begin) && address < place_of(end);
    };
    if (within("enclume_fast_enter", "enclume_back_end")) {
      return !within("enclume_enter_commit", "enclume_enter_end") &&
             !within("enclume_resume_commit", "enclume_resume_end") &&
             address != place_of("enclume_enter_tallied");
    }
    return within("enclume_leave_commit", "enclume_leave_end") ||
           within("enclume_leave_tallied", "enclume_stay_end");
  }

  // To where the exit compares GS bases, so that they differ.
  void give_up_exit(unsigned call) {
    reach("enclume_leave_spilled", call);
    const std::size_t rax = offsetof(user_regs_struct, rax);
    tracer_->set_register(rax, tracer_->register_value(rax) + 8);
  }

  void sweep_entries() {
    for (const unsigned call : kEntries) {
      sweep_all("direct entry", call, 80, [&] { reach("enclume_fast_enter", call); });
    }
  }

  // The checks fail once the TCS is claimed: the claims are taken back, and the ENCLU traps.
  void sweep_entries_given_up() {
    for (const unsigned call : kEntries) {
      sweep_all("direct entry given up", call, 20, [&] {
        reach("enclume_enter_counted", call);
        tracer_->poke(tracer_->register_value(offsetof(user_regs_struct, rsi)) + DOOR_VMAS, ~0ULL);
      });
    }
  }

  void sweep_exits() {
    for (const unsigned call : kExits) {
      sweep_all("direct exit", call, 40, [&] { reach("enclume_fast_exit", call); });
    }
  }

  void sweep_exit_given_up() {
    sweep_all("direct exit given up", 0, 6, [&] { give_up_exit(0); });
  }

  void sweep_trampolines() {
    for (const unsigned call : kExits) {
      reach("enclume_fast_exit", call);
      const std::uint64_t begin = trampoline();
      finish("trampoline", call, 0);
      for (const unsigned offset : {0U, 2U, 9U, 16U, 23U}) {
        inject_at(begin + offset, "trampoline");
        finish("trampoline", call, offset);
      }
      for (const unsigned offset : {29U, 36U, 41U}) {
        give_up_exit(call);
        inject_at(begin + offset, "trampoline");
        finish("trampoline", call, offset);
      }
    }
  }

  // The trampoline that the direct exit has come by.
  std::uint64_t trampoline() { return tracer_->register_value(offsetof(user_regs_struct, rcx)) - kTail; }

  static constexpr std::uint64_t kTail = 29;  // fast/exit_sites.cc
};

TEST_P(DirectTest, EntryInstructions) {
  sweep_entries();
}

TEST_P(DirectTest, EntryThatIsGivenUp) {
  sweep_entries_given_up();
}

TEST_P(DirectTest, ExitInstructions) {
  sweep_exits();
}

TEST_P(DirectTest, ExitThatIsGivenUp) {
  sweep_exit_given_up();
}

TEST_P(DirectTest, TrampolineInstructions) {
  sweep_trampolines();
}

// Threads are told apart by the descriptors that the kernel keeps for them.
class RawDirectTest : public DirectTest {
 protected:
  RawDirectTest() : DirectTest(false, " --front raw") {}
};

TEST_P(RawDirectTest, EntryInstructions) {
  sweep_entries();
}

TEST_P(RawDirectTest, EntryThatIsGivenUp) {
  sweep_entries_given_up();
}

TEST_P(RawDirectTest, ExitInstructions) {
  sweep_exits();
}

TEST_P(RawDirectTest, ExitThatIsGivenUp) {
  sweep_exit_given_up();
}

TEST_P(RawDirectTest, TrampolineInstructions) {
  sweep_trampolines();
}

class StaticDirectTest : public DirectTest {
 protected:
  StaticDirectTest() : DirectTest(false, "", true) {}
};

TEST_P(StaticDirectTest, EntryInstructions) {
  sweep_entries();
}

TEST_P(StaticDirectTest, EntryThatIsGivenUp) {
  sweep_entries_given_up();
}

TEST_P(StaticDirectTest, ExitInstructions) {
  sweep_exits();
}

TEST_P(StaticDirectTest, ExitThatIsGivenUp) {
  sweep_exit_given_up();
}

TEST_P(StaticDirectTest, TrampolineInstructions) {
  sweep_trampolines();
}

// With --stats: what is counted is as much as what is done.
class CountedDirectTest : public DirectTest {
 protected:
  explicit CountedDirectTest(bool is_static = false) : DirectTest(true, "", is_static) {}

  void sweep_counted_entries() {
    for (const unsigned call : kEntries) {
      sweep_all("counted entry", call, 90, [&] { reach("enclume_fast_enter", call); });
    }
  }
};

class CountedStaticDirectTest : public CountedDirectTest {
 protected:
  CountedStaticDirectTest() : CountedDirectTest(true) {}
};

TEST_P(CountedStaticDirectTest, EntryInstructions) {
  sweep_counted_entries();
}

TEST_P(CountedDirectTest, EntryInstructions) {
  sweep_counted_entries();
}

TEST_P(CountedDirectTest, ExitInstructions) {
  for (const unsigned call : kExits) {
    sweep_all("counted exit", call, 50, [&] { reach("enclume_fast_exit", call); });
  }
}

INSTANTIATE_TEST_SUITE_P(Interrupt, DirectTest,
                         ::testing::Values(Injection::kUser, Injection::kTrap, Injection::kKick,
                                           Injection::kTrapAndFloat, Injection::kRealTimePair,
                                           Injection::kAll, Injection::kStep, Injection::kInt3),
                         [](const auto& given) { return name_of(given.param); });
INSTANTIATE_TEST_SUITE_P(Interrupt, RawDirectTest,
                         ::testing::Values(Injection::kUser, Injection::kKick, Injection::kAll,
                                           Injection::kStep, Injection::kInt3),
                         [](const auto& given) { return name_of(given.param); });
INSTANTIATE_TEST_SUITE_P(Interrupt, StaticDirectTest,
                         ::testing::Values(Injection::kUser, Injection::kTrap, Injection::kKick,
                                           Injection::kTrapAndFloat, Injection::kRealTimePair,
                                           Injection::kAll, Injection::kStep, Injection::kInt3),
                         [](const auto& given) { return name_of(given.param); });
INSTANTIATE_TEST_SUITE_P(Interrupt, CountedStaticDirectTest,
                         ::testing::Values(Injection::kUser, Injection::kStep),
                         [](const auto& given) { return name_of(given.param); });
INSTANTIATE_TEST_SUITE_P(Interrupt, CountedDirectTest,
                         ::testing::Values(Injection::kUser, Injection::kKick, Injection::kStep,
                                           Injection::kInt3),
                         [](const auto& given) { return name_of(given.param); });

INSTANTIATE_TEST_SUITE_P(Interrupt, SweepTest,
                         ::testing::Values(Injection::kUser, Injection::kTrap, Injection::kKick,
                                           Injection::kTrapAndFloat, Injection::kRealTimePair,
                                           Injection::kAll),
                         [](const auto& given) { return name_of(given.param); });
INSTANTIATE_TEST_SUITE_P(Interrupt, RawSweepTest,
                         ::testing::Values(Injection::kUser, Injection::kTrap, Injection::kKick,
                                           Injection::kAll),
                         [](const auto& given) { return name_of(given.param); });
INSTANTIATE_TEST_SUITE_P(Interrupt, ChildSweepTest,
                         ::testing::Values(Injection::kUser, Injection::kTrap, Injection::kFloat,
                                           Injection::kKick, Injection::kRealTimePair, Injection::kAll),
                         [](const auto& given) { return name_of(given.param); });
// No SIGTRAP: the engine blocks all there, and the kernel makes the tracer's steps through that the end of
// the victim's handler for it.
INSTANTIATE_TEST_SUITE_P(Interrupt, UnknownThreadSweepTest,
                         ::testing::Values(Injection::kUser, Injection::kRealTimePair),
                         [](const auto& given) { return name_of(given.param); });

}  // namespace
}  // namespace enclume::test
