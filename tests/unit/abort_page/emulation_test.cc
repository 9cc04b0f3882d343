// SPDX-License-Identifier: Apache-2.0
// The abort page against native execution: the same code on an inaccessible page, each fault emulated, and on
// an ordinary page of ones.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/abort_page/abort_page.h"

// Ordinary memory that the program may not touch.
alignas(64) std::array<std::byte, 64> refused;

// The engine's own copies through a fault table; here nothing else but the abort page is inaccessible.
extern "C" std::size_t enclume_guarded_copy(void* to, const void* from, std::size_t size) {
  for (const void* place : {const_cast<const void*>(to), from}) {
    if (static_cast<const std::byte*>(place) - refused.data() >= 0 &&
        static_cast<const std::byte*>(place) - refused.data() < 64) {
      return size;
    }
  }
  std::memcpy(to, from, size);
  return 0;
}

namespace enclume::engine {
namespace {

constexpr std::size_t kSize = 4 * kPageSize;
std::byte* denied = nullptr;
int faults = 0;

bool is_denied(const void*, LinearAddress at) {
  return at.value() - reinterpret_cast<std::uint64_t>(denied) < kSize;
}

constexpr std::array<int, 16> kGregs = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                        REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                        REG_R12, REG_R13, REG_R14, REG_R15};

void on_fault(int signo, siginfo_t* info, void* context) {
  auto& m = static_cast<ucontext_t*>(context)->uc_mcontext;
  arch::CpuState cpu;
  for (std::size_t i = 0; i < kGregs.size(); ++i) {
    cpu.gpr[i] = static_cast<std::uint64_t>(m.gregs[kGregs[i]]);
  }
  cpu.rip = static_cast<std::uint64_t>(m.gregs[REG_RIP]);
  cpu.rflags = static_cast<std::uint64_t>(m.gregs[REG_EFL]);
  cpu.xsave.area = reinterpret_cast<std::byte*>(m.fpregs);
  std::memcpy(&cpu.xsave.features, cpu.xsave.area + 464 + 8, 8);
  const AbortPageOutcome outcome = emulate_abort_page(cpu, {{reinterpret_cast<const std::byte*>(cpu.rip), 15},
                                                            LinearAddress::of(info->si_addr),
                                                            0,
                                                            &is_denied,
                                                            nullptr});
  if (outcome.end != AbortPageEnd::Done) {
    std::signal(signo, SIG_DFL);
    return;
  }
  ++faults;
  for (std::size_t i = 0; i < kGregs.size(); ++i) {
    m.gregs[kGregs[i]] = static_cast<greg_t>(cpu.gpr[i]);
  }
  m.gregs[REG_RIP] = static_cast<greg_t>(cpu.rip);
  m.gregs[REG_EFL] = static_cast<greg_t>(cpu.rflags);
}

class EmulationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    void* p = mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(p, MAP_FAILED);
    denied = static_cast<std::byte*>(p);
    struct sigaction action {};
    action.sa_sigaction = &on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &before_);
    faults = 0;
  }
  void TearDown() override {
    sigaction(SIGSEGV, &before_, nullptr);
    munmap(denied, kSize);
  }
  struct sigaction before_ {};
};

// Sizes that reach every path of the vector variants and the string instructions.
constexpr std::array<std::size_t, 14> kSizes = {1, 2, 3, 7, 8, 15, 31, 33, 64, 100, 255, 1000, 4096, 9000};

TEST_F(EmulationTest, LibcCopiesOnesOut) {
  static std::array<std::uint8_t, 9002> to;
  for (const std::size_t size : kSizes) {
    to.fill(0x11);
    std::memcpy(&to[1], denied + 5, size);
    for (std::size_t i = 0; i < to.size(); ++i) {
      ASSERT_EQ(to[i], i >= 1 && i <= size ? 0xff : 0x11) << size << ' ' << i;
    }
  }
  EXPECT_GT(faults, 14);
}

TEST_F(EmulationTest, LibcWritesVanish) {
  for (const std::size_t size : kSizes) {
    const std::vector<std::uint8_t> from(size, 0x22);
    std::memcpy(denied + 3, from.data(), size);
    std::memset(denied + 1, 0x33, size);
  }
  EXPECT_GT(faults, 28);
}

TEST_F(EmulationTest, LibcComparesOnes) {
  for (const std::size_t size : kSizes) {
    std::vector<std::uint8_t> ones(size, 0xff);
    EXPECT_EQ(std::memcmp(denied + 7, ones.data(), size), 0) << size;
    ones.back() = 0xfe;
    EXPECT_GT(std::memcmp(denied + 7, ones.data(), size), 0) << size;
    EXPECT_EQ(std::memchr(denied + 9, 0, size), nullptr) << size;
    EXPECT_EQ(strnlen(reinterpret_cast<const char*>(denied + 9), size), size);
  }
}

TEST_F(EmulationTest, RepeatedStringInstructions) {
  std::vector<std::uint8_t> to(9000, 0);
  const void* from = denied + 1;
  void* target = to.data();
  std::uint64_t count = to.size();
  __asm__ volatile("rep movsb" : "+S"(from), "+D"(target), "+c"(count) : : "memory");
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(from, denied + 9001);
  EXPECT_EQ(to, std::vector<std::uint8_t>(9000, 0xff));
}

/// Runs `op` on the abort page and on ordinary ones; result and flags must agree.
#define EXPECT_SAME(op)                                                                               \
  do {                                                                                                \
    std::array<std::uint64_t, 8> ones;                                                                \
    ones.fill(~std::uint64_t{0});                                                                     \
    std::array<std::uint64_t, 2> value{};                                                             \
    std::array<std::uint64_t, 2> flags{};                                                             \
    void* const places[2] = {denied + 64, ones.data()};                                               \
    for (std::size_t i = 0; i < 2; ++i) {                                                             \
      std::uint64_t a = 0x8123456789abcdef;                                                           \
      __asm__ volatile("leaq -128(%%rsp), %%rsp\n\txorl %%ecx, %%ecx\n\tmovl $3, %%ecx\n\tstc\n\t" op \
                       "\n\tpushfq\n\tpopq %1\n\tleaq 128(%%rsp), %%rsp"                              \
                       : "+&a"(a), "=&r"(flags[i])                                                    \
                       : "S"(places[i])                                                               \
                       : "rcx", "rdx", "cc", "memory");                                               \
      value[i] = a;                                                                                   \
    }                                                                                                 \
    EXPECT_EQ(value[0], value[1]) << op;                                                              \
    EXPECT_EQ(flags[0] & 0x8d5, flags[1] & 0x8d5) << op;                                              \
  } while (false)

TEST_F(EmulationTest, ArithmeticAgreesWithTheProcessor) {
  EXPECT_SAME("addq %%rax, (%%rsi)");
  EXPECT_SAME("addq (%%rsi), %%rax");
  EXPECT_SAME("adcl (%%rsi), %%eax");
  EXPECT_SAME("sbbw %%ax, (%%rsi)");
  EXPECT_SAME("andb (%%rsi), %%ah");
  EXPECT_SAME("cmpq $1, (%%rsi)");
  EXPECT_SAME("testl $0x10, (%%rsi)");
  EXPECT_SAME("incq (%%rsi)");
  EXPECT_SAME("decw (%%rsi)");
  EXPECT_SAME("negl (%%rsi)");
  EXPECT_SAME("notl (%%rsi)");
  EXPECT_SAME("shlq %%cl, (%%rsi)");
  EXPECT_SAME("rcrb $1, (%%rsi)");
  EXPECT_SAME("btsq $5, (%%rsi)");
  EXPECT_SAME("xchgq %%rax, (%%rsi)");
  EXPECT_SAME("lock xaddq %%rax, (%%rsi)");
  EXPECT_SAME("lock cmpxchgq %%rcx, (%%rsi)");
  EXPECT_SAME("movzbl (%%rsi), %%eax");
  EXPECT_SAME("movsbq (%%rsi), %%rax");
  EXPECT_SAME("movslq (%%rsi), %%rax");
  EXPECT_SAME("imulq (%%rsi), %%rax");
  EXPECT_SAME("movb (%%rsi), %%ah");
  EXPECT_SAME("lodsw");
  EXPECT_SAME("popcntq (%%rsi), %%rax");
}

TEST_F(EmulationTest, OtherGeneralInstructionsAgreeWithTheProcessor) {
  EXPECT_SAME("btq $70, (%%rsi)");
  EXPECT_SAME("btq %%rcx, (%%rsi)");
  EXPECT_SAME("lock btrq %%rcx, (%%rsi)");
  EXPECT_SAME("btcl %%ecx, (%%rsi)");
  EXPECT_SAME("bsfq (%%rsi), %%rax");
  EXPECT_SAME("cmovcq (%%rsi), %%rax");
  EXPECT_SAME("cmovncq (%%rsi), %%rax");
  EXPECT_SAME("setc (%%rsi)");
  EXPECT_SAME("shldq %%cl, %%rax, (%%rsi)");
  EXPECT_SAME("mull (%%rsi)");
  EXPECT_SAME("movnti %%rax, (%%rsi)");
  EXPECT_SAME("movq $-7, (%%rsi)");
  EXPECT_SAME("clflush (%%rsi)");
  EXPECT_SAME("lock cmpxchg8b (%%rsi)");
  EXPECT_SAME("lock cmpxchg16b (%%rsi)");
  EXPECT_SAME("pushq (%%rsi)\n\tpopq %%rax");
  EXPECT_SAME("pushw (%%rsi)\n\tpopw %%ax");
  EXPECT_SAME("pushq %%rcx\n\tpopq (%%rsi)");
  EXPECT_SAME("movb $9, %%al\n\tmovq %%rbx, %%rdx\n\tmovq %%rsi, %%rbx\n\txlatb\n\tmovq %%rdx, %%rbx");
  EXPECT_SAME("pushq %%rdi\n\tmovq %%rsi, %%rdi\n\tstosb\n\tpopq %%rdi");
  EXPECT_SAME(
      "pushq %%rdi\n\tmovq %%rsi, %%rdi\n\trepe scasl\n\tmovq %%rdi, %%rax\n\tsubq %%rsi, %%rax\n\tpopq "
      "%%rdi");
  EXPECT_SAME("pushq %%rdi\n\tleaq 8(%%rsi), %%rdi\n\trepe cmpsw\n\tmovq %%rcx, %%rax\n\tpopq %%rdi");
}

/// The same for vector and x87 registers: XMM0, and ST0 as a number.
#define EXPECT_SAME_VECTOR(op)                                                                       \
  do {                                                                                               \
    std::array<std::uint64_t, 8> ones;                                                               \
    ones.fill(~std::uint64_t{0});                                                                    \
    std::array<std::array<std::uint64_t, 2>, 2> value{};                                             \
    void* const places[2] = {denied + 64, ones.data()};                                              \
    for (std::size_t i = 0; i < 2; ++i) {                                                            \
      value[i] = {0x8123456789abcdef, 0x0f1e2d3c4b5a6978};                                           \
      __asm__ volatile("movdqu (%0), %%xmm0\n\tmovdqu (%0), %%xmm1\n\t" op "\n\tmovdqu %%xmm0, (%0)" \
                       :                                                                             \
                       : "r"(value[i].data()), "S"(places[i])                                        \
                       : "rax", "xmm0", "xmm1", "cc", "memory");                                     \
    }                                                                                                \
    EXPECT_EQ(value[0], value[1]) << op;                                                             \
  } while (false)

TEST_F(EmulationTest, VectorInstructionsAgreeWithTheProcessor) {
  EXPECT_SAME_VECTOR("movaps (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("movdqu 3(%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("movups %%xmm0, (%%rsi)");
  EXPECT_SAME_VECTOR("movntdq %%xmm0, (%%rsi)");
  EXPECT_SAME_VECTOR("movq (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("movhps (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("movd (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("pxor (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("pshufd $0x1b, (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("cvtsi2sdq (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("pinsrw $3, (%%rsi), %%xmm0");
  EXPECT_SAME_VECTOR("fildll (%%rsi)\n\tfistpll -8(%%rsp)\n\tmovq -8(%%rsp), %%xmm0");
  EXPECT_SAME_VECTOR("fld1\n\tfistpll (%%rsi)");
  EXPECT_SAME_VECTOR("stmxcsr (%%rsi)");
}

AbortPageOutcome emulate(std::initializer_list<unsigned> code, arch::CpuState& cpu) {
  std::vector<std::byte> bytes;
  for (const unsigned byte : code) {
    bytes.push_back(static_cast<std::byte>(byte));
  }
  return emulate_abort_page(cpu, {bytes, LinearAddress::of(denied), 0, &is_denied, nullptr});
}

TEST_F(EmulationTest, BranchesThroughTheAbortPageGoToNoCanonicalAddress) {
  arch::CpuState cpu;
  cpu[arch::Reg::Rsi] = reinterpret_cast<std::uint64_t>(denied);
  for (const unsigned modrm : {0x16U, 0x26U}) {  // CALL [RSI], JMP [RSI]
    const AbortPageOutcome outcome = emulate({0xff, modrm}, cpu);
    EXPECT_EQ(outcome.end, AbortPageEnd::Fault);
    EXPECT_EQ(outcome.fault, arch::general_protection());
  }
}

TEST_F(EmulationTest, OrdinaryMemoryThatFaultsIsToldApart) {
  arch::CpuState cpu;
  const auto epc = reinterpret_cast<std::uint64_t>(denied);
  const auto closed = reinterpret_cast<std::uint64_t>(refused.data());
  cpu[arch::Reg::Rsi] = epc;
  cpu[arch::Reg::Rdi] = closed;
  cpu[arch::Reg::Rcx] = 8;
  const arch::CpuState before = cpu;
  EXPECT_EQ(emulate({0xa4}, cpu).end, AbortPageEnd::MemoryFault);        // MOVSB
  EXPECT_EQ(emulate({0xf3, 0xa4}, cpu).end, AbortPageEnd::MemoryFault);  // REP MOVSB
  EXPECT_EQ(cpu.gpr, before.gpr);
  cpu[arch::Reg::Rsp] = closed + 16;
  EXPECT_EQ(emulate({0xff, 0x36}, cpu).end, AbortPageEnd::MemoryFault);  // PUSH [RSI]
  EXPECT_EQ(emulate({0x8f, 0x06}, cpu).end, AbortPageEnd::MemoryFault);  // POP [RSI]
  EXPECT_EQ(cpu[arch::Reg::Rsp], closed + 16);
}

TEST_F(EmulationTest, StackPointerAsOperand) {
  std::uint64_t got;
  std::uint64_t mine;
  __asm__ volatile(
      "movq %%rsp, %%rdx\n\tmovq %%rsp, %1\n\tandq (%2), %%rsp\n\tmovq %%rsp, %0\n\tmovq %%rdx, %%rsp"
      : "=&r"(got), "=&r"(mine)
      : "r"(denied)
      : "rdx", "cc", "memory");
  EXPECT_EQ(got, mine);
}

}  // namespace
}  // namespace enclume::engine
