// SPDX-License-Identifier: Apache-2.0
#include "trace/stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "trace/text_sink.h"

namespace enclume::trace {
namespace {

class Collector final : public Sink {
 public:
  void take(const Event& event) noexcept override { events.push_back(event); }
  std::vector<Event> events;
};

TEST(Stream, IsOffUntilSomebodyListens) {
  Stream stream;
  EXPECT_FALSE(stream.on());
  stream.emit(Close{});
  Collector sink;
  EXPECT_TRUE(stream.add(sink));
  EXPECT_TRUE(stream.on());
  EXPECT_TRUE(sink.events.empty());
}

TEST(Stream, GivesEveryEventToEverySink) {
  Stream stream;
  Collector sinks[Stream::kMaxSinks];
  for (Collector& sink : sinks) {
    EXPECT_TRUE(stream.add(sink));
  }
  Collector one_too_many;
  EXPECT_FALSE(stream.add(one_too_many));
  stream.emit(Close{5, 0L});
  for (const Collector& sink : sinks) {
    ASSERT_EQ(sink.events.size(), 1U);
    EXPECT_EQ(std::get<Close>(sink.events[0].what).fd, 5);
  }
  EXPECT_TRUE(one_too_many.events.empty());
}

TEST(Stream, StampsProcessThreadAndTime) {
  Stream stream;
  Collector sink;
  ASSERT_TRUE(stream.add(sink));
  stream.emit(Close{});
  int other = 0;
  std::thread([&] {
    other = gettid();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    stream.emit(Close{});
  }).join();
  ASSERT_EQ(sink.events.size(), 2U);
  EXPECT_EQ(sink.events[0].process, getpid());
  EXPECT_EQ(sink.events[0].thread, gettid());
  EXPECT_EQ(sink.events[1].process, getpid());
  EXPECT_EQ(sink.events[1].thread, other);
  EXPECT_GE(sink.events[1].nanoseconds, sink.events[0].nanoseconds + 2'000'000);
}

TEST(TextSink, WritesWholeLinesFromManyThreads) {
  std::string path = testing::TempDir() + "enclume-stream-XXXXXX";
  ::close(mkstemp(path.data()));
  static TextSink sink;
  ASSERT_TRUE(sink.open(path).has_value());
  Stream stream;
  ASSERT_TRUE(stream.add(sink));
  constexpr int kThreads = 4;
  constexpr int kLines = 200;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kLines; ++i) {
        stream.emit(Close{5, 0L});
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  int lines = 0;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line); ++lines) {
    EXPECT_TRUE(line.starts_with("[") && line.ends_with(" close(5) = 0")) << line;
  }
  EXPECT_EQ(lines, kThreads * kLines);
  unlink(path.c_str());
}

TEST(TextSink, EndsALineThatIsTooLong) {
  std::string path = testing::TempDir() + "enclume-stream-XXXXXX";
  ::close(mkstemp(path.data()));
  static TextSink sink;
  ASSERT_TRUE(sink.open(path).has_value());
  const std::string program(5000, 'p');
  sink.take({1, 1, 0, Start{program, 4096, true}});
  sink.take({1, 1, 0, Close{5, 0L}});
  std::ifstream file(path);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_EQ(line.size(), 1023U);
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_EQ(line, "[1] 0.000000 close(5) = 0");
  unlink(path.c_str());
}

}  // namespace
}  // namespace enclume::trace
