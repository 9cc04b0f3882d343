// SPDX-License-Identifier: Apache-2.0
//
// Unwinding out of __vdso_sgx_enter_enclave while it does its work on a real enclave: two unwinders that
// share no code find the way to main() from each of its instructions, from the handlers that it calls, and
// from signal handlers on top of it. (tests/unit/vdso looks at the registers that they restore.)
#include <Zydis/Zydis.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/time.h>
#include <unwind.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "conformance/debug_support.h"

int main(int argc, char** argv);

namespace enclume::test {
namespace {

constexpr auto kEexit = static_cast<std::uint32_t>(Leaf::kEexit);

// ---- The unwinders ----

struct Walk {
  std::uint64_t from;  // 0: from the first frame on.
  bool started = false;
  bool saw_vdso = false;
  bool reached_main = false;
};

std::uint64_t main_address() {
  return reinterpret_cast<std::uint64_t>(&main);
}

_Unwind_Reason_Code libgcc_frame(_Unwind_Context* context, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  int before = 0;
  const std::uint64_t ip = _Unwind_GetIPInfo(context, &before);
  walk.started = walk.started || walk.from == 0 || ip == walk.from;
  if (!walk.started) return _URC_NO_REASON;
  walk.saw_vdso = walk.saw_vdso || in_vdso_function(ip - (before != 0 ? 0 : 1));
  const void* function = _Unwind_FindEnclosingFunction(reinterpret_cast<void*>(ip - 1));
  walk.reached_main = walk.reached_main || reinterpret_cast<std::uint64_t>(function) == main_address();
  return _URC_NO_REASON;
}

Walk walk_with_libgcc(std::uint64_t from) {
  Walk walk{.from = from};
  _Unwind_Backtrace(libgcc_frame, &walk);
  return walk;
}

// libunwind also defines the _Unwind functions, so linking it would put it in libgcc's place.
#define NAME_OF(function) NAME_OF_EXPANDED(function)
#define NAME_OF_EXPANDED(function) #function
#define LIBUNWIND(function) reinterpret_cast<decltype(&function)>(libunwind_symbol(NAME_OF(function)))

void* libunwind_symbol(const char* name) {
  static void* const library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  void* symbol = library == nullptr ? nullptr : dlsym(library, name);
  if (symbol == nullptr) throw std::runtime_error(dlerror());
  return symbol;
}

Walk walk_with_libunwind(ucontext_t& context) {
  static const auto init = LIBUNWIND(unw_init_local2);
  static const auto step = LIBUNWIND(unw_step);
  static const auto get = LIBUNWIND(unw_get_reg);
  static const auto info = LIBUNWIND(unw_get_proc_info);
  unw_cursor_t cursor;
  Walk walk{.from = 0, .started = true};
  if (init(&cursor, &context, UNW_INIT_SIGNAL_FRAME) != 0) return walk;
  do {
    unw_word_t ip = 0;
    unw_proc_info_t function{};
    get(&cursor, UNW_X86_64_RIP, &ip);
    walk.saw_vdso = walk.saw_vdso || in_vdso_function(ip);
    if (info(&cursor, &function) == 0 && function.start_ip == main_address()) walk.reached_main = true;
  } while (step(&cursor) > 0);
  return walk;
}

void load_unwinders() {
  ucontext_t context;
  getcontext(&context);
  walk_with_libunwind(context);
  walk_with_libgcc(0);
}

// ---- The vDSO function's own instructions ----

std::uint64_t vdso_begin() {
  return reinterpret_cast<std::uint64_t>(vdso_function());
}

std::uint64_t vdso_size() {
  Dl_info info{};
  const ElfW(Sym)* symbol = nullptr;
  if (dladdr1(reinterpret_cast<void*>(vdso_begin()), &info,
              reinterpret_cast<void**>(const_cast<ElfW(Sym)**>(&symbol)), RTLD_DL_SYMENT) == 0 ||
      symbol == nullptr) {
    throw std::runtime_error("the dynamic linker does not know the vDSO function");
  }
  return symbol->st_size;
}

std::set<std::uint64_t> instructions() {
  std::set<std::uint64_t> places;
  const auto* code = reinterpret_cast<const std::uint8_t*>(vdso_begin());
  const std::uint64_t size = vdso_size();
  for (std::uint64_t at = 0; at < size;) {
    ZydisDisassembledInstruction instruction;
    if (!ZYAN_SUCCESS(
            ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0, code + at, size - at, &instruction))) {
      throw std::runtime_error("undecodable bytes in the vDSO function");
    }
    places.insert(at);
    at += instruction.info.length;
  }
  return places;
}

// Steps through `body` and unwinds at every stop in the function; adds the places to `seen`.
void unwind_everywhere(const std::function<void()>& body, std::set<std::uint64_t>& seen) {
  std::size_t lost_by_libgcc = 0, lost_by_libunwind = 0;
  std::uint64_t where = 0, before = 0;
  const std::uint64_t size = vdso_size();
  const auto all = instructions();
  const auto look_by_libunwind = [&](ucontext_t& context) {
    const Walk walk = walk_with_libunwind(context);
    const auto rip = static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_RIP]) - vdso_begin();
    seen.insert(rip);
    if (!walk.reached_main || !walk.saw_vdso) ++lost_by_libunwind, where = rip;
  };
  const auto act = [&](const Step& step, ucontext_t& context) {
    const std::uint64_t place = step.rip() - vdso_begin();
    const Walk by_libgcc = walk_with_libgcc(step.rip());
    if (!by_libgcc.reached_main || !by_libgcc.saw_vdso) ++lost_by_libgcc, where = place;
    look_by_libunwind(context);
    if (before == vdso_enclu() && step.rip() != vdso_enclu() && step.rip() != vdso_enclu() + 3) {
      // The kernel has moved RIP to the fixup, whose first instruction has run: no step stops before it.
      ucontext_t entered = context;
      entered.uc_mcontext.gregs[REG_RIP] =
          static_cast<greg_t>(vdso_begin() + *std::prev(all.lower_bound(place)));
      look_by_libunwind(entered);
    }
    before = step.rip();
  };
  step_through(body, {.watched = [&](std::uint64_t rip) { return rip - vdso_begin() < size; }, .act = act});
  EXPECT_EQ(lost_by_libgcc, 0u) << "the last time at offset " << where;
  EXPECT_EQ(lost_by_libunwind, 0u) << "the last time at offset " << where;
}

// What the user handler is to do, call by call.
const DebuggedProbe* g_probe = nullptr;
std::vector<int> g_results;
std::size_t g_handler_calls = 0;
std::function<void(const sgx_enclave_run&)> g_in_handler;

int user_handler(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (g_in_handler) g_in_handler(*run);
  if (run->function != kEexit) {
    g_probe->set_newest_rip(g_probe->base() + raise_site(PROBE_RAISE_UD2).next);
  }
  return g_results.at(g_handler_calls++);
}

int call(const DebuggedProbe& probe, std::uint32_t leaf, sgx_enclave_run run, std::uint64_t operation,
         const ProbeArgs& args) {
  run.tcs = probe.tcs();
  return enclume_test_call_vdso(operation, address_of(&args), 0, leaf, 0, 0, &run, vdso_function());
}

sgx_enclave_run handled_run(const DebuggedProbe& probe, std::vector<int> results) {
  g_probe = &probe;
  g_results = std::move(results);
  g_handler_calls = 0;
  g_in_handler = {};
  sgx_enclave_run run{};
  run.user_handler = reinterpret_cast<std::uint64_t>(&user_handler);
  return run;
}

TEST(UnwindTest, EachInstructionLeadsToMain) {
  load_unwinders();
  const DebuggedProbe probe(false);
  const ProbeArgs nothing{}, illegal{.in = {PROBE_RAISE_UD2}, .out = {}};
  std::set<std::uint64_t> seen;

  const sgx_enclave_run plain{};
  sgx_enclave_run dirty{};
  dirty.reserved[100] = 1;
  unwind_everywhere([&] { EXPECT_EQ(call(probe, 7, plain, PROBE_OP_NOP, nothing), -22); }, seen);
  unwind_everywhere([&] { EXPECT_EQ(call(probe, 2, dirty, PROBE_OP_NOP, nothing), -22); }, seen);
  // Entry and exit; an exception, without a handler; ERESUME of what is left.
  unwind_everywhere([&] { EXPECT_EQ(call(probe, 2, plain, PROBE_OP_NOP, nothing), 0); }, seen);
  unwind_everywhere([&] { EXPECT_EQ(call(probe, 2, plain, PROBE_OP_RAISE, illegal), 0); }, seen);
  probe.abandon();
  // An exception, the handler, ERESUME, exit, the handler, and back to the caller with each kind of result.
  for (const int last : {0, -5}) {
    const sgx_enclave_run run = handled_run(probe, {3, last});
    unwind_everywhere([&] { EXPECT_EQ(call(probe, 2, run, PROBE_OP_RAISE, illegal), last); }, seen);
    EXPECT_EQ(g_handler_calls, 2u);
    EXPECT_EQ(probe.cssa(), 0u);
  }
  {
    const sgx_enclave_run run = handled_run(probe, {99});
    unwind_everywhere([&] { EXPECT_EQ(call(probe, 2, run, PROBE_OP_NOP, nothing), -22); }, seen);
  }
  EXPECT_EQ(seen, instructions());
}

TEST(UnwindTest, EachInstructionLeadsToMainWhileAnOptInEnclaveIsStepped) {
  load_unwinders();
  const DebuggedProbe probe(true);
  const ProbeArgs nothing{};
  std::set<std::uint64_t> seen;
  // Many of these stops are at the AEP, one for each instruction of the enclave.
  unwind_everywhere([&] { EXPECT_EQ(call(probe, 2, {}, PROBE_OP_NOP, nothing), 0); }, seen);
  EXPECT_TRUE(seen.contains(vdso_enclu() - vdso_begin()));
}

TEST(UnwindTest, UserHandlerLeadsToMain) {
  load_unwinders();
  const DebuggedProbe probe(false);
  const ProbeArgs illegal{.in = {PROBE_RAISE_UD2}, .out = {}};
  const sgx_enclave_run run = handled_run(probe, {3, 0});
  int good = 0;
  g_in_handler = [&](const sgx_enclave_run&) {
    const Walk by_libgcc = walk_with_libgcc(0);
    ucontext_t context;
    getcontext(&context);
    const Walk by_libunwind = walk_with_libunwind(context);
    good +=
        by_libgcc.saw_vdso && by_libgcc.reached_main && by_libunwind.saw_vdso && by_libunwind.reached_main;
  };
  EXPECT_EQ(call(probe, 2, run, PROBE_OP_RAISE, illegal), 0);
  EXPECT_EQ(good, 2) << "after the exception, and after the exit";
}

Walk g_walk_of_signal;
volatile std::uint64_t g_go_on = 0;
volatile std::uint64_t g_rounds = 0;

void walk_at_aep(int, siginfo_t*, void* raw) {
  auto& context = *static_cast<ucontext_t*>(raw);
  if (context.uc_mcontext.gregs[REG_RIP] != static_cast<greg_t>(vdso_enclu())) return;
  const Walk by_libgcc = walk_with_libgcc(vdso_enclu());
  const Walk by_libunwind = walk_with_libunwind(context);
  g_walk_of_signal.saw_vdso = by_libgcc.saw_vdso && by_libunwind.saw_vdso;
  g_walk_of_signal.reached_main = by_libgcc.reached_main && by_libunwind.reached_main;
  g_go_on = 1;
}

TEST(UnwindTest, SignalHandlerThatInterruptedTheEnclaveLeadsToMain) {
  load_unwinders();
  const DebuggedProbe probe(false);
  g_go_on = 0;
  g_walk_of_signal = {};
  const ScopedSigaction handler(SIGALRM, walk_at_aep);
  const itimerval every{.it_interval = {0, 2000}, .it_value = {0, 2000}}, off{};
  setitimer(ITIMER_REAL, &every, nullptr);
  probe.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_go_on)),
                             address_of(const_cast<std::uint64_t*>(&g_rounds))});
  setitimer(ITIMER_REAL, &off, nullptr);
  EXPECT_TRUE(g_walk_of_signal.saw_vdso);
  EXPECT_TRUE(g_walk_of_signal.reached_main);
}

// ---- Exceptions of C++ ----

struct Counted {
  explicit Counted(int& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  int& count_;
};

TEST(UnwindTest, ExceptionThrownInTheUserHandlerReachesTheCaller) {
  const DebuggedProbe probe(false);
  const ProbeArgs illegal{.in = {PROBE_RAISE_UD2}, .out = {}};
  int alive = 0;
  for (const bool at_exit : {false, true, false}) {
    const sgx_enclave_run run = handled_run(probe, {3, 0});
    g_in_handler = [&](const sgx_enclave_run& seen) {
      if ((seen.function == kEexit) == at_exit) {
        throw std::runtime_error("vector " + std::to_string(seen.exception_vector));
      }
    };
    try {
      const Counted counted(alive);
      call(probe, 2, run, PROBE_OP_RAISE, illegal);
      ADD_FAILURE() << "the call returned";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "vector 6");
    }
    EXPECT_EQ(alive, 0);
    // The enclave waits where it was, and works on.
    EXPECT_EQ(probe.cssa(), at_exit ? 0u : 1u);
    if (!at_exit) probe.abandon();
    EXPECT_TRUE(probe.call(PROBE_OP_NOP).exited());
  }
}

TEST(UnwindTest, ExceptionCrossesTwoNestedEnclaveCalls) {
  const DebuggedProbe outer(false), inner(false);
  const ProbeArgs illegal{.in = {PROBE_RAISE_UD2}, .out = {}};
  static const DebuggedProbe* g_inner;
  static const ProbeArgs* g_args;
  g_inner = &inner;
  g_args = &illegal;
  sgx_enclave_run run{};
  run.user_handler =
      reinterpret_cast<std::uint64_t>(+[](long, long, long, long, long, long, sgx_enclave_run*) -> int {
        sgx_enclave_run nested{};
        nested.user_handler =
            reinterpret_cast<std::uint64_t>(+[](long, long, long, long, long, long, sgx_enclave_run*) -> int {
              throw std::runtime_error("innermost");
            });
        return call(*g_inner, 2, nested, PROBE_OP_RAISE, *g_args);
      });
  EXPECT_THROW(call(outer, 2, run, PROBE_OP_RAISE, illegal), std::runtime_error);
  EXPECT_EQ(outer.cssa(), 1u);
  EXPECT_EQ(inner.cssa(), 1u);
  inner.abandon();
  outer.abandon();
}

}  // namespace
}  // namespace enclume::test

// The frame that every walk has to reach; gtest's own main() would do, but nothing names it.
int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
