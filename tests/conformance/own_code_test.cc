// SPDX-License-Identifier: Apache-2.0
//
// An enclave that reads the code that it leaves by finds its own bytes, with whatever instruction and however
// often it has left before. What each of them should give is known from host code that reads a copy.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "conformance/debug_support.h"
#include "conformance/readers.h"
#include "conformance/support.h"

extern "C" {
extern const std::uint8_t enclume_readers_code[], enclume_readers_code_end[];
extern const enclume::test::Reader enclume_readers[], enclume_readers_end[];
}

namespace enclume::test {

std::span<const Reader> readers() {
  return {enclume_readers, enclume_readers_end};
}

std::span<const std::uint8_t> readers_code() {
  return {enclume_readers_code, enclume_readers_code_end};
}

namespace {

constexpr std::uint8_t kExit[] = {0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7};  // mov $4, %eax; ENCLU
// More than the engine lets trap before it makes them direct.
constexpr int kManyExits = 80;
constexpr std::uint64_t kXfrm = 7;

// In the probe's code, from its beginning.
std::uint64_t exit_offset() {
  const auto code = probe_code();
  return static_cast<std::uint64_t>(std::search(code.begin() + static_cast<long>(probe_labels().finish),
                                                code.end(), std::begin(kExit), std::end(kExit)) -
                                    code.begin());
}

struct Found {
  ReaderState state;
  std::array<std::uint8_t, 96> buffer;
};

// Bytes of which nothing is known but where the code begins.
Found start(std::uint64_t code, std::uint64_t distance, Found& found) {
  Found f{};
  f.state = {.rax = 0x1122334455667788,
             .rcx = 0x99aabbccddeeff01,
             .rdx = 0x0123456789abcdef,
             .rbx = 0x0f1e2d3c4b5a6978,
             .rsi = code + exit_offset() + distance,
             .rdi = 0x1111,
             .r8 = 0,
             .r9 = (code + exit_offset() + distance) & ~std::uint64_t{15},
             .flags = 0x202,
             .x87 = {},
             .ymm0 = {},
             .ymm1 = {},
             .mm0 = 0};
  for (std::size_t i = 0; i < 32; ++i) {
    f.state.ymm0[i] = static_cast<std::uint8_t>(i * 7 + 3);
    f.state.ymm1[i] = static_cast<std::uint8_t>(i * 29 + 131);
  }
  const auto text = probe_code();
  for (std::size_t i = 0; i < f.buffer.size(); ++i) f.buffer[i] = static_cast<std::uint8_t>(i);
  const std::uint64_t from = exit_offset() + distance - 8;
  std::copy_n(text.begin() + static_cast<long>(from), 32, f.buffer.begin() + 64);
  found = f;
  found.state.r8 = address_of(found.buffer.data());
  return found;
}

// The same wherever the code and the buffer were.
void rebase(Found& found, std::uint64_t code) {
  for (std::uint64_t* reg : {&found.state.rax, &found.state.rcx, &found.state.rdx, &found.state.rbx,
                             &found.state.rsi, &found.state.rdi, &found.state.r9}) {
    if (*reg - code < 0x4000) *reg = *reg - code + 0x5000'0000'0000;
    const std::uint64_t buffer = address_of(found.buffer.data());
    if (*reg - buffer <= found.buffer.size()) *reg = *reg - buffer + 0x6000'0000'0000;
  }
  found.state.r8 = 0;
}

ProbeOptions options_with_readers(unsigned threads = 1) {
  ProbeOptions options;
  options.threads = threads;
  options.image.xfrm = kXfrm;
  const auto code = readers_code();
  options.code.assign(code.begin(), code.end());
  options.code.resize((code.size() + kPage - 1) / kPage * kPage);
  return options;
}

class OwnCodeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
        !__builtin_cpu_supports("aes") || (machine_xcr0() & kXfrm) != kXfrm) {
      GTEST_SKIP() << "the readers need AVX2, BMI2 and AES";
    }
    host_code_ = copy(probe_code(), PROT_READ);
    host_readers_ = copy(readers_code(), PROT_READ | PROT_EXEC);
  }

  static std::uint64_t copy(std::span<const std::uint8_t> bytes, int protection) {
    const std::size_t size = (bytes.size() + 2 * kPage - 1) / kPage * kPage;
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memcpy(at, bytes.data(), bytes.size());
    EXPECT_EQ(mprotect(at, size, protection), 0);
    return address_of(static_cast<std::uint8_t*>(at));
  }

  // What the reader gives in host code.
  Found expected(const Reader& reader, std::uint64_t distance) const {
    Found found;
    start(host_code_, distance, found);
    ProbeArgs args{.in = {0, address_of(&found.state)}, .out = {}};
    const std::uint64_t function = host_readers_ + reader.offset;
    __asm__ volatile(
        "movq %[args], %%r15\n\t"
        "movq %%rsp, %%r12\n\t"
        "subq $256, %%rsp\n\t"
        "andq $-16, %%rsp\n\t"
        "call *%[function]\n\t"
        "movq %%r12, %%rsp\n\t"
        :
        : [args] "r"(&args), [function] "r"(function)
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r15", "cc", "memory", "xmm0",
          "xmm1");
    rebase(found, host_code_);
    return found;
  }

  static Found in_enclave(const ProbeEnclave& probe, const Reader& reader, std::uint64_t distance,
                          unsigned thread = 0) {
    Found found;
    start(probe.base(), distance, found);
    const CallResult result =
        probe.call(PROBE_OP_CALL, {probe.code() + reader.offset, address_of(&found.state)}, thread);
    EXPECT_TRUE(result.exited()) << reader.code;
    rebase(found, probe.base());
    return found;
  }

  static void expect_same(const Found& is, const Found& should_be, const std::string& what) {
    const auto words = [](const Found& f) {
      std::array<std::uint64_t, sizeof(Found) / 8> w;
      std::memcpy(w.data(), &f, sizeof(w));
      return w;
    };
    const auto a = words(is);
    const auto b = words(should_be);
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i], b[i]) << what << ", word " << i << std::hex << " " << a[i] << " " << b[i];
    }
  }

  std::uint64_t host_code_ = 0;
  std::uint64_t host_readers_ = 0;
};

TEST_F(OwnCodeTest, EachInstructionReadsItsOwnBytes) {
  for (const Reader& reader : readers()) {
    for (const std::uint64_t distance :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{3}, ~std::uint64_t{5}}) {
      const ProbeEnclave probe(options_with_readers());
      for (int call = 0; call < kManyExits; ++call) ASSERT_TRUE(probe.call(PROBE_OP_NOP).exited());
      const Found should_be = expected(reader, distance);
      const std::string what =
          std::string(reader.code) + " at " + std::to_string(static_cast<long>(distance));
      expect_same(in_enclave(probe, reader, distance), should_be, what + ", first");
      expect_same(in_enclave(probe, reader, distance), should_be, what + ", again");
    }
  }
}

// What follows looks with one instruction that is undone only if it is known what it has read, and with a
// copy.
class OwnCodeLaterTest : public OwnCodeTest {
 protected:
  static void leave_often(const ProbeEnclave& probe, unsigned thread = 0) {
    for (int call = 0; call < kManyExits; ++call) ASSERT_TRUE(probe.call(PROBE_OP_NOP, {}, thread).exited());
  }
  static const Reader& reader(const char* code) {
    return *std::ranges::find_if(readers(), [=](const Reader& r) { return std::strcmp(r.code, code) == 0; });
  }
  void expect_own_bytes(const ProbeEnclave& probe, unsigned thread = 0) {
    const Reader& sum = reader("addq (%rsi), %rax");
    expect_same(in_enclave(probe, sum, 0, thread), expected(sum, 0), sum.code);
    expect_own_copy(probe, thread);
  }
  static void expect_own_copy(const ProbeEnclave& probe, unsigned thread = 0) {
    std::array<std::uint8_t, 64> seen{};
    const std::uint64_t from = exit_offset() - 16;
    probe.copy(address_of(seen.data()), probe.base() + from, seen.size(), thread);
    EXPECT_TRUE(std::equal(seen.begin(), seen.end(), probe_code().begin() + static_cast<long>(from)));
  }
};

TEST_F(OwnCodeLaterTest, ReadsAndExitsByTurns) {
  const ProbeEnclave probe(options_with_readers());
  for (int round = 0; round < 5; ++round) {
    leave_often(probe);
    expect_own_bytes(probe);
  }
}

// Debug registers are few.
TEST_F(OwnCodeLaterTest, ManyEnclavesByTurns) {
  std::vector<std::unique_ptr<ProbeEnclave>> probes;
  for (int n = 0; n < 6; ++n) probes.push_back(std::make_unique<ProbeEnclave>(options_with_readers()));
  for (int round = 0; round < 4; ++round) {
    for (const auto& probe : probes) leave_often(*probe);
  }
  for (const auto& probe : probes) expect_own_bytes(*probe);
}

// What an instruction loses by reading is gone; the page shows its own bytes all the same from then on.
TEST_F(OwnCodeLaterTest, AnInstructionThatLosesWhatItHadIsFollowedByRightOnes) {
  const ProbeEnclave probe(options_with_readers());
  leave_often(probe);
  Found found = in_enclave(probe, reader("vpand (%rsi), %ymm0, %ymm1"), 0);
  expect_same(found, expected(reader("vpand (%rsi), %ymm0, %ymm1"), 0), "vpand");
  expect_own_bytes(probe);
}

TEST_F(OwnCodeLaterTest, AThreadThatIsThereAlreadyReadsThem) {
  const ProbeEnclave probe(options_with_readers(2));
  std::atomic<int> step{0};
  std::thread other([&] {
    EXPECT_TRUE(probe.call(PROBE_OP_NOP, {}, 1).exited());
    step = 1;
    while (step != 2) std::this_thread::yield();
    expect_own_bytes(probe, 1);
  });
  while (step != 1) std::this_thread::yield();
  leave_often(probe);
  step = 2;
  other.join();
}

TEST_F(OwnCodeLaterTest, AThreadThatIsInsideReadsThem) {
  const ProbeEnclave probe(options_with_readers(2));
  volatile std::uint64_t stop = 0, rounds = 0;
  const auto address = [](volatile std::uint64_t& word) {
    return address_of(const_cast<std::uint64_t*>(&word));
  };
  std::thread other([&] {
    EXPECT_TRUE(probe.call(PROBE_OP_SPIN, {address(stop), address(rounds)}, 1).exited());
    expect_own_bytes(probe, 1);
  });
  while (rounds == 0) std::this_thread::yield();
  leave_often(probe);
  stop = 1;
  other.join();
}

TEST_F(OwnCodeLaterTest, AThreadThatEntersLaterReadsThem) {
  const ProbeEnclave probe(options_with_readers(2));
  leave_often(probe);
  std::thread([&] { expect_own_bytes(probe, 1); }).join();
}

TEST_F(OwnCodeLaterTest, ThreadsThatCameAndWentReadThem) {
  for (int round = 0; round < 3; ++round) {
    const ProbeEnclave probe(options_with_readers(2));
    for (int n = 0; n < 100; ++n) {
      std::thread([&] { EXPECT_TRUE(probe.call(PROBE_OP_NOP, {}, 1).exited()); }).join();
    }
    std::thread([&] { expect_own_bytes(probe, 1); }).join();
    expect_own_bytes(probe);
  }
}

TEST_F(OwnCodeLaterTest, AThreadReadsThemWhileAnotherLeaves) {
  const Reader& sum = reader("addq (%rsi), %rax");
  const Found should_be = expected(sum, 0);
  for (int round = 0; round < 40; ++round) {
    const ProbeEnclave probe(options_with_readers(2));
    std::atomic<bool> stop{false};
    std::thread other([&] {
      while (!stop) EXPECT_TRUE(probe.call(PROBE_OP_NOP, {}, 1).exited());
    });
    for (int call = 0; call < round * 4; ++call) probe.call(PROBE_OP_NOP);
    for (int call = 0; call < 20; ++call) expect_same(in_enclave(probe, sum, 0), should_be, sum.code);
    stop = true;
    other.join();
    expect_own_copy(probe);
  }
}

TEST_F(OwnCodeLaterTest, AForkedChildReadsThem) {
  const ProbeEnclave probe(options_with_readers(2));
  leave_often(probe);
  const pid_t child = fork();
  if (child == 0) {
    expect_own_bytes(probe);
    std::thread([&] { expect_own_bytes(probe, 1); }).join();
    _exit(HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  leave_often(probe);
  expect_own_bytes(probe);
}

// The program can neither see what the engine has opened for this, nor close it.
TEST_F(OwnCodeLaterTest, ClosingAllDescriptorsMakesNoDifference) {
  const ProbeEnclave probe(options_with_readers());
  const auto descriptors = [] {
    std::set<int> open;
    for (int fd = 0; fd < 1024; ++fd) {
      if (fcntl(fd, F_GETFD) >= 0) open.insert(fd);
    }
    return open;
  };
  const auto before = descriptors();
  leave_often(probe);
  EXPECT_EQ(descriptors(), before);
  for (int fd = 3; fd < 1024; ++fd) {
    if (!before.contains(fd)) close(fd);
  }
  expect_own_bytes(probe);
}

// What the engine needs a descriptor for, it can't have: then there must be nothing that needs it.
class NoDescriptorsTest : public OwnCodeLaterTest {
 protected:
  static void use_up_descriptors() {
    const int lowest = dup(0);
    close(lowest);
    const rlimit limit{static_cast<rlim_t>(lowest), 1024};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ASSERT_LT(dup(0), 0);
  }
  void TearDown() override {
    const rlimit limit{1024, 1024};
    setrlimit(RLIMIT_NOFILE, &limit);
  }
};

TEST_F(NoDescriptorsTest, BeforeTheFirstExit) {
  const ProbeEnclave probe(options_with_readers(2));
  use_up_descriptors();
  leave_often(probe);
  expect_own_bytes(probe);
}

TEST_F(NoDescriptorsTest, BeforeAThreadEnters) {
  const ProbeEnclave probe(options_with_readers(2));
  leave_often(probe);
  use_up_descriptors();
  std::thread([&] { expect_own_bytes(probe, 1); }).join();
  expect_own_bytes(probe);
}

// What is executed under TF raises one trap for all its reasons.
TEST_F(OwnCodeLaterTest, AnEnclaveThatIsSteppedReadsThem) {
  std::uint64_t own = 0;
  std::memcpy(&own, probe_code().data() + exit_offset(), sizeof own);
  for (int n = 0; n < 2; ++n) {
    const DebuggedProbe probe(false);
    const std::uint64_t code = probe.base() + exit_offset();
    leave_often(probe);
    probe.set_opt_in(true);
    CallResult result;
    std::array<std::uint8_t, 8> copy{};
    const auto steps = step_through([&] {
      result = n == 0 ? probe.call(PROBE_OP_READ, {code})
                      : probe.call(PROBE_OP_COPY, {address_of(copy.data()), code, copy.size()});
    });
    EXPECT_GT(steps.size(), 50u);
    ASSERT_TRUE(result.exited());
    if (n == 1) std::memcpy(&result.args.out[0], copy.data(), copy.size());
    EXPECT_EQ(result.args.out[0], own) << std::hex << result.args.out[0] << " " << own;
  }
}

std::atomic<int> g_traps{0};

TEST_F(OwnCodeLaterTest, NoSignalTellsTheProgram) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++g_traps; };
  ASSERT_EQ(sigaction(SIGTRAP, &action, nullptr), 0);
  sigset_t all, old;
  sigfillset(&all);
  for (const bool blocked : {false, true}) {
    const ProbeEnclave probe(options_with_readers());
    if (blocked) {
      ASSERT_EQ(sigprocmask(SIG_BLOCK, &all, &old), 0);
    }
    leave_often(probe);
    expect_own_bytes(probe);
    if (blocked) {
      ASSERT_EQ(sigprocmask(SIG_SETMASK, &old, nullptr), 0);
    }
  }
  EXPECT_EQ(g_traps, 0);
  signal(SIGTRAP, SIG_DFL);
}

// The host is no enclave: what it finds there is not for this test to say, but it gets no signal for it.
TEST_F(OwnCodeLaterTest, TheHostMayReadTheEnclave) {
  const ProbeEnclave probe(options_with_readers());
  leave_often(probe);
  const auto* code =
      reinterpret_cast<const volatile std::uint64_t*>((probe.base() + exit_offset()) & ~std::uint64_t{7});
  std::uint64_t sum = 0;
  for (int n = 0; n < 10; ++n) sum += *code;
  EXPECT_NE(sum, 1u);
  expect_own_bytes(probe);
}

}  // namespace
}  // namespace enclume::test
