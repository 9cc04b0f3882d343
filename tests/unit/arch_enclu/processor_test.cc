// SPDX-License-Identifier: Apache-2.0
// The SSA frame against the machine's own XSAVE and XRSTOR: what the model writes, the processor must be able
// to load, and nothing may be lost on the way. Where the processor has no AVX-512 the test says what it has.
#include <cpuid.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kTested = 0xe7;  // x87, SSE, AVX, AVX-512

struct alignas(64) XsaveArea {
  std::array<std::byte, 4096> bytes{};
};

// Loads `from` into the registers, stores them to `to`, and puts the caller's own back; nothing in between
// may touch a vector register, so it is one piece of assembly.
void load_and_store(const XsaveArea& from, XsaveArea& to, std::uint64_t components) {
  XsaveArea own;
  const auto low = static_cast<std::uint32_t>(components);
  __asm__ volatile(
      "xsave64 %[own]\n\t"
      "xrstor64 %[from]\n\t"
      "xsave64 %[to]\n\t"
      "xrstor64 %[own]"
      : [own] "+m"(own), [to] "+m"(to)
      : [from] "m"(from), "a"(low), "d"(0U)
      : "memory");
}

std::uint64_t machine_xcr0() {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_OSXSAVE) == 0) {
    return 0;
  }
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

arch::MachineConfig machine_config(std::uint64_t components) {
  arch::MachineConfig config = default_config();
  config.xcr0 = components;
  config.xsave = {};
  for (unsigned i = 2; i < 32; ++i) {
    std::uint32_t size = 0;
    std::uint32_t offset = 0;
    std::uint32_t ecx = 0;
    std::uint32_t edx = 0;
    if ((components >> i & 1) != 0 && __get_cpuid_count(0xd, i, &size, &offset, &ecx, &edx) != 0) {
      config.xsave[i] = {offset, size};
    }
  }
  return config;
}

class ProcessorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (components == 0) {
      GTEST_SKIP() << "this machine's operating system does not use XSAVE";
    }
    options.config = machine_config(components);
    options.xfrm = components;
  }

  // An image as the processor stores it, so that equal states have equal bytes: random contents, loaded and
  // stored.
  void fill_registers(World& w, std::uint64_t in_use, unsigned seed) {
    XsaveArea area;
    std::mt19937 random(seed);
    std::generate(area.bytes.begin(), area.bytes.end(), [&] { return static_cast<std::byte>(random()); });
    const std::uint16_t control[4] = {0x037f, 0, 0xff, 0};
    std::memcpy(area.bytes.data(), control, sizeof(control));
    std::memset(area.bytes.data() + 8, 0, 16);
    const std::uint32_t mxcsr = 0x1f80 | (seed & 0x3f);
    std::memcpy(area.bytes.data() + 24, &mxcsr, sizeof(mxcsr));
    std::memset(area.bytes.data() + 512, 0, 64);
    std::memcpy(area.bytes.data() + 512, &in_use, sizeof(in_use));
    XsaveArea stored;
    load_and_store(area, stored, components);
    std::memcpy(w.xsave().data(), stored.bytes.data(), stored.bytes.size());
  }
  [[nodiscard]] XsaveArea image(World& w) {
    XsaveArea area;
    std::memcpy(area.bytes.data(), w.xsave().data(), area.bytes.size());
    return area;
  }
  [[nodiscard]] XsaveArea frame(World& w) {
    XsaveArea area;
    const std::size_t size = arch::xsave_size(options.config, components);
    std::memcpy(area.bytes.data(), w.page_at(w.frame_offset(0)).data, size);
    return area;
  }
  void expect_same_state(const XsaveArea& a, const XsaveArea& b) {
    XsaveArea loaded_a;
    XsaveArea loaded_b;
    load_and_store(a, loaded_a, components);
    load_and_store(b, loaded_b, components);
    // XSTATE_BV tells what the processor has noticed to be in its INIT state: how, not what.
    std::memset(loaded_a.bytes.data() + 512, 0, 8);
    std::memset(loaded_b.bytes.data() + 512, 0, 8);
    const auto difference =
        std::mismatch(loaded_a.bytes.begin(), loaded_a.bytes.end(), loaded_b.bytes.begin());
    EXPECT_EQ(difference.first - loaded_a.bytes.begin(), static_cast<std::ptrdiff_t>(loaded_a.bytes.size()))
        << "first byte that differs";
  }

  const std::uint64_t components = machine_xcr0() & kTested;
  WorldOptions options;
};

TEST_F(ProcessorTest, LoadsWhatAnExitSaved) {
  for (const std::uint64_t in_use : {kTested, std::uint64_t{3}, std::uint64_t{1}, std::uint64_t{2},
                                     std::uint64_t{5}, std::uint64_t{0xe2}, std::uint64_t{0}}) {
    SCOPED_TRACE(in_use);
    World w(options);
    ASSERT_TRUE(w.eenter().has_value());
    fill_registers(w, in_use & components, 11);
    const XsaveArea inside = image(w);
    std::memset(w.page_at(w.frame_offset(0)).data, 0x66, 512);
    w.aex();
    expect_same_state(frame(w), inside);
  }
}

TEST_F(ProcessorTest, ResumesToTheSameRegisters) {
  for (const std::uint64_t in_use : {kTested, std::uint64_t{3}, std::uint64_t{0xe4}, std::uint64_t{0}}) {
    SCOPED_TRACE(in_use);
    World w(options);
    ASSERT_TRUE(w.eenter().has_value());
    fill_registers(w, in_use & components, 12);
    const XsaveArea inside = image(w);
    w.aex();
    fill_registers(w, components, 13);
    ASSERT_TRUE(w.eresume().has_value());
    expect_same_state(image(w), inside);
  }
}

TEST_F(ProcessorTest, HasItsInitStateAfterAnExit) {
  World w(options);
  ASSERT_TRUE(w.eenter().has_value());
  fill_registers(w, components, 14);
  w.aex();
  XsaveArea init;  // XSTATE_BV = 0: all INIT, MXCSR from memory
  const std::uint32_t mxcsr = 0x1fb0;
  std::memcpy(init.bytes.data() + 24, &mxcsr, sizeof(mxcsr));
  expect_same_state(image(w), init);
}

TEST_F(ProcessorTest, FindsOneUnmaskedExceptionAfterAnX87Fault) {
  World w(options);
  ASSERT_TRUE(w.eenter().has_value());
  fill_registers(w, components, 15);
  w.aex({.exception = true, .vector = arch::Vector::MF, .error_code = 0, .address = {}, .save_rf = true});
  XsaveArea loaded;
  load_and_store(image(w), loaded, components);
  std::uint16_t words[2];
  std::memcpy(words, loaded.bytes.data(), sizeof(words));
  EXPECT_EQ(words[0], 0x037e);
  EXPECT_EQ(words[1], 0x8081);
}

}  // namespace
}  // namespace enclume::test
