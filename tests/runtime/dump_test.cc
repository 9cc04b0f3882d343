// SPDX-License-Identifier: Apache-2.0
// What an enclave tells of its own end, and to whom.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "enclume/edge/dump.h"
#include "enclume/host/enclave.h"
#include "runtime/dumps.h"

#ifdef ENCLUME_TEST_HAVE_LINES
#include "enclume/host/lines.h"
#endif

namespace {
std::function<void()> meanwhile;
}  // namespace

void dumps::do_nothing() {}
void dumps::call_back() {
  meanwhile();
}

namespace {

using namespace dumps;
using enclume::Code;
using enclume::Dump;
using Loaded = enclume::Enclave<Dumps>;

constexpr std::uint64_t kSecret = 0x5ec7e75ec7e75ec7;

std::vector<Dump> seen;

Loaded load(bool debug, const char* image = ENCLUME_TEST_DUMPS_IMAGE) {
  seen.clear();
  auto enclave =
      Loaded::load(image, {.debug = debug, .on_dump = [](const Dump& dump) { seen.push_back(dump); }});
  if (!enclave) {
    ADD_FAILURE() << describe(enclave.error().code);
    std::exit(1);
  }
  return *enclave;
}

// What the image's symbols say of each frame.
std::vector<std::string> names(const Dump::Level& level, const char* image = ENCLUME_TEST_DUMPS_IMAGE) {
  const auto symbols = enclume::symbols_of(image);
  std::vector<std::string> result;
  for (std::size_t i = 0; i < level.frames.size(); ++i) {
    result.push_back(symbols->describe(i == 0 ? level.frames[i] : level.frames[i] - 1));
  }
  return result;
}

bool contains(const std::vector<std::string>& all, std::string_view part) {
  return std::ranges::any_of(all, [&](const std::string& one) { return one.find(part) != one.npos; });
}

TEST(Dump, OfADebugEnclaveHasRegistersAndEveryCaller) {
  const auto enclave = load(true);
  const auto result = enclave.call<fail_with_secret>(kSecret, 3U);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].base, enclave.base());
  ASSERT_EQ(seen[0].levels.size(), 1U);
  const Dump::Level& level = seen[0].levels[0];
  EXPECT_EQ(level.vector, 6);
  EXPECT_FALSE(level.address);
  ASSERT_TRUE(level.registers);
  EXPECT_EQ(level.registers->r15, kSecret);
  ASSERT_GE(level.frames.size(), 6U);
  EXPECT_EQ(level.frames[0], level.registers->rip - enclave.base());
  const auto all = names(level);
  EXPECT_NE(all[0].find("fail"), std::string::npos) << all[0];
  for (std::size_t i = 1; i <= 4; ++i) EXPECT_NE(all[i].find("descend"), std::string::npos) << all[i];
  EXPECT_TRUE(contains(all, "dumps::fail_with_secret"));
  // Up to where the enclave was entered.
  EXPECT_TRUE(all.back().starts_with("enclume_entry+")) << all.back();
}

TEST(Dump, OfAProductionEnclaveIsThereOnlyIfItsAuthorWantedIt) {
  const auto none = load(false);
  EXPECT_FALSE(none.call<fail_with_secret>(kSecret, 1U));
  EXPECT_TRUE(seen.empty());

  const auto backtrace = load(false, ENCLUME_TEST_BACKTRACE_IMAGE);
  EXPECT_FALSE(backtrace.call<fail_with_secret>(kSecret, 1U));
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_FALSE(seen[0].levels.at(0).registers);
  EXPECT_TRUE(contains(names(seen[0].levels[0], ENCLUME_TEST_BACKTRACE_IMAGE), "descend"));

  const auto registers = load(false, ENCLUME_TEST_REGISTERS_IMAGE);
  EXPECT_FALSE(registers.call<fail_with_secret>(kSecret, 1U));
  ASSERT_EQ(seen.size(), 1U);
  ASSERT_TRUE(seen[0].levels.at(0).registers);
  EXPECT_EQ(seen[0].levels[0].registers->r15, kSecret);
}

TEST(Dump, WithoutRegistersHasNoAddressEither) {
  const auto enclave = load(false, ENCLUME_TEST_BACKTRACE_IMAGE);
  EXPECT_FALSE(enclave.call<read_from>(std::uint64_t{0x1238}));
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].levels.at(0).vector, 14);
  EXPECT_FALSE(seen[0].levels[0].address);
}

TEST(Dump, HasAPageFaultsAddressInFull) {
  const auto enclave = load(true);
  EXPECT_FALSE(enclave.call<read_from>(std::uint64_t{0x1238}));
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].levels.at(0).address, 0x1238U);
  EXPECT_EQ(seen[0].levels[0].error_code, 4U);
}

TEST(Dump, IsNotMadeOfWhatWasHandled) {
  const auto enclave = load(true);
  EXPECT_EQ(enclave.call<handled>(), 6U);
  EXPECT_TRUE(seen.empty());
}

TEST(Dump, HasTheExceptionsOfHandlersBehindTheFirst) {
  const auto enclave = load(true);
  for (const std::uint32_t levels : {1U, 2U}) {
    seen.clear();
    EXPECT_FALSE(enclave.call<fail_in_handler>(levels));
    ASSERT_EQ(seen.size(), 1U);
    ASSERT_EQ(seen[0].levels.size(), levels + 1);
    std::vector<std::uint64_t> marks;
    for (const auto& level : seen[0].levels) marks.push_back(level.registers.value().r15);
    EXPECT_EQ(marks,
              levels == 1 ? (std::vector<std::uint64_t>{1, 3}) : (std::vector<std::uint64_t>{1, 2, 3}));
    EXPECT_TRUE(contains(names(seen[0].levels[1]), "fail_in_handler"));
  }
}

TEST(Dump, OfAStackOverflowHasWhatTheStackTells) {
  const auto enclave = load(true);
  const auto result = enclave.call<overflow_the_stack>();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().fault.vector, 14);
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].levels.at(0).frames.size(), enclume::edge::kMaxDumpFrames);
  EXPECT_NE(names(seen[0].levels[0]).back().find("fill_stack"), std::string::npos);
  EXPECT_EQ(enclave.call<handled>(), 6U);
}

TEST(Dump, ReadsNothingThatIsNoStackOfTheThread) {
  const auto enclave = load(true);
  const std::uint64_t outside = 0;
  for (const std::uint64_t rbp :
       {std::uint64_t{0}, std::uint64_t{8}, ~std::uint64_t{0}, ~std::uint64_t{7}, std::uint64_t{1} << 63,
        reinterpret_cast<std::uint64_t>(&outside), enclave.base(), enclave.base() + 1,
        enclave.base() + enclave.size() - 8, enclave.base() + enclave.size()}) {
    seen.clear();
    EXPECT_FALSE(enclave.call<fail_with_frame_pointer>(rbp));
    ASSERT_EQ(seen.size(), 1U);
    ASSERT_EQ(seen[0].levels.size(), 1U) << std::hex << rbp;  // it has not failed over it
    EXPECT_EQ(seen[0].levels[0].frames.size(), 1U) << std::hex << rbp;
  }
}

TEST(Dump, FollowsNoCircle) {
  const auto enclave = load(true);
  EXPECT_FALSE(enclave.call<fail_with_frames_in_a_circle>());
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].levels.at(0).frames.size(), 2U);
}

TEST(Dump, OfACallWithinACallIsItsOwn) {
  const auto enclave = load(true);
  meanwhile = [&] {
    EXPECT_FALSE(enclave.call<fail_with_secret>(std::uint64_t{10}, 0U));
    EXPECT_FALSE(enclave.on_another_tcs().call<fail_with_secret>(std::uint64_t{20}, 0U));
  };
  EXPECT_FALSE(enclave.call<fail_in_an_ocall>());
  ASSERT_EQ(seen.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(seen[i].levels.size(), 1U);
    EXPECT_EQ(seen[i].levels[0].registers.value().r15, (std::array{10U, 20U, 11U})[i]);
  }
}

TEST(Dump, OfAnEndedCallIsMadeToo) {
  const auto enclave =
      load(true).with_handler([](const sgx_enclave_run&) { return enclume::OnException::kEndCall; });
  EXPECT_FALSE(enclave.call<handled>());
  EXPECT_EQ(seen.size(), 1U);
}

TEST(Dump, HandlerMayCallTheEnclaveAndThrow) {
  seen.clear();
  std::uint64_t inner = 0;
  std::optional<Loaded> enclave;
  const auto loaded = Loaded::load(ENCLUME_TEST_DUMPS_IMAGE, {.debug = true, .on_dump = [&](const Dump&) {
                                                                inner = enclave->call<handled>().value_or(0);
                                                                throw std::runtime_error("seen");
                                                              }});
  ASSERT_TRUE(loaded);
  enclave = *loaded;
  for (int i = 0; i < 5; ++i) {
    EXPECT_THROW(static_cast<void>(enclave->call<fail_with_secret>(kSecret, 0U)), std::runtime_error);
    EXPECT_EQ(inner, 6U);
  }
}

TEST(DumpText, NamesWhatItCan) {
  const auto enclave = load(true);
  EXPECT_FALSE(enclave.call<fail_with_secret>(kSecret, 1U));
  ASSERT_EQ(seen.size(), 1U);
  const std::string text = to_text(seen[0]);
  EXPECT_NE(text.find("exception 6 (#UD, undefined instruction)\n"), std::string::npos) << text;
  EXPECT_NE(text.find("r15 5ec7e75ec7e75ec7"), std::string::npos) << text;
  EXPECT_NE(text.find("descend(unsigned long, unsigned int)"), std::string::npos) << text;
  Dump elsewhere = seen[0];
  elsewhere.image = "/nonexistent";
  const std::string bare = to_text(elsewhere);
  EXPECT_NE(bare.find("  #0 0x"), std::string::npos);
  EXPECT_EQ(bare.find("descend"), std::string::npos);
}

#ifdef ENCLUME_TEST_HAVE_LINES
TEST(DumpText, HasLinesWithTheUnsignedFile) {
  const auto enclave = load(true);
  EXPECT_FALSE(enclave.call<fail_with_secret>(kSecret, 1U));
  ASSERT_EQ(seen.size(), 1U);
  const auto lines = enclume::lines_of(ENCLUME_TEST_DUMPS_UNSIGNED);
  ASSERT_NE(lines, nullptr);
  EXPECT_NE(to_text(seen[0], lines.get()).find("dumps_enclave.cc:"), std::string::npos);
  EXPECT_EQ(enclume::lines_of("/nonexistent"), nullptr);
}
#endif

TEST(Symbols, OfADamagedFileAreNoneOrFew) {
  std::ifstream stream(ENCLUME_TEST_DUMPS_IMAGE, std::ios::binary);
  const std::vector<char> whole{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  const auto path = std::filesystem::temp_directory_path() / "enclume-damaged-image";
  for (std::size_t size = 0; size < whole.size(); size += whole.size() / 61 + 1) {
    for (const char damage : {'\0', '\xff'}) {
      std::vector<char> damaged(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      damaged.resize(whole.size(), damage);
      std::ofstream(path, std::ios::binary).write(damaged.data(), static_cast<std::streamsize>(whole.size()));
      if (const auto symbols = enclume::symbols_of(path)) static_cast<void>(symbols->describe(0x1000));
    }
  }
  std::filesystem::remove(path);
  EXPECT_EQ(enclume::symbols_of("/nonexistent/image"), nullptr);
  EXPECT_EQ(enclume::symbols_of("/"), nullptr);
}

}  // namespace
