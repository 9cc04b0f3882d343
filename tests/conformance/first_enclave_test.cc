// SPDX-License-Identifier: Apache-2.0
//
// What a process comes to have with its first enclave and no sooner, where something came before that counts:
// keys that the program has taken, threads that run already, children that it has made.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

// ---- Protection keys ----

TEST(FirstEnclaveTest, ProgramHasAllKeysBeforeAndLosesNone) {
  std::vector<int> keys;
  for (int key; (key = pkey_alloc(0, PKEY_DISABLE_ACCESS)) >= 0;) keys.push_back(key);
  if (keys.empty()) GTEST_SKIP() << "this machine has no protection keys (CPUID.7.0:ECX.OSPKE)";
  EXPECT_EQ(keys.size(), 15u);
  void* const page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_EQ(pkey_mprotect(page, kPage, PROT_READ | PROT_WRITE, keys.back()), 0);
  ASSERT_EQ(pkey_set(keys.back(), 0), 0);
  *static_cast<volatile int*>(page) = 7;
  {
    const ProbeEnclave probe;
    EXPECT_TRUE(works(probe) && faults(probe) && works(probe));
    EXPECT_EQ(*static_cast<volatile int*>(page), 7);
    EXPECT_EQ(pkey_get(keys.back()), 0);
  }
  for (const int key : keys) EXPECT_EQ(pkey_free(key), 0) << key;
  const ProbeEnclave probe;
  EXPECT_TRUE(works(probe) && faults(probe) && works(probe));
}

// It has rights of its own, which the first enclave's maker can't change.
TEST(FirstEnclaveTest, ThreadThatRunsAlreadyMeetsTheAbortPage) {
  if (const int key = pkey_alloc(0, 0); key < 0) {
    GTEST_SKIP() << "this machine has no protection keys (CPUID.7.0:ECX.OSPKE)";
  } else {
    pkey_free(key);
  }
  std::atomic<std::uint64_t> address = 0, seen = 0;
  std::thread reader([&] {
    while (address == 0) sched_yield();
    seen = *reinterpret_cast<volatile std::uint64_t*>(address.load());
  });
  const ProbeEnclave probe;
  probe.write(probe.scratch(), 0x1234);
  address = probe.scratch();
  reader.join();
  EXPECT_EQ(seen, ~std::uint64_t{0});
  EXPECT_EQ(probe.read(probe.scratch()), 0x1234u);
}

// ---- Children ----

struct Way {
  const char* name;
  // Makes a child with a copy of the memory, which calls the function and ends with what it returns.
  std::function<pid_t(const std::function<int()>&)> make;
};

pid_t by(pid_t child, const std::function<int()>& body) {
  if (child == 0) _exit(body());
  return child;
}

std::vector<Way> ways() {
  return {
      {"fork", [](const auto& body) { return by(fork(), body); }},
      {"_Fork", [](const auto& body) { return by(_Fork(), body); }},
      {"syscall fork", [](const auto& body) { return by(static_cast<pid_t>(syscall(SYS_fork)), body); }},
      {"syscall clone",
       [](const auto& body) {
         return by(static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)), body);
       }},
      {"clone", [](const auto& body) {
         static std::array<char, 256 * 1024> stack;
         return clone([](void* argument) { return (*static_cast<const std::function<int()>*>(argument))(); },
                      stack.data() + stack.size(), SIGCHLD, const_cast<std::function<int()>*>(&body));
       }}};
}

int end_of(pid_t child) {
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The child makes an enclave, the parent one of its own and maps the child's: of another machine it could
// not. In a process that has made no other child yet, so each way in turn is the first.
int parent_and_child(const Way& way) {
  struct Made {
    int fd;
    std::uint64_t base, size;
  };
  int to_parent[2], to_child[2];
  if (pipe(to_parent) != 0 || pipe(to_child) != 0) return 2;
  const pid_t child = way.make([&] {
    close(to_child[1]);  // so that it ends with its parent
    const ProbeEnclave probe;
    if (!works(probe) || !faults(probe) || !works(probe)) return 1;
    const Made made{probe.fd(), probe.base(), probe.image().size()};
    if (write(to_parent[1], &made, sizeof made) != static_cast<ssize_t>(sizeof made)) return 1;
    char byte;
    return read(to_child[0], &byte, 1) == 1 && works(probe) ? 0 : 1;
  });
  if (child < 0) return 3;
  close(to_parent[1]);
  Made made{};
  if (read(to_parent[0], &made, sizeof made) != static_cast<ssize_t>(sizeof made)) return 4;
  const ProbeEnclave own;
  if (!works(own) || !faults(own)) return 5;
  const auto pidfd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  const auto fd = static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, made.fd, 0));
  if (fd < 0) return 6;
  const void* const mapped =
      mmap(reinterpret_cast<void*>(made.base), made.size, PROT_NONE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  // The place may be taken by something else of this process's; that is asked after the machine.
  if (mapped == MAP_FAILED && errno != EEXIST) return 7;
  if (write(to_child[1], "", 1) != 1 || end_of(child) != 0) return 8;
  return works(own) ? 0 : 9;
}

TEST(FirstEnclaveTest, ChildThatWasThereBeforeIsOfTheSameMachine) {
  for (const Way& way : ways()) {
    int status = -1;
    const pid_t tester = fork();
    if (tester == 0) {
      // The machine of the test's own process and its children is another: each begins with a program.
      execl("/proc/self/exe", "first_enclave_test", "--child", way.name, nullptr);
      _exit(100);
    }
    ASSERT_EQ(waitpid(tester, &status, 0), tester);
    EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0) << way.name;
  }
}

}  // namespace

int be_child(const std::string& name) {
  for (const Way& way : ways()) {
    if (way.name == name) return parent_and_child(way);
  }
  return 101;
}

}  // namespace enclume::test

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--child") return enclume::test::be_child(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
