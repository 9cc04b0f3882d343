// SPDX-License-Identifier: Apache-2.0
// The four designs side by side: for every vector and place, who gets the exception.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <ostream>

#include "kernel/fixup/fixup.h"
#include "kernel_world.h"

namespace enclume::kernel {

void PrintTo(ExceptionDesign design, std::ostream* out) {
  *out << name_of(design);
}

}  // namespace enclume::kernel

namespace enclume::test {
namespace {

using arch::Vector;
using kernel::Delivery;
using kernel::ExceptionDesign;
using kernel::Fixup;
using kernel::FixupState;
using kernel::Nothing;
using kernel::TrapFrame;
using kernel::TrapSignal;

constexpr LinearAddress kVdsoEnclu{0x7fff'1000};
constexpr LinearAddress kVdsoFixup{0x7fff'1010};
constexpr LinearAddress kElsewhere{0x40'0000};
constexpr LinearAddress kHandler{0x41'0000};
constexpr LinearAddress kAddress{kTestBase + 0x5000};
constexpr std::array kNoEnclu = {std::byte{0x90}, std::byte{0x90}, std::byte{0x90}};

/// A process that has done all it can: our vDSO is mapped, a handler is registered.
const FixupState kEverything{.vdso = kernel::FixupSite{kVdsoEnclu, kVdsoFixup}, .handler = kHandler};

/// Where RIP is.
enum class Place {
  VdsoEnclu,   ///< at the ENCLU of the vDSO's function
  OwnEnclu,    ///< at one of the program's, or an AEP that is one
  OtherAep,    ///< at an AEP that is some other instruction, or in host code far from any ENCLU
  OtherInVdso  ///< in the vDSO's function, not at its ENCLU
};
constexpr std::array kPlaces = {Place::VdsoEnclu, Place::OwnEnclu, Place::OtherAep, Place::OtherInVdso};

TrapFrame at(Place place, TrapFrame frame) {
  switch (place) {
    case Place::VdsoEnclu:
      frame.rip = kVdsoEnclu;
      frame.code = kernel::kEncluBytes;
      break;
    case Place::OwnEnclu:
      frame.rip = kElsewhere;
      frame.code = kernel::kEncluBytes;
      break;
    case Place::OtherAep:
      frame.rip = kElsewhere;
      frame.code = kNoEnclu;
      break;
    case Place::OtherInVdso:
      frame.rip = kVdsoEnclu + 3;
      frame.code = kNoEnclu;
      break;
  }
  return frame;
}

/// What each design fixes up, if it looks at the right place: `table` by the vDSO's exception table,
/// `handler` by a handler. The rest becomes the signal, or nothing.
struct Row {
  const char* name;
  TrapFrame frame;
  bool table;
  bool handler;
};

TrapFrame of(Vector vector, std::uint32_t error_code = 0) {
  return {.vector = vector, .error_code = error_code, .address = kAddress};
}
TrapFrame page_fault(Outcome outcome) {
  TrapFrame f = of(Vector::PF, 0x8007);
  f.page_fault = outcome;
  return f;
}
TrapFrame debug(std::uint64_t dr6) {
  TrapFrame f = of(Vector::DB);
  f.dr6 = dr6;
  return f;
}
TrapFrame simd(std::uint32_t mxcsr) {
  TrapFrame f = of(Vector::XM);
  f.mxcsr = mxcsr;
  return f;
}

const Row kRows[] = {
    {"DE", of(Vector::DE), true, true},
    {"DB_step", debug(1 << 14), false, false},
    {"DB_breakpoint", debug(1), false, false},
    {"DB_int1", debug(0), false, false},
    {"BP", of(Vector::BP), false, false},
    {"OF", of(Vector::OF), true, true},
    {"BR", of(Vector::BR), true, true},
    {"UD", of(Vector::UD), true, true},
    // Linux's handler of #NM makes a signal without asking the table (exc_device_not_available()).
    {"NM", of(Vector::NM), false, true},
    {"TS", of(Vector::TS, 0x18), true, true},
    {"NP", of(Vector::NP, 0x18), true, true},
    {"SS", of(Vector::SS), true, true},
    {"GP", of(Vector::GP), true, true},
    {"PF_mapping", page_fault(Outcome::BadMapping), true, true},
    {"PF_access", page_fault(Outcome::BadAccess), true, true},
    {"PF_key", page_fault(Outcome::BadKey), true, true},
    {"PF_bus", page_fault(Outcome::Bus), true, true},
    {"PF_resolved", page_fault(Outcome::Resolved), false, false},
    {"MF_spurious", of(Vector::MF), false, false},
    {"AC", of(Vector::AC), true, true},
    {"XM", simd(0x1f01), true, true},
    {"XM_spurious", simd(0x1f80), false, false},
    // As #NM: do_user_cp_fault() does not ask.
    {"CP", of(Vector::CP, 1), false, true},
    {"NMI", of(Vector::NMI), false, false},
    {"DF", of(Vector::DF), false, false},
    {"MC", of(Vector::MC), false, false},
    {"VE", of(Vector::VE), false, false},
};

class ExceptionDesignsTest : public ::testing::TestWithParam<std::tuple<ExceptionDesign, Row>> {
 protected:
  static Delivery without_fixup(const TrapFrame& f) {
    const auto signal = trap_signal(f);
    return signal ? Delivery(*signal) : Delivery(Nothing{});
  }
};

TEST_P(ExceptionDesignsTest, GiveTheExceptionToWhomTheTableSays) {
  const auto& [design, row] = GetParam();
  for (const Place place : kPlaces) {
    const TrapFrame f = at(place, row.frame);
    const bool by_table = design == ExceptionDesign::Vdso || design == ExceptionDesign::VdsoRegisters;
    Delivery expected = without_fixup(f);
    const std::uint64_t address = f.vector == Vector::PF ? kAddress.value() : 0;
    const auto vector = static_cast<std::uint64_t>(f.vector);
    if (by_table && row.table && place == Place::VdsoEnclu) {
      expected = Fixup{kVdsoFixup, vector, f.error_code, address, {}};
    } else if (design == ExceptionDesign::PerMm && row.handler &&
               (place == Place::VdsoEnclu || place == Place::OwnEnclu)) {
      expected = Fixup{kHandler, vector, f.error_code, address, f.rip.value()};
    }
    EXPECT_EQ(deliver(design, kEverything, f), expected) << "place " << static_cast<int>(place);
    EXPECT_EQ(deliver(design, {}, f), without_fixup(f)) << "a process that has neither vDSO nor handler";
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExceptionDesignsTest,
                         ::testing::Combine(::testing::ValuesIn(kernel::kExceptionDesigns),
                                            ::testing::ValuesIn(kRows)),
                         [](const auto& p) {
                           std::string name(kernel::name_of(std::get<0>(p.param)));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name + "_" + std::get<1>(p.param).name;
                         });

TEST(ExceptionDesignTest, NamesLeadBack) {
  for (const ExceptionDesign design : kernel::kExceptionDesigns) {
    EXPECT_EQ(kernel::exception_design(name_of(design)), design);
  }
  for (const std::string_view name : {"", "VDSO", "vdso ", "per_mm", "signal"}) {
    EXPECT_EQ(kernel::exception_design(name), std::nullopt) << name;
  }
}

TEST(PerMmFixupTest, WantsTheThreeBytesExactly) {
  TrapFrame f = at(Place::OwnEnclu, of(Vector::GP));
  for (std::size_t i = 0; i < f.code.size(); ++i) {
    for (const std::byte flip : {std::byte{0x01}, std::byte{0x80}}) {
      TrapFrame other = f;
      other.code[i] ^= flip;
      EXPECT_TRUE(std::holds_alternative<TrapSignal>(deliver(ExceptionDesign::PerMm, kEverything, other)));
    }
  }
  // An AEP that can't be read: no bytes.
  f.code = {};
  EXPECT_TRUE(std::holds_alternative<TrapSignal>(deliver(ExceptionDesign::PerMm, kEverything, f)));
}

TEST(PerMmFixupTest, NeedsNoVdso) {
  const FixupState state{.vdso = {}, .handler = kHandler};
  EXPECT_EQ(deliver(ExceptionDesign::PerMm, state, at(Place::OwnEnclu, of(Vector::UD))),
            Delivery(Fixup{kHandler, 6, 0, 0, kElsewhere.value()}));
}

TEST(PerMmFixupTest, KernelAddressesTellNothing) {
  TrapFrame f = at(Place::OwnEnclu, page_fault(Outcome::BadMapping));
  f.error_code = 4;
  f.address = LinearAddress(0xffff'8000'0000'0000);
  EXPECT_EQ(deliver(ExceptionDesign::PerMm, kEverything, f),
            Delivery(Fixup{kHandler, 14, 5, f.address.value(), kElsewhere.value()}));
}

}  // namespace
}  // namespace enclume::test
