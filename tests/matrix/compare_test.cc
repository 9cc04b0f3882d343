// SPDX-License-Identifier: Apache-2.0
// The comparison can tell: facts that agree with a row, and the same with one of them changed.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/matrix/compare.h"
#include "cli/matrix/verdict.h"

namespace enclume::cli::matrix {
namespace {

using kernel::ExceptionDesign;
using nlohmann::json;

const Cell& cell_named(std::string_view name) {
  return *std::ranges::find_if(all_cells(), [&](const Cell& cell) { return cell.name() == name; });
}

json registers(std::uint64_t rax, std::uint64_t rbx, std::uint64_t rcx) {
  json object = {{"rax", rax},    {"rbx", rbx},    {"rcx", rcx},
                 {"rsp", 0x7000}, {"rbp", 0x7100}, {"rflags", 0x202}};
  for (const char* name : {"rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}) {
    object[name] = 0;
  }
  return object;
}

// A read of nothing at 5123h in an enclave, in the design `signals`; the AEP is 1000h, the TCS 9000h.
json page_fault() {
  return {{"who", "S"},
          {"vector", 14},
          {"error", 4},
          {"cr2", 0x5000},
          {"signal",
           {{"count", 1},
            {"number", 11},
            {"code", 1},
            {"address", 0x5000},
            {"rip", 0x1000},
            {"registers", registers(3, 0x9000, 0x1000)},
            {"fpu", {{"fcw", 0x37f}, {"fsw", 0}, {"mxcsr", 0x1fb0}}}}},
          {"cssa", 1},
          {"done", false},
          {"saved",
           {{"rip", 0x2000},
            {"rf", true},
            {"exitinfo", 0x8000030eU},
            {"maddr", 0x5123},
            {"errcd", 4},
            {"changed", ""}}},
          {"at",
           {{"aep", 0x1000},
            {"enclu", 0x1000},
            {"site", 0x2000},
            {"after_site", 0x2003},
            {"operand", 0x5123},
            {"entry", 0x3000},
            {"tcs", 0x9000},
            {"leaf", 2},
            {"loaded", registers(2, 0x9000, 0x1000)}}}};
}

std::vector<std::string> compare(const json& facts) {
  return differences(cell_named("opt-out/PF-host"), ExceptionDesign::Signals, facts);
}

TEST(MatrixCompareTest, FactsAsExpectedHaveNoDifferences) {
  EXPECT_EQ(compare(page_fault()), std::vector<std::string>{});
}

class MatrixCompareTest : public ::testing::TestWithParam<std::pair<const char*, json>> {};

TEST_P(MatrixCompareTest, OneChangedFactIsOneDifference) {
  const auto& [pointer, value] = GetParam();
  json facts = page_fault();
  facts[json::json_pointer(pointer)] = value;
  EXPECT_EQ(compare(facts).size(), 1U) << pointer;
}

INSTANTIATE_TEST_SUITE_P(
    Facts, MatrixCompareTest,
    ::testing::Values(
        std::pair{"/who", json("F")}, std::pair{"/vector", json(13)}, std::pair{"/error", json(0x8005)},
        std::pair{"/cr2", json(0x5123)}, std::pair{"/signal/count", json(2)},
        std::pair{"/signal/number", json(7)}, std::pair{"/signal/code", json(2)},
        std::pair{"/signal/address", json(0x5123)}, std::pair{"/signal/rip", json(0x1003)},
        std::pair{"/signal/registers/rax", json(2)}, std::pair{"/signal/registers/rbx", json(0)},
        std::pair{"/signal/registers/rcx", json(0)}, std::pair{"/signal/registers/rdx", json(1)},
        std::pair{"/signal/registers/rsp", json(0x6ff8)}, std::pair{"/signal/registers/r12", json(1)},
        std::pair{"/signal/registers/rflags", json(0x203)}, std::pair{"/signal/fpu/mxcsr", json(0x1f80)},
        std::pair{"/cssa", json(0)}, std::pair{"/saved/rip", json(0x2003)},
        std::pair{"/saved/rf", json(false)}, std::pair{"/saved/exitinfo", json(0)},
        std::pair{"/saved/maddr", json(0x5000)}, std::pair{"/saved/errcd", json(0)},
        std::pair{"/saved/changed", json("r12")}));

// What native execution has to give for MOV DS: nobody notices.
const json kExecuted = {{"who", "N"}, {"done", true}, {"at", json::object()}};

TEST(MatrixVerdictTest, NeitherSiliconNorStrictModeIsExcused) {
  const Cell& cell = cell_named("opt-out/mov-ds");
  EXPECT_EQ(judge(cell, ExceptionDesign::Vdso, kExecuted, {}).verdict, Verdict::kDeviates);
  EXPECT_EQ(judge(cell, ExceptionDesign::Vdso, kExecuted, {.has_silicon = true}).verdict, Verdict::kDiffers);
  EXPECT_EQ(judge(cell, ExceptionDesign::Vdso, kExecuted, {.is_strict = true}).verdict, Verdict::kDiffers);
}

TEST(MatrixVerdictTest, AnExcuseIsForOneWayToDifferOnly) {
  const Cell& cell = cell_named("opt-out/mov-ds");
  json facts = kExecuted;
  facts["done"] = false;
  EXPECT_EQ(judge(cell, ExceptionDesign::Vdso, facts, {}).verdict, Verdict::kDiffers);
  EXPECT_EQ(judge(cell, ExceptionDesign::Vdso, {{"killed", 11}}, {}).verdict, Verdict::kDiffers);
}

TEST(MatrixVerdictTest, ACellWithoutFactsDiffers) {
  EXPECT_EQ(judge(cell_named("opt-out/DE"), ExceptionDesign::Vdso, {}, {}).verdict, Verdict::kDiffers);
}

}  // namespace
}  // namespace enclume::cli::matrix
