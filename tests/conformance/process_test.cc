// SPDX-License-Identifier: Apache-2.0
//
// The process around the enclaves: how a program starts others, loads libraries and ends; and that programs
// which do not use SGX are as they always are.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "conformance/process_support.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

// What a child of this test runs: see ExecTest.
TEST(EnclaveInThisProcess, Works) {
  const ProbeEnclave probe;
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {40, 2}).args.out[0], 42u);
}

// ---- Other programs ----

TEST(ExecTest, StatusOfChildrenComesThrough) {
  EXPECT_EQ(system("true"), 0);
  EXPECT_EQ(WEXITSTATUS(system("exit 37")), 37);
  const int killed = system("kill -TERM $$");
  EXPECT_TRUE(WIFSIGNALED(killed) && WTERMSIG(killed) == SIGTERM) << killed;
  const int illegal = system("kill -ILL $$");
  EXPECT_TRUE(WIFSIGNALED(illegal) && WTERMSIG(illegal) == SIGILL) << illegal;
}

TEST(ExecTest, ShellPipelineWorks) {
  int status = 0;
  EXPECT_EQ(output_of("printf 'c\\na\\nb\\n' | sort | tr -d '\\n' | tr a-z A-Z", status), "ABC");
  EXPECT_EQ(status, 0);
}

TEST(ExecTest, PythonWorksWithThreadsAndSubprocesses) {
  int status = 0;
  const std::string output = output_of(
      "python3 -c 'import subprocess, threading, signal, os\n"
      "r = []\n"
      "t = [threading.Thread(target=lambda: r.append(sum(range(1000)))) for _ in range(8)]\n"
      "[x.start() for x in t]; [x.join() for x in t]\n"
      "hits = []\n"
      "signal.signal(signal.SIGSEGV, lambda *a: hits.append(1)); os.kill(os.getpid(), signal.SIGSEGV)\n"
      "print(len(r), sum(r), len(hits), subprocess.check_output([\"echo\", \"sub\"]).decode().strip())'",
      status);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(output, "8 3996000 1 sub\n");
}

std::string this_program() {
  char path[4096] = {};
  return readlink("/proc/self/exe", path, sizeof path - 1) > 0 ? path : "";
}

TEST(ExecTest, ProgramPathIsItsOwn) {
  EXPECT_NE(this_program().find("process_test"), std::string::npos) << "/proc/self/exe is " << this_program();
}

TEST(ExecTest, ProgramThatUsesEnclavesCanBeStartedByForkAndExec) {
  const std::string self = this_program();
  const int status = in_child([&] {
    const Fd quiet(open("/dev/null", O_WRONLY));
    dup2(quiet.get(), STDOUT_FILENO);
    execl(self.c_str(), self.c_str(), "--gtest_filter=EnclaveInThisProcess.Works", nullptr);
    return 99;
  });
  EXPECT_EQ(status, 0);
}

TEST(ExecTest, ProgramThatUsesEnclavesCanBeStartedByPosixSpawn) {
  std::string self = this_program(), filter = "--gtest_filter=EnclaveInThisProcess.Works";
  char* arguments[] = {self.data(), filter.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, self.c_str(), &actions, nullptr, arguments, environ), 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  posix_spawn_file_actions_destroy(&actions);
}

TEST(ExecTest, VforkAndExecOfTheOwnImageWork) {
  const std::string self = this_program();
  const pid_t child = vfork();
  if (child == 0) {
    execl("/proc/self/exe", self.c_str(), "--gtest_list_tests", nullptr);
    _exit(99);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ExecTest, ExecFromAThreadWorks) {
  const std::string self = this_program();
  const int status = in_child([&] {
    std::thread([&] {
      const Fd quiet(open("/dev/null", O_WRONLY));
      dup2(quiet.get(), STDOUT_FILENO);
      execl(self.c_str(), self.c_str(), "--gtest_filter=EnclaveInThisProcess.Works", nullptr);
      _exit(99);
    }).join();
    return 98;
  });
  EXPECT_EQ(status, 0);
}

TEST(ExecTest, DispositionsAndMasksAcrossExecAreThoseOfPosix) {
  // Ignored stays ignored, a handler becomes the default, the mask is inherited. The shell's own handling of
  // signals is kept out: grep is started directly.
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int status = in_child([&] {
    const ScopedSigaction handler(SIGUSR2, [](int, siginfo_t*, void*) {});
    const ScopedSignalMask mask(SIG_BLOCK, {SIGUSR1});
    signal(SIGHUP, SIG_IGN);
    dup2(ends[1], STDOUT_FILENO);
    execlp("grep", "grep", "-E", "^Sig(Blk|Ign|Cgt):", "/proc/self/status", nullptr);
    return 99;
  });
  ASSERT_EQ(status, 0);
  char text[512] = {};
  ASSERT_GT(read(ends[0], text, sizeof text - 1), 0);
  const auto has = [&](const char* name, int signal) {
    const char* at = std::strstr(text, name);
    return at != nullptr && (std::strtoull(at + std::strlen(name), nullptr, 16) >> (signal - 1) & 1) != 0;
  };
  EXPECT_TRUE(has("SigBlk:", SIGUSR1)) << text;
  EXPECT_TRUE(has("SigIgn:", SIGHUP)) << text;
  EXPECT_FALSE(has("SigCgt:", SIGUSR2)) << text;
}

TEST(LibraryTest, LibraryLoadedLaterCanUseItsOwnEnclave) {
  const ProbeEnclave ours;
  void* library = dlopen(ENCLUME_TEST_ENCLAVE_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto sum = reinterpret_cast<std::uint64_t (*)(std::uint64_t, std::uint64_t)>(
      dlsym(library, "enclave_library_sum"));
  ASSERT_NE(sum, nullptr);
  EXPECT_EQ(sum(30, 12), 42u);
  EXPECT_EQ(ours.call(PROBE_OP_SUM, {30, 13}).args.out[0], 43u);
}

// Its functions are looked for in its own dependencies first, and libc is one of them.
TEST(LibraryTest, LibraryThatBindsDeeplyCanUseItsOwnEnclave) {
  for (const int when : {RTLD_NOW, RTLD_LAZY}) {
    const int status = in_child([&]() -> int {
      void* library = dlopen(ENCLUME_TEST_ENCLAVE_LIBRARY, when | RTLD_LOCAL | RTLD_DEEPBIND);
      if (library == nullptr) return 2;
      const auto sum = reinterpret_cast<std::uint64_t (*)(std::uint64_t, std::uint64_t)>(
          dlsym(library, "enclave_library_sum"));
      return sum != nullptr && sum(30, 12) == 42 ? 0 : 3;
    });
    EXPECT_EQ(status, 0) << when;
  }
}

// The emulator, which is loaded before it, must not have a function of its library's.
TEST(LibraryTest, ExceptionsOfTheCppLibraryReachTheProgram) {
  const std::vector<int> none;
  EXPECT_THROW(static_cast<void>(none.at(none.size())), std::out_of_range);
  EXPECT_THROW(static_cast<void>(std::string("x").substr(2)), std::out_of_range);
}

// ---- Ends and other odds ----

TEST(ExitTest, ExitStatusAndAtexitAreKept) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  static int end;
  end = ends[1];
  const int status = in_child([&]() -> int {
    const ProbeEnclave probe;
    probe.call(PROBE_OP_NOP);
    atexit([] {
      if (write(end, "x", 1) != 1) _exit(1);
    });
    std::exit(23);
  });
  EXPECT_EQ(WEXITSTATUS(status), 23);
  close(ends[1]);
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 1);
}

TEST(ExitTest, AbortIsSigabrt) {
  const int status = in_child([]() -> int {
    const ProbeEnclave probe;
    std::abort();
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
}

TEST(ExitTest, ProgramMayEndWhileThreadsAreInsideEnclaves) {
  const int status = in_child([]() -> int {
    static const ProbeEnclave probe;
    static std::uint64_t stop = 0;
    static volatile std::uint64_t progress = 0;
    std::thread([] {
      probe.call(PROBE_OP_SPIN, {address_of(&stop), address_of(const_cast<std::uint64_t*>(&progress))});
    }).detach();
    while (progress == 0) usleep(1000);
    _exit(5);
  });
  EXPECT_EQ(WEXITSTATUS(status), 5);
}

TEST(OddTest, ProgramMayCloseEveryDescriptorItDoesNotKnow) {
  const int status = in_child([] {
    syscall(SYS_close_range, 3, ~0u, 0);
    const ProbeEnclave probe;
    return probe.call(PROBE_OP_SUM, {1, 1}).args.out[0] == 2 ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

TEST(OddTest, ClosingEveryDescriptorOneByOneWorksToo) {
  const int status = in_child([] {
    const ProbeEnclave before;
    for (int fd = 3; fd < 1024; ++fd) close(fd);
    if (before.call(PROBE_OP_SUM, {1, 1}).args.out[0] != 2) return 1;
    const ProbeEnclave after;
    return after.call(PROBE_OP_SUM, {1, 1}).args.out[0] == 2 ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

TEST(OddTest, FirstFreeDescriptorIsTheOneThatOpenGives) {
  const int status = in_child([] {
    for (int fd = 3; fd < 20; ++fd) close(fd);
    const int first = open("/dev/null", O_RDONLY), second = open("/dev/sgx_enclave", O_RDWR);
    return first == 3 && second == 4 ? 0 : 1;
  });
  EXPECT_EQ(status, 0) << "programs count on the lowest free number";
}

TEST(OddTest, ForkOfAProgramWithThreadsWorks) {
  const ProbeEnclave probe;
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    while (!stop) {
      const Fd fd = open_sgx_enclave();
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(in_child(
                  [&] {
                    return probe.call(PROBE_OP_SUM, {1, 1}).args.out[0] == 2 ? 0 : 1;
                  },
                  20),
              0)
        << i;
  }
  stop = true;
  busy.join();
}

}  // namespace
}  // namespace enclume::test
