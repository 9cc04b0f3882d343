// SPDX-License-Identifier: Apache-2.0
// The text that carries settings to the engine, both ways.
#include "cli/settings.h"

#include <gtest/gtest.h>

namespace enclume::cli {
namespace {

Settings some_settings() {
  Settings settings;
  settings.secret.bytes = secret_from_seed("x");
  return settings;
}

TEST(SettingsText, HasTheDocumentedForm) {
  Settings settings;
  settings.epc_size = 8 << 20;
  settings.sgx = 1;
  settings.debug = true;
  settings.fixup = kernel::ExceptionDesign::PerMm;
  settings.trace = "/tmp/t";
  settings.secret.file = "/home/me/secret";
  EXPECT_EQ(serialise(settings),
            "v1;epc_size=8388608;sgx=1;debug=1;fixup=per-mm;trace=/tmp/t;trace_format=text;secret_file=/home/"
            "me/secret");
  settings.loader = "/lib/enclume-load";
  settings.cache = "/home/me/.cache/enclume";
  settings.strict = true;
  settings.trace_instructions = true;
  EXPECT_EQ(
      serialise(settings),
      "v1;epc_size=8388608;sgx=1;debug=1;fixup=per-mm;strict=1;trace=/tmp/t;trace_format=text;"
      "trace_insn=1;loader=/lib/enclume-load;cache=/home/me/.cache/enclume;secret_file=/home/me/secret");
  settings.trace_format = TraceFormat::kJson;
  EXPECT_NE(serialise(settings).find(";trace_format=json;"), std::string::npos);
  settings.inject = "eenter=#GP@3";
  settings.inject_seed = 7;
  EXPECT_NE(serialise(settings).find(";inject=eenter=#GP@3;inject_seed=7;"), std::string::npos);
  settings.trace.reset();
  EXPECT_EQ(serialise(settings).find("trace"), std::string::npos);
}

TEST(SettingsText, SurvivesTheRoundTrip) {
  auto settings = some_settings();
  EXPECT_EQ(parse_settings(serialise(settings)), settings);
  settings.trace = "-";
  settings.trace_format = TraceFormat::kJson;
  settings.benign_faults = false;
  settings.front = engine::FrontDoor::Raw;
  settings.debug = true;
  settings.strict = true;
  settings.unwatched = true;
  EXPECT_EQ(parse_settings(serialise(settings)), settings);
  settings.fast = settings.unwatched = false;
  settings.trace_instructions = true;
  for (const auto design : kernel::kExceptionDesigns) {
    settings.fixup = design;
    EXPECT_EQ(parse_settings(serialise(settings)), settings);
  }
  settings.inject = "interrupt@every:100,einit=INVALID_SIGNATURE@random:2";
  settings.inject_seed = kMaxInjectSeed;
  settings.stats = "/proc/4711/fd/3";
  EXPECT_EQ(parse_settings(serialise(settings)), settings);
  settings.trace = "/with;semicolon/and%percent/and=equals/and\nnewline/\xff";
  settings.loader = "/usr/lib/a;b/enclume-load";
  settings.cache = "/home/me/.cache/enclume";
  settings.secret = {.file = "/a;b%3bc", .bytes = {}};
  settings.epc_size = kMaxEpcSize;
  EXPECT_EQ(parse_settings(serialise(settings)), settings);
}

TEST(SettingsText, EscapesWhatWouldEndAField) {
  auto settings = some_settings();
  settings.trace = "/a;b%c\nd";
  EXPECT_NE(serialise(settings).find(";trace=/a%3bb%25c%0ad;"), std::string::npos);
}

TEST(SettingsText, RefusesWhatIsNotComplete) {
  const auto whole = serialise(some_settings());
  ASSERT_TRUE(parse_settings(whole).has_value());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_settings(std::string_view(whole).substr(0, size)).has_value()) << size;
  }
}

TEST(SettingsText, RefusesEachWrongField) {
  const std::string secret = ";secret=" + std::string(64, 'a');
  const std::string good = "v1;epc_size=1048576;sgx=1;debug=0;fixup=vdso";
  ASSERT_TRUE(parse_settings(good + secret).has_value());
  for (const std::string& text : {
           std::string("v2;epc_size=1048576;sgx=1;debug=0;fixup=vdso") + secret,
           std::string("v1epc_size=1048576;sgx=1;debug=0;fixup=vdso") + secret,
           std::string("v1;epc_size=1048575;sgx=1;debug=0;fixup=vdso") + secret,
           std::string("v1;epc_size=1048577;sgx=1;debug=0;fixup=vdso") + secret,
           std::string("v1;epc_size=0;sgx=1;debug=0;fixup=vdso") + secret,
           std::string("v1;epc_size=99999999999999999999;sgx=1;debug=0;fixup=vdso") + secret,
           std::string("v1;epc_size=1M;sgx=1;debug=0;fixup=vdso") + secret,
           std::string("v1;epc_size=1048576;sgx=3;debug=0;fixup=vdso") + secret,
           std::string("v1;epc_size=1048576;sgx=1;debug=2;fixup=vdso") + secret,
           std::string("v1;epc_size=1048576;sgx=1;fixup=vdso") + secret,
           good,
           good + secret + ";secret_file=/x",
           good + secret + ";sgx=1",
           good + secret + ";colour=red",
           std::string("v1;epc_size=1048576;sgx=1;debug=0") + secret,
           std::string("v1;epc_size=1048576;sgx=1;debug=0;fixup=") + secret,
           std::string("v1;epc_size=1048576;sgx=1;debug=0;fixup=VDSO") + secret,
           good + secret + ";fixup=vdso",
           good + secret + ";trace",
           good + secret + ";trace=relative",
           good + secret + ";trace=/a%2",
           good + secret + ";trace=/a%00b",
           good + secret + ";trace=/a%zz",
           good + secret + ";trace=/a\nb",
           good + secret + ";trace=/a;trace_format=xml",
           good + secret + ";benign_faults=2",
           good + secret + ";front=back",
           good + secret + ";strict=2",
           good + secret + ";stats=relative",
           good + secret + ";inject=",
           good + secret + ";inject=lose-epc",
           good + secret + ";inject=interrupt@1",
           good + secret + ";inject_seed=1",
           good + secret + ";inject=lose-epc@1;inject_seed=-1",
           good + secret + ";strict=1;strict=1",
           good + secret + ";trace_insn=1",
           good + secret + ";trace=/a;trace_insn=1",
           good + secret + ";trace=/a;strict=1;trace_insn=2",
           good + secret + ";loader=relative",
           good + secret + ";loader=",
           good + secret + ";cache=relative",
           good + secret + ";trace_format=json",
           good + ";secret_file=relative",
           good + ";secret=" + std::string(63, 'a'),
           good + ";secret=" + std::string(64, 'g'),
       }) {
    EXPECT_FALSE(parse_settings(text).has_value()) << text;
  }
}

TEST(SettingsText, AcceptsFieldsInAnyOrder) {
  const std::string secret(64, '0');
  EXPECT_TRUE(
      parse_settings("v1;secret=" + secret + ";fixup=signals;debug=0;sgx=2;epc_size=1048576").has_value());
}

TEST(SecretFromSeed, TellsSeedsApart) {
  EXPECT_EQ(secret_from_seed("a"), secret_from_seed("a"));
  EXPECT_NE(secret_from_seed("a"), secret_from_seed("b"));
  EXPECT_NE(secret_from_seed("a"), secret_from_seed(std::string_view("a\0", 2)));
}

}  // namespace
}  // namespace enclume::cli
