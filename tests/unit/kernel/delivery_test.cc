// SPDX-License-Identifier: Apache-2.0
// Which exceptions the vDSO's fixup gets and which signals the rest become.
#include <gtest/gtest.h>

#include <csignal>

#include "kernel/fixup/fixup.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using arch::Vector;
using kernel::Delivery;
using kernel::ExceptionDesign;
using kernel::Fixup;
using kernel::FixupSite;
using kernel::FixupState;
using kernel::Nothing;
using kernel::TrapFrame;
using kernel::TrapSignal;

constexpr LinearAddress kEnclu{0x7fff'1000};
constexpr LinearAddress kFixup{0x7fff'1010};
constexpr LinearAddress kElsewhere{0x40'0000};
constexpr LinearAddress kAddress{kTestBase + 0x5000};
const FixupState kState{.vdso = FixupSite{kEnclu, kFixup}, .handler = {}};

Delivery at_enclu(TrapFrame f) {
  f.rip = kEnclu;
  return deliver(ExceptionDesign::Vdso, kState, f);
}
Delivery elsewhere(TrapFrame f) {
  f.rip = kElsewhere;
  return deliver(ExceptionDesign::Vdso, kState, f);
}

struct Row {
  Vector vector;
  std::uint32_t error_code;
  bool fixed_up;
  TrapSignal signal;  ///< where no fixup applies; rip is kElsewhere
};

class DeliveryTest : public ::testing::TestWithParam<Row> {};

TEST_P(DeliveryTest, AsLinux) {
  const Row& row = GetParam();
  TrapFrame f{.vector = row.vector, .error_code = row.error_code, .address = kAddress};
  EXPECT_EQ(elsewhere(f), Delivery(row.signal));
  f.rip = kElsewhere;
  EXPECT_EQ(deliver(ExceptionDesign::Vdso, {}, f), Delivery(row.signal));
  if (row.fixed_up) {
    const Fixup fixup{kFixup, static_cast<std::uint64_t>(row.vector), row.error_code, 0, {}};
    EXPECT_EQ(at_enclu(f), Delivery(fixup));
  } else {
    TrapSignal signal = row.signal;
    if (signal.addr == kElsewhere) {
      signal.addr = kEnclu;
    }
    EXPECT_EQ(at_enclu(f), Delivery(signal));
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, DeliveryTest,
                         ::testing::Values(Row{Vector::DE, 0, true, {SIGFPE, FPE_INTDIV, kElsewhere}},
                                           Row{Vector::DB, 0, false, {SIGTRAP, TRAP_BRKPT, kElsewhere}},
                                           Row{Vector::BP, 0, false, {SIGTRAP, SI_KERNEL, {}}},
                                           Row{Vector::OF, 0, true, {SIGSEGV, SI_KERNEL, {}}},
                                           Row{Vector::BR, 0, true, {SIGSEGV, SI_KERNEL, {}}},
                                           Row{Vector::UD, 0, true, {SIGILL, ILL_ILLOPN, kElsewhere}},
                                           Row{Vector::NM, 0, false, {SIGILL, ILL_ILLOPC, kElsewhere}},
                                           Row{Vector::TS, 0x18, true, {SIGSEGV, SI_KERNEL, {}}},
                                           Row{Vector::NP, 0x18, true, {SIGBUS, SI_KERNEL, {}}},
                                           Row{Vector::SS, 0, true, {SIGBUS, SI_KERNEL, {}}},
                                           Row{Vector::GP, 0, true, {SIGSEGV, SI_KERNEL, {}}},
                                           Row{Vector::AC, 0, true, {SIGBUS, BUS_ADRALN, {}}},
                                           Row{Vector::CP, 1, false, {SIGSEGV, 10, {}}}),
                         [](const auto& p) {
                           return "Vector" + std::to_string(static_cast<int>(p.param.vector));
                         });

TEST(DeliveryPageFaultTest, BothSignalsBecomeVector14) {
  struct {
    Outcome outcome;
    TrapSignal signal;
  } const rows[] = {
      {Outcome::BadMapping, {SIGSEGV, SEGV_MAPERR, kAddress}},
      {Outcome::BadAccess, {SIGSEGV, SEGV_ACCERR, kAddress}},
      {Outcome::BadKey, {SIGSEGV, SEGV_PKUERR, kAddress}},
      {Outcome::Bus, {SIGBUS, BUS_ADRERR, kAddress}},
  };
  for (const auto& row : rows) {
    const TrapFrame f{
        .vector = Vector::PF, .error_code = 0x8007, .address = kAddress, .page_fault = row.outcome};
    EXPECT_EQ(at_enclu(f), Delivery(Fixup{kFixup, 14, 0x8007, kAddress.value(), {}}));
    EXPECT_EQ(elsewhere(f), Delivery(row.signal));
  }
  const TrapFrame resolved{.vector = Vector::PF, .address = kAddress, .page_fault = Outcome::Resolved};
  EXPECT_EQ(at_enclu(resolved), Delivery(Nothing{}));
  EXPECT_EQ(elsewhere(resolved), Delivery(Nothing{}));
}

TEST(DeliveryPageFaultTest, KernelAddressesTellNothing) {
  TrapFrame f{.vector = Vector::PF, .error_code = 4, .address = LinearAddress(0xffff'8000'0000'0000)};
  EXPECT_EQ(at_enclu(f), Delivery(Fixup{kFixup, 14, 5, f.address.value(), {}}));
  f.address = LinearAddress(0x7fff'ffff'f000);  // TASK_SIZE_MAX
  EXPECT_EQ(kernel::sanitized_error_code(f), 5);
  f.address = LinearAddress(0x7fff'ffff'efff);
  EXPECT_EQ(kernel::sanitized_error_code(f), 4);
}

TEST(DeliveryFpuTest, OnlyUnmaskedExceptionsCount) {
  struct {
    std::uint32_t flag;
    int code;
  } const rows[] = {{0x01, FPE_FLTINV}, {0x02, FPE_FLTUND}, {0x04, FPE_FLTDIV},
                    {0x08, FPE_FLTOVF}, {0x10, FPE_FLTUND}, {0x20, FPE_FLTRES}};
  for (const auto& row : rows) {
    TrapFrame xm{.vector = Vector::XM, .mxcsr = (0x1f80 & ~(row.flag << 7)) | row.flag};
    EXPECT_EQ(elsewhere(xm), Delivery(TrapSignal{SIGFPE, row.code, kElsewhere})) << row.flag;
    EXPECT_EQ(at_enclu(xm), Delivery(Fixup{kFixup, 19, 0, 0, {}}));
    xm.mxcsr = 0x1f80 | row.flag;  // masked: spurious
    EXPECT_EQ(elsewhere(xm), Delivery(Nothing{}));
    EXPECT_EQ(at_enclu(xm), Delivery(Nothing{}));

    TrapFrame mf{.vector = Vector::MF};
    mf.fcw = static_cast<std::uint16_t>(0x37f & ~row.flag);
    mf.fsw = static_cast<std::uint16_t>(row.flag);
    EXPECT_EQ(elsewhere(mf), Delivery(TrapSignal{SIGFPE, row.code, kElsewhere}));
    mf.fcw = 0x37f;
    EXPECT_EQ(at_enclu(mf), Delivery(Nothing{}));
  }
  // What AEX leaves after #MF and #XM: always an invalid operation.
  EXPECT_EQ(kernel::fpu_exception_code({.vector = Vector::MF, .fcw = 0x37e, .fsw = 0x8081}), FPE_FLTINV);
  EXPECT_EQ(kernel::fpu_exception_code({.vector = Vector::XM, .mxcsr = 0x1f01}), FPE_FLTINV);
}

TEST(DeliveryDebugTest, CodeByDr6) {
  EXPECT_EQ(at_enclu({.vector = Vector::DB, .dr6 = 1 << 14}),
            Delivery(TrapSignal{SIGTRAP, TRAP_TRACE, kEnclu}));
  EXPECT_EQ(at_enclu({.vector = Vector::DB, .dr6 = 2}), Delivery(TrapSignal{SIGTRAP, TRAP_HWBKPT, kEnclu}));
  EXPECT_EQ(at_enclu({.vector = Vector::DB, .dr6 = 1 << 11}), Delivery(Nothing{}));  // a bus lock
}

TEST(DeliveryTest2, NotAProgramsExceptions) {
  for (const Vector v : {Vector::NMI, Vector::DF, Vector::MC, Vector::VE}) {
    EXPECT_EQ(at_enclu({.vector = v}), Delivery(Nothing{}));
    EXPECT_EQ(elsewhere({.vector = v}), Delivery(Nothing{}));
  }
}

TEST(DeliveryTest2, OnlyTheOneInstruction) {
  TrapFrame f{.vector = Vector::GP};
  for (const std::uint64_t off : {~0ULL, 1ULL, 3ULL}) {
    f.rip = kEnclu + off;
    EXPECT_TRUE(std::holds_alternative<TrapSignal>(deliver(ExceptionDesign::Vdso, kState, f)));
  }
}

}  // namespace
}  // namespace enclume::test
