// SPDX-License-Identifier: Apache-2.0
// The public headers on a machine without Enclume.
#include <gtest/gtest.h>
#include <sys/auxv.h>

#include <cstring>

#include "enclume/host/per_mm_enclu.h"
#include "enclume/host/vdso_enclu.h"

extern "C" unsigned long uapi_user_register_number();
extern "C" const char* uapi_user_function_name();
const void* host_user_enclu();

namespace enclume::test {
namespace {

TEST(PublicHeaders, AreUsableFromC) {
  EXPECT_EQ(uapi_user_register_number(), 0x4010a480u);
  EXPECT_STREQ(uapi_user_function_name(), "__vdso_sgx_enclu");
}

TEST(PublicHeaders, BringTheirCodeOnceHoweverManyFilesIncludeThem) {
  EXPECT_EQ(host_user_enclu(), detail::enclume_per_mm_enclu);
  constexpr std::uintptr_t kReturn = 14;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(detail::enclume_per_mm_enclu_return),
            reinterpret_cast<std::uintptr_t>(detail::enclume_per_mm_enclu) + kReturn);
  EXPECT_EQ(std::memcmp(detail::enclume_per_mm_enclu + kReturn - 3, "\x0f\x01\xd7\xc3", 4), 0);
}

TEST(PublicHeaders, FindTheVdsosSymbolsAndNoOthers) {
  EXPECT_NE(find_vdso_symbol("__vdso_clock_gettime"), nullptr);
  EXPECT_EQ(find_vdso_symbol("__vdso_clock_gettim"), nullptr);
  EXPECT_FALSE(find_vdso_enclu().has_value());
}

TEST(PublicHeaders, SayThatTheDeviceIsNoDevice) {
  PerMmHandler handler;
  EXPECT_EQ(handler.register_with(-1), EBADF);
}

// A function by the contract that plays ENCLU: leaves with what it finds in R8 as the leaf.
__attribute__((naked)) void fake_enclu() {
  asm("movq %r8, %rax\n\t"
      "xorl %ebx, %ebx\n\t"
      "xorl %r12d, %r12d\n\t"
      "xorl %r13d, %r13d\n\t"
      "xorl %r14d, %r14d\n\t"
      "xorl %r15d, %r15d\n\t"
      "std\n\t"
      "ret");
}

TEST(EncluFunctionTest, HandsRegistersThroughAndKeepsTheCallers) {
  const EncluFunction function(reinterpret_cast<const void*>(&fake_enclu));
  const EncluExit left = function.enter(0x1000, {.rdi = 1, .rsi = 2, .rdx = 3, .r8 = 4, .r9 = 5});
  EXPECT_TRUE(left.exited());
  EXPECT_EQ(left.vector, 0);
  EXPECT_EQ(left.registers.rdi, 1u);
  EXPECT_EQ(left.registers.r9, 5u);
  const EncluExit fault = function.enter(0x1000, {.rdi = 14, .rsi = 0x8007, .rdx = 0x2000, .r8 = 2, .r9 = 5});
  EXPECT_EQ(fault.leaf, EncluLeaf::kEenter);
  EXPECT_EQ(fault.vector, 14);
  EXPECT_EQ(fault.error_code, 0x8007);
  EXPECT_EQ(fault.address, 0x2000u);
}

TEST(EncluFunctionTest, AsksTheHandlerUntilAnExitOrItGivesUp) {
  const EncluFunction function(reinterpret_cast<const void*>(&fake_enclu));
  int asked = 0;
  const auto again = [&](const EncluExit& exit, EncluRegisters& next) {
    EXPECT_EQ(exit.leaf, EncluLeaf::kEresume);
    ++asked;
    next = {.rdi = 0, .rsi = 0, .rdx = 0, .r8 = asked < 3 ? 3u : 4u, .r9 = 0};
    return EncluLeaf::kEresume;
  };
  EXPECT_TRUE(function.enter(0, {.r8 = 3}, again).exited());
  EXPECT_EQ(asked, 3);
  const EncluExit given_up = function.enter(
      0, {.rdi = 6, .r8 = 3}, [](const EncluExit&, EncluRegisters&) { return EncluLeaf::kEexit; });
  EXPECT_EQ(given_up.leaf, EncluLeaf::kEresume);
  EXPECT_EQ(given_up.vector, 6);
}

TEST(EncluFunctionTest, LetsAHandlersExceptionThrough) {
  const EncluFunction function(reinterpret_cast<const void*>(&fake_enclu));
  EXPECT_THROW(static_cast<void>(function.enter(
                   0, {.r8 = 3}, [](const EncluExit&, EncluRegisters&) -> EncluLeaf { throw 17; })),
               int);
}

}  // namespace
}  // namespace enclume::test
