// SPDX-License-Identifier: Apache-2.0
//
// Protection keys: those of the program beside an enclave, and PKRU on the ways in and out.
// Sources: pkeys(7); Linux 6.12 mm/mprotect.c, arch/x86/mm/{pkeys,fault}.c,
// arch/x86/kernel/{signal,fpu/core}.c; Intel SDM volume 3D (June 2016) 42.17.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <thread>
#include <vector>

#include "conformance/support.h"
#include "support/pkru.h"

namespace enclume::test {
namespace {

constexpr std::uint32_t kFromUser = 0x4, kWrite = 0x2, kPresent = 0x1, kProtectionKey = 0x20;

/// A page of the program's under a key of its own, which is open to this thread.
class PkeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    key_ = pkey_alloc(0, 0);
    if (key_ < 0) GTEST_SKIP() << "this machine has no protection keys (CPUID.7.0:ECX.OSPKE)";
    page_ = map_page();
    ASSERT_EQ(pkey_mprotect(page_, kPage, PROT_READ | PROT_WRITE, key_), 0);
    *word() = 0x1234;
  }
  static void* map_page() {
    return mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  volatile std::uint64_t* word() const { return static_cast<volatile std::uint64_t*>(page_); }
  bool may_read() const {
    return rights(rdpkru(), key_) == 0 || rights(rdpkru(), key_) == PKEY_DISABLE_WRITE;
  }

  int key_ = -1;
  void* page_ = nullptr;
};

// ---- The keys themselves ----

TEST_F(PkeysTest, KeysComeInOrderAndThereAreFifteen) {
  std::vector<int> keys = {key_};
  for (int key; (key = pkey_alloc(0, PKEY_DISABLE_ACCESS)) >= 0;) keys.push_back(key);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(keys.size(), 15u);  // Enclume takes its own with the first enclave
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(keys[i], static_cast<int>(i + 1));
  for (const int key : keys) EXPECT_EQ(pkey_free(key), 0) << key;
}

TEST_F(PkeysTest, KeyThatTheProgramDoesNotHaveIsNone) {
  const ProbeEnclave probe;
  for (int key = 1; key < 16; ++key) {
    if (key == key_) continue;
    errno = 0;
    EXPECT_EQ(pkey_free(key), -1) << key;
    EXPECT_EQ(errno, EINVAL) << key;
    errno = 0;
    EXPECT_EQ(syscall(SYS_pkey_free, key), -1) << key;
    EXPECT_EQ(errno, EINVAL) << key;
    for (void* where : {page_, reinterpret_cast<void*>(probe.scratch())}) {
      errno = 0;
      EXPECT_EQ(pkey_mprotect(where, kPage, PROT_READ | PROT_WRITE, key), -1) << key;
      EXPECT_EQ(errno, EINVAL) << key;
    }
  }
  EXPECT_EQ(probe.read(probe.scratch()), 0u);
}

// ---- The program's keys and the enclave's accesses to the program's memory ----

TEST_F(PkeysTest, EnclaveUsesMemoryUnderAnOpenKey) {
  const ProbeEnclave probe;
  EXPECT_EQ(probe.read(address_of(page_)), 0x1234u);
  probe.write(address_of(page_), 0x5678);
  EXPECT_EQ(*word(), 0x5678u);
}

TEST_F(PkeysTest, ClosedKeyIsAPageFaultOfTheEnclave) {
  const ProbeEnclave probe;
  struct Case {
    unsigned closed;
    std::uint64_t operation;
    std::uint32_t access;
  };
  for (const Case& c :
       {Case{PKEY_DISABLE_ACCESS, PROBE_OP_READ, 0}, Case{PKEY_DISABLE_ACCESS, PROBE_OP_WRITE, kWrite},
        Case{PKEY_DISABLE_WRITE, PROBE_OP_WRITE, kWrite}}) {
    ASSERT_EQ(pkey_set(key_, c.closed), 0);
    const CallResult result = probe.call(c.operation, {address_of(page_), 1});
    EXPECT_EQ(pkey_get(key_), static_cast<int>(c.closed)) << "after the exit";
    ASSERT_TRUE(result.faulted());
    EXPECT_EQ(result.run.exception_vector, kVectorPf);
    EXPECT_EQ(result.run.exception_error_code, kFromUser | kPresent | kProtectionKey | c.access);
    EXPECT_EQ(result.run.exception_addr, address_of(page_));
    probe.abandon();
  }
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_WRITE), 0);
  EXPECT_EQ(probe.read(address_of(page_)), 0x1234u);
}

siginfo_t g_info;
std::uint32_t g_pkru_of_handler, g_pkru_of_frame;
volatile sig_atomic_t g_handled;
std::uint64_t g_go_on_at;
bool g_change_frame;
std::uint32_t g_new_pkru;

void record_pkru(int, siginfo_t* info, void* raw_context) {
  auto& context = static_cast<ucontext_t*>(raw_context)->uc_mcontext;
  g_info = *info;
  g_pkru_of_handler = rdpkru();
  auto* area = reinterpret_cast<std::uint8_t*>(context.fpregs);
  g_pkru_of_frame = pkru_of(area);
  if (g_change_frame) set_pkru(area, g_new_pkru);
  if (g_go_on_at != 0) context.gregs[REG_RIP] = static_cast<greg_t>(g_go_on_at);
  g_handled = g_handled + 1;
}

void forget() {
  g_handled = 0;
  g_go_on_at = 0;
  g_change_frame = false;
}

RegisterFile enter_raw(const ProbeEnclave& probe, std::uint64_t operation, const ProbeArgs& args) {
  RegisterFile in{}, out{};
  in.rax = 2;
  in.rbx = probe.tcs();
  in.rdi = operation;
  in.rsi = address_of(&args);
  enclume_test_raw_enclu(&in, &out);
  return out;
}

TEST_F(PkeysTest, SignalOfAClosedKeyNamesTheKey) {
  const ProbeEnclave probe;
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_ACCESS), 0);
  forget();
  g_go_on_at = address_of(enclume_test_enclu_done);
  const ScopedSigaction caught(SIGSEGV, record_pkru);
  const ProbeArgs args{.in = {address_of(page_)}, .out = {}};
  enter_raw(probe, PROBE_OP_READ, args);
  ASSERT_EQ(g_handled, 1);
  EXPECT_EQ(g_info.si_code, SEGV_PKUERR);
  EXPECT_EQ(address_of(g_info.si_addr), address_of(page_));
  EXPECT_EQ(g_info.si_pkey, static_cast<unsigned>(key_));
}

TEST_F(PkeysTest, RightsSurviveEntryExitAndAex) {
  const ProbeEnclave probe;
  for (const unsigned closed : {0U, unsigned{PKEY_DISABLE_WRITE}, unsigned{PKEY_DISABLE_ACCESS}}) {
    ASSERT_EQ(pkey_set(key_, closed), 0);
    const std::uint32_t before = rdpkru();
    ASSERT_TRUE(probe.call(PROBE_OP_NOP).exited());
    EXPECT_EQ(rdpkru(), before);
    ASSERT_TRUE(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted());
    EXPECT_EQ(rdpkru(), before);
    probe.abandon();
  }
}

// ---- Signal handlers ----

TEST_F(PkeysTest, HandlerBeginsWithTheKernelsRightsAndTheFrameHoldsTheThreads) {
  const ProbeEnclave probe;
  const std::uint32_t mine = rdpkru();
  forget();
  const ScopedSigaction caught(SIGUSR1, record_pkru);
  const ScopedSigaction caught_ill(SIGILL, record_pkru);

  raise(SIGUSR1);
  ASSERT_EQ(g_handled, 1);
  EXPECT_EQ(g_pkru_of_handler, 0x55555554u);
  EXPECT_EQ(g_pkru_of_frame, mine);
  EXPECT_EQ(rdpkru(), mine);

  g_go_on_at = address_of(enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  enter_raw(probe, PROBE_OP_RAISE, args);
  ASSERT_EQ(g_handled, 2);
  EXPECT_EQ(g_pkru_of_handler, 0x55555554u);
  EXPECT_EQ(g_pkru_of_frame, mine);
  EXPECT_EQ(rdpkru(), mine);
}

TEST_F(PkeysTest, HandlerOfAFreshThreadBeginsWithTheKernelsRights) {
  forget();
  const ScopedSigaction caught(SIGUSR1, record_pkru);
  std::uint32_t mine = 0;
  std::uint32_t after = 0;
  std::thread([&] {
    mine = rdpkru();
    raise(SIGUSR1);
    after = rdpkru();
  }).join();
  ASSERT_EQ(g_handled, 1);
  EXPECT_EQ(g_pkru_of_handler, 0x55555554u);
  EXPECT_EQ(g_pkru_of_frame, mine);
  EXPECT_EQ(after, mine);
}

TEST_F(PkeysTest, HandlerChangesTheRightsInItsFrame) {
  forget();
  const ScopedSigaction caught(SIGUSR1, record_pkru);
  g_change_frame = true;
  g_new_pkru = rdpkru() | 1U << (2 * key_);
  raise(SIGUSR1);
  EXPECT_EQ(rdpkru(), g_new_pkru);
}

// The engine has to read the code at RIP, with rights that are not the thread's.
TEST_F(PkeysTest, EncluInCodeUnderAKey) {
  const ProbeEnclave probe;
  const std::uint64_t code = address_of(enclume_test_enclu) & ~(kPage - 1);
  ASSERT_EQ(pkey_mprotect(reinterpret_cast<void*>(code), 2 * kPage, PROT_READ | PROT_EXEC, key_), 0);
  const ProbeArgs args{.in = {3, 4}, .out = {}};
  enter_raw(probe, PROBE_OP_SUM, args);
  EXPECT_EQ(args.out[0], 7u);
  EXPECT_EQ(pkey_mprotect(reinterpret_cast<void*>(code), 2 * kPage, PROT_READ | PROT_EXEC, 0), 0);
}

// A handler whose stack is under a key has to open it before it touches the stack.
extern "C" void enclume_test_pkeys_handler(int signo, siginfo_t* info, void* context) {
  record_pkru(signo, info, context);
}
__attribute__((naked)) void open_keys_then_handle(int, siginfo_t*, void*) {
  __asm__(
      "movq %rdx, %r8\n\t"
      "xorl %eax, %eax\n\t"
      "xorl %ecx, %ecx\n\t"
      "xorl %edx, %edx\n\t"
      "wrpkru\n\t"
      "movq %r8, %rdx\n\t"
      "jmp enclume_test_pkeys_handler");
}

TEST_F(PkeysTest, SignalStackUnderAKey) {
  const ProbeEnclave probe;
  constexpr std::size_t kStack = 64 * 1024;
  void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_EQ(pkey_mprotect(stack, kStack, PROT_READ | PROT_WRITE, key_), 0);
  const stack_t alternate{stack, 0, kStack};
  stack_t old;
  ASSERT_EQ(sigaltstack(&alternate, &old), 0);
  forget();
  const ScopedSigaction caught(SIGUSR1, open_keys_then_handle, SA_ONSTACK);
  const ScopedSigaction caught_ill(SIGILL, open_keys_then_handle, SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_EQ(g_handled, 1);
  g_go_on_at = address_of(enclume_test_enclu_done);
  const ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  enter_raw(probe, PROBE_OP_RAISE, args);
  EXPECT_EQ(g_handled, 2);
  ASSERT_EQ(sigaltstack(&old, nullptr), 0);
}

// ---- The abort page ----

std::uint64_t read_word(std::uint64_t address) {
  return *reinterpret_cast<volatile std::uint64_t*>(address);
}

void rep_movsb(std::uint64_t to, std::uint64_t from, std::size_t size) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

TEST_F(PkeysTest, AbortPageGoesToMemoryUnderAnOpenKey) {
  const ProbeEnclave probe;
  rep_movsb(address_of(page_), probe.scratch(), 64);
  EXPECT_EQ(*word(), ~std::uint64_t{0});
}

TEST_F(PkeysTest, AbortPageDoesNotGoToMemoryUnderAClosedKey) {
  const ProbeEnclave probe;
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_WRITE), 0);
  EXPECT_EQ(WTERMSIG(in_child([&] {
              rep_movsb(address_of(page_), probe.scratch(), 64);
              return 0;
            })),
            SIGSEGV);
  EXPECT_EQ(*word(), 0x1234u);
  // And it is the program's memory that faults.
  forget();
  const ScopedSigaction caught(SIGSEGV, record_pkru);
  g_change_frame = true;
  g_new_pkru = rdpkru() & ~(3U << (2 * key_));
  rep_movsb(address_of(page_), probe.scratch(), 64);
  EXPECT_EQ(g_handled, 1);
  EXPECT_EQ(address_of(g_info.si_addr), address_of(page_));
  EXPECT_EQ(g_info.si_code, SEGV_PKUERR);
  EXPECT_EQ(g_info.si_pkey, static_cast<unsigned>(key_));
  EXPECT_EQ(*word(), ~std::uint64_t{0});
}

TEST_F(PkeysTest, HandlerMeetsTheAbortPage) {
  static std::uint64_t address, seen;
  const ProbeEnclave probe;
  probe.write(probe.scratch(), 7);
  address = probe.scratch();
  seen = 0;
  const ScopedSigaction caught(SIGUSR1, [](int, siginfo_t*, void*) { seen = read_word(address); });
  raise(SIGUSR1);
  EXPECT_EQ(seen, ~std::uint64_t{0});
}

// WRPKRU is no privilege: host code can open all there is. With the next exit the EPC is closed again.
TEST_F(PkeysTest, AbortPageIsBackAfterAnExit) {
  const ProbeEnclave probe;
  probe.write(probe.scratch(), 7);
  wrpkru(0);
  ASSERT_TRUE(probe.call(PROBE_OP_NOP).exited());
  EXPECT_EQ(read_word(probe.scratch()), ~std::uint64_t{0});
  wrpkru(0);
  ASSERT_TRUE(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).faulted());
  EXPECT_EQ(read_word(probe.scratch()), ~std::uint64_t{0});
  EXPECT_EQ(rights(rdpkru(), key_), 0u);
}

TEST_F(PkeysTest, NewThreadHasTheRightsOfItsCreator) {
  const ProbeEnclave probe({.threads = 2, .image = {}});
  probe.write(probe.scratch(), 7);
  std::uint64_t by_enclave = 0;
  std::uint64_t by_host = 0;
  std::uint32_t pkru = 0;
  std::thread([&] {
    pkru = rdpkru();
    by_enclave = probe.read(address_of(page_), 1) + probe.read(probe.scratch(), 1);
    by_host = read_word(probe.scratch());
  }).join();
  EXPECT_EQ(pkru, rdpkru());
  EXPECT_EQ(by_enclave, 0x1234u + 7);
  EXPECT_EQ(by_host, ~std::uint64_t{0});
}

TEST_F(PkeysTest, ChildHasKeysAndRightsOfItsParent) {
  const ProbeEnclave probe;
  probe.write(probe.scratch(), 7);
  const int status = in_child([&] {
    if (probe.read(address_of(page_)) != 0x1234 || probe.read(probe.scratch()) != 7) return 1;
    if (read_word(probe.scratch()) != ~std::uint64_t{0}) return 2;
    const int another = pkey_alloc(0, 0);
    return another == key_ + 1 ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
}

// ---- Keys on enclave memory ----

TEST_F(PkeysTest, KeyOfAnEnclavePageBindsTheEnclave) {
  const ProbeEnclave probe;
  probe.write(probe.scratch(), 7);
  ASSERT_EQ(pkey_mprotect(reinterpret_cast<void*>(probe.scratch()), kPage, PROT_READ | PROT_WRITE, key_), 0);
  EXPECT_EQ(probe.read(probe.scratch()), 7u);
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_WRITE), 0);
  EXPECT_EQ(probe.read(probe.scratch()), 7u);
  CallResult result = probe.call(PROBE_OP_WRITE, {probe.scratch(), 8});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_error_code, kFromUser | kPresent | kProtectionKey | kWrite);
  EXPECT_EQ(result.run.exception_addr, probe.scratch());
  probe.abandon();
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_ACCESS), 0);
  result = probe.call(PROBE_OP_READ, {probe.scratch()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_error_code, kFromUser | kPresent | kProtectionKey);
  probe.abandon();
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe.scratch()), kPage, PROT_READ), 0) << "keeps the key";
  ASSERT_TRUE(probe.call(PROBE_OP_READ, {probe.scratch()}).faulted());
  probe.abandon();
  ASSERT_EQ(pkey_mprotect(reinterpret_cast<void*>(probe.scratch()), kPage, PROT_READ | PROT_WRITE, 0), 0);
  EXPECT_EQ(probe.read(probe.scratch()), 7u);
}

TEST_F(PkeysTest, KeyOfAnEnclavePageBindsTheHostBeforeTheAbortPage) {
  const ProbeEnclave probe;
  ASSERT_EQ(pkey_mprotect(reinterpret_cast<void*>(probe.scratch()), kPage, PROT_READ | PROT_WRITE, key_), 0);
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_ACCESS), 0);
  forget();
  g_change_frame = true;
  g_new_pkru = rdpkru() & ~(3U << (2 * key_));
  const ScopedSigaction caught(SIGSEGV, record_pkru);
  read_word(probe.scratch());
  ASSERT_EQ(g_handled, 1);
  EXPECT_EQ(g_info.si_code, SEGV_PKUERR);
  EXPECT_EQ(address_of(g_info.si_addr), probe.scratch());
  EXPECT_EQ(g_info.si_pkey, static_cast<unsigned>(key_));
}

TEST_F(PkeysTest, FreedKeyStaysOnTheEnclavePage) {
  const ProbeEnclave probe;
  probe.write(probe.scratch(), 7);
  ASSERT_EQ(pkey_mprotect(reinterpret_cast<void*>(probe.scratch()), kPage, PROT_READ | PROT_WRITE, key_), 0);
  ASSERT_EQ(pkey_free(key_), 0);
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe.scratch()), kPage, PROT_NONE), 0);
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe.scratch()), kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(probe.read(probe.scratch()), 7u);
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_ACCESS), 0);
  EXPECT_TRUE(probe.call(PROBE_OP_READ, {probe.scratch()}).faulted());
}

// ---- Calls that need no trap ----

/// The first calls of a thread are trapped, later ones need not be.
constexpr int kCalls = 12;

TEST_F(PkeysTest, EachCallHasTheRightsThatTheThreadHasThen) {
  const ProbeEnclave probe;
  for (int call = 0; call < kCalls; ++call) {
    const unsigned closed = call % 3 == 0   ? 0
                            : call % 3 == 1 ? unsigned{PKEY_DISABLE_WRITE}
                                            : unsigned{PKEY_DISABLE_ACCESS};
    ASSERT_EQ(pkey_set(key_, closed), 0);
    const std::uint32_t before = rdpkru();
    const CallResult read = probe.call(PROBE_OP_READ, {address_of(page_)});
    EXPECT_EQ(rdpkru(), before) << call;
    EXPECT_EQ(read.faulted(), closed == PKEY_DISABLE_ACCESS) << call;
    if (read.faulted()) probe.abandon();
    const CallResult write = probe.call(PROBE_OP_WRITE, {address_of(page_), 0x1234});
    EXPECT_EQ(rdpkru(), before) << call;
    EXPECT_EQ(write.faulted(), closed != 0) << call;
    if (write.faulted()) probe.abandon();
  }
}

TEST_F(PkeysTest, EachEntrySeesTheSameRights) {
  const ProbeEnclave probe;
  XsaveArea area;
  RegisterFile seen{};
  std::uint32_t first = 0;
  for (int call = 0; call < kCalls; ++call) {
    ASSERT_TRUE(probe.call(PROBE_OP_ENTRY_STATE, {address_of(&seen), area.address(), kPkruFeature}).exited());
    const std::uint32_t inside = pkru_of(area.data());
    if (call == 0) first = inside;
    EXPECT_EQ(inside, first) << call;
    EXPECT_EQ(rights(inside, key_), rights(rdpkru(), key_));
  }
}

TEST_F(PkeysTest, EpcIsClosedBehindEachCall) {
  const ProbeEnclave probe;
  probe.write(probe.scratch(), 7);
  for (int call = 0; call < kCalls; ++call) {
    if (call % 2 != 0) wrpkru(0);
    EXPECT_EQ(probe.read(probe.scratch()), 7u);
    EXPECT_EQ(read_word(probe.scratch()), ~std::uint64_t{0}) << call;
  }
}

/// An enclave may load PKRU by XRSTOR though it has it not in its XFRM.
TEST_F(PkeysTest, RightsComeBackFromAnEnclaveThatLoadsItsOwn) {
  const ProbeEnclave probe;
  XsaveArea state;
  state.fill_pattern(3, 1);
  set_pkru(state.data(), 0x55555554);
  RegisterFile registers = register_pattern();
  for (int call = 0; call < kCalls; ++call) {
    ASSERT_EQ(pkey_set(key_, call % 2 == 0 ? unsigned{PKEY_DISABLE_WRITE} : 0U), 0);
    const std::uint32_t before = rdpkru();
    ASSERT_TRUE(probe
                    .call(PROBE_OP_LOAD_STATE,
                          {state.address(), address_of(&registers), PROBE_TAIL_EEXIT, ~std::uint64_t{0}})
                    .exited());
    EXPECT_EQ(rdpkru(), before) << call;
  }
}

/// Whatever the engine does to the code that an enclave leaves by, the enclave reads its own.
TEST_F(PkeysTest, EnclaveReadsItsOwnCodeOfTheExit) {
  const ProbeEnclave probe;
  const std::uint64_t code = probe.base() + probe_labels().finish;
  static constexpr std::uint8_t kExit[] = {0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7};  // mov $4, %eax; ENCLU
  // More often than the engine lays a page for the sake of an exit.
  for (int round = 0; round < 80; ++round) {
    for (int call = 0; call < 4; ++call) ASSERT_TRUE(probe.call(PROBE_OP_NOP).exited());
    std::vector<std::uint8_t> seen(160);
    ASSERT_TRUE(probe.call(PROBE_OP_COPY, {address_of(seen.data()), code, seen.size()}).exited());
    ASSERT_NE(std::search(seen.begin(), seen.end(), std::begin(kExit), std::end(kExit)), seen.end()) << round;
  }
}

// ---- XFRM ----

/// An XRSTOR with an all-ones mask inside an enclave that has only x87 and SSE in its XFRM does not touch
/// PKRU.
TEST_F(PkeysTest, XrstorOfAllInTheEnclaveLeavesTheHostsRightsAlone) {
  const ProbeEnclave probe;
  XsaveArea state;
  state.fill_pattern(3, 1);
  RegisterFile registers = register_pattern(), found{};
  ASSERT_EQ(pkey_set(key_, PKEY_DISABLE_WRITE), 0);
  const std::uint32_t before = rdpkru();
  for (const std::uint64_t tail : {std::uint64_t{PROBE_TAIL_DUMP}, std::uint64_t{PROBE_TAIL_UD2}}) {
    const CallResult result = probe.call(PROBE_OP_LOAD_STATE, {state.address(), address_of(&registers), tail,
                                                               ~std::uint64_t{0}, 0, 0, address_of(&found)});
    ASSERT_EQ(result.exited(), tail == PROBE_TAIL_DUMP);
    EXPECT_EQ(rdpkru(), before);
    EXPECT_EQ(read_word(probe.scratch()), ~std::uint64_t{0});
    if (!result.exited()) probe.abandon();
  }
}

class PkruInXfrmTest : public PkeysTest {
 protected:
  static constexpr std::uint64_t kXfrm = 3 | kPkruFeature;
  static ProbeOptions options() {
    ProbeOptions o;
    o.image.xfrm = kXfrm;
    o.heap_pages = 4;
    return o;
  }
  void SetUp() override {
    PkeysTest::SetUp();
    if (IsSkipped()) return;
    std::uint32_t eax = 0x12, ebx, ecx = 1, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    ASSERT_EQ((ecx & kPkruFeature) != 0, (machine_xcr0() & kPkruFeature) != 0);
    closed_ = 0x55555554;
    state_.fill_pattern(3, 1);
    set_pkru(state_.data(), closed_);
  }
  /// LOAD_STATE with PKRU among it: all keys but 0 closed.
  int load(const ProbeEnclave& probe, std::uint64_t tail, sgx_enclave_run& run) {
    args_.in = {state_.address(),   address_of(&registers_), tail, kXfrm, out_.address(), 0,
                address_of(&found_)};
    run.tcs = probe.tcs();
    return enclume_test_call_vdso(PROBE_OP_LOAD_STATE, address_of(&args_), 0, 2, 0, 0, &run, vdso_function());
  }

  std::uint32_t closed_ = 0;
  XsaveArea state_, out_;
  RegisterFile registers_ = register_pattern(), found_{};
  ProbeArgs args_{};
  sgx_enclave_run run_{};
};

TEST_F(PkruInXfrmTest, EexitLeavesTheEnclavesRightsBehind) {
  const ProbeEnclave probe(options());
  ASSERT_EQ(load(probe, PROBE_TAIL_DUMP, run_), 0);
  EXPECT_EQ(rdpkru(), closed_);
  EXPECT_EQ(rights(pkru_of(out_.data()), key_), 1u) << "inside";
}

TEST_F(PkruInXfrmTest, AexSavesTheRightsAndOpensAllKeys) {
  const ProbeEnclave probe(options());
  ASSERT_EQ(load(probe, PROBE_TAIL_UD2, run_), 0);
  const std::uint32_t after = rdpkru();
  ASSERT_EQ(run_.exception_vector, kVectorUd);
  EXPECT_EQ(after & 0x0fffffff, 0u);  // Enclume keeps two closed, the last
  EXPECT_EQ(read_word(probe.scratch()), ~std::uint64_t{0});

  XsaveArea frame;
  probe.ssa_read(0, frame.data(), pkru_offset() + 8);
  EXPECT_EQ(rights(pkru_of(frame.data()), key_), 1u);

  probe.set_ssa_rip(probe.base() + probe_labels().tail_dump);
  ASSERT_EQ(probe.resume(run_), 0);
  EXPECT_EQ(rights(pkru_of(out_.data()), key_), 1u);
  EXPECT_EQ(rdpkru(), closed_);
}

TEST_F(PkruInXfrmTest, EachCallLeavesTheEnclavesRightsBehind) {
  const ProbeEnclave probe(options());
  for (int call = 0; call < kCalls; ++call) {
    wrpkru(rdpkru() & ~(3U << (2 * key_)));
    ASSERT_EQ(load(probe, PROBE_TAIL_EEXIT, run_), 0);
    EXPECT_EQ(rdpkru(), closed_) << call;
    // An entry takes what it finds.
    wrpkru(rdpkru() & ~(3U << (2 * key_)));
    const std::uint32_t before = rdpkru();
    probe.call(PROBE_OP_NOP);
    EXPECT_EQ(rdpkru(), before) << call;
  }
}

TEST_F(PkruInXfrmTest, EachResumeBringsTheRightsBack) {
  const ProbeEnclave probe(options());
  for (int call = 0; call < kCalls; ++call) {
    ASSERT_EQ(load(probe, PROBE_TAIL_UD2, run_), 0);
    ASSERT_EQ(run_.exception_vector, kVectorUd);
    probe.set_ssa_rip(probe.base() + probe_labels().tail_dump);
    ASSERT_EQ(probe.resume(run_), 0);
    EXPECT_EQ(rights(pkru_of(out_.data()), key_), 1u) << call;
    EXPECT_EQ(rdpkru(), closed_) << call;
  }
}

/// A frame that says that PKRU is initial.
TEST_F(PkruInXfrmTest, EachResumeTakesPkruFromTheFrame) {
  const ProbeEnclave probe(options());
  for (int call = 0; call < kCalls; ++call) {
    ASSERT_EQ(load(probe, PROBE_TAIL_UD2, run_), 0);
    std::uint64_t in_use;
    probe.ssa_read(512, &in_use, sizeof in_use);
    in_use &= ~kPkruFeature;
    probe.ssa_write(512, &in_use, sizeof in_use);
    probe.set_ssa_rip(probe.base() + probe_labels().tail_dump);
    ASSERT_EQ(probe.resume(run_), 0);
    EXPECT_EQ(rights(pkru_of(out_.data()), key_), 0u) << call;
    EXPECT_EQ(rdpkru() & 0x0fffffff, 0u) << call;  // Enclume keeps two closed, the last
  }
}

/// What the enclave has loaded is about the program's keys. Its own pages are under none that it knows of,
/// also those that it touches for the first time.
TEST_F(PkruInXfrmTest, ClosedKeysDoNotKeepTheEnclaveFromItsOwnPages) {
  const ProbeEnclave probe(options());
  args_.in = {state_.address(), address_of(&registers_), PROBE_TAIL_DUMP, kXfrm, 0, 0, probe.heap() + kPage};
  run_.tcs = probe.tcs();
  ASSERT_EQ(
      enclume_test_call_vdso(PROBE_OP_LOAD_STATE, address_of(&args_), 0, 2, 0, 0, &run_, vdso_function()), 0);
  ASSERT_EQ(run_.function, static_cast<std::uint32_t>(Leaf::kEexit));
  EXPECT_EQ(probe.read(probe.heap() + kPage + offsetof(RegisterFile, r15)), registers_.r15);
}

}  // namespace
}  // namespace enclume::test
