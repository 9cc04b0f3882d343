// SPDX-License-Identifier: Apache-2.0
// Plain code that the engine executes itself, against the processor's execution of the same bytes.
#include "engine/step/run_ahead.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <initializer_list>
#include <random>
#include <vector>

namespace enclume::engine {
namespace {

struct State {
  std::array<std::uint64_t, 16> registers;
  std::uint64_t flags;
};

extern "C" void enclume_test_run_native(State* state, const void* code);
extern "C" void enclume_test_native_end();

constexpr std::uint64_t kStatusFlags = 0x8d5;
constexpr unsigned kRsp = 4, kR15 = 15;
constexpr std::uint8_t kEnclu[] = {0x0f, 0x01, 0xd7};

using Bytes = std::vector<std::uint8_t>;

/// A page of code, and one of data whose middle R15 and RSP lead to.
class Pages {
 public:
  Pages()
      : memory_(static_cast<std::uint8_t*>(
            mmap(nullptr, 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
  ~Pages() { munmap(memory_, 0x2000); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::uint8_t* code() const { return memory_; }
  std::uint8_t* data() const { return memory_ + 0x1000; }
  std::uint64_t middle() const { return reinterpret_cast<std::uint64_t>(data()) + 0x800; }

 private:
  std::uint8_t* memory_;
};

class PageMemory final : public AheadMemory {
 public:
  explicit PageMemory(const Pages& pages) : pages_(pages) {}
  std::size_t fetch(std::uint64_t rip, std::byte (&code)[decode::kMaxInstructionLength]) override {
    const std::uint64_t at = rip - reinterpret_cast<std::uint64_t>(pages_.code());
    const std::size_t n = at < 0x1000 ? std::min<std::size_t>(sizeof(code), 0x1000 - at) : 0;
    std::memcpy(code, pages_.code() + (n != 0 ? at : 0), n);
    return n;
  }
  std::byte* operand(std::uint64_t address, bool write) override {
    const std::uint64_t at = address - reinterpret_cast<std::uint64_t>(pages_.data());
    return at < 0x1000 && !(write && read_only) ? reinterpret_cast<std::byte*>(pages_.data() + at) : nullptr;
  }
  bool read_only = false;

 private:
  const Pages& pages_;
};

class RunAheadTest : public ::testing::Test {
 protected:
  void put_code(const Bytes& bytes) {
    std::memset(pages_.code(), 0xcc, 0x1000);
    std::copy(bytes.begin(), bytes.end(), pages_.code());
    size_ = bytes.size();
    std::copy(std::begin(kEnclu), std::end(kEnclu), pages_.code() + size_);
  }
  arch::CpuState cpu_from(const State& state) const {
    arch::CpuState cpu;
    cpu.gpr = state.registers;
    cpu.rip = reinterpret_cast<std::uint64_t>(pages_.code());
    cpu.rflags = 0x202 | state.flags;
    return cpu;
  }
  void run_native(State& state) {
    // jmp *0(%rip), in place of the ENCLU
    std::uint8_t* const end = pages_.code() + size_;
    const std::uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};
    std::copy(std::begin(jump), std::end(jump), end);
    const auto target = reinterpret_cast<std::uint64_t>(&enclume_test_native_end);
    std::memcpy(end + sizeof(jump), &target, sizeof(target));
    enclume_test_run_native(&state, pages_.code());
  }
  State state() const {
    State s{};
    s.registers[kRsp] = pages_.middle();
    s.registers[kR15] = pages_.middle();
    return s;
  }
  /// Whether all of it is executed, from registers of zeros.
  bool known(std::initializer_list<int> bytes) {
    put_code(Bytes(bytes.begin(), bytes.end()));
    arch::CpuState cpu = cpu_from(state());
    return run_ahead(cpu, memory_, decode::BranchRule::Intel);
  }

  Pages pages_;
  PageMemory memory_{pages_};
  std::size_t size_ = 0;
};

/// Instructions at random, of all the kinds that are known.
class Generator {
 public:
  explicit Generator(std::uint64_t seed) : random_(seed) {}

  Bytes instructions(unsigned count) {
    Bytes out;
    for (unsigned n = 0; n < count; ++n) {
      add(out);
    }
    return out;
  }
  std::uint64_t word() {
    // Values at the ends of their ranges make the interesting flags.
    switch (random_() % 4) {
      case 0:
        return random_() % 3 - 1;
      case 1:
        return 0x7fff'ffff + random_() % 3;
      case 2:
        return (1ULL << 63) - 1 + random_() % 3;
      default:
        return random_();
    }
  }
  std::uint64_t next() { return random_(); }

 private:
  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
  unsigned any_register() {
    unsigned r = below(15);
    return r == kRsp ? 0 : r;
  }
  static void put(Bytes& out, std::initializer_list<unsigned> bytes) {
    for (const unsigned b : bytes) {
      out.push_back(static_cast<std::uint8_t>(b));
    }
  }
  void immediate(Bytes& out, unsigned size) {
    const std::uint64_t value = word();
    for (unsigned i = 0; i < size; ++i) {
      out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    }
  }
  /// REX, opcode, ModRM: `reg` and a register, or a word of the data page through R15.
  void with_rm(Bytes& out, unsigned opcode, unsigned reg, bool memory, bool wide, bool two_bytes = false) {
    const unsigned rm = memory ? kR15 : any_register();
    put(out, {0x40U | (wide ? 8U : 0U) | (reg >= 8 ? 4U : 0U) | (rm >= 8 ? 1U : 0U)});
    if (two_bytes) {
      put(out, {0x0f});
    }
    put(out, {opcode, (memory ? 0x40U : 0xc0U) | (reg & 7) << 3 | (rm & 7)});
    if (memory) {
      put(out, {(below(8) * 8 - 32) & 0xff});
    }
  }
  void add(Bytes& out) {
    const bool wide = below(2) != 0;
    const bool memory = below(3) == 0;
    constexpr unsigned kForms[] = {1, 3};
    switch (below(16)) {
      case 0:
        return with_rm(out, below(8) * 8 + kForms[below(2)], any_register(), memory, wide);
      case 1:
        put(out, {wide ? 0x48U : 0x40U, below(8) * 8 + 5});
        return immediate(out, 4);
      case 2:
        with_rm(out, 0x83, below(8), memory, wide);
        return immediate(out, 1);
      case 3:
        with_rm(out, 0x81, below(8), memory, wide);
        return immediate(out, 4);
      case 4:
        return with_rm(out, 0x85, any_register(), memory, wide);
      case 5:
        return with_rm(out, below(2) != 0 ? 0x89 : 0x8b, any_register(), memory, wide);
      case 6:
        return with_rm(out, 0x8d, any_register(), true, wide);
      case 7: {
        constexpr unsigned kShifts[] = {4, 5, 7};
        const bool by_one = below(2) != 0;
        with_rm(out, by_one ? 0xd1 : 0xc1, kShifts[below(3)], memory, wide);
        return by_one ? void() : immediate(out, 1);
      }
      case 8: {
        const unsigned r = any_register();
        put(out, {0x40U | (wide ? 8U : 0U) | (r >= 8 ? 1U : 0U), 0xb8U | (r & 7)});
        return immediate(out, wide ? 8 : 4);
      }
      case 9: {
        const unsigned r = any_register(), s = any_register();  // push r; pop s
        put(out, {r >= 8 ? 0x41U : 0x40U, 0x50U | (r & 7), s >= 8 ? 0x41U : 0x40U, 0x58U | (s & 7)});
        return;
      }
      case 10: {
        // Over an INC, or not; the displacement is of one byte or of four.
        const unsigned condition = below(16);
        if (below(2) != 0) {
          put(out, {0x70U | condition, 3});
        } else {
          put(out, {0x0f, 0x80U | condition, 3, 0, 0, 0});
        }
        return put(out, {0x48, 0xff, 0xc0});
      }
      case 11:
        return with_rm(out, 0x40U | below(16), any_register(), memory, wide, true);
      case 12: {
        constexpr unsigned kOps[] = {2, 3};
        if (below(2) != 0) {
          return with_rm(out, 0xf7, kOps[below(2)], memory, wide);
        }
        with_rm(out, 0xf7, 0, memory, wide);
        return immediate(out, 4);
      }
      case 13:
        return with_rm(out, 0xff, below(2), memory, wide);
      case 14:
        // call to a function of one instruction, behind a jump over it
        return put(out, {0xe8, 2, 0, 0, 0, 0xeb, 4, 0x48, 0xf7, 0xd0, 0xc3});
      default:
        if (below(2) != 0) {
          return with_rm(out, 0x63, any_register(), false, true);
        }
        with_rm(out, 0xc7, 0, memory, wide);
        return immediate(out, 4);
    }
  }

  std::mt19937_64 random_;
};

TEST_F(RunAheadTest, DoesWhatTheProcessorDoes) {
  constexpr int kPrograms = 20'000;
  int executed = 0;
  for (int n = 0; n < kPrograms; ++n) {
    Generator generator(static_cast<std::uint64_t>(n));
    put_code(generator.instructions(1 + static_cast<unsigned>(generator.next() % 8)));
    State native = state();
    for (unsigned r = 0; r < 15; ++r) {
      native.registers[r] = r == kRsp ? native.registers[r] : generator.word();
    }
    native.flags = generator.next() & kStatusFlags;
    for (int at = 0; at < 0x1000; at += 8) {
      const std::uint64_t word = generator.word();
      std::memcpy(pages_.data() + at, &word, sizeof(word));
    }
    const Bytes before(pages_.data(), pages_.data() + 0x1000);

    arch::CpuState cpu = cpu_from(native);
    const bool done = run_ahead(cpu, memory_, decode::BranchRule::Intel);
    const Bytes after(pages_.data(), pages_.data() + 0x1000);
    if (!done) {
      ASSERT_EQ(after, before) << "program " << n;  // too many stores, or two sizes at one place
      continue;
    }
    ++executed;
    ASSERT_EQ(cpu.rip, reinterpret_cast<std::uint64_t>(pages_.code()) + size_) << "program " << n;
    std::copy(before.begin(), before.end(), pages_.data());
    run_native(native);
    ASSERT_EQ(cpu.gpr, native.registers) << "program " << n;
    ASSERT_EQ(cpu.rflags & kStatusFlags, native.flags & kStatusFlags) << "program " << n;
    // Below RSP stand what was pushed and popped, in both.
    ASSERT_EQ(Bytes(pages_.data(), pages_.data() + 0x1000), after) << "program " << n;
  }
  EXPECT_GT(executed, kPrograms * 3 / 4);
}

TEST_F(RunAheadTest, LeavesTheRestToTheProcessor) {
  EXPECT_TRUE(known({0x90}));
  EXPECT_FALSE(known({0x0f, 0xa2}));              // CPUID
  EXPECT_FALSE(known({0xf0, 0x49, 0xff, 0x07}));  // LOCK INC
  EXPECT_FALSE(known({0x66, 0x01, 0xc0}));        // 16 bits
  EXPECT_FALSE(known({0x67, 0x41, 0x8b, 0x07}));  // 32-bit addresses
  EXPECT_FALSE(known({0x64, 0x49, 0x8b, 0x07}));  // FS
  EXPECT_FALSE(known({0x00, 0xc0}));              // 8 bits
  EXPECT_FALSE(known({0x41, 0x90}));              // XCHG with R8
  EXPECT_FALSE(known({0xf3, 0x48, 0xab}));        // REP STOS
  EXPECT_FALSE(known({0x0f, 0x58, 0xc1}));        // ADDPS
  EXPECT_FALSE(known({0x49, 0x8b, 0x47, 0x04}));  // not aligned
  EXPECT_FALSE(known({0x48, 0x8b, 0x00}));        // a page that is not there
  EXPECT_FALSE(known({0xe3, 0x00}));              // JRCXZ
  EXPECT_FALSE(known({0xff, 0xe0}));              // to a register's address
  EXPECT_FALSE(known({0xcc}));                    // a debugger's
  EXPECT_FALSE(known({0xeb, 0xfe}));              // for ever
}

TEST_F(RunAheadTest, WhatWasBegunInVainHasNotHappened) {
  // mov %rax, (%r15); inc %rax; push %rax; cpuid
  put_code({0x49, 0x89, 0x07, 0x48, 0xff, 0xc0, 0x50, 0x0f, 0xa2});
  State before = state();
  before.registers[0] = 0x1234;
  arch::CpuState cpu = cpu_from(before);
  EXPECT_FALSE(run_ahead(cpu, memory_, decode::BranchRule::Intel));
  EXPECT_EQ(cpu.gpr, before.registers);
  EXPECT_EQ(cpu.rip, reinterpret_cast<std::uint64_t>(pages_.code()));
  EXPECT_EQ(Bytes(pages_.data(), pages_.data() + 0x1000), Bytes(0x1000));
}

TEST_F(RunAheadTest, APageThatMayNotBeWrittenIsNot) {
  memory_.read_only = true;
  EXPECT_TRUE(known({0x49, 0x8b, 0x07}));
  EXPECT_FALSE(known({0x49, 0x89, 0x07}));
}

TEST(AheadOddsTest, ALoopPaysAndASingleLeafDoesNot) {
  AheadOdds odds;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(odds.good(0x1000));
    odds.ended(0x1000, false);
  }
  EXPECT_FALSE(odds.good(0x1000));
  EXPECT_TRUE(odds.good(0x2000));
  for (int loop = 0; loop < 100; ++loop) {
    for (int i = 0; i < 16; ++i) {
      ASSERT_TRUE(odds.good(0x2000));
      odds.ended(0x2000, true);
    }
    odds.ended(0x2000, false);
  }
}

}  // namespace
}  // namespace enclume::engine
