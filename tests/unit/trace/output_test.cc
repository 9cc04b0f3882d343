// SPDX-License-Identifier: Apache-2.0
// The trace's file survives what programs do to descriptors, and does nothing to the program.
#include "trace/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace enclume::trace {
namespace {

class OutputFile : public testing::Test {
 protected:
  void SetUp() override {
    const int fd = mkstemp(path_.data());
    ASSERT_GE(fd, 0);
    ::close(fd);
    ASSERT_TRUE(output_.open(path_).has_value());
  }
  void TearDown() override {
    ::close(output_.descriptor());
    unlink(path_.c_str());
  }
  static std::string contents_of(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string path_ = testing::TempDir() + "enclume-output-XXXXXX";
  Output output_;
};

TEST_F(OutputFile, HasAHighDescriptorThatExecCloses) {
  EXPECT_GE(output_.descriptor(), Output::kLowestDescriptor);
  EXPECT_EQ(fcntl(output_.descriptor(), F_GETFD), FD_CLOEXEC);
  EXPECT_NE(fcntl(output_.descriptor(), F_GETFL) & O_APPEND, 0);
}

TEST_F(OutputFile, LeavesTheLowestFreeDescriptorFree) {
  const int before = dup(0);
  ::close(before);
  Output another;
  ASSERT_TRUE(another.open(path_).has_value());
  const int after = dup(0);
  ::close(after);
  ::close(another.descriptor());
  EXPECT_EQ(before, after);
}

TEST_F(OutputFile, AppendsToWhatOthersWrote) {
  output_.write("one\n");
  std::ofstream(path_, std::ios::app) << "two\n";
  output_.write("three\n");
  EXPECT_EQ(contents_of(path_), "one\ntwo\nthree\n");
}

TEST_F(OutputFile, IsOpenedAgainAfterTheProgramClosedIt) {
  ASSERT_EQ(::close(output_.descriptor()), 0);
  output_.write("still here\n");
  EXPECT_EQ(contents_of(path_), "still here\n");
}

TEST_F(OutputFile, NeverWritesToAFileOfTheProgramWithTheSameNumber) {
  std::string other = testing::TempDir() + "enclume-program-XXXXXX";
  const int fd = mkstemp(other.data());
  ASSERT_GE(fd, 0);
  ASSERT_EQ(dup2(fd, output_.descriptor()), output_.descriptor());
  const int taken = output_.descriptor();
  output_.write("line\n");
  EXPECT_EQ(contents_of(other), "");
  EXPECT_EQ(contents_of(path_), "line\n");
  EXPECT_NE(output_.descriptor(), taken);
  EXPECT_EQ(fcntl(taken, F_GETFD), 0) << "the program's descriptor was closed";
  ::close(taken);
  ::close(fd);
  unlink(other.c_str());
}

TEST_F(OutputFile, DropsLinesWhenTheFileIsOutOfReach) {
  ASSERT_EQ(::close(output_.descriptor()), 0);
  unlink(path_.c_str());
  output_.write("lost\n");
  EXPECT_EQ(access(path_.c_str(), F_OK), -1) << "the trace made a new file";
}

TEST_F(OutputFile, DoesNotTakeAnotherFileOfTheSameName) {
  ASSERT_EQ(::close(output_.descriptor()), 0);
  const std::string moved = path_ + ".moved";
  ASSERT_EQ(rename(path_.c_str(), moved.c_str()), 0);
  std::ofstream(path_) << "the program's\n";
  output_.write("lost\n");
  EXPECT_EQ(contents_of(path_), "the program's\n");
  unlink(moved.c_str());
}

TEST_F(OutputFile, FitsUnderALowDescriptorLimit) {
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit low{64, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  Output another;
  const auto opened = another.open(path_);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  ASSERT_TRUE(opened.has_value());
  EXPECT_LT(another.descriptor(), 64);
  another.write("low\n");
  EXPECT_EQ(contents_of(path_), "low\n");
  ::close(another.descriptor());
}

TEST(Output, SaysWhyItCannotOpen) {
  Output output;
  const auto missing = output.open("/nonexistent/trace");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error(), Errno::NoEntry);
  const auto long_path = output.open(std::string(Output::kMaxPath, 'x'));
  ASSERT_FALSE(long_path.has_value());
  EXPECT_EQ(long_path.error(), Errno::NoSpace);
  output.write("nowhere\n");
  EXPECT_EQ(output.descriptor(), -1);
}

/// Descriptor 2 is a pipe for the scope of a test.
class OutputPipe : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    reader_ = ends[0];
    saved_ = fcntl(2, F_DUPFD_CLOEXEC, 10);
    ASSERT_EQ(dup2(ends[1], 2), 2);
    ::close(ends[1]);
    opened_ = output_.open("-").has_value();
  }
  void TearDown() override {
    restore();
    ::close(output_.descriptor());
    if (reader_ >= 0) {
      ::close(reader_);
    }
  }
  void restore() {
    if (saved_ >= 0) {
      dup2(saved_, 2);
      ::close(saved_);
      saved_ = -1;
    }
  }

  int reader_ = -1;
  int saved_ = -1;
  bool opened_ = false;
  Output output_;
};

TEST_F(OutputPipe, GoesToStandardErrorAsItWasAtTheStart) {
  restore();
  ASSERT_TRUE(opened_);
  output_.write("line\n");
  char text[16]{};
  EXPECT_EQ(read(reader_, text, sizeof(text)), 5);
  EXPECT_STREQ(text, "line\n");
}

int sigpipes;

TEST_F(OutputPipe, RaisesNoSigpipeWhenTheReaderIsGone) {
  restore();
  ASSERT_TRUE(opened_);
  ::close(reader_);
  reader_ = -1;
  sigpipes = 0;
  const auto old = std::signal(SIGPIPE, [](int) { ++sigpipes; });
  output_.write("one\n");
  output_.write("two\n");
  std::signal(SIGPIPE, old);
  EXPECT_EQ(sigpipes, 0);
}

TEST_F(OutputPipe, KeepsTheProgramsOwnPendingSigpipeAndMask) {
  restore();
  ASSERT_TRUE(opened_);
  ::close(reader_);
  reader_ = -1;
  sigset_t mask;
  sigset_t old;
  sigemptyset(&mask);
  sigaddset(&mask, SIGPIPE);
  sigaddset(&mask, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &mask, &old), 0);
  pthread_kill(pthread_self(), SIGPIPE);
  output_.write("one\n");
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 1);
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  for (int signo = 1; signo < 32; ++signo) {
    EXPECT_EQ(sigismember(&now, signo), sigismember(&mask, signo)) << signo;
  }
  int taken = 0;
  sigemptyset(&mask);
  sigaddset(&mask, SIGPIPE);
  sigwait(&mask, &taken);
  EXPECT_EQ(taken, SIGPIPE);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

}  // namespace
}  // namespace enclume::trace
