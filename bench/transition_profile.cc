// SPDX-License-Identifier: Apache-2.0
//
// Which instructions one call into an enclave and back executes, and where its time goes: a call by the vDSO
// function is single-stepped under ptrace, and then the same process makes millions of them while a perf
// event samples its RIP. One line for each instruction, for scripts/profile-transition.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "enclaves/probe_enclave.h"

namespace enclume::bench {
namespace {

// Shared by both processes.
struct Page {
  std::uint64_t vdso_function, enclave, enclave_size;
  std::atomic<std::uint64_t> calls;
};

constexpr int kWarmUp = 1000;
constexpr int kSharedFd = 100;
constexpr std::uint64_t kTrapFlag = 0x100;
constexpr std::uint8_t kPushf = 0x9c;
constexpr std::uint8_t kPopf = 0x9d;

Page& map_page() {
  void* at = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, kSharedFd, 0);
  if (at == MAP_FAILED) throw std::runtime_error("no shared page");
  return *static_cast<Page*>(at);
}

[[noreturn]] void victim() {
  Page& page = map_page();
  const test::ProbeEnclave probe;
  const auto function = test::vdso_function();
  sgx_enclave_run run{};
  run.tcs = probe.tcs();
  test::ProbeArgs args;
  const auto call = [&] {
    enclume_test_call_vdso(PROBE_OP_NOP, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run, function);
  };
  for (int i = 0; i < kWarmUp; ++i) call();
  page.vdso_function = reinterpret_cast<std::uint64_t>(function);
  page.enclave = probe.base();
  page.enclave_size = probe.image().size();
  raise(SIGSTOP);
  for (;;) {
    call();
    page.calls.fetch_add(1, std::memory_order_relaxed);
  }
}

struct Mapping {
  std::uint64_t begin, end, offset;
  std::string name;
};
std::vector<Mapping> mappings_of(pid_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::vector<Mapping> all;
  for (std::string line; std::getline(maps, line);) {
    Mapping m{};
    std::string permissions, device, inode;
    char dash;
    std::istringstream fields(line);
    fields >> std::hex >> m.begin >> dash >> m.end >> permissions >> m.offset >> device >> inode >> m.name;
    all.push_back(m);
  }
  return all;
}

class Victim {
 public:
  explicit Victim(const std::string& enclume) {
    const int memory = memfd_create("profile", 0);
    if (memory < 0 || ftruncate(memory, sizeof(Page)) != 0 || dup2(memory, kSharedFd) < 0) {
      throw std::runtime_error("no memory to share");
    }
    page_ = &map_page();
    const std::string own = std::filesystem::read_symlink("/proc/self/exe");
    pid_ = fork();
    if (pid_ == 0) {
      ptrace(PTRACE_TRACEME, 0, 0, 0);
      // A tracer has the debug registers, so exits would stay trapped where they need them.
      execl(enclume.c_str(), "enclume", "run", "--fast=unwatched", "--", own.c_str(), "--victim", nullptr);
      _exit(127);
    }
    // Signals are the program's and the engine's, but for the stop; SIGTRAP comes of each exec.
    for (bool executed = false;;) {
      const int signal = wait();
      executed = executed || signal == SIGTRAP;
      if (signal == SIGSTOP && page_->vdso_function != 0) break;
      go(PTRACE_CONT, signal == SIGTRAP ? 0 : signal);
    }
  }
  ~Victim() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;

  pid_t pid() const { return pid_; }
  const Page& page() const { return *page_; }

  std::vector<std::uint64_t> step_through_a_call() {
    while (rip() != page_->vdso_function) step();
    const std::uint64_t back = peek(registers().rsp);
    std::vector<std::uint64_t> path;
    for (std::uint64_t at; (at = rip()) != back; step()) path.push_back(at);
    return path;
  }
  std::array<std::uint8_t, 16> code(std::uint64_t at) const {
    std::array<std::uint8_t, 16> bytes;
    for (std::size_t i = 0; i < 16; i += 8) {
      const std::uint64_t word = peek(at + i);
      std::memcpy(bytes.data() + i, &word, 8);
    }
    return bytes;
  }
  void let_go() { ptrace(PTRACE_DETACH, pid_, 0, 0); }

 private:
  int wait() {
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_ || !WIFSTOPPED(status))
      throw std::runtime_error("the victim ended");
    return WSTOPSIG(status);
  }
  void go(int request, int signal) {
    if (ptrace(static_cast<__ptrace_request>(request), pid_, 0, signal) != 0) {
      throw std::runtime_error("ptrace failed");
    }
  }
  user_regs_struct registers() const {
    user_regs_struct registers{};
    ptrace(PTRACE_GETREGS, pid_, 0, &registers);
    return registers;
  }
  std::uint64_t rip() const { return registers().rip; }
  std::uint64_t peek(std::uint64_t at) const {
    return static_cast<std::uint64_t>(ptrace(PTRACE_PEEKDATA, pid_, at, 0));
  }
  // PUSHF shows the step's own TF, which the paths would heed. POPF is done here, since Linux takes the TF of
  // a stepped one for the program's own from then on (is_setting_trap_flag()).
  void step() {
    const std::uint64_t opcode = peek(rip()) & 0xff;
    if (opcode == kPopf) {
      user_regs_struct now = registers();
      now.eflags = peek(now.rsp) & ~kTrapFlag;
      now.rsp += 8;
      now.rip += 1;
      ptrace(PTRACE_SETREGS, pid_, 0, &now);
      return;
    }
    const bool pushes_flags = opcode == kPushf;
    go(PTRACE_SINGLESTEP, 0);
    if (const int signal = wait(); signal != SIGTRAP) throw std::runtime_error("the call was not direct");
    if (pushes_flags) {
      const std::uint64_t top = registers().rsp;
      ptrace(PTRACE_POKEDATA, pid_, top, peek(top) & ~kTrapFlag);
    }
  }

  pid_t pid_ = 0;
  Page* page_ = nullptr;
};

// RIPs of a thread, by time.
class Samples {
 public:
  explicit Samples(pid_t tid) {
    perf_event_attr attr{};
    attr.size = sizeof attr;
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.sample_freq = 10'000;
    attr.freq = 1;
    attr.sample_type = PERF_SAMPLE_IP;
    attr.exclude_kernel = attr.exclude_hv = 1;
    fd_ = static_cast<int>(syscall(SYS_perf_event_open, &attr, tid, -1, -1, 0UL));
    if (fd_ < 0) throw std::runtime_error("perf_event_open failed");
    ring_ = static_cast<perf_event_mmap_page*>(
        mmap(nullptr, (1 + kPages) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    if (ring_ == MAP_FAILED) throw std::runtime_error("no ring for the samples");
  }
  void collect(std::map<std::uint64_t, std::uint64_t>& counts) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(ring_) + 4096;
    const std::uint64_t head = std::atomic_ref(ring_->data_head).load(std::memory_order_acquire);
    while (tail_ < head) {
      const auto word = [&](std::uint64_t offset) {
        std::uint64_t value;
        std::memcpy(&value, data + (tail_ + offset) % (kPages * 4096), sizeof value);
        return value;
      };
      const std::uint64_t header = word(0);
      if ((header & 0xffffffff) == PERF_RECORD_SAMPLE) ++counts[word(8)];
      tail_ += header >> 48;
    }
    std::atomic_ref(ring_->data_tail).store(tail_, std::memory_order_release);
  }
  // The thread's time on a processor, in nanoseconds.
  std::uint64_t time() const {
    std::uint64_t value = 0;
    return read(fd_, &value, sizeof value) == sizeof value ? value : 0;
  }

 private:
  static constexpr std::uint64_t kPages = 256;
  int fd_ = -1;
  perf_event_mmap_page* ring_ = nullptr;
  std::uint64_t tail_ = 0;
};

int profile(const std::string& enclume, int seconds) {
  Victim victim(enclume);
  const auto path = victim.step_through_a_call();
  std::vector<std::uint64_t> order;
  std::map<std::uint64_t, unsigned> times;
  for (const std::uint64_t at : path) {
    if (times[at]++ == 0) order.push_back(at);
  }
  std::map<std::uint64_t, std::array<std::uint8_t, 16>> code;
  for (const std::uint64_t at : order) code[at] = victim.code(at);
  const auto mappings = mappings_of(victim.pid());

  std::map<std::uint64_t, std::uint64_t> counts;
  Samples samples(victim.pid());
  victim.let_go();
  const std::uint64_t calls = victim.page().calls;
  const std::uint64_t time = samples.time();
  for (int tenth = 0; tenth < seconds * 10; ++tenth) {
    usleep(100'000);
    samples.collect(counts);
  }
  const double made = static_cast<double>(victim.page().calls - calls);
  const double spent = static_cast<double>(samples.time() - time);
  std::uint64_t all = 0;
  for (const auto& [at, count] : counts) all += count;

  std::printf("calls\t%.0f\nns\t%.3f\nsamples\t%llu\ninstructions\t%zu\n", made, spent / made,
              static_cast<unsigned long long>(all), path.size());
  for (const std::uint64_t at : order) {
    const Page& page = victim.page();
    std::string where = "trampoline";
    std::uint64_t offset = at & 63;
    const auto mapping = std::ranges::find_if(
        mappings, [at](const Mapping& m) { return at >= m.begin && at < m.end && !m.name.empty(); });
    if (at - page.enclave < page.enclave_size) {
      where = "enclave";
      offset = at - page.enclave;
    } else if (at - page.vdso_function < 4096) {
      where = "vdso";
      offset = at - page.vdso_function;
    } else if (mapping != mappings.end() && mapping->name.ends_with("libenclume-engine.so")) {
      const auto first = std::ranges::find(mappings, mapping->name, &Mapping::name);
      where = mapping->name;
      offset = at - first->begin;
    }
    std::printf("at\t%s\t%llx\t%u\t%llu\t", where.c_str(), static_cast<unsigned long long>(offset), times[at],
                static_cast<unsigned long long>(counts[at]));
    for (const std::uint8_t byte : code[at]) std::printf("%02x", byte);
    std::printf("\n");
  }
  return 0;
}

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  try {
    if (what == "--victim") enclume::bench::victim();
    const char* seconds = argc > 1 ? argv[1] : "10";
    return enclume::bench::profile(ENCLUME_PROGRAM, std::atoi(seconds));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "transition_profile: %s\n", error.what());
    return 1;
  }
}
