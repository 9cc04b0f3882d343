// SPDX-License-Identifier: Apache-2.0
// What `__vdso_sgx_enclu`, the function of design `vdso-registers`, does: ENCLU and a return.
#include <gtest/gtest.h>

#include <cstring>

#include "unit/vdso/image_lookups.h"
#include "unit/vdso/probe.h"
#include "unit/vdso/vdso_images.h"
#include "unit/vdso/walk.h"

namespace enclume::test {
namespace {

using Registers = FakeProcessor::Registers;

constexpr std::uint64_t kTcs = 0x7c57c5000;

class VdsoEncluFunction : public testing::Test {
 protected:
  VdsoEncluFunction() : processor_(image_.address(image_.layout().enclu)) {}

  ProbeCall prepare(std::uint64_t leaf) const {
    ProbeCall call = probe_call(image_.enter(), nullptr, 0);
    call.in.rax = leaf;
    call.in.rbx = kTcs;
    return call;
  }

  /// All registers but RIP, which the ENCLU finds.
  static ProbeRegisters registers_of(const Registers& g) {
    const auto at = [&](int index) { return static_cast<std::uint64_t>(g[index]); };
    return {at(REG_RAX), at(REG_RBX), at(REG_RCX), at(REG_RDX), at(REG_RSI), at(REG_RDI),
            at(REG_RBP), at(REG_RSP), at(REG_R8),  at(REG_R9),  at(REG_R10), at(REG_R11),
            at(REG_R12), at(REG_R13), at(REG_R14), at(REG_R15), at(REG_EFL)};
  }

  const LoadedImage image_{build_enclu_image()};
  FakeProcessor processor_;
};

TEST_F(VdsoEncluFunction, PassesEveryRegisterToEncluButRcxWhichIsTheAep) {
  // No leaf is refused: the processor does that.
  for (const std::uint64_t leaf : {0ULL, 2ULL, 3ULL, 4ULL, 0xdeadbeef00000002ULL, ~0ULL}) {
    ProbeCall call = prepare(leaf);
    ProbeRegisters seen = {};
    processor_.then([&](Registers& registers) {
      seen = registers_of(registers);
      eexit(registers);
    });
    vdso_probe_call(&call);
    ProbeRegisters expected = call.in;
    expected.rcx = image_.address(image_.layout().enclu);
    expected.rsp -= 8;
    // RF is the processor's own.
    seen.rflags &= ~std::uint64_t{1 << 16};
    EXPECT_EQ(std::memcmp(&seen, &expected, sizeof seen), 0) << std::hex << leaf;
  }
}

TEST_F(VdsoEncluFunction, ReturnsWithTheRegistersOfTheExit) {
  ProbeCall call = prepare(2);
  ProbeRegisters left = {};
  processor_.then([&](Registers& registers) {
    eexit(registers);
    for (const int index : {REG_RCX, REG_R12, REG_R13, REG_R14, REG_R15}) {
      registers[index] = 0xe000 + index;
    }
    registers[REG_EFL] |= kDirectionFlag;
    left = registers_of(registers);
  });
  vdso_probe_call(&call);
  left.rsp = call.in.rsp;
  left.rflags = call.out.rflags = 0;
  EXPECT_EQ(std::memcmp(&call.out, &left, sizeof left), 0);
}

TEST_F(VdsoEncluFunction, ReturnsTheFactsOfAnExceptionInRegisters) {
  for (const unsigned leaf : {2U, 3U}) {
    ProbeCall call = prepare(2);
    processor_.then([&](Registers& registers) {
      fix_up(registers, image_.address(image_.layout().fixup), leaf, 14, 0x8007, 0x123456789abcd000);
    });
    vdso_probe_call(&call);
    EXPECT_EQ(call.out.rax, leaf);
    EXPECT_EQ(call.out.rdi, 14U);
    EXPECT_EQ(call.out.rsi, 0x8007U);
    EXPECT_EQ(call.out.rdx, 0x123456789abcd000U);
    EXPECT_EQ(call.out.rbx, kTcs);
    EXPECT_EQ(call.out.rcx, image_.address(image_.layout().enclu));
    EXPECT_EQ(call.out.rsp, call.in.rsp);
    EXPECT_EQ(call.out.rbp, call.in.rbp);
  }
}

TEST_F(VdsoEncluFunction, CanBeUnwoundFromEveryInstruction) {
  ProbeCall call = prepare(2);
  Walk walk(image_, kernel::enclu_code(), call);
  processor_.observer = [&](ucontext_t& context) { walk.look(context); };
  processor_.then(
      [&](Registers& registers) { fix_up(registers, image_.address(image_.layout().fixup), 3, 6, 0, 0); });
  walk.run();
  EXPECT_EQ(walk.seen(), instructions_of(kernel::enclu_code()));
}

// ---- Which image has which function ----

TEST(VdsoDesigns, HaveOneEntryFunctionAtMost) {
  struct {
    std::optional<kernel::EntryCode> entry;
    bool enter_enclave;
    bool enclu;
  } const rows[] = {
      {kernel::enter_enclave_code(), true, false}, {kernel::enclu_code(), false, true}, {{}, false, false}};
  for (const auto& row : rows) {
    // From a machine that has neither, and from one that has one or the other.
    const BuiltImage plain = build_image(own_vdso(), own_vdso_address(), {.entry = {}});
    const BuiltImage with_enter = build_image();
    const BuiltImage with_enclu = build_enclu_image();
    for (const BuiltImage* machine : {&plain, &with_enter, &with_enclu}) {
      const MappedImage image(build_image(machine->bytes, own_vdso_address(), {.entry = row.entry}));
      const auto find = [&](std::string_view name) {
        const void* place = find_by_gnu_hash(image.base(), name);
        EXPECT_EQ(find_by_sysv_hash(image.base(), name), place);
        EXPECT_EQ(find_by_reference_parser(image.base(), "LINUX_2.6", name), place);
        EXPECT_EQ(find_by_sections(image.base(), name), place);
        return place;
      };
      const void* entry = image.base() + image.layout().enter;
      EXPECT_EQ(find("__vdso_sgx_enter_enclave"), row.enter_enclave ? entry : nullptr);
      EXPECT_EQ(find("__vdso_sgx_enclu"), row.enclu ? entry : nullptr);
      EXPECT_NE(find("__vdso_clock_gettime"), nullptr);
      if (!row.entry) {
        EXPECT_EQ(image.layout().enter, 0U);
        EXPECT_EQ(image.layout().enclu, 0U);
        EXPECT_EQ(image.layout().fixup, 0U);
      }
    }
  }
}

TEST(VdsoDesigns, AnImageWithoutAnEntryFunctionHasNoEnclu) {
  const BuiltImage image = build_image(own_vdso(), own_vdso_address(), {.entry = {}});
  constexpr std::array enclu = {std::byte{0x0f}, std::byte{0x01}, std::byte{0xd7}};
  EXPECT_EQ(std::search(image.bytes.begin(), image.bytes.end(), enclu.begin(), enclu.end()),
            image.bytes.end());
}

}  // namespace
}  // namespace enclume::test
