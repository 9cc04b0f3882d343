// SPDX-License-Identifier: Apache-2.0
// Extended state: from the registers' image into an SSA frame and back, and what an asynchronous exit leaves.
#include "arch/enclu/xstate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::Vector;

constexpr std::uint64_t kAvx512 = 0xe7;
constexpr std::uint64_t kAmx = 3ULL << 17;
constexpr std::uint64_t kPkru = 1ULL << 9;

using Layout = std::array<arch::XsaveComponent, 64>;

constexpr Layout intel_layout() {
  Layout l{};
  l[2] = {576, 256};
  l[5] = {1088, 64};
  l[6] = {1152, 512};
  l[7] = {1664, 1024};
  l[9] = {2688, 8};
  l[17] = {2752, 64};
  l[18] = {2816, 8192};
  return l;
}

// AMD's processors leave no room for MPX.
constexpr Layout amd_layout() {
  Layout l{};
  l[2] = {576, 256};
  l[5] = {832, 64};
  l[6] = {896, 512};
  l[7] = {1408, 1024};
  l[9] = {2432, 8};
  return l;
}

struct Setup {
  std::string name;
  Layout shown;  ///< by CPUID: the frame's layout
  Layout image;  ///< the machine's
  std::uint64_t xcr0;
  std::uint64_t xfrm;
};

// One byte range of a component in either place.
struct Piece {
  unsigned component;
  std::uint32_t frame_offset;
  std::uint32_t image_offset;
  std::uint32_t size;
};

// Independent of the code under test: the fixed part from SDM Vol. 1, Table 13-1, the rest from the layouts.
std::vector<Piece> pieces_of(const Setup& s) {
  std::vector<Piece> pieces = {{0, 0, 0, 24}, {0, 32, 32, 128}, {1, 160, 160, 256}};
  for (unsigned i = 2; i < 64; ++i) {
    if ((s.xcr0 >> i & 1) != 0) {
      pieces.push_back({i, s.shown[i].offset, s.image[i].offset, s.shown[i].size});
    }
  }
  return pieces;
}

WorldOptions options_of(const Setup& s) {
  WorldOptions options;
  options.xfrm = s.xfrm;
  options.ssa_frame_size = 4;
  options.config.xsave = s.shown;
  options.config.xcr0 = s.xcr0;
  return options;
}

class XstateTest : public ::testing::TestWithParam<Setup> {
 protected:
  XstateTest() : w(options_of(GetParam())), pieces(pieces_of(GetParam())) {
    w.cpu.xsave.layout = GetParam().image.data();
  }

  // Fresh values in every component of XCR0, all in use; FCW and MXCSR are legal.
  void fill_image(unsigned seed) {
    std::mt19937 random(seed);
    for (const Piece& p : pieces) {
      for (std::uint32_t i = 0; i < p.size; ++i) {
        w.xsave()[p.image_offset + i] = static_cast<std::byte>(random());
      }
    }
    w.put<std::uint32_t>(24, 0x1f80 | (random() & 0x3f));
    w.put<std::uint64_t>(512, GetParam().xcr0);
  }
  [[nodiscard]] std::vector<std::byte> image_piece(const Piece& p) {
    return {w.xsave().begin() + p.image_offset, w.xsave().begin() + p.image_offset + p.size};
  }
  [[nodiscard]] std::vector<std::byte> frame_piece(const Piece& p) {
    std::vector<std::byte> bytes;
    for (std::uint32_t i = 0; i < p.size; ++i) {
      bytes.push_back(w.frame_value<std::byte>(0, p.frame_offset + i));
    }
    return bytes;
  }
  void fill_frame(std::uint8_t value) {
    for (std::uint64_t page = 0; page < 4; ++page) {
      std::memset(w.page_at(w.frame_offset(0) + page * kPageSize).data, value, kPageSize);
    }
  }
  [[nodiscard]] bool enclaves(const Piece& p) const { return (GetParam().xfrm >> p.component & 1) != 0; }
  // The bytes of a component in its INIT state.
  static std::vector<std::byte> init_bytes(const Piece& p) {
    std::vector<std::byte> bytes(p.size);
    if (p.component == 0 && p.image_offset == 0) {
      bytes[0] = std::byte{0x7f};
      bytes[1] = std::byte{0x03};
    }
    return bytes;
  }

  World w;
  std::vector<Piece> pieces;
};

TEST_P(XstateTest, ExitAndResumeBringEveryComponentBack) {
  fill_image(1);
  ASSERT_TRUE(w.eenter().has_value());
  fill_image(2);
  const std::vector<std::byte> inside(w.xsave().begin(), w.xsave().end());
  w.aex();
  // Outside, the machine's state changes as a whole; what is not in XFRM stays changed.
  fill_image(3);
  const std::vector<std::byte> outside(w.xsave().begin(), w.xsave().end());
  ASSERT_TRUE(w.eresume().has_value());
  for (const Piece& p : pieces) {
    const auto& expected = enclaves(p) ? inside : outside;
    EXPECT_TRUE(std::equal(expected.begin() + p.image_offset, expected.begin() + p.image_offset + p.size,
                           w.xsave().begin() + p.image_offset))
        << "component " << p.component;
  }
  EXPECT_EQ(w.get<std::uint64_t>(512), GetParam().xcr0);
  EXPECT_TRUE(std::equal(inside.begin() + 24, inside.begin() + 28, w.xsave().begin() + 24)) << "MXCSR";
}

TEST_P(XstateTest, FrameHoldsTheStandardFormat) {
  ASSERT_TRUE(w.eenter().has_value());
  fill_image(4);
  fill_frame(0xcc);
  std::vector<std::vector<std::byte>> inside;
  for (const Piece& p : pieces) {
    inside.push_back(image_piece(p));
  }
  const auto mxcsr = w.get<std::uint64_t>(24);
  w.aex();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (enclaves(pieces[i])) {
      EXPECT_EQ(frame_piece(pieces[i]), inside[i]) << "component " << pieces[i].component;
    }
  }
  EXPECT_EQ(w.frame_value<std::uint64_t>(0, 24), mxcsr) << "MXCSR and its mask";
  EXPECT_EQ(w.frame_value<std::uint64_t>(0, 512), GetParam().xfrm);
  EXPECT_EQ(w.frame_value<std::uint64_t>(0, 520), 0U);
  EXPECT_EQ(w.frame_value<std::uint64_t>(0, 528), 0U);
}

TEST_P(XstateTest, NothingElseOfTheFrameIsWritten) {
  ASSERT_TRUE(w.eenter().has_value());
  fill_image(5);
  fill_frame(0xcc);
  w.aex();
  std::vector<bool> written(4 * kPageSize - 200, false);
  const auto mark = [&](std::uint32_t offset, std::uint32_t size) {
    std::fill_n(written.begin() + offset, size, true);
  };
  for (const Piece& p : pieces) {
    if (enclaves(p)) {
      mark(p.frame_offset, p.size);
    }
  }
  mark(24, 8);
  mark(512, 24);
  for (std::uint32_t i = 0; i < written.size(); ++i) {
    if (!written[i]) {
      ASSERT_EQ(w.frame_value<std::uint8_t>(0, i), 0xcc) << "offset " << i;
    }
  }
}

TEST_P(XstateTest, ComponentsInInitStateAreSavedAsInitValues) {
  for (const Piece& init : pieces) {
    SCOPED_TRACE(init.component);
    World v(options_of(GetParam()));
    v.cpu.xsave.layout = GetParam().image.data();
    ASSERT_TRUE(v.eenter().has_value());
    std::fill(v.xsave().begin() + 32, v.xsave().begin() + 464, std::byte{0x77});
    std::fill(v.xsave().begin() + 576, v.xsave().end(), std::byte{0x77});
    v.put<std::uint16_t>(0, 0x0123);
    v.put<std::uint64_t>(512, GetParam().xcr0 & ~(1ULL << init.component));
    std::memset(v.page_at(v.frame_offset(0)).data, 0xcc, kPageSize);
    v.aex();
    EXPECT_EQ(v.frame_value<std::uint64_t>(0, 512), GetParam().xfrm & ~(1ULL << init.component));
    if ((GetParam().xfrm >> init.component & 1) != 0) {
      const std::vector<std::byte> expected = init_bytes(init);
      for (std::uint32_t i = 0; i < init.size; ++i) {
        ASSERT_EQ(v.frame_value<std::byte>(0, init.frame_offset + i), expected[i]) << i;
      }
    }
    EXPECT_EQ(v.frame_value<std::uint32_t>(0, 24), 0x1f80U) << "MXCSR is stored in any case";
  }
}

TEST_P(XstateTest, ComponentsThatTheFrameHasInInitStateBecomeSo) {
  for (const Piece& init : pieces) {
    if (!enclaves(init)) {
      continue;
    }
    SCOPED_TRACE(init.component);
    World v(options_of(GetParam()));
    v.cpu.xsave.layout = GetParam().image.data();
    ASSERT_TRUE(v.eenter().has_value());
    v.put<std::uint64_t>(512, GetParam().xcr0);
    v.aex();
    v.set_frame_value<std::uint64_t>(0, 512, GetParam().xfrm & ~(1ULL << init.component));
    v.set_frame_value<std::uint32_t>(0, 24, 0x1f9f);
    v.put<std::uint64_t>(512, GetParam().xcr0);
    ASSERT_TRUE(v.eresume().has_value());
    EXPECT_EQ(v.get<std::uint64_t>(512), GetParam().xcr0 & ~(1ULL << init.component));
    EXPECT_EQ(v.get<std::uint32_t>(24), 0x1f9fU) << "MXCSR is loaded whatever XSTATE_BV says";
  }
}

TEST_P(XstateTest, ExitLeavesInitStateInXfrmAndTheRestAlone) {
  ASSERT_TRUE(w.eenter().has_value());
  fill_image(6);
  const std::vector<std::byte> inside(w.xsave().begin(), w.xsave().end());
  w.aex();
  // As Linux writes it into every signal frame: x87 and SSE present, whatever they hold.
  EXPECT_EQ(w.get<std::uint64_t>(512), (GetParam().xcr0 & ~GetParam().xfrm) | 3);
  for (const Piece& p : pieces) {
    if (enclaves(p)) {
      EXPECT_EQ(image_piece(p), init_bytes(p)) << "component " << p.component;
    } else {
      EXPECT_TRUE(std::equal(inside.begin() + p.image_offset, inside.begin() + p.image_offset + p.size,
                             w.xsave().begin() + p.image_offset))
          << "component " << p.component;
    }
  }
  EXPECT_EQ(w.get<std::uint32_t>(24), 0x1fb0U);
  EXPECT_EQ(w.get<std::uint32_t>(28), 0xffffU) << "MXCSR_MASK is the processor's";
}

TEST_P(XstateTest, BytesReservedForSoftwareAreLeftAlone) {
  for (std::size_t i = 416; i < 512; ++i) {
    w.put<std::uint8_t>(i, 0x5c);
  }
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  ASSERT_TRUE(w.eresume().has_value());
  for (std::size_t i = 416; i < 512; ++i) {
    ASSERT_EQ(w.get<std::uint8_t>(i), 0x5c) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, XstateTest,
    ::testing::Values(Setup{"LegacyOnly", intel_layout(), intel_layout(), kAvx512, 3},
                      Setup{"Avx", intel_layout(), intel_layout(), kAvx512, 7},
                      Setup{"IntelAvx512", intel_layout(), intel_layout(), kAvx512 | kPkru, kAvx512},
                      Setup{"IntelPkru", intel_layout(), intel_layout(), kAvx512 | kPkru, kAvx512 | kPkru},
                      Setup{"IntelAmx", intel_layout(), intel_layout(), kAvx512 | kPkru | kAmx,
                            kAvx512 | kPkru | kAmx},
                      Setup{"AmdAvx512", amd_layout(), amd_layout(), kAvx512 | kPkru, kAvx512},
                      Setup{"AmdPkru", amd_layout(), amd_layout(), kAvx512 | kPkru, kAvx512 | kPkru},
                      Setup{"IntelShownOnAmd", intel_layout(), amd_layout(), kAvx512 | kPkru, kAvx512}),
    [](const auto& row) { return row.param.name; });

struct Synthetic {
  std::string name;
  arch::AexEvent event;
  std::uint16_t fcw;
  std::uint16_t fsw;
  std::uint32_t mxcsr;
};

class SyntheticStateTest : public ::testing::TestWithParam<Synthetic> {};

TEST_P(SyntheticStateTest, ControlAndStatusWords) {
  World w;
  ASSERT_TRUE(w.eenter().has_value());
  w.put<std::uint16_t>(0, 0x1234);
  w.put<std::uint16_t>(2, 0x5678);
  w.aex(GetParam().event);
  EXPECT_EQ(w.get<std::uint16_t>(0), GetParam().fcw);
  EXPECT_EQ(w.get<std::uint16_t>(2), GetParam().fsw);
  EXPECT_EQ(w.get<std::uint32_t>(24), GetParam().mxcsr);
  EXPECT_EQ(w.get<std::uint64_t>(512) & 3, 3U) << "XRSTOR must load these, not INIT";
}

constexpr arch::AexEvent exception_of(Vector v) {
  return {.exception = true, .vector = v, .error_code = 0, .address = {}, .save_rf = true};
}

INSTANTIATE_TEST_SUITE_P(
    Events, SyntheticStateTest,
    ::testing::Values(Synthetic{"Interrupt", {}, 0x037f, 0, 0x1fb0},
                      Synthetic{"InterruptWithVectorOfMf",
                                {.exception = false, .vector = Vector::MF, .error_code = 0, .address = {}},
                                0x037f,
                                0,
                                0x1fb0},
                      Synthetic{"Ud", exception_of(Vector::UD), 0x037f, 0, 0x1fb0},
                      Synthetic{"Pf", exception_of(Vector::PF), 0x037f, 0, 0x1fb0},
                      Synthetic{"Mf", exception_of(Vector::MF), 0x037e, 0x8081, 0x1fb0},
                      Synthetic{"Xm", exception_of(Vector::XM), 0x037f, 0, 0x1f01}),
    [](const auto& row) { return row.param.name; });

struct MxcsrRow {
  std::uint32_t mask;
  std::uint32_t mxcsr;
  bool legal;
};

TEST(XrstorCheckTest, MxcsrIsCheckedAgainstTheProcessorsMask) {
  // A mask of 0 stands for FFBFh: no DAZ.
  for (const MxcsrRow row :
       {MxcsrRow{0xffff, 0x1fc0, true}, MxcsrRow{0xffbf, 0x1fc0, false}, MxcsrRow{0, 0x1fc0, false},
        MxcsrRow{0, 0x1f80, true}, MxcsrRow{0x2ffff, 0x20000, true}, MxcsrRow{0xffff, 0x10000, false},
        MxcsrRow{0xffff, 0x80000000, false}}) {
    World w;
    ASSERT_TRUE(w.eenter().has_value());
    w.aex();
    w.put<std::uint32_t>(28, row.mask);
    w.set_frame_value<std::uint32_t>(0, 24, row.mxcsr);
    // The enclave can't talk itself into more by what it writes beside it.
    w.set_frame_value<std::uint32_t>(0, 28, 0xffff'ffff);
    EXPECT_EQ(w.eresume().has_value(), row.legal) << std::hex << row.mask << " " << row.mxcsr;
    EXPECT_EQ(w.tcs().state, row.legal ? 1U : 0U);
  }
}

TEST(XrstorCheckTest, ReservedTailOfTheHeaderIsNotChecked) {
  World w;
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  for (std::uint64_t i = 536; i < 576; ++i) {
    w.set_frame_value<std::uint8_t>(0, i, 0xff);
  }
  EXPECT_TRUE(w.eresume().has_value());
}

TEST(XrstorCheckTest, ImageWithoutRoomForAComponentNeverGetsItsBit) {
  WorldOptions options;
  options.xfrm = kAvx512 | kAmx;
  options.ssa_frame_size = 4;
  World w(options);
  w.cpu.xsave.features = kAvx512;  // as in a process that has not asked for AMX
  w.cpu.xsave.size = 2696;
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  w.set_frame_value<std::uint64_t>(0, 512, kAvx512 | kAmx);
  ASSERT_TRUE(w.eresume().has_value());
  EXPECT_EQ(w.get<std::uint64_t>(512), kAvx512);
}

}  // namespace
}  // namespace enclume::test
