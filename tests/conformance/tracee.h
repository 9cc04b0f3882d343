// SPDX-License-Identifier: Apache-2.0
// A child that is traced, for the parts of ptrace_test.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <system_error>

#include "conformance/debug_support.h"

namespace enclume::test {

inline constexpr auto kEenter = static_cast<std::uint64_t>(Leaf::kEenter);
inline constexpr auto kEresume = static_cast<std::uint64_t>(Leaf::kEresume);
inline constexpr auto kEexit = static_cast<std::uint64_t>(Leaf::kEexit);
inline constexpr int kSiKernel = 0x80;
inline constexpr int kTrapHwBreakpoint = 4;
inline constexpr std::uint64_t kEncluLength = 3;

// DR7: which accesses match, and how many bytes.
enum class Watch : std::uint64_t {
  Code = 0,
  Write = 0xd,
  ReadWrite = 0xf
};

// A child that runs `body` from a stop on, traced by this thread.
class Tracee {
 public:
  explicit Tracee(const std::function<int()>& body) : pid_(fork()) {
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ == 0) {
      alarm(50);
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      raise(SIGSTOP);
      _exit(body());
    }
    wait();
    if (!stopped_by(SIGSTOP)) throw std::runtime_error("the child did not stop");
    request(PTRACE_SETOPTIONS, PTRACE_O_EXITKILL);
  }
  // A child that runs already, seized.
  explicit Tracee(pid_t child) : pid_(child) { request(PTRACE_SEIZE, PTRACE_O_EXITKILL); }
  ~Tracee() {
    if (!ended()) {
      kill(pid_, SIGKILL);
      int status;
      waitpid(pid_, &status, __WALL);
    }
  }
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  pid_t pid() const { return pid_; }
  bool ended() const { return WIFEXITED(status_) || WIFSIGNALED(status_); }
  bool exited_with(int code) const { return WIFEXITED(status_) && WEXITSTATUS(status_) == code; }
  bool stopped_by(int signal) const { return WIFSTOPPED(status_) && WSTOPSIG(status_) == signal; }
  int status() const { return status_; }

  void go_on(int signal = 0) {
    request(PTRACE_CONT, signal);
    wait();
  }
  void step(int signal = 0) {
    request(PTRACE_SINGLESTEP, signal);
    wait();
  }
  void wait() {
    if (waitpid(pid_, &status_, __WALL) != pid_)
      throw std::system_error(errno, std::generic_category(), "waitpid");
  }
  void request(__ptrace_request what, long data) {
    if (ptrace(what, pid_, nullptr, data) != 0)
      throw std::system_error(errno, std::generic_category(), "ptrace");
  }

  user_regs_struct registers() const {
    user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid_, nullptr, &registers) != 0) throw std::runtime_error("PTRACE_GETREGS");
    return registers;
  }
  std::uint64_t rip() const { return registers().rip; }
  void set_rip(std::uint64_t rip) const { ptrace(PTRACE_POKEUSER, pid_, offsetof(user, regs.rip), rip); }
  siginfo_t signal() const {
    siginfo_t info;
    if (ptrace(PTRACE_GETSIGINFO, pid_, nullptr, &info) != 0) throw std::runtime_error("PTRACE_GETSIGINFO");
    return info;
  }
  // The word, or -errno where that is not zero.
  long peek(std::uint64_t address, std::uint64_t& word) const {
    errno = 0;
    word = static_cast<std::uint64_t>(ptrace(PTRACE_PEEKDATA, pid_, address, nullptr));
    return -errno;
  }
  std::uint64_t word(std::uint64_t address) const {
    std::uint64_t value;
    if (const long error = peek(address, value); error != 0) {
      throw std::system_error(static_cast<int>(-error), std::generic_category(), "PTRACE_PEEKDATA");
    }
    return value;
  }
  long poke(std::uint64_t address, std::uint64_t word) const {
    return ptrace(PTRACE_POKEDATA, pid_, address, word) == 0 ? 0 : -errno;
  }

  // On to `address`, by an INT3 that is gone afterwards.
  void run_to(std::uint64_t address) {
    const std::uint64_t before = word(address);
    poke(address, (before & ~0xffULL) | 0xcc);
    go_on();
    poke(address, before);
    if (!stopped_by(SIGTRAP) || rip() != address + 1)
      throw std::runtime_error("the breakpoint was not reached");
    set_rip(address);
  }

  void watch(unsigned n, std::uint64_t address, Watch kind) {
    enabled_ |= 1ULL << (2 * n) | static_cast<std::uint64_t>(kind) << (16 + 4 * n);
    if (ptrace(PTRACE_POKEUSER, pid_, offsetof(user, u_debugreg) + 8 * n, address) != 0 ||
        ptrace(PTRACE_POKEUSER, pid_, offsetof(user, u_debugreg[7]), enabled_) != 0) {
      throw std::system_error(errno, std::generic_category(), "debug register");
    }
  }
  // DR6.B0 to B3.
  std::uint64_t matches() const {
    return static_cast<std::uint64_t>(ptrace(PTRACE_PEEKUSER, pid_, offsetof(user, u_debugreg[6]), nullptr)) &
           0xf;
  }

 private:
  pid_t pid_;
  int status_ = 0;
  std::uint64_t enabled_ = 0;
};

// What the debugger reads of the newest SSA frame.
inline Gprsgx newest_frame(const Tracee& tracee, const ProbeEnclave& probe) {
  const auto cssa = static_cast<std::uint32_t>(tracee.word(probe.tcs() + offsetof(Tcs, cssa)));
  const std::uint64_t end = probe.tcs() + PROBE_SSA + cssa * probe.frame_size();
  Gprsgx frame;
  for (std::size_t i = 0; i < sizeof frame; i += 8) {
    const std::uint64_t word = tracee.word(end - sizeof frame + i);
    std::memcpy(reinterpret_cast<char*>(&frame) + i, &word, 8);
  }
  return frame;
}

struct LinearRegion {
  std::uint64_t begin = 0, end = 0;
  bool contains(std::uint64_t address) const { return address >= begin && address < end; }
};

// The engine's code, the same in a child.
inline LinearRegion engine_text() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin, end;
    char mode[5];
    if (line.find("libenclume-engine") != std::string::npos &&
        std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, mode) == 3 && mode[2] == 'x') {
      return {begin, end};
    }
  }
  throw std::runtime_error("no engine");
}

inline int sum_is_seven(const ProbeEnclave& probe) {
  const CallResult result = probe.call(PROBE_OP_SUM, {3, 4});
  return result.exited() && result.args.out[0] == 7 ? 0 : 1;
}

// #UD in the enclave, entered by an ENCLU of our own; not expected to come back.
inline int raise_by_own_enclu(const ProbeEnclave& probe) {
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  RegisterFile in{}, out{};
  in.rax = kEenter;
  in.rbx = probe.tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = address_of(&args);
  enclume_test_raw_enclu(&in, &out);
  return 3;
}

}  // namespace enclume::test
