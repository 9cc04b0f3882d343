// SPDX-License-Identifier: Apache-2.0
// ERESUME: SDM Vol. 3D, "ENCLU[ERESUME]".
#include <gtest/gtest.h>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/entry_checks.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::Reg;

constexpr std::uint64_t kAllXfrm = 0x602e7;

WorldOptions large_frames() {
  WorldOptions options;
  options.xfrm = kAllXfrm;
  options.ssa_frame_size = 4;
  return options;
}

// A thread that has entered and left by AEX, about to come back.
void interrupted(World& w) {
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  w.cpu.rip = kEncluAt;
}

arch::LeafResult eresume_as_is(World& w) {
  return execute(w, arch::EncluLeaf::Eresume);
}

TEST(EresumeTest, ChecksInOrder) {
  std::vector<Check> checks = tcs_checks();
  checks.push_back({"no SSA frame in use", [](World& w) { w.tcs().cssa = 0; }, gp(), checks.back().rank});
  append(checks, ssa_checks(0, checks.back().rank));
  const int rank = checks.back().rank + 1;
  append(checks,
         {{"RIP not canonical", [](World& w) { w.gprsgx(0).rip = kNotCanonical; }, gp(), rank},
          {"FS base not canonical", [](World& w) { w.gprsgx(0).fsbase = kNotCanonical; }, gp(), rank},
          {"GS base not canonical", [](World& w) { w.gprsgx(0).gsbase = kNotCanonical; }, gp(), rank},
          {"TCS is active", [](World& w) { w.tcs().state = arch::tcs_state::kActive; }, gp(), rank},
          {"XSTATE_BV beyond XFRM",
           [](World& w) { w.set_frame_value(0, 512, w.frame_value<std::uint64_t>(0, 512) | 1ULL << 63); },
           gp(), rank},
          {"XSTATE_BV of a component outside XFRM",
           [](World& w) { w.set_frame_value(0, 512, w.frame_value<std::uint64_t>(0, 512) | 1ULL << 8); },
           gp(), rank},
          {"XCOMP_BV", [](World& w) { w.set_frame_value<std::uint64_t>(0, 520, 1ULL << 63); }, gp(), rank},
          {"last checked byte of the header", [](World& w) { w.set_frame_value<std::uint8_t>(0, 535, 1); },
           gp(), rank},
          {"reserved MXCSR bit", [](World& w) { w.set_frame_value<std::uint32_t>(0, 24, 0x1'1f80); }, gp(),
           rank}});
  expect_checks(checks, large_frames(), interrupted, eresume_as_is);
}

TEST(EresumeTest, NotifyingChecksTheNextFrameToo) {
  const auto notified = [](World& w) {
    w.secs().attributes.flags |= arch::attribute::kAexNotify;
    w.tcs().flags = arch::tcs_flags::kAexNotify;
    interrupted(w);
    w.gprsgx(0).aexnotify = 1;
  };
  std::vector<Check> checks = ssa_checks(0, 0);
  checks.push_back({"no free SSA frame", [](World& w) { w.tcs().nssa = 1; }, gp(), checks.back().rank + 1});
  append(checks, ssa_checks(1, checks.back().rank));
  append(checks, entry_point_checks(checks.back().rank));
  expect_checks(checks, large_frames(), notified, eresume_as_is);
}

TEST(EresumeTest, NotifyingEntersTheHandlerOnTheNextFrame) {
  World w;
  w.secs().attributes.flags |= arch::attribute::kAexNotify;
  w.tcs().flags = arch::tcs_flags::kAexNotify;
  interrupted(w);
  w.gprsgx(0).aexnotify = 1;
  w.cpu[Reg::Rdx] = 77;
  w.cpu[Reg::Rsp] = 0x7ffc'0000'3000;
  const Snapshot frame0(w);
  ASSERT_TRUE(w.eresume().has_value());
  EXPECT_EQ(w.cpu.rip, kBase + at::kEntry);
  EXPECT_EQ(w.cpu[Reg::Rax], 1U);
  EXPECT_EQ(w.cpu[Reg::Rcx], kEncluAt + 3);
  EXPECT_EQ(w.cpu[Reg::Rdx], 77U) << "no register but these comes from the frame";
  EXPECT_EQ(w.cpu.fs_base, kBase + at::kFsBase);
  EXPECT_EQ(w.tcs().cssa, 1U);
  EXPECT_EQ(w.gprsgx(1).ursp, 0x7ffc'0000'3000U);
  EXPECT_EQ(w.gprsgx(0).aexnotify, 1U) << "the processor never clears it";

  // The handler pops the interrupted frame; the next exit writes to it.
  ASSERT_TRUE(w.run(arch::EncluLeaf::Edeccssa).has_value());
  EXPECT_EQ(w.tcs().cssa, 0U);
  w.cpu[Reg::R15] = 0x1234'5678;
  w.aex();
  EXPECT_EQ(w.tcs().cssa, 1U);
  EXPECT_EQ(w.gprsgx(0).gpr[15], 0x1234'5678U);
}

TEST(EresumeTest, DoesNotNotifyWithoutTheTcsFlagOrTheFramesBit) {
  for (const bool flag : {false, true}) {
    World w;
    w.secs().attributes.flags |= flag ? arch::attribute::kAexNotify : 0;
    w.tcs().flags = flag ? arch::tcs_flags::kAexNotify : 0;
    interrupted(w);
    w.gprsgx(0).aexnotify = flag ? 0 : 1;
    ASSERT_TRUE(w.eresume().has_value());
    EXPECT_EQ(w.tcs().cssa, 0U);
  }
}

TEST(EresumeTest, HonoursWhatTheEnclaveWroteIntoTheFrame) {
  World w;
  interrupted(w);
  const std::uint64_t outside_fs = w.cpu.fs_base;
  // A handler on the next frame rewrites the interrupted context.
  arch::Gprsgx& saved = w.gprsgx(0);
  saved.rip = kBase + at::kCode + 0x800;
  saved.gpr[static_cast<std::size_t>(Reg::Rsp)] = kBase + at::kData + 0x700;
  saved.gpr[static_cast<std::size_t>(Reg::Rdi)] = 0xd1;
  saved.rflags = 0x2 | arch::rflags::kDf | arch::rflags::kZf;
  saved.fsbase = kBase + at::kOtherData;
  saved.gsbase = kBase + at::kOtherData + 0x10;
  ASSERT_TRUE(w.eresume().has_value());
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode + 0x800);
  EXPECT_EQ(w.cpu[Reg::Rsp], kBase + at::kData + 0x700);
  EXPECT_EQ(w.cpu[Reg::Rdi], 0xd1U);
  EXPECT_EQ(w.cpu.rflags, 0x202 | arch::rflags::kDf | arch::rflags::kZf)
      << "IF is not the enclave's to change";
  EXPECT_EQ(w.cpu.fs_base, kBase + at::kOtherData);
  EXPECT_EQ(w.cpu.gs_base, kBase + at::kOtherData + 0x10);
  EXPECT_EQ(w.lp.host_fs_base, outside_fs);
}

TEST(EresumeTest, TargetOutsideTheEnclaveIsNotItsConcern) {
  World w;
  interrupted(w);
  w.gprsgx(0).rip = 0x400000;
  ASSERT_TRUE(w.eresume().has_value());
  const auto fetch = arch::check_enclave_access(w.lp, {}, LinearAddress(w.cpu.rip), arch::Access::Execute);
  ASSERT_FALSE(fetch.has_value());
  EXPECT_EQ(fetch.error(), arch::general_protection());
}

TEST(EresumeTest, TakesEveryFlagButTheSystemsFromTheFrame) {
  // OF SF ZF AF PF CF DF NT RF AC ID; not TF, IF, IOPL, VM, VIF, VIP.
  constexpr std::uint64_t kFromFrame = 0x254cd5 | arch::rflags::kRf;
  for (unsigned bit = 0; bit < 22; ++bit) {
    SCOPED_TRACE(bit);
    const std::uint64_t flag = 1ULL << bit;
    World w;
    interrupted(w);
    w.gprsgx(0).rflags = flag;
    w.cpu.rflags = 0x202;
    ASSERT_TRUE(w.eresume().has_value());
    EXPECT_EQ(w.cpu.rflags, 0x202 | (flag & kFromFrame));

    World v;
    interrupted(v);
    v.gprsgx(0).rflags = ~flag;
    v.cpu.rflags = 0x3f7fd7 & ~arch::rflags::kTf & ~(3ULL << 12);
    const std::uint64_t outside = v.cpu.rflags;
    ASSERT_TRUE(v.eresume().has_value());
    EXPECT_EQ(v.cpu.rflags, (outside & ~kFromFrame) | (~flag & kFromFrame));
  }
}

TEST(EresumeTest, InterruptFlagComesFromTheFrameWithIopl3Alone) {
  for (std::uint64_t iopl = 0; iopl < 4; ++iopl) {
    World w;
    interrupted(w);
    w.gprsgx(0).rflags = 0x2;
    w.cpu.rflags = 0x202 | iopl << 12;
    ASSERT_TRUE(w.eresume().has_value());
    EXPECT_EQ(w.cpu.rflags, (iopl == 3 ? 0x2U : 0x202U) | iopl << 12);
  }
}

TEST(EresumeTest, DoesNotRewriteUrspAndUrbp) {
  World w;
  interrupted(w);
  const std::uint64_t ursp = w.gprsgx(0).ursp;
  w.cpu[Reg::Rsp] = 0x7ffc'aaaa'0000;
  w.cpu[Reg::Rbp] = 0x7ffc'bbbb'0000;
  ASSERT_TRUE(w.eresume().has_value());
  EXPECT_EQ(w.gprsgx(0).ursp, ursp);
  w.gprsgx(0).urbp = 0x1230;  // the enclave chooses what the host will see
  w.aex();
  EXPECT_EQ(w.cpu[Reg::Rsp], ursp);
  EXPECT_EQ(w.cpu[Reg::Rbp], 0x1230U);
}

TEST(EresumeTest, NestedFramesUnwindInOrder) {
  WorldOptions options;
  options.nssa = 4;
  World w(options);
  // In by EENTER, out by AEX, four times deep.
  for (std::uint32_t depth = 0; depth < 4; ++depth) {
    ASSERT_TRUE(w.eenter().has_value());
    EXPECT_EQ(w.cpu[Reg::Rax], depth);
    w.cpu[Reg::R12] = 0xc0de0000 + depth;
    w.cpu.rip = kBase + at::kCode + depth;
    w.aex();
    EXPECT_EQ(w.tcs().cssa, depth + 1);
  }
  EXPECT_TRUE(w.eenter() == gp()) << "no frame left";
  for (std::uint32_t depth = 4; depth-- > 0;) {
    ASSERT_TRUE(w.eresume().has_value());
    EXPECT_EQ(w.tcs().cssa, depth);
    EXPECT_EQ(w.cpu[Reg::R12], 0xc0de0000 + depth);
    EXPECT_EQ(w.cpu.rip, kBase + at::kCode + depth);
    ASSERT_TRUE(w.eexit(kAep).has_value());
    EXPECT_EQ(w.tcs().cssa, depth) << "EEXIT leaves CSSA alone";
  }
  EXPECT_TRUE(w.eresume() == gp()) << "nothing to resume";
}

}  // namespace
}  // namespace enclume::test
