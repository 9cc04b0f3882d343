// SPDX-License-Identifier: Apache-2.0
#include "interrupt/tracer.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

namespace enclume::test {
namespace {

constexpr std::uint64_t kTrapFlag = 0x100;
constexpr std::uint8_t kPushf = 0x9c;
constexpr std::uint8_t kPopf = 0x9d;

// What `enclume run` would hand to the engine. Without benign page faults, so that the victim's events are
// the same in each iteration.
std::string engine_settings(const std::string& options) {
  const std::string command = "'" ENCLUME_TEST_ENCLUME
                              "' run --epc-size 32M --machine-seed sweep --benign-faults off " +
                              options + " -- printenv ENCLUME_SETTINGS";
  FILE* pipe = popen(command.c_str(), "r");
  std::string text = "ENCLUME_SETTINGS=";
  for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe)) != EOF && c != '\n';) {
    text += static_cast<char>(c);
  }
  if (pipe == nullptr || pclose(pipe) != 0) throw VictimError("enclume run printenv failed");
  return text;
}

template <typename T>
T read_at(const std::vector<char>& bytes, std::size_t offset) {
  T value;
  if (offset + sizeof value > bytes.size()) throw VictimError("the engine's library is cut off");
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The names in .symtab, with their offsets from the load address.
std::map<std::string, std::uint64_t> read_symbols(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::map<std::string, std::uint64_t> symbols;
  const auto header = read_at<Elf64_Ehdr>(bytes, 0);
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    const auto section = read_at<Elf64_Shdr>(bytes, header.e_shoff + i * sizeof(Elf64_Shdr));
    if (section.sh_type != SHT_SYMTAB) continue;
    const auto names = read_at<Elf64_Shdr>(bytes, header.e_shoff + section.sh_link * sizeof(Elf64_Shdr));
    for (std::uint64_t at = 0; at < section.sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = read_at<Elf64_Sym>(bytes, section.sh_offset + at);
      symbols[bytes.data() + names.sh_offset + symbol.st_name] = symbol.st_value;
    }
  }
  return symbols;
}

void start_victim(int fd, std::string settings, bool is_static) {
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  dup2(fd, kVictimFd);
  std::string preload = "LD_PRELOAD=" ENCLUME_TEST_ENGINE;
  char program[] = ENCLUME_TEST_VICTIM, loader[] = ENCLUME_TEST_LOADER;
  char* const argv[] = {program, nullptr};
  // As `enclume run` has a static one started.
  char name[] = "ENCLUME_LOAD_NAME=" ENCLUME_TEST_STATIC_VICTIM;
  char* const envp[] = {preload.data(), settings.data(), is_static ? name : nullptr, nullptr};
  execve(is_static ? loader : program, argv, envp);
  _exit(127);
}

}  // namespace

Tracer::Tracer(Mode mode, const std::string& options, bool counted, bool is_static)
    : symbols_(read_symbols(ENCLUME_TEST_ENGINE)) {
  const int fd = memfd_create("victim", 0);
  if (fd < 0 || ftruncate(fd, sizeof(VictimPage)) != 0) throw VictimError("memfd_create");
  page_ =
      static_cast<VictimPage*>(mmap(nullptr, sizeof(VictimPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  page_->mode = mode;
  std::string settings = engine_settings(options);
  if (counted) {
    stats_fd_ = memfd_create("stats", MFD_CLOEXEC);
    if (stats_fd_ < 0 || ftruncate(stats_fd_, sizeof(engine::StatsFile)) != 0)
      throw VictimError("memfd_create");
    stats_ = static_cast<const engine::StatsFile*>(
        mmap(nullptr, sizeof(engine::StatsFile), PROT_READ, MAP_SHARED, stats_fd_, 0));
    settings += ";stats=/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(stats_fd_);
  }
  pid_ = fork();
  if (pid_ == 0) start_victim(fd, settings, is_static);
  group_ = pid_;
  close(fd);
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_ || !WIFSTOPPED(status)) give_up("the victim did not start");
  set_options(0);
  for (;;) {
    resume(PTRACE_CONT, pending_);
    const Stop stop = wait();
    pending_ = stop.is_trap ? 0 : stop.signal;
    if (stop.signal == SIGSTOP) break;
  }
  pending_ = 0;
  find_engine();
}

Tracer::~Tracer() {
  if (parent_ > 0) {
    kill(parent_, SIGKILL);
    waitpid(parent_, nullptr, 0);
  }
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, __WALL);
  }
  munmap(page_, sizeof(VictimPage));
  if (stats_ != nullptr) {
    munmap(const_cast<engine::StatsFile*>(stats_), sizeof(engine::StatsFile));
    close(stats_fd_);
  }
}

void Tracer::find_engine() {
  std::ifstream maps("/proc/" + std::to_string(pid_) + "/maps");
  std::string line;
  while (std::getline(maps, line)) {
    if (line.find(ENCLUME_TEST_ENGINE) == std::string::npos) continue;
    unsigned long long begin = 0, end = 0;
    char rights[5] = {};
    if (std::sscanf(line.c_str(), "%llx-%llx %4s", &begin, &end, rights) != 3) continue;
    if (engine_base_ == 0) engine_base_ = begin;
    if (rights[2] == 'x' && page_->engine_end == 0) {  // behind its text lies the vDSO
      page_->engine_begin = begin;
      page_->engine_end = end;
    }
  }
  if (page_->engine_end == 0) give_up("the engine is not loaded");
  errno = 0;
  gate_ = static_cast<std::uint64_t>(ptrace(PTRACE_PEEKDATA, pid_, symbol("enclume_system_call"), nullptr));
  if (errno != 0) give_up("the engine has no system call");
}

std::uint64_t Tracer::symbol(const std::string& name) const {
  const auto found = symbols_.find(name);
  if (found == symbols_.end()) throw VictimError("the engine's library has no symbol " + name);
  return engine_base_ + found->second;
}

void Tracer::give_up(const std::string& what) {
  std::ostringstream text;
  text << what;
  if (page_ != nullptr && page_->failure[0] != '\0') text << "; the victim says: " << page_->failure;
  throw VictimError(text.str());
}

void Tracer::set_options(long options) {
  if (ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL | options) != 0)
    give_up("PTRACE_SETOPTIONS");
}

void Tracer::follow_child() {
  set_options(PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK);
  for (;;) {
    resume(PTRACE_CONT, pending_);
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_ || !WIFSTOPPED(status)) give_up("the victim made no child");
    if (status >> 16 != 0) break;
    pending_ = WSTOPSIG(status);
    if (pending_ == SIGSTOP) give_up("the iteration makes no child");
  }
  unsigned long child = 0;
  if (ptrace(PTRACE_GETEVENTMSG, pid_, nullptr, &child) != 0) give_up("PTRACE_GETEVENTMSG");
  set_options(0);
  parent_ = pid_;
  pid_ = static_cast<pid_t>(child);
  pending_ = 0;
  int status = 0;
  if (waitpid(pid_, &status, __WALL) != pid_ || !WIFSTOPPED(status)) give_up("the child did not start");
  set_options(0);
  std::ifstream facts("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(facts, line);) {
    if (line.starts_with("Tgid:")) group_ = std::stoi(line.substr(5));
  }
}

Tracer::Stop Tracer::wait() {
  int status = 0;
  if (waitpid(pid_, &status, __WALL) != pid_) give_up("waitpid");
  if (!WIFSTOPPED(status)) {
    pid_ = 0;
    give_up(WIFSIGNALED(status) ? "killed by signal " + std::to_string(WTERMSIG(status))
                                : "exit status " + std::to_string(WEXITSTATUS(status)));
  }
  const int signal = WSTOPSIG(status);
  siginfo_t info{};
  ptrace(PTRACE_GETSIGINFO, pid_, nullptr, &info);
  // Our steps and breakpoints have codes above zero; one sent by kill or tgkill has not. A step while we
  // don't step is the engine's own: it has enclave code run an instruction at a time in places.
  const bool ours = stepping_ ? info.si_code > 0 : info.si_code == TRAP_HWBKPT;
  return {.signal = signal, .is_trap = signal == SIGTRAP && ours};
}

void Tracer::resume(int request, int signal) {
  stepping_ = request == PTRACE_SINGLESTEP;
  if (ptrace(static_cast<__ptrace_request>(request), pid_, nullptr, signal) != 0) give_up("ptrace");
}

void Tracer::set_breakpoint(std::uint64_t address) {
  const auto debug_register = [&](std::size_t number, std::uint64_t value) {
    const std::size_t offset = offsetof(struct user, u_debugreg) + number * sizeof(user::u_debugreg[0]);
    if (ptrace(PTRACE_POKEUSER, pid_, offset, value) != 0) give_up("no debug registers");
  };
  debug_register(7, 0);
  debug_register(0, address);
  debug_register(7, address != 0 ? 1 : 0);
}

std::uint64_t Tracer::rip() {
  user_regs_struct registers{};
  ptrace(PTRACE_GETREGS, pid_, nullptr, &registers);
  return registers.rip;
}

bool Tracer::step() {
  user_regs_struct registers{};
  ptrace(PTRACE_GETREGS, pid_, nullptr, &registers);
  const long code = ptrace(PTRACE_PEEKTEXT, pid_, registers.rip, nullptr);
  const bool pushf = static_cast<std::uint8_t>(code) == kPushf && pending_ == 0;
  if (static_cast<std::uint8_t>(code) == kPopf && pending_ == 0) {
    // Linux takes the TF of a stepped POPF for the program's own from then on (is_setting_trap_flag()). So
    // the instruction is done here.
    const long flags = ptrace(PTRACE_PEEKDATA, pid_, registers.rsp, nullptr);
    registers.eflags = static_cast<std::uint64_t>(flags) & ~kTrapFlag;
    registers.rsp += 8;
    registers.rip += 1;
    ptrace(PTRACE_SETREGS, pid_, nullptr, &registers);
    return true;
  }
  // The engine steps as well; not where the step ends at a handler's first instruction.
  const bool stepped = (registers.eflags & kTrapFlag) != 0 && pending_ == 0;
  resume(PTRACE_SINGLESTEP, pending_);
  pending_ = 0;
  const Stop stop = wait();
  if (!stop.is_trap) {
    pending_ = stop.signal;
    if (stop.signal == SIGSTOP) {
      at_end_ = true;
      pending_ = 0;
    }
    return !at_end_;
  }
  if (stepped) pending_ = SIGTRAP;
  if (pushf) {
    // What it pushed has the tracer's TF in it, and POPF would make it the program's own.
    const std::uint64_t where = registers.rsp - 8;
    const long flags = ptrace(PTRACE_PEEKDATA, pid_, where, nullptr);
    ptrace(PTRACE_POKEDATA, pid_, where, static_cast<std::uint64_t>(flags) & ~kTrapFlag);
  }
  return true;
}

template <typename Wanted>
void Tracer::run_until(unsigned event, Wanted&& wanted) {
  for (;;) {
    resume(PTRACE_CONT, pending_);
    const Stop stop = wait();
    if (stop.signal == SIGSTOP) give_up("the iteration has not that many of these");
    pending_ = stop.is_trap ? 0 : stop.signal;
    if (wanted(stop.signal) && event-- == 0) break;
  }
  step();
  if (rip() != symbol("enclume_signal_entry")) give_up("a signal does not lead to the engine");
}

void Tracer::run_to_handler(unsigned event) {
  run_until(event, [](int signal) { return signal == SIGSEGV || signal == SIGILL; });
}

void Tracer::run_to_signal(int signal, unsigned event) {
  run_until(event, [signal](int number) { return number == signal; });
}

bool Tracer::run_to(std::uint64_t address) {
  set_breakpoint(address);
  for (;;) {
    resume(PTRACE_CONT, pending_);
    const Stop stop = wait();
    pending_ = stop.is_trap ? 0 : stop.signal;
    if (stop.signal == SIGSTOP) {
      at_end_ = true;
      pending_ = 0;
    }
    if (at_end_ || (stop.is_trap && rip() == address)) break;
  }
  set_breakpoint(0);
  return !at_end_;
}

std::uint64_t Tracer::register_value(std::size_t offset) {
  errno = 0;
  const long value = ptrace(PTRACE_PEEKUSER, pid_, offset, nullptr);
  if (errno != 0) give_up("PTRACE_PEEKUSER");
  return static_cast<std::uint64_t>(value);
}

void Tracer::set_register(std::size_t offset, std::uint64_t value) {
  if (ptrace(PTRACE_POKEUSER, pid_, offset, value) != 0) give_up("PTRACE_POKEUSER");
}

std::uint64_t Tracer::peek(std::uint64_t address) {
  errno = 0;
  const long value = ptrace(PTRACE_PEEKDATA, pid_, address, nullptr);
  if (errno != 0) give_up("PTRACE_PEEKDATA");
  return static_cast<std::uint64_t>(value);
}

void Tracer::poke(std::uint64_t address, std::uint64_t value) {
  if (ptrace(PTRACE_POKEDATA, pid_, address, value) != 0) give_up("PTRACE_POKEDATA");
}

void Tracer::send(int signal) {
  if (syscall(SYS_tgkill, group_, pid_, signal) != 0) give_up("tgkill");
}

void Tracer::send_queued(int signal, int code, std::uint64_t value) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = code;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  if (syscall(SYS_rt_tgsigqueueinfo, group_, pid_, signal, &info) != 0) give_up("rt_tgsigqueueinfo");
}

void Tracer::send_step() {
  siginfo_t info{};
  if (ptrace(PTRACE_GETSIGINFO, pid_, nullptr, &info) != 0) give_up("PTRACE_GETSIGINFO");
  info.si_code = TRAP_TRACE;
  if (ptrace(PTRACE_SETSIGINFO, pid_, nullptr, &info) != 0) give_up("PTRACE_SETSIGINFO");
  pending_ = SIGTRAP;
}

bool Tracer::run_to_int3(std::uint64_t address) {
  const std::uint64_t code = peek(address);
  poke(address, (code & ~0xffULL) | 0xcc);
  for (;;) {
    resume(PTRACE_CONT, pending_);
    const Stop stop = wait();
    pending_ = stop.signal;
    if (stop.signal == SIGSTOP) {
      at_end_ = true;
      pending_ = 0;
    }
    if (at_end_ || (stop.signal == SIGTRAP && rip() == address + 1)) break;
  }
  poke(address, code);
  return !at_end_;
}

Tracer::Counts Tracer::counts() const {
  Counts sum{};
  for (const engine::StatsGroup& group : stats_->groups) {
    if (group.process.load() != pid_) continue;
    for (const engine::StatsCell& cell : group.cells) {
      const auto of = [&](engine::Count what) {
        return cell.counts.at(static_cast<std::size_t>(what)).load();
      };
      sum.eenter += of(engine::Count::Eenter);
      sum.eresume += of(engine::Count::Eresume);
      sum.eexit += of(engine::Count::Eexit);
      sum.aex += of(engine::Count::AexInterrupt) + of(engine::Count::AexKick);
      for (const auto& aex : cell.aex) sum.aex += aex.load();
    }
    for (const engine::DirectCounts& direct : group.direct) {
      sum.eenter += direct.eenter.load();
      sum.eresume += direct.eresume.load();
      sum.eexit += direct.eexit.load();
    }
  }
  return sum;
}

void Tracer::finish() {
  if (parent_ != 0) {
    if (ptrace(PTRACE_DETACH, pid_, nullptr, pending_) != 0) give_up("PTRACE_DETACH");
    pid_ = parent_;
    group_ = parent_;
    parent_ = 0;
    pending_ = 0;
  }
  while (!at_end_) {
    resume(PTRACE_CONT, pending_);
    const Stop stop = wait();
    pending_ = stop.is_trap ? 0 : stop.signal;
    if (stop.signal == SIGSTOP) {
      at_end_ = true;
      pending_ = 0;
    }
  }
  at_end_ = false;
  for (;;) {
    resume(PTRACE_CONT, pending_);
    const Stop stop = wait();
    pending_ = stop.is_trap ? 0 : stop.signal;
    if (stop.signal == SIGSTOP) break;
  }
  pending_ = 0;
  std::memset(page_->expected, 0, sizeof page_->expected);
  page_->may_see_engine = false;
  page_->in_child = false;
}

}  // namespace enclume::test
