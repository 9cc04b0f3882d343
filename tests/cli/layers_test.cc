// SPDX-License-Identifier: Apache-2.0
// Where settings come from, and what is said about bad ones.
#include "cli/layers.h"

#include <gtest/gtest.h>

#include <map>

#include "cli/failure.h"

namespace enclume::cli {
namespace {

std::string failure_of(const auto& action) {
  try {
    action();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status(), ExitStatus::kUsage);
    return failure.what();
  }
  return "no failure";
}

Environment environment_of(std::map<std::string, std::string, std::less<>> variables) {
  return [variables = std::move(variables)](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

TEST(ParseSize, TakesNumbersWithSuffixes) {
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("4096"), 4096U);
  EXPECT_EQ(parse_size("1K"), 1024U);
  EXPECT_EQ(parse_size("3m"), 3U << 20);
  EXPECT_EQ(parse_size("2G"), 2ULL << 30);
  EXPECT_EQ(parse_size("1T"), 1ULL << 40);
  EXPECT_EQ(parse_size("18446744073709551615"), ~0ULL);
}

TEST(ParseSize, RefusesEverythingElse) {
  for (const char* text : {"", "K", "-1", "+1", " 1", "1 ", "1KB", "1.5M", "0x10", "1P",
                           "18446744073709551616", "18446744073709551615K", "16777216T"}) {
    EXPECT_FALSE(parse_size(text).has_value()) << text;
  }
}

TEST(LayerFromText, SkipsCommentsAndBlanks) {
  const auto layer = layer_from_text("# one\n\n  \t\n sgx=1 # two\r\nmachine-seed = a#b\ntrace =  x y ", "f");
  ASSERT_EQ(layer.size(), 3U);
  EXPECT_EQ(layer.at("sgx").text, "1");
  EXPECT_EQ(layer.at("sgx").origin, "f:4");
  EXPECT_EQ(layer.at("machine-seed").text, "a#b");
  EXPECT_EQ(layer.at("trace").text, "x y");
}

TEST(LayerFromText, KeepsAnEqualsSignInTheValue) {
  EXPECT_EQ(layer_from_text("machine-seed = a=b", "f").at("machine-seed").text, "a=b");
}

TEST(LayerFromText, NamesTheLineOfAMistake) {
  EXPECT_EQ(failure_of([] { (void)layer_from_text("\nsgx", "f"); }),
            "f:2: 'sgx' is not of the form key = value");
  EXPECT_EQ(failure_of([] { (void)layer_from_text("sxg = 1", "f"); }),
            "f:1: unknown setting 'sxg' (did you mean 'sgx'?)");
}

TEST(LayerFromEnvironment, TakesOnlyWhatIsSet) {
  const auto layer = layer_from_environment(environment_of({{"ENCLUME_SGX", "1"}, {"OTHER", "x"}}));
  ASSERT_EQ(layer.size(), 1U);
  EXPECT_EQ(layer.at("sgx").origin, "environment variable ENCLUME_SGX");
}

TEST(Resolve, TakesEachSettingFromTheFirstLayerThatHasIt) {
  const std::array<Layer, 3> layers = {Layer{{"sgx", {"1", "option --sgx"}}},
                                       Layer{{"sgx", {"2", "e"}}, {"epc-size", {"2M", "e"}}},
                                       Layer{{"epc-size", {"4M", "f"}}, {"debug", {"On", "f"}}}};
  const auto resolved = resolve(layers);
  EXPECT_EQ(resolved.settings.sgx, 1U);
  EXPECT_EQ(resolved.settings.epc_size, 2U << 20);
  EXPECT_TRUE(resolved.settings.debug);
  EXPECT_FALSE(resolved.machine_seed.has_value());
}

TEST(Resolve, IgnoresABadValueThatIsOverridden) {
  const std::array<Layer, 2> layers = {Layer{{"sgx", {"1", "o"}}}, Layer{{"sgx", {"nonsense", "e"}}}};
  EXPECT_EQ(resolve(layers).settings.sgx, 1U);
}

TEST(Resolve, HasDefaults) {
  const auto resolved = resolve({});
  EXPECT_EQ(resolved.settings.epc_size, 256U << 20);
  EXPECT_EQ(resolved.settings.sgx, 2U);
  EXPECT_FALSE(resolved.settings.debug);
  EXPECT_EQ(resolved.settings.fixup, kernel::ExceptionDesign::Vdso);
  EXPECT_FALSE(resolved.settings.trace.has_value());
}

TEST(Resolve, TakesEachDesignByItsName) {
  for (const auto design : kernel::kExceptionDesigns) {
    const std::array<Layer, 1> layers = {Layer{{"fixup", {std::string(kernel::name_of(design)), "o"}}}};
    EXPECT_EQ(resolve(layers).settings.fixup, design);
  }
}

TEST(Resolve, SaysWhichPartOfAnInjectionIsWrongAndWhatItShouldBe) {
  const auto complaint = [](const char* text) {
    const std::array<Layer, 1> layers = {Layer{{"inject", {text, "option --inject"}}}};
    return failure_of([&] { (void)resolve(layers); });
  };
  EXPECT_EQ(complaint("lose-ecp@3"),
            "option --inject: there is no event 'lose-ecp' (did you mean 'lose-epc'?)");
  EXPECT_EQ(
      complaint("eenter=#XX@3"),
      "option --inject: '#XX' is wrong in 'eenter=#XX@3'; it must be an exception: eenter=#GP, eenter=#UD or "
      "eenter=#PF");
  EXPECT_EQ(complaint("eaug@2,lose-epc"),
            "option --inject: 'lose-epc' is wrong in 'eaug@2,lose-epc'; it must be when it shall happen, "
            "behind an @: "
            "lose-epc@3");
}

TEST(Resolve, InterruptsAreInjectedInStrictMode) {
  const std::array<Layer, 1> layers = {Layer{{"inject", {"interrupt@every:10", "o"}}}};
  EXPECT_TRUE(resolve(layers).settings.strict);
  EXPECT_FALSE(resolve({}).settings.strict);
}

TEST(Resolve, SaysWhereABadValueCameFromAndWhatIsAllowed) {
  const std::array<Layer, 1> layers = {Layer{{"sgx", {"3", "f:7"}}}};
  EXPECT_EQ(failure_of([&] { (void)resolve(layers); }), "f:7: '3' is not a value for sgx; allowed: 1 or 2");
  const std::array<Layer, 1> design = {Layer{{"fixup", {"permm", "option --fixup"}}}};
  EXPECT_EQ(
      failure_of([&] { (void)resolve(design); }),
      "option --fixup: 'permm' is not a value for fixup; allowed: vdso, vdso-registers, per-mm or signals");
}

}  // namespace
}  // namespace enclume::cli
