// SPDX-License-Identifier: Apache-2.0
// What the engine decides about protection keys, on any machine.
#include "engine/signals/pkru.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace enclume::engine {
namespace {

constexpr Pkru kLinuxDefault = 0x55555554;
constexpr std::uint64_t kX87Sse = 3;

TEST(Fence, IsAccessDisableOfTheKey) {
  EXPECT_EQ(fence_of(1), 0x4u);
  EXPECT_EQ(fence_of(15), 0x4000'0000u);
}

TEST(Fence, IsNoneWithoutAKey) {
  EXPECT_EQ(fence_of(-1), 0u);
  EXPECT_EQ(inside_fence(kLinuxDefault, 0, fence_of(-1)), kLinuxDefault);
  EXPECT_EQ(outside_fence(0, fence_of(-1)), 0u);
}

TEST(Fence, InsideOpensBothBitsOfTheKeyAndNoOther) {
  EXPECT_EQ(inside_fence(0xffff'ffff, fence_of(15), fence_of(15)), 0x3fff'ffffu);
  EXPECT_EQ(inside_fence(0xffff'ffff, fence_of(1), fence_of(1)), 0xffff'fff3u);
}

TEST(Fence, InsideClosesTheKeysOfOtherEnclaves) {
  const Pkru fence = fence_of(15) | fence_of(14) | fence_of(13);
  EXPECT_EQ(inside_fence(0, fence, fence_of(15)), 0x1400'0000u);
  EXPECT_EQ(inside_fence(0xc000'0000, fence, fence_of(13)), 0xd000'0000u);
}

TEST(Fence, IsClosedOutsideWhateverIsLoaded) {
  EXPECT_EQ(outside_fence(0, fence_of(15)), 0x4000'0000u);
  EXPECT_EQ(outside_fence(kLinuxDefault, fence_of(15)), kLinuxDefault);
}

TEST(PkruAfterExit, IsThatOfTheEntryWithoutPkruInXfrm) {
  // An all-ones XRSTOR in the enclave has opened all keys.
  EXPECT_EQ(pkru_after_exit(kX87Sse, kLinuxDefault, 0, fence_of(15)), kLinuxDefault);
}

TEST(PkruAfterExit, IsTheEnclavesWithPkruInXfrm) {
  EXPECT_EQ(pkru_after_exit(kX87Sse | kPkruFeature, kLinuxDefault, 0x8, fence_of(15)), 0x4000'0008u);
}

TEST(PkruAfterExit, ClosesTheEpcThoughTheHostHadOpenedIt) {
  EXPECT_EQ(pkru_after_exit(kX87Sse, 0, 0, fence_of(15)), 0x4000'0000u);
}

TEST(PkruDenies, ReadsByAccessDisableWritesByEither) {
  constexpr Pkru kAd = 1U << 6;
  constexpr Pkru kWd = 2U << 6;
  EXPECT_FALSE(pkru_denies(0, 3, false));
  EXPECT_FALSE(pkru_denies(0, 3, true));
  EXPECT_TRUE(pkru_denies(kAd, 3, false));
  EXPECT_TRUE(pkru_denies(kAd, 3, true));
  EXPECT_FALSE(pkru_denies(kWd, 3, false));
  EXPECT_TRUE(pkru_denies(kWd, 3, true));
  EXPECT_FALSE(pkru_denies(~(kAd | kWd), 3, true));
}

class XsavePkru : public ::testing::Test {
 protected:
  std::uint64_t xstate_bv() const {
    std::uint64_t v;
    std::memcpy(&v, image_.data() + 512, sizeof(v));
    return v;
  }
  static constexpr std::uint32_t kOffset = 832;  // AMD's place
  std::array<std::byte, 1024> image_{};
};

TEST_F(XsavePkru, IsZeroInItsInitialState) {
  const Pkru stale = kLinuxDefault;
  std::memcpy(image_.data() + kOffset, &stale, sizeof(stale));
  EXPECT_EQ(xsave_pkru(image_.data(), kOffset), 0u);
}

TEST_F(XsavePkru, TakesIntoUse) {
  image_[512] = std::byte{3};
  set_xsave_pkru(image_.data(), kOffset, kLinuxDefault);
  EXPECT_EQ(xsave_pkru(image_.data(), kOffset), kLinuxDefault);
  EXPECT_EQ(xstate_bv(), 0x203u);
}

TEST_F(XsavePkru, WritesFourBytes) {
  set_xsave_pkru(image_.data(), kOffset, ~Pkru{0});
  EXPECT_EQ(image_[kOffset + 3], std::byte{0xff});
  EXPECT_EQ(image_[kOffset + 4], std::byte{0});
}

}  // namespace
}  // namespace enclume::engine
