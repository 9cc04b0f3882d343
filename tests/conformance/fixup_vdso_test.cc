// SPDX-License-Identifier: Apache-2.0
//
// Exception design `vdso`, what Linux ships: every kind of exception, bad input, and AEPs of all kinds. What
// the vDSO function does in good cases is in enter_test.cc. Source: Linux 6.12, arch/x86/entry/vdso/vsgx.S
// and extable.c.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <atomic>
#include <climits>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "conformance/fixup_support.h"
#include "enclume/host/vdso_enclu.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint32_t>(Leaf::kEexit);

class VdsoDesign : public ::testing::Test {
 protected:
  VdsoDesign() { run_.tcs = probe_.tcs(); }
  int call(std::uint64_t operation, const ProbeArgs& args) {
    return enclume_test_call_vdso(operation, address_of(&args), 0, kEenter, 0, 0, &run_, vdso_function());
  }
  void use(sgx_enclave_user_handler_t handler) {
    run_.user_handler = reinterpret_cast<std::uint64_t>(handler);
  }
  // The function's ENCLU: EENTER leaves the address behind it in RCX.
  const void* vdso_enclu() {
    RegisterFile seen{};
    EXPECT_TRUE(probe_.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)}).exited());
    return reinterpret_cast<const void*>(seen.rcx - 3);
  }

  ProbeEnclave probe_;
  sgx_enclave_run run_{};
};

TEST_F(VdsoDesign, HasNothingOfTheOtherDesigns) {
  EXPECT_NE(find_vdso_function(), nullptr);
  EXPECT_EQ(vdso_symbol("__vdso_sgx_enclu"), nullptr);
  EXPECT_FALSE(find_vdso_enclu().has_value());
  std::uint64_t argument[2] = {address_of(enclume_test_enclu_done), 0};
  for (const unsigned number : {0x80u, 0x81u}) {
    EXPECT_EQ(ioctl(probe_.fd(), _IOC(_IOC_WRITE, 0xa4, number, sizeof argument), argument), -1);
    EXPECT_EQ(errno, ENOTTY);
  }
}

// ---- Exceptions ----

class VdsoDesignException : public VdsoDesign, public ::testing::WithParamInterface<EnclaveException> {};

TEST_P(VdsoDesignException, IsReportedAndNoSignalComes) {
  const EnclaveException& exception = GetParam();
  const SignalCatcher catcher(kFaultSignals, nullptr);
  const ProbeArgs args = exception.args(probe_);
  EXPECT_EQ(call(exception.operation, args), 0);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(run_.function, kEresume);
  EXPECT_EQ(run_.exception_vector, exception.vector);
  EXPECT_EQ(run_.exception_error_code, exception.error_code);
  EXPECT_EQ(run_.exception_addr, exception.address(probe_));
  EXPECT_EQ(current_ssa(probe_), 1u);
  probe_.abandon();
}

TEST_P(VdsoDesignException, NeedsNoHandlerAndNoUnblockedSignal) {
  const EnclaveException& exception = GetParam();
  const ProbeArgs args = exception.args(probe_);
  const int status = in_child([&] {
    for (const int signal : kFaultSignals) ::signal(signal, SIG_IGN);
    const ScopedSignalMask blocked(SIG_BLOCK, kFaultSignals);
    return call(exception.operation, args) == 0 && run_.exception_vector == exception.vector ? 42 : 1;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

INSTANTIATE_TEST_SUITE_P(All, VdsoDesignException, ::testing::ValuesIn(enclave_exceptions()),
                         [](const auto& tested) { return tested.param.name; });

// ---- Bad input ----

TEST_F(VdsoDesign, NullTcsIsAPageFaultAtEenter) {
  run_.tcs = 0;
  const ProbeArgs args;
  EXPECT_EQ(call(PROBE_OP_NOP, args), 0);
  EXPECT_EQ(run_.function, kEenter);
  EXPECT_EQ(run_.exception_vector, kVectorPf);
  EXPECT_EQ(run_.exception_error_code & (kPfSgx | kPfPresent), 0);
  EXPECT_EQ(run_.exception_addr, 0u);
}

TEST_F(VdsoDesign, NonCanonicalTcsIsAGeneralProtectionFault) {
  run_.tcs = 0x8000'0000'0000'0000;
  const ProbeArgs args;
  EXPECT_EQ(call(PROBE_OP_NOP, args), 0);
  EXPECT_EQ(run_.function, kEenter);
  EXPECT_EQ(run_.exception_vector, kVectorGp);
}

TEST_F(VdsoDesign, OnlyTheLowHalfOfTheLeafCounts) {
  // Its argument is an unsigned int in RCX: garbage above it is no reason to refuse.
  RegisterFile in = register_pattern(), out;
  ProbeArgs args{.in = {40, 2}, .out = {}};
  in.rdi = PROBE_OP_SUM;
  in.rsi = address_of(&args);
  in.rcx = kEenter;
  EXPECT_EQ(enclume_test_call_vdso_registers(&in, &out, &run_, vdso_function()), 0);
  EXPECT_EQ(args.out[0], 42u);
  for (const std::uint32_t leaf : {1u, 4u, 9u, 0x7fff'ffffu, 0x8000'0003u, 0xffff'fffeu}) {
    EXPECT_EQ(enclume_test_call_vdso(0, 0, 0, leaf, 0, 0, &run_, vdso_function()), -EINVAL) << leaf;
  }
}

TEST_F(VdsoDesign, ReservedIsLookedAtBeforeEachEntryNotOnlyTheFirst) {
  use([](long, long, long, long, long, long, sgx_enclave_run* run) -> int {
    run->reserved[7] = 1;
    return kEenter;
  });
  const ProbeArgs args;
  EXPECT_EQ(call(PROBE_OP_NOP, args), -EINVAL);
}

// The function calls what the program gave it; the fault there is the program's.
class VdsoDesignBadHandler : public VdsoDesign, public ::testing::WithParamInterface<bool> {};

TEST_P(VdsoDesignBadHandler, IsAnOrdinarySegmentationFaultInIt) {
  const bool mapped = GetParam();
  const Reservation hole = Reservation::aligned(kPage);
  auto* page = reinterpret_cast<void*>(hole.base());
  ASSERT_EQ(mapped ? mprotect(page, kPage, PROT_READ | PROT_WRITE) : munmap(page, kPage), 0);
  run_.user_handler = hole.base();
  static sigjmp_buf jump;
  static std::uint64_t rip, address, error_code;
  static int code;
  const ScopedSigaction handler(
      SIGSEGV,
      [](int, siginfo_t* info, void* raw) {
        const auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
        rip = static_cast<std::uint64_t>(registers[REG_RIP]);
        error_code = static_cast<std::uint64_t>(registers[REG_ERR]);
        address = address_of(info->si_addr);
        code = info->si_code;
        siglongjmp(jump, 1);
      },
      SA_NODEFER);
  const ProbeArgs args;
  if (sigsetjmp(jump, 0) == 0) {
    call(PROBE_OP_NOP, args);
    FAIL() << "the call returned";
  }
  EXPECT_EQ(rip, hole.base());
  EXPECT_EQ(address, hole.base());
  EXPECT_EQ(code, mapped ? SEGV_ACCERR : SEGV_MAPERR);
  EXPECT_NE(error_code & kPfFetch, 0u);
  EXPECT_EQ(run_.function, kEexit) << "the exit had been reported already";
  run_.user_handler = 0;
  EXPECT_EQ(call(PROBE_OP_NOP, args), 0) << "and the enclave can be entered again";
}

INSTANTIATE_TEST_SUITE_P(All, VdsoDesignBadHandler, ::testing::Bool(),
                         [](const auto& tested) { return tested.param ? "NotExecutable" : "NotMapped"; });

TEST_F(VdsoDesign, ARunThatCannotBeWrittenIsAnOrdinarySegmentationFaultAfterTheExit) {
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto& run = *static_cast<sgx_enclave_run*>(page);
  run.tcs = probe_.tcs();
  ASSERT_EQ(mprotect(page, kPage, PROT_READ), 0);
  static sigjmp_buf jump;
  static std::uint64_t address;
  const ScopedSigaction handler(
      SIGSEGV,
      [](int, siginfo_t* info, void*) {
        address = address_of(info->si_addr);
        siglongjmp(jump, 1);
      },
      SA_NODEFER);
  const ProbeArgs args{.in = {40, 2}, .out = {}};
  if (sigsetjmp(jump, 0) == 0) {
    enclume_test_call_vdso(PROBE_OP_SUM, address_of(&args), 0, kEenter, 0, 0, &run, vdso_function());
    ADD_FAILURE() << "the call returned";
  }
  EXPECT_EQ(address, address_of(&run.function));
  EXPECT_EQ(args.out[0], 42u) << "the enclave had run";
  munmap(page, kPage);
}

std::vector<int> g_results;
std::size_t g_calls = 0;

int scripted_handler(long, long, long, long, long, long, sgx_enclave_run*) {
  return g_results.at(g_calls++);
}

TEST_F(VdsoDesign, TheResultOfAHandlerIsReturnedOrTheNextLeafOrInvalid) {
  use(scripted_handler);
  struct {
    std::vector<int> results;
    int status;
  } const rows[] = {
      {{0}, 0},
      {{-1}, -1},
      {{-EINVAL}, -EINVAL},
      {{INT_MIN}, INT_MIN},
      {{1}, -EINVAL},
      {{4}, -EINVAL},
      {{5}, -EINVAL},
      {{INT_MAX}, -EINVAL},
      {{2, 0}, 0},  // enters again with the registers that the handler left, and is asked again
      {{2, 2, 2, -7}, -7},
      {{3, 0}, 0},  // ERESUME without a frame: #GP, reported like any other
      {{3, 2, 3, INT_MAX}, -EINVAL},
  };
  for (const auto& row : rows) {
    g_results = row.results;
    g_calls = 0;
    // The operation of the entries that follow is what the handler leaves in RDI: mostly none that the
    // enclave knows. It exits from all of them.
    const ProbeArgs args;
    EXPECT_EQ(call(PROBE_OP_NOP, args), row.status) << row.results.front();
    EXPECT_EQ(g_calls, row.results.size());
  }
}

volatile int g_depth = 0;
sigjmp_buf g_out_of_overflow;

__attribute__((noinline)) int recurse(volatile char* below) {
  volatile char frame[512];
  frame[0] = below == nullptr ? '\0' : below[0];
  g_depth = g_depth + 1;
  return g_depth < 0 ? 0 : recurse(frame) + frame[0];
}

TEST_F(VdsoDesign, AHandlerThatOverflowsItsStackIsAnOrdinarySegmentationFault) {
  alignas(16) static char alternate[65536];
  stack_t stack{}, before{};
  stack.ss_sp = alternate;
  stack.ss_size = sizeof alternate;
  ASSERT_EQ(sigaltstack(&stack, &before), 0);
  static int code = 0;
  const ScopedSigaction handler(
      SIGSEGV,
      [](int, siginfo_t* info, void*) {
        code = info->si_code;
        siglongjmp(g_out_of_overflow, 1);
      },
      SA_ONSTACK | SA_NODEFER);
  use([](long, long, long, long, long, long, sgx_enclave_run*) { return recurse(nullptr); });
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  g_depth = 0;
  if (sigsetjmp(g_out_of_overflow, 0) == 0) {
    call(PROBE_OP_RAISE, args);
    ADD_FAILURE() << "the call returned";
  }
  EXPECT_GT(g_depth, 100);
  EXPECT_TRUE(code == SEGV_MAPERR || code == SEGV_ACCERR) << code;
  EXPECT_EQ(current_ssa(probe_), 1u) << "the enclave is where its exception left it";
  probe_.abandon();
  sigaltstack(&before, nullptr);
}

// ---- Per thread, per entry ----

// What a handler is given by `user_data`.
struct Entry {
  const ProbeEnclave* probe;
  unsigned thread;
  unsigned calls = 0;
  bool foreign = false;  // it was called for an entry that is not its own
  std::function<void()> within;
};

int repair_and_resume(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function == kEexit) return 0;
  Entry& entry = *reinterpret_cast<Entry*>(run->user_data);
  entry.calls += 1;
  entry.foreign = entry.foreign || run->tcs != entry.probe->tcs(entry.thread);
  if (entry.within) entry.within();
  entry.probe->set_ssa_rip(entry.probe->base() + raise_site(PROBE_RAISE_UD2).next, entry.thread);
  return kEresume;
}

bool fault_once(Entry& entry) {
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = entry.probe->tcs(entry.thread);
  run.user_handler = reinterpret_cast<std::uint64_t>(&repair_and_resume);
  run.user_data = address_of(&entry);
  const int status =
      enclume_test_call_vdso(PROBE_OP_RAISE, address_of(&args), 0, kEenter, 0, 0, &run, vdso_function());
  return status == 0 && run.function == kEexit && args.out[0] == 1;
}

TEST(VdsoDesignEntries, AHandlerMayEnterASecondEnclaveWhoseHandlerEntersAThird) {
  // Down to a depth of 16; each fault finds its own handler and user data.
  constexpr std::size_t kDepth = 16;
  std::vector<std::unique_ptr<ProbeEnclave>> enclaves;
  std::vector<Entry> entries(kDepth);
  std::vector<std::size_t> order;
  std::vector<bool> good(kDepth);
  for (std::size_t i = 0; i < kDepth; ++i) {
    enclaves.push_back(std::make_unique<ProbeEnclave>());
    entries[i] = {.probe = enclaves[i].get(), .thread = 0, .within = [&, i] {
                    order.push_back(i);
                    if (i + 1 < kDepth) good[i + 1] = fault_once(entries[i + 1]);
                  }};
  }
  good[0] = fault_once(entries[0]);
  ASSERT_EQ(order.size(), kDepth);
  for (std::size_t i = 0; i < kDepth; ++i) {
    EXPECT_EQ(order[i], i);
    EXPECT_TRUE(good[i]) << i;
    EXPECT_FALSE(entries[i].foreign) << i;
  }
}

TEST(VdsoDesignEntries, SixtyFourThreadsInOneEnclaveHaveEachTheirOwn) {
  constexpr unsigned kThreads = 64;
  ProbeOptions options;
  options.threads = kThreads;
  const ProbeEnclave probe(options);
  std::vector<Entry> entries(kThreads);
  std::atomic<unsigned> failures = 0;
  std::vector<std::thread> threads;
  constexpr unsigned kRounds = 20;
  for (unsigned i = 0; i < kThreads; ++i) {
    entries[i] = {.probe = &probe, .thread = i, .within = {}};
    threads.emplace_back([&, i] {
      for (unsigned round = 0; round < kRounds; ++round) failures += fault_once(entries[i]) ? 0u : 1u;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0u);
  for (const Entry& entry : entries) {
    EXPECT_EQ(entry.calls, kRounds);
    EXPECT_FALSE(entry.foreign);
  }
}

// ---- An AEP that is not the function's ENCLU, and one that is ----

TEST_F(VdsoDesign, AnEncluOfTheProgramGetsASignal) {
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), address_of(enclume_test_aep));
}

TEST_F(VdsoDesign, AnAepThatIsTheFunctionsEncluIsFixedUpWhoeverEntered) {
  const SignalCatcher catcher(kFaultSignals, nullptr);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  const auto enclu = reinterpret_cast<std::uint64_t>(vdso_enclu());
  // From a frame that looks like the function's own, its code behind the fixup finds what it needs.
  EXPECT_EQ(enclume_test_call_vdso(PROBE_OP_RAISE, address_of(&args), 0, kEenter, 0, enclu, &run_,
                                   &enclume_test_own_enter_aep),
            0);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(run_.function, kEresume);
  EXPECT_EQ(run_.exception_vector, kVectorUd);
  probe_.abandon();
}

TEST_F(VdsoDesign, AnAepThatIsNoEncluGetsTheSignalAndGoesOnThere) {
  const SignalCatcher catcher(kFaultSignals, nullptr);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  const RegisterFile out = own_enclu(probe_, PROBE_OP_RAISE, args, enclume_test_enclu_done);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), address_of(enclume_test_enclu_done));
  EXPECT_EQ(out.rax, kEresume);
  EXPECT_EQ(current_ssa(probe_), 1u) << "nobody has resumed it";
  probe_.abandon();
}

TEST_F(VdsoDesign, AnAepThatCannotBeFetchedStillGetsTheEnclavesException) {
  const Reservation hole = Reservation::aligned(kPage);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args, reinterpret_cast<const void*>(hole.base()));
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGILL);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), hole.base());
  probe_.abandon();
}

TEST_F(VdsoDesign, AnInterruptGoesOnAtTheAepWhateverIsThere) {
  // The timer's handler runs with RIP = AEP and returns there: to no ERESUME, so the call ends.
  static volatile int ticks;
  static std::uint64_t rip;
  ticks = 0;
  const ScopedSigaction handler(SIGALRM, [](int, siginfo_t*, void* raw) {
    rip = static_cast<std::uint64_t>(static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP]);
    if (rip != address_of(enclume_test_enclu_done)) return alarm_soon();  // not inside yet
    ticks = ticks + 1;
  });
  std::uint64_t never = 0, rounds = 0;
  const ProbeArgs args{.in = {address_of(&never), address_of(&rounds)}, .out = {}};
  alarm_soon();
  const RegisterFile out = own_enclu(probe_, PROBE_OP_SPIN, args, enclume_test_enclu_done);
  EXPECT_EQ(ticks, 1);
  EXPECT_EQ(rip, address_of(enclume_test_enclu_done));
  EXPECT_EQ(out.rax, kEresume);
  EXPECT_EQ(current_ssa(probe_), 1u);
  probe_.abandon();
}

}  // namespace
}  // namespace enclume::test
