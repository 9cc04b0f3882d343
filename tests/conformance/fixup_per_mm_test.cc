// SPDX-License-Identifier: Apache-2.0
//
// Exception design `per-mm`: one ENCLU exception handler for the address space (include/enclume/uapi/
// sgx_enclu_handler.h), and the answers to what was asked about it (docs/exception-designs.md).
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "conformance/fixup_support.h"
#include "enclume/host/per_mm_enclu.h"
#include "enclume/host/vdso_enclu.h"
#include "enclume/uapi/enclume_control.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint64_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint64_t>(Leaf::kEresume);
constexpr auto kEexit = static_cast<std::uint64_t>(Leaf::kEexit);

int register_handler(int device, const void* handler, std::uint64_t flags = 0) {
  sgx_enclu_handler argument{address_of(handler), flags};
  return ioctl(device, SGX_IOC_ENCLU_HANDLER_REGISTER, &argument) == 0 ? 0 : errno;
}
int unregister_handler(int device, const void* handler) {
  sgx_enclu_handler argument{address_of(handler), 0};
  return ioctl(device, SGX_IOC_ENCLU_HANDLER_UNREGISTER, &argument) == 0 ? 0 : errno;
}

// The handler of most tests is the end of enclume_test_raw_enclu(), which keeps all registers as it finds
// them.
class PerMmDesign : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(register_handler(probe_.fd(), enclume_test_enclu_done), 0); }
  // Which may be gone already.
  void TearDown() override { unregister_handler(probe_.fd(), enclume_test_enclu_done); }

  ProbeEnclave probe_;
};

// ---- What a program finds ----

TEST_F(PerMmDesign, TheVdsoHasNoFunctionToEnterEnclavesBy) {
  EXPECT_EQ(vdso_symbol("__vdso_sgx_enter_enclave"), nullptr);
  EXPECT_EQ(vdso_symbol("__vdso_sgx_enclu"), nullptr);
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "__vdso_sgx_enter_enclave"), nullptr);
}

TEST_F(PerMmDesign, AnEntryWithoutAnExceptionIsAsEver) {
  const ProbeArgs args{.in = {40, 2}, .out = {}};
  EXPECT_EQ(own_enclu(probe_, PROBE_OP_SUM, args).rax, kEexit);
  EXPECT_EQ(args.out[0], 42u);
}

// ---- Exceptions ----

class PerMmDesignException : public PerMmDesign, public ::testing::WithParamInterface<EnclaveException> {};

TEST_P(PerMmDesignException, StartsTheHandlerWithTheFactsInRegisters) {
  const EnclaveException& exception = GetParam();
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args = exception.args(probe_), none;
  const RegisterFile plain = own_enclu(probe_, PROBE_OP_NOP, none);
  const RegisterFile out = own_enclu(probe_, exception.operation, args);
  EXPECT_EQ(catcher.caught().count, 0) << "no signal";
  EXPECT_EQ(out.rax, kEresume);
  EXPECT_EQ(out.rdi, exception.vector);
  EXPECT_EQ(out.rsi, exception.error_code);
  EXPECT_EQ(out.rdx, exception.address(probe_));
  EXPECT_EQ(out.rcx, address_of(enclume_test_aep)) << "the ENCLU, which is the AEP";
  EXPECT_EQ(out.rbx, probe_.tcs());
  for (const std::uint64_t reg : {out.r8, out.r9, out.r10, out.r11, out.r12, out.r13, out.r14, out.r15}) {
    EXPECT_EQ(reg, 0u);
  }
  EXPECT_EQ(out.rsp, plain.rsp) << "nothing is pushed";
  EXPECT_EQ(out.rbp, plain.rbp);
  EXPECT_EQ(current_ssa(probe_), 1u);
  probe_.abandon();
  EXPECT_EQ(current_ssa(probe_), 0u);
}

TEST_P(PerMmDesignException, NeedsNoUnblockedSignal) {
  const EnclaveException& exception = GetParam();
  const ProbeArgs args = exception.args(probe_);
  const int status = in_child([&] {
    for (const int signal : kFaultSignals) ::signal(signal, SIG_IGN);
    const ScopedSignalMask blocked(SIG_BLOCK, kFaultSignals);
    return own_enclu(probe_, exception.operation, args).rdi == exception.vector ? 42 : 1;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

TEST_P(PerMmDesignException, IsASignalWithoutAHandler) {
  const EnclaveException& exception = GetParam();
  ASSERT_EQ(unregister_handler(probe_.fd(), enclume_test_enclu_done), 0);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args = exception.args(probe_);
  own_enclu(probe_, exception.operation, args);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, exception.signal);
  EXPECT_EQ(catcher.caught().reg(REG_TRAPNO), exception.vector);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), address_of(enclume_test_aep));
  probe_.abandon();
}

INSTANTIATE_TEST_SUITE_P(All, PerMmDesignException, ::testing::ValuesIn(enclave_exceptions()),
                         [](const auto& tested) { return tested.param.name; });

class PerMmDesignEntryFault : public PerMmDesign, public ::testing::WithParamInterface<EntryFault> {};

TEST_P(PerMmDesignEntryFault, StartsTheHandlerWithAllElseAsItWas) {
  const EntryFault& fault = GetParam();
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = fault.leaf;
  in.rbx = probe_.tcs() + fault.tcs_offset;
  in.rflags = 0;
  enclume_test_raw_enclu(&in, &out);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rax, fault.leaf);
  EXPECT_EQ(out.rdi, fault.vector);
  EXPECT_EQ(out.rsi & fault.error_code, fault.error_code);
  EXPECT_EQ(out.rdx, fault.page_fault_at_tcs ? in.rbx : 0);
  EXPECT_EQ(out.rcx, address_of(enclume_test_enclu)) << "the ENCLU that faulted, not the AEP";
  EXPECT_EQ(out.rbx, in.rbx);
  EXPECT_EQ(out.r8, in.r8);
  EXPECT_EQ(out.r9, in.r9);
  EXPECT_EQ(out.r10, in.r10);
  EXPECT_EQ(out.r11, in.r11);
  EXPECT_EQ(out.r12, in.r12);
  EXPECT_EQ(out.r13, in.r13);
  EXPECT_EQ(out.r14, in.r14);
  EXPECT_EQ(out.r15, in.r15);
  EXPECT_EQ(current_ssa(probe_), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, PerMmDesignEntryFault, ::testing::ValuesIn(entry_faults()),
                         [](const auto& tested) { return tested.param.name; });

TEST_F(PerMmDesign, EntryOfAnEnclaveThatHasLostItsEpcStartsTheHandlerWithTheSgxBit) {
  ASSERT_EQ(ioctl(probe_.fd(), ENCLUME_IOC_LOSE_EPC, ENCLUME_LOSE_ENCLAVE), 1);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  RegisterFile in = register_pattern(), out{};
  in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
  in.rbx = probe_.tcs();
  in.rflags = 0;
  enclume_test_raw_enclu(&in, &out);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rdi, kVectorPf);
  EXPECT_EQ(out.rsi, 0x8005u);
  EXPECT_EQ(out.rdx, probe_.tcs());
}

class PerMmDesignTrap : public PerMmDesign, public ::testing::WithParamInterface<SoftwareTrap> {};

TEST_P(PerMmDesignTrap, OfADebugEnclaveIsSigtrapAtTheAepAndDoesNotStartTheHandler) {
  const DebuggedProbe probe(true);
  const ProbeArgs args{.in = {GetParam().instruction}, .out = {}};
  RegisterFile out{};
  const TrapsSeen seen =
      watch_for_traps(probe, GetParam(), [&] { out = own_enclu(probe, PROBE_OP_RAISE, args); });
  EXPECT_EQ(seen.count, 1);
  EXPECT_EQ(seen.code, GetParam().code);
  EXPECT_EQ(seen.vector, GetParam().vector);
  EXPECT_EQ(seen.rip, address_of(enclume_test_aep));
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(args.out[0], 1u);
}

INSTANTIATE_TEST_SUITE_P(All, PerMmDesignTrap, ::testing::ValuesIn(software_traps()),
                         [](const auto& tested) { return tested.param.name; });

TEST_F(PerMmDesign, AFaultElsewhereIsASignalAsEver) {
  static sigjmp_buf jump;
  static int caught;
  caught = 0;
  const ScopedSigaction handler(
      SIGSEGV,
      [](int, siginfo_t*, void*) {
        ++caught;
        siglongjmp(jump, 1);
      },
      SA_NODEFER);
  volatile int* volatile nowhere = nullptr;
  if (sigsetjmp(jump, 0) == 0) *nowhere = 1;
  EXPECT_EQ(caught, 1);
}

TEST_F(PerMmDesign, AnInterruptIsNoException) {
  static volatile int ticks;
  ticks = 0;
  static std::uint64_t stop;
  stop = 0;
  const ScopedSigaction handler(SIGALRM, [](int, siginfo_t*, void*) {
    ticks = ticks + 1;
    if (ticks == 3) __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  });
  std::uint64_t rounds = 0;
  const ProbeArgs args{.in = {address_of(&stop), address_of(&rounds)}, .out = {}};
  const itimerval often{.it_interval = {.tv_sec = 0, .tv_usec = 5000},
                        .it_value = {.tv_sec = 0, .tv_usec = 5000}};
  ASSERT_EQ(setitimer(ITIMER_REAL, &often, nullptr), 0);
  const RegisterFile out = own_enclu(probe_, PROBE_OP_SPIN, args);
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_GE(ticks, 3);
}

TEST_F(PerMmDesign, ASingleStepThatEndsAtTheEncluIsASignal) {
  // RIP is at an ENCLU, but it is #DB.
  static volatile int at_enclu;
  at_enclu = 0;
  const ScopedSigaction handler(SIGTRAP, [](int, siginfo_t* info, void* raw) {
    auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
    if (static_cast<std::uint64_t>(registers[REG_RIP]) == address_of(enclume_test_enclu) &&
        info->si_code == TRAP_TRACE) {
      at_enclu = at_enclu + 1;
      registers[REG_EFL] &= ~static_cast<greg_t>(kFlagTf);
    }
  });
  const ProbeArgs args{.in = {40, 2}, .out = {}};
  RegisterFile in = register_pattern(), out{};
  in.rax = kEenter;
  in.rbx = probe_.tcs();
  in.rdi = PROBE_OP_SUM;
  in.rsi = address_of(&args);
  in.rflags = 0x202 | kFlagTf;
  enclume_test_raw_enclu(&in, &out);
  EXPECT_EQ(at_enclu, 1);
  EXPECT_EQ(out.rax, kEexit);
  EXPECT_EQ(args.out[0], 42u);
}

// ---- The handler's address ----

class PerMmHandlerTest : public ::testing::Test {
 protected:
  ~PerMmHandlerTest() override {
    if (registered_ != nullptr) unregister_handler(probe_.fd(), registered_);
  }
  void use(const void* handler) {
    ASSERT_EQ(register_handler(probe_.fd(), handler), 0);
    registered_ = handler;
  }

  ProbeEnclave probe_;
  const void* registered_ = nullptr;
};

TEST_F(PerMmHandlerTest, OneThatIsNoCodeGetsASegmentationFaultOfItsOwn) {
  const Reservation hole = Reservation::aligned(kPage);
  use(reinterpret_cast<const void*>(hole.base()));
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args);
  const CaughtSignal& caught = catcher.caught();
  ASSERT_EQ(caught.count, 1);
  EXPECT_EQ(caught.signal, SIGSEGV);
  EXPECT_EQ(caught.address, hole.base());
  EXPECT_EQ(caught.reg(REG_RIP), hole.base());
  EXPECT_EQ(caught.reg(REG_TRAPNO), static_cast<std::uint64_t>(kVectorPf));
  // The first exception's facts are there still.
  EXPECT_EQ(caught.reg(REG_RDI), static_cast<std::uint64_t>(kVectorUd));
  EXPECT_EQ(caught.reg(REG_RCX), address_of(enclume_test_aep));
  EXPECT_EQ(caught.reg(REG_RAX), kEresume);
}

TEST_F(PerMmHandlerTest, OneThatFaultsGetsASignalNotItself) {
  auto* page = static_cast<std::uint8_t*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(page, MAP_FAILED);
  std::memcpy(page, "\x0f\x0b", 2);  // UD2
  use(page);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGILL);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), address_of(page));
  EXPECT_EQ(catcher.caught().reg(REG_RDI), static_cast<std::uint64_t>(kVectorDe));
  munmap(page, kPage);
}

TEST_F(PerMmHandlerTest, OneThatIsAFaultingEncluLoopsButCanBeInterrupted) {
  // The ENCLU gets its own fault, again and again: EAX = 3, but nothing to resume at the second turn.
  auto* page = static_cast<std::uint8_t*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(page, MAP_FAILED);
  std::memcpy(page, "\x0f\x01\xd7", 3);
  use(page);
  static std::uint64_t rip, wanted;
  wanted = address_of(page);
  const ScopedSigaction handler(SIGALRM, [](int, siginfo_t*, void* raw) {
    auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
    rip = static_cast<std::uint64_t>(registers[REG_RIP]);
    if (rip != wanted) return alarm_soon();
    registers[REG_RIP] = static_cast<greg_t>(address_of(enclume_test_enclu_done));
  });
  alarm_soon();
  RegisterFile in = register_pattern(), out{};
  in.rax = kEresume;
  in.rbx = probe_.tcs() + 8;
  in.rflags = 0;
  enclume_test_raw_enclu(&in, &out);
  EXPECT_EQ(rip, address_of(page));
  EXPECT_EQ(out.rcx, address_of(page));
  EXPECT_EQ(out.rdi, static_cast<std::uint64_t>(kVectorGp));
  munmap(page, kPage);
}

// ---- Where the ENCLU is ----

TEST_F(PerMmDesign, AnEncluInMemoryMadeAtRunTimeCountsAsWell) {
  auto* page = static_cast<std::uint8_t*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(page, MAP_FAILED);
  std::memcpy(page, "\x0f\x01\xd7\xc3", 4);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  const RegisterFile out = own_enclu(probe_, PROBE_OP_RAISE, args, page);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rcx, address_of(page));
  munmap(page, kPage);
}

TEST_F(PerMmDesign, AnAepThatIsNoEncluGetsTheSignal) {
  const SignalCatcher catcher(kFaultSignals, nullptr);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args, enclume_test_enclu_done);
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGILL);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), address_of(enclume_test_enclu_done));
}

TEST_F(PerMmDesign, AnAepThatCannotBeReadGetsTheSignal) {
  const Reservation hole = Reservation::aligned(kPage);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe_, PROBE_OP_RAISE, args, reinterpret_cast<const void*>(hole.base()));
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().signal, SIGILL);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), hole.base());
}

TEST_F(PerMmDesign, AnEncluThatMayNotBeExecutedIsReportedAsTheFetchThatItIs) {
  // The bytes at RIP are an ENCLU and the fault would become a signal; more is not asked.
  auto* page = static_cast<std::uint8_t*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(page, MAP_FAILED);
  std::memcpy(page, "\x0f\x01\xd7\xc3", 4);
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  // An interrupted enclave goes on at its AEP.
  std::uint64_t never = 0, rounds = 0;
  static std::uint64_t aep;
  aep = address_of(page);
  const ScopedSigaction handler(SIGALRM, [](int, siginfo_t*, void* raw) {
    const auto rip = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP];
    if (static_cast<std::uint64_t>(rip) != aep) alarm_soon();  // not inside yet
  });
  alarm_soon();
  const ProbeArgs args{.in = {address_of(&never), address_of(&rounds)}, .out = {}};
  const RegisterFile out = own_enclu(probe_, PROBE_OP_SPIN, args, page);
  EXPECT_EQ(catcher.caught().count, 0);
  EXPECT_EQ(out.rdi, static_cast<std::uint64_t>(kVectorPf));
  EXPECT_NE(out.rsi & kPfFetch, 0u);
  EXPECT_EQ(out.rdx, address_of(page));
  EXPECT_EQ(out.rcx, address_of(page));
  probe_.abandon();
  munmap(page, kPage);
}

// ---- Registering ----

TEST_F(PerMmHandlerTest, ASecondRegistrationIsBusyUntilTheFirstIsUndone) {
  use(enclume_test_enclu_done);
  EXPECT_EQ(register_handler(probe_.fd(), enclume_test_enclu_done), EBUSY);
  EXPECT_EQ(register_handler(probe_.fd(), enclume_test_enclu_function_return), EBUSY);
  EXPECT_EQ(unregister_handler(probe_.fd(), enclume_test_enclu_function_return), ENOENT);
  EXPECT_EQ(unregister_handler(probe_.fd(), enclume_test_enclu_done), 0);
  EXPECT_EQ(unregister_handler(probe_.fd(), enclume_test_enclu_done), ENOENT);
  use(enclume_test_enclu_function_return);
}

TEST_F(PerMmHandlerTest, TwoLibrariesInOneProcessSeeEachOther) {
  // The second one, which has a descriptor of its own, is told so and can use signals; the first one's
  // handler gets its exceptions too unless it looks at RCX.
  const ProbeEnclave other;
  use(enclume_test_enclu_done);
  EXPECT_EQ(register_handler(other.fd(), enclume_test_enclu_function_return), EBUSY);
  EXPECT_EQ(unregister_handler(other.fd(), enclume_test_enclu_function_return), ENOENT);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  EXPECT_EQ(own_enclu(other, PROBE_OP_RAISE, args).rcx, address_of(enclume_test_aep));
}

TEST_F(PerMmHandlerTest, WriteOnceStaysUntilExec) {
  const int status = in_child([&] {
    if (register_handler(probe_.fd(), enclume_test_enclu_done, SGX_ENCLU_HANDLER_WRITE_ONCE) != 0) return 1;
    if (unregister_handler(probe_.fd(), enclume_test_enclu_done) != EPERM) return 2;
    if (register_handler(probe_.fd(), enclume_test_enclu_function_return) != EBUSY) return 3;
    const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
    return own_enclu(probe_, PROBE_OP_RAISE, args).rdi == static_cast<std::uint64_t>(kVectorUd) ? 42 : 4;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

TEST_F(PerMmHandlerTest, BadArgumentsAreRefused) {
  EXPECT_EQ(register_handler(probe_.fd(), nullptr), EINVAL);
  EXPECT_EQ(register_handler(probe_.fd(), reinterpret_cast<const void*>(std::uint64_t{1} << 63)), EINVAL);
  EXPECT_EQ(register_handler(probe_.fd(), enclume_test_enclu_done, 2), EINVAL);
  EXPECT_EQ(ioctl(probe_.fd(), SGX_IOC_ENCLU_HANDLER_REGISTER, nullptr), -1);
  EXPECT_EQ(errno, EFAULT);
  const int null = open("/dev/null", O_RDONLY);
  EXPECT_EQ(register_handler(null, enclume_test_enclu_done), ENOTTY);
  close(null);
}

TEST_F(PerMmHandlerTest, TheDescriptorMayBeClosed) {
  {
    const ProbeEnclave other;
    ASSERT_EQ(register_handler(other.fd(), enclume_test_enclu_done), 0);
  }
  registered_ = enclume_test_enclu_done;
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  EXPECT_EQ(own_enclu(probe_, PROBE_OP_RAISE, args).rdi, static_cast<std::uint64_t>(kVectorUd));
}

// ---- Processes and threads ----

// 42 if an exception reaches the handler, 43 if it is a signal.
int outcome_of_an_exception(const ProbeEnclave& probe) {
  const SignalCatcher catcher(kFaultSignals, enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  own_enclu(probe, PROBE_OP_RAISE, args);
  const int count = catcher.caught().count;
  probe.abandon();
  return count == 0 ? 42 : 43;
}

TEST_F(PerMmDesign, AForkedChildHasACopyOfItsOwn) {
  int to_child[2], to_parent[2];
  ASSERT_EQ(pipe(to_child), 0);
  ASSERT_EQ(pipe(to_parent), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(30);
    // Inherited; and the parent's unregistration does not reach here.
    char byte;
    if (outcome_of_an_exception(probe_) != 42) _exit(1);
    if (write(to_parent[1], "x", 1) != 1 || read(to_child[0], &byte, 1) != 1) _exit(2);
    if (outcome_of_an_exception(probe_) != 42) _exit(3);
    if (unregister_handler(probe_.fd(), enclume_test_enclu_done) != 0) _exit(4);
    _exit(outcome_of_an_exception(probe_) == 43 ? 42 : 5);
  }
  char byte;
  ASSERT_EQ(read(to_parent[0], &byte, 1), 1);
  EXPECT_EQ(unregister_handler(probe_.fd(), enclume_test_enclu_done), 0);
  ASSERT_EQ(write(to_child[1], "x", 1), 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
  EXPECT_EQ(register_handler(probe_.fd(), enclume_test_enclu_done), 0) << "the child's is not ours";
}

TEST_F(PerMmDesign, AVforkedChildSharesTheAddressSpaceAndTheHandler) {
  static volatile int inherited = -1;
  const int device = probe_.fd();
  const pid_t child = vfork();
  if (child == 0) {
    inherited = unregister_handler(device, enclume_test_enclu_done);
    _exit(0);
  }
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(inherited, 0);
  EXPECT_EQ(unregister_handler(device, enclume_test_enclu_done), ENOENT);
}

TEST_F(PerMmDesign, ExecBeginsWithoutOne) {
  // The child runs the test below and no other.
  char program[4096];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  ASSERT_GT(length, 0);
  program[length] = '\0';
  const int status = in_child([&]() -> int {
    execl(program, program, "--gtest_filter=PerMmFreshProcess.*", static_cast<char*>(nullptr));
    return 1;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(PerMmFreshProcess, HasNoHandler) {
  const ProbeEnclave probe;
  EXPECT_EQ(unregister_handler(probe.fd(), enclume_test_enclu_done), ENOENT);
  EXPECT_EQ(outcome_of_an_exception(probe), 43);
}

TEST_F(PerMmHandlerTest, ThreadsHaveItTogether) {
  constexpr unsigned kThreads = 4;
  ProbeOptions options;
  options.threads = kThreads;
  const ProbeEnclave probe(options);
  // Registered by one thread, used by others at the same time; each finds its own frame.
  std::thread([&] { use(enclume_test_enclu_done); }).join();
  std::vector<std::thread> threads;
  std::array<unsigned, kThreads> handled{};
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
        RegisterFile in = register_pattern(), out{};
        in.rax = kEenter;
        in.rbx = probe.tcs(i);
        in.rdi = PROBE_OP_RAISE;
        in.rsi = address_of(&args);
        in.rflags = 0;
        enclume_test_raw_enclu(&in, &out);
        if (out.rax == kEresume && out.rdi == static_cast<std::uint64_t>(kVectorUd) &&
            out.rbx == probe.tcs(i)) {
          ++handled[i];
        }
        probe.abandon(i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const unsigned count : handled) EXPECT_EQ(count, 50u);
}

TEST_F(PerMmHandlerTest, UnregisteringWhileOthersFaultGivesEachTheOneOrTheOther) {
  ProbeOptions options;
  options.threads = 2;
  const ProbeEnclave probe(options);
  static std::atomic<unsigned> signals;
  signals = 0;
  const ScopedSigaction handler(SIGILL, [](int, siginfo_t*, void* raw) {
    ++signals;
    static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP] =
        static_cast<greg_t>(address_of(enclume_test_enclu_done));
  });
  std::atomic<bool> done = false;
  unsigned handled = 0;
  constexpr unsigned kRounds = 400;
  std::thread faulting([&] {
    for (unsigned round = 0; round < kRounds; ++round) {
      const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
      handled +=
          own_enclu(probe, PROBE_OP_RAISE, args).rdi == static_cast<std::uint64_t>(kVectorUd) ? 1u : 0u;
      probe.abandon();
    }
    done = true;
  });
  while (!done) {
    EXPECT_EQ(register_handler(probe_.fd(), enclume_test_enclu_done), 0);
    std::this_thread::yield();
    EXPECT_EQ(unregister_handler(probe_.fd(), enclume_test_enclu_done), 0);
  }
  faulting.join();
  EXPECT_EQ(handled + signals.load(), kRounds);
}

// ---- The C++ wrapper ----

EncluRegisters operation(std::uint64_t number, const ProbeArgs& args) {
  return {.rdi = number, .rsi = address_of(&args)};
}

class PerMmWrapper : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(handler_.register_with(probe_.fd()), 0); }

  ProbeEnclave probe_;
  PerMmHandler handler_;
};

TEST_F(PerMmWrapper, ReturnsExceptionsToTheirEntry) {
  const ProbeArgs args{.in = {probe_.base() + 0x123, 1}, .out = {}};
  const EncluExit exit = handler_.enclu().enter(probe_.tcs(), operation(PROBE_OP_WRITE, args));
  EXPECT_EQ(exit.leaf, EncluLeaf::kEresume);
  EXPECT_EQ(exit.vector, kVectorPf);
  EXPECT_EQ(exit.error_code, 7);
  EXPECT_EQ(exit.address, probe_.base());
}

TEST_F(PerMmWrapper, ResumesAfterAHandlerHasRepaired) {
  const ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  const EncluExit exit = handler_.enclu().enter(
      probe_.tcs(), operation(PROBE_OP_RAISE, args), [&](const EncluExit& exception, EncluRegisters&) {
        EXPECT_EQ(exception.vector, kVectorDe);
        probe_.set_ssa_rip(probe_.base() + raise_site(PROBE_RAISE_DIVIDE).next);
        return EncluLeaf::kEresume;
      });
  EXPECT_TRUE(exit.exited());
  EXPECT_EQ(args.out[0], 1u);
}

TEST_F(PerMmWrapper, ServesOtherFunctionsOfItsKindInTheProcess) {
  // Another library's, which has found that somebody has registered already.
  PerMmHandler other;
  EXPECT_EQ(other.register_with(probe_.fd()), EBUSY);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  RegisterFile in = register_pattern(), out{};
  in.rax = kEenter;
  in.rbx = probe_.tcs();
  in.rcx = address_of(enclume_test_enclu_function);
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  enclume_test_call_enclu(&in, &out, enclume_test_enclu_function);
  EXPECT_EQ(out.rax, kEresume);
  EXPECT_EQ(out.rdi, static_cast<std::uint64_t>(kVectorUd));
}

TEST_F(PerMmWrapper, UnregistersWithTheObject) {
  handler_.unregister();
  PerMmHandler second;
  {
    PerMmHandler first;
    ASSERT_EQ(first.register_with(probe_.fd()), 0);
    EXPECT_EQ(second.register_with(probe_.fd()), EBUSY);
  }
  EXPECT_EQ(second.register_with(probe_.fd()), 0);
}

}  // namespace
}  // namespace enclume::test
