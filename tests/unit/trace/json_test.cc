// SPDX-License-Identifier: Apache-2.0
// Events as elements of a JSON array, read back by a JSON library that shares no code with the writer.
#include "trace/json.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "trace/json_sink.h"
#include "trace/render_json.h"

namespace enclume::trace {
namespace {

using nlohmann::json;

LinearAddress at(std::uint64_t value) {
  return LinearAddress(value);
}

/// What a file with this event alone would hold, and the closing bracket.
json elements_of(const What& what, std::uint64_t began = 0) {
  static char storage[kMaxJsonText];
  LineBuffer out(storage);
  render_json({7, 8, 1'000, what, 5'000'001'234, began}, out);
  EXPECT_FALSE(out.truncated());
  json all = json::parse("[null" + std::string(out.view()) + "]");
  all.erase(0);
  return all;
}

json only_element_of(const What& what, std::uint64_t began = 0) {
  const json all = elements_of(what, began);
  EXPECT_EQ(all.size(), 1U) << all;
  return all.at(0);
}

std::string string_member(std::string_view value) {
  char storage[kMaxJsonText];
  LineBuffer out(storage);
  JsonObject(out).string("k", value).end();
  return json::parse(out.view()).at("k");
}

TEST(JsonObject, EscapesWhatStringsMayNotHold) {
  EXPECT_EQ(string_member("plain"), "plain");
  EXPECT_EQ(string_member("\"quoted\" back\\slash"), "\"quoted\" back\\slash");
  EXPECT_EQ(string_member(std::string_view("\0\x01\n\x1f", 4)), std::string("\0\x01\n\x1f", 4));
}

TEST(JsonObject, KeepsUtf8AndReplacesWhatIsNot) {
  for (const std::string good :
       {"\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xf0\x9f\x94\xa8", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(string_member(good), good);
  }
  const std::string replacement = "\xef\xbf\xbd";
  EXPECT_EQ(string_member("a\xff"
                          "b"),
            "a" + replacement + "b");
  EXPECT_EQ(string_member("\xc3"), replacement);                                      // cut off
  EXPECT_EQ(string_member("\xc0\xaf"), replacement + replacement);                    // not the shortest form
  EXPECT_EQ(string_member("\xed\xa0\x80"), replacement + replacement + replacement);  // a surrogate
  EXPECT_EQ(string_member("\xf4\x90\x80\x80").size(), 4 * replacement.size());        // beyond U+10FFFF
}

TEST(JsonObject, CutsAStringBetweenCharacters) {
  std::string text(JsonObject::kMaxString - 1, 'x');
  const std::string shortened = string_member(text + "\xe2\x82\xac\xe2\x82\xac");
  EXPECT_EQ(shortened, text);
}

TEST(JsonObject, TimeHasThreeDecimals) {
  char storage[64];
  LineBuffer out(storage);
  JsonObject(out).microseconds("a", 5).microseconds("b", 1'234'056).end();
  EXPECT_EQ(out.view(), R"({"a":0.005,"b":1234.056})");
}

TEST(RenderJson, AVisitBeginsWithTheLeafThatEnters) {
  const json e = only_element_of(Enclu{
      2, 0x7f0000003000, 0x7ffe00001007, 0, {}, Entered{0, at(0x7f0000004010)}, at(1), at(0x7f0000000000)});
  EXPECT_EQ(e["name"], "EENTER");
  EXPECT_EQ(e["ph"], "B");
  EXPECT_EQ(e["pid"], 7);
  EXPECT_EQ(e["tid"], 8);
  EXPECT_DOUBLE_EQ(e["ts"], 5'000'001.234);
  const json expected = {{"tcs", "0x7f0000003000"}, {"aep", "0x7ffe00001007"},     {"cssa", 0},
                         {"rip", "0x7f0000004010"}, {"enclave", "0x7f0000000000"}, {"offset", "0x4010"}};
  EXPECT_EQ(e["args"], expected);
}

TEST(RenderJson, EexitEndsIt) {
  const json e = only_element_of(Enclu{4, 0x1020, 0, 0, at(0x3000), Exited{at(0x1020)}, {}, {}});
  EXPECT_EQ(e["ph"], "E");
  EXPECT_FALSE(e.contains("name"));  // it would have to be the name of the beginning
  EXPECT_EQ(e["args"], json({{"left_by", "EEXIT"}, {"target", "0x1020"}}));
}

TEST(RenderJson, AnInstructionIsNamedByItsText) {
  constexpr std::array<std::byte, 2> kCode = {std::byte{0xeb}, std::byte{0x0e}};
  const json e = only_element_of(
      Instruction{at(0x4010), at(0x4000), kCode, "jmp 0x20", Symbol{"f", 0x10}, Symbol{"g", 0}});
  EXPECT_EQ(e["name"], "jmp 0x20");
  EXPECT_EQ(e["ph"], "i");
  EXPECT_EQ(e["args"], json({{"rip", "0x4010"},
                             {"enclave", "0x4000"},
                             {"offset", "0x10"},
                             {"symbol", "f+0x10"},
                             {"target_symbol", "g+0x0"},
                             {"bytes", "eb 0e"}}));
}

TEST(RenderJson, AnAexEndsItAndTellsWhatWasSaved) {
  const json all =
      elements_of(Aex{Exception{14, 0x8007, at(0x7f0000002008)}, at(0x7f0000004010), at(0x7f0000003000), 1,
                      0x8000030e, at(0x7f0000000000), at(0x7ffe00001007)});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0]["ph"], "E");
  EXPECT_EQ(all[0]["args"]["left_by"], "AEX #PF(0x8007)");
  EXPECT_EQ(all[1]["ph"], "i");
  EXPECT_EQ(all[1]["s"], "t");
  EXPECT_EQ(all[1]["cat"], "exception");
  const json expected = {
      {"vector", "#PF"},         {"error_code", "0x8007"},      {"address", "0x7f0000002008"},
      {"rip", "0x7f0000004010"}, {"enclave", "0x7f0000000000"}, {"offset", "0x4010"},
      {"tcs", "0x7f0000003000"}, {"aep", "0x7ffe00001007"},     {"cssa", 1},
      {"cssa_after", 2},         {"exitinfo", "0x8000030e"},    {"exitinfo_event", "#PF hardware"}};
  EXPECT_EQ(all[1]["args"], expected);
}

TEST(RenderJson, AnInterruptIsNoException) {
  const json all =
      elements_of(Aex{Interrupt{SIGALRM, false}, at(0x4010), at(0x3000), 0, 0, at(0), at(0x1007)});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1]["name"], "AEX interrupt (SIGALRM)");
  EXPECT_EQ(all[1]["cat"], "interrupt");
  EXPECT_FALSE(all[1]["args"].contains("vector"));
  EXPECT_EQ(all[1]["args"]["offset"], "0x4010");  // of an enclave at address 0
  EXPECT_EQ(all[1]["args"]["exitinfo_event"], "none");
}

TEST(RenderJson, AFaultOfEncluItself) {
  const json e =
      only_element_of(Enclu{3, 0x3000, 0x1007, 0, {}, Exception{14, 0x8005, at(0x3000)}, at(0x1007), {}});
  EXPECT_EQ(e["name"], "ERESUME #PF(0x8005)");
  EXPECT_EQ(e["ph"], "i");
  const json expected = {{"tcs", "0x3000"},        {"aep", "0x1007"},     {"vector", "#PF"},
                         {"error_code", "0x8005"}, {"address", "0x3000"}, {"rip", "0x1007"}};
  EXPECT_EQ(e["args"], expected);
}

TEST(RenderJson, ALeafInside) {
  const json e = only_element_of(Enclu{5, 0x200, 0x5000, 0, at(0x3000), Completed{19}, at(0x4000), at(0)});
  EXPECT_EQ(e["name"], "EACCEPT");
  EXPECT_EQ(e["args"],
            json({{"secinfo", "0x200"}, {"page", "0x5000"}, {"result", "PAGE_ATTRIBUTES_MISMATCH"}}));
}

TEST(RenderJson, WhoGetsAnException) {
  const Question question{"vdso", {14, 0x8007, at(0x7f0000002000)}, at(0x1007), 3};
  const json fixup = only_element_of(Fixup{question, at(0x1010), {Receiver::Who::Handler, at(0x5555)}});
  EXPECT_EQ(fixup["name"], "fixup vdso");
  json expected = {
      {"design", "vdso"},  {"vector", "#PF"}, {"error_code", "0x8007"}, {"address", "0x7f0000002000"},
      {"leaf", "ERESUME"}, {"rip", "0x1007"}, {"goes_on_at", "0x1010"}, {"receiver", "user handler 0x5555"}};
  EXPECT_EQ(fixup["args"], expected);

  const json signal = only_element_of(Signal{
      {"vdso", {3, 0, {}}, at(0x1007), {}}, SIGTRAP, 0x80, at(0), {Receiver::Who::Signal, at(0x6666)}});
  EXPECT_EQ(signal["name"], "SIGTRAP");
  expected = {{"design", "vdso"},       {"vector", "#BP"},     {"error_code", "0x0"},
              {"rip", "0x1007"},        {"signal", "SIGTRAP"}, {"signo", 5},
              {"si_code", "SI_KERNEL"}, {"si_addr", "0x0"},    {"receiver", "signal handler 0x6666"}};
  EXPECT_EQ(signal["args"], expected);

  const json dropped = only_element_of(Dropped{{"vdso", {16, 0, {}}, at(0x1007), 3}});
  EXPECT_EQ(dropped["args"]["receiver"], "nobody");
}

TEST(RenderJson, CallsAreSlicesWithADuration) {
  const json e = only_element_of(
      Ioctl{5, 0xc028a406, 0x10, ModifyTypesArgument{0x2000, 0x1000, 4, 20, 0}, fail(Errno::Fault)},
      4'999'001'234);
  EXPECT_EQ(e["name"], "SGX_IOC_ENCLAVE_MODIFY_TYPES");
  EXPECT_EQ(e["ph"], "X");
  EXPECT_DOUBLE_EQ(e["ts"], 4'999'001.234);
  EXPECT_DOUBLE_EQ(e["dur"], 1'000'000 / 1000.0);
  const json expected = {{"fd", 5},
                         {"argument", "0x10"},
                         {"offset", "0x2000"},
                         {"length", "0x1000"},
                         {"page_type", "TRIM"},
                         {"leaf_code", "PAGE_NOT_MODIFIABLE"},
                         {"count", "0x0"},
                         {"result", "-1 EFAULT"}};
  EXPECT_EQ(e["args"], expected);
}

TEST(RenderJson, AStartNamesTheProcess) {
  const json all = elements_of(Start{"/usr/bin/a \"b\"", 1 << 20, true});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0]["ph"], "M");
  EXPECT_EQ(all[0]["name"], "process_name");
  EXPECT_EQ(all[0]["args"]["name"], "a \"b\"");
  EXPECT_EQ(all[1]["args"], json({{"program", "/usr/bin/a \"b\""}, {"epc", "0x100000"}, {"sgx", 2}}));
}

TEST(RenderJson, TheLongestEventFits) {
  const std::uint64_t all_ones = ~0ULL;
  const auto top = at(all_ones);
  const int everything = -1;
  elements_of(Start{std::string(4096, '\x01'), all_ones, true});
  elements_of(Open{std::string(4096, '\xff'), everything, fail(Errno::Invalid)});
  elements_of(Mmap{top, all_ones, everything, everything, everything, all_ones, fail(Errno::Invalid)});
  elements_of(Mremap{top, all_ones, all_ones, everything, top, fail(Errno::Invalid)});
  elements_of(Ioctl{everything, ~0U, all_ones,
                    AddPagesArgument{top, all_ones, all_ones, top, all_ones, all_ones, all_ones}, 0L});
  elements_of(Ioctl{everything, ~0U, all_ones,
                    CreateArgument{top, SecsFields{all_ones, top, ~0U, ~0U, all_ones, all_ones}}, 0L});
  elements_of(Aex{Exception{255, ~0U, top}, top, top, ~0U, ~0U, at(0), top});
  elements_of(Signal{{"registers", {255, ~0U, top}, top, ~0U}, everything, everything, top, {}});
}

TEST(JsonSink, EveryPrefixOfWholeWritesLoads) {
  std::string path = testing::TempDir() + "enclume-json-XXXXXX";
  const int fd = mkstemp(path.data());
  ASSERT_EQ(write(fd, "[null", 5), 5);
  ::close(fd);
  static JsonSink sink;
  ASSERT_TRUE(sink.open(path).has_value());
  Stream stream;
  ASSERT_TRUE(stream.add(sink));
  constexpr int kThreads = 4;
  constexpr int kEvents = 100;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEvents; ++i) {
        stream.emit(Close{5, 0L});
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  const json all = json::parse(text.str() + "]");
  int closes = 0;
  int names = 0;
  for (const json& e : all) {
    closes += e.is_object() && e["ph"] == "X" ? 1 : 0;
    names += e.is_object() && e["name"] == "thread_name" ? 1 : 0;
  }
  EXPECT_EQ(closes, kThreads * kEvents);
  EXPECT_GE(names, kThreads);
  unlink(path.c_str());
}

}  // namespace
}  // namespace enclume::trace
