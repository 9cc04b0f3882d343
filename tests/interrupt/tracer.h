// SPDX-License-Identifier: Apache-2.0
//
// Runs the victim under the engine and under ptrace: instruction by instruction where that is wanted.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <csignal>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

#include "engine/stats/layout.h"
#include "interrupt/victim_abi.h"

namespace enclume::test {

// The victim ended, or did something that it must not.
class VictimError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Tracer {
 public:
  // Starts the victim, with more options of `enclume run`, and brings it to the stop before its first
  // iteration. `counted`: as with --stats. `is_static`: it is a static program.
  explicit Tracer(Mode mode = Mode::kEnclave, const std::string& options = "", bool counted = false,
                  bool is_static = false);
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  VictimPage& page() { return *page_; }
  // A symbol of the engine's library, hidden ones too.
  std::uint64_t symbol(const std::string& name) const;
  // In its code, or at the SYSCALL that it uses, wherever that is.
  bool in_engine(std::uint64_t address) const {
    return (address >= page_->engine_begin && address < page_->engine_end) || address - gate_ < 3;
  }

  // From the stop before an iteration: on until the fault number `event` (0: the first EENTER) is about to be
  // delivered, then to the first instruction of the engine's handler.
  void run_to_handler(unsigned event);
  // The same for the signal number `event` of the kind: one that the victim sends itself, or SIGSYS.
  void run_to_signal(int signal, unsigned event);
  // On until the victim makes a child, which all is about from then on until finish(): the child stands at
  // its first instruction, and the victim where it has made it.
  void follow_child();
  // On until the instruction at `address` is next; false if the iteration ended before.
  bool run_to(std::uint64_t address);
  // One instruction. False if the iteration is over.
  bool step();
  std::uint64_t rip();
  // A register, by its offset in struct user.
  std::uint64_t register_value(std::size_t offset);
  void set_register(std::size_t offset, std::uint64_t value);
  std::uint64_t peek(std::uint64_t address);
  void poke(std::uint64_t address, std::uint64_t value);

  void send(int signal);  // tgkill
  void send_queued(int signal, int code, std::uint64_t value);

  // Where the victim stands after run_to(): has it get the trap that TF would raise there.
  void send_step();
  // The same for an INT3 at `address`, which nobody takes care of.
  bool run_to_int3(std::uint64_t address);

  // What has been counted of this victim.
  struct Counts {
    std::uint64_t eenter, eresume, eexit, aex;
  };
  Counts counts() const;

  // On to the stop at the end of the iteration, passing every signal on, and to the one before the next.
  void finish();

 private:
  struct Stop {
    int signal;
    bool is_trap;  // A step or a breakpoint, not a signal.
  };
  Stop wait();
  template <typename Wanted>
  void run_until(unsigned event, Wanted&& wanted);
  void resume(int request, int signal);
  void set_breakpoint(std::uint64_t address);
  void find_engine();
  void set_options(long options);
  [[noreturn]] void give_up(const std::string& what);

  pid_t pid_ = 0;
  pid_t group_ = 0;   // The process that it is a thread of.
  pid_t parent_ = 0;  // The victim, while `pid_` is its child.
  VictimPage* page_ = nullptr;
  const engine::StatsFile* stats_ = nullptr;
  int stats_fd_ = -1;
  std::uint64_t engine_base_ = 0;
  std::uint64_t gate_ = 0;
  int pending_ = 0;  // A signal to hand over when the victim next runs.
  bool at_end_ = false;
  bool stepping_ = false;
  std::map<std::string, std::uint64_t> symbols_;
};

}  // namespace enclume::test
