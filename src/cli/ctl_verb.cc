// SPDX-License-Identifier: Apache-2.0
// `enclume ctl PID COMMAND`
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "cli/nearest.h"
#include "cli/target/ask.h"
#include "cli/verb.h"

namespace enclume::cli {
namespace {

constexpr std::array<std::string_view, 1> kCommands = {"lose-epc"};

class CtlVerb final : public Verb {
 public:
  const Manual& manual() const override;
  void add_options(CLI::App& app) override;
  ExitStatus run(const std::vector<std::string>& rest) override;

 private:
  void check_command() const;
  ExitStatus lose_epc() const;

  std::string pid_;
  std::string command_;
  std::uint32_t enclave_ = 0;  // 0: all
  const CLI::Option* enclave_option_ = nullptr;
};

const Manual& CtlVerb::manual() const {
  static const Manual manual{
      .name = "ctl",
      .summary = "make something happen to the machine of a running program",
      .synopsis = "ctl PID lose-epc [--enclave N]",
      .before_options =
          {{"DESCRIPTION",
            {{"",
              "Asks the engine in process PID, which was started by enclume run, for something that hardware "
              "does "
              "when nobody wants it. The process must be your own, or you root."},
             {"lose-epc",
              "The enclave page cache is lost, as by a power transition or when a virtual machine moves to "
              "another "
              "host: of all enclaves of the machine (PID and the processes that it has forked), or of one. "
              "Threads "
              "inside leave by an asynchronous exit. What enclaves, entries and ioctls do from then on is "
              "what they "
              "do under Linux: EENTER and ERESUME raise #PF with the SGX bit, and a program has to build its "
              "enclaves anew, which it can at once. docs/memory.md tells more. A program can do the same to "
              "itself by "
              "an ioctl (include/enclume/uapi/enclume_control.h)."}}}},
      .after_options = {{"EXAMPLES",
                         {{"enclume ctl 4711 lose-epc", ""},
                          {"enclume ctl $(pgrep -n app) lose-epc --enclave 2", ""}}},
                        {"NOTES",
                         {{"",
                           "The request is a signal to the process (SIGSYS, which the engine keeps for "
                           "itself), so a call that "
                           "waits may end with EINTR, as with any signal that has a handler. A process that "
                           "is stopped obeys "
                           "when it goes on."}}},
                        {"EXIT STATUS",
                         {{"0", "Done."},
                          {"1",
                           "There is no such process or enclave, it does not run under Enclume, it is not "
                           "yours, or it did not "
                           "answer."},
                          {"2", "A bad command line."}}},
                        {"SEE ALSO", {{"", "enclume-run(1), enclume-mem(1), docs/memory.md"}}}},
  };
  return manual;
}

void CtlVerb::add_options(CLI::App& app) {
  app.add_option("pid", pid_, "The process.")->type_name("");
  app.add_option("command", command_, "lose-epc.")->type_name("");
  enclave_option_ = app.add_option("--enclave", enclave_,
                                   "The enclave, by the number that enclume mem shows. Default: all of them.")
                        ->type_name("N")
                        ->check(CLI::Range(1U, (1U << 28) - 1));
}

void CtlVerb::check_command() const {
  if (pid_.empty() || command_.empty()) {
    throw Failure(ExitStatus::kUsage,
                  fmt::format("ctl: {} is missing. Usage: enclume ctl PID lose-epc [--enclave N]",
                              pid_.empty() ? "the process" : "the command"));
  }
  if (command_ == kCommands[0]) return;
  const auto nearest = nearest_word(command_, kCommands);
  throw Failure(ExitStatus::kUsage,
                fmt::format("ctl: unknown command '{}'; {}", command_,
                            nearest ? fmt::format("did you mean '{}'?", *nearest)
                                    : fmt::format("known: {}", fmt::join(kCommands, ", "))));
}

ExitStatus CtlVerb::lose_epc() const {
  const auto target = find_target(pid_);
  const auto answer = ask(target, {engine::ControlRequest::What::LoseEpc, enclave_});
  switch (answer.error) {
    case 0:
      break;
    case ENOENT:
      throw Failure(ExitStatus::kNegative,
                    fmt::format("process {} has no enclave {}; enclume mem {} shows those it has", target.pid,
                                enclave_, target.pid));
    case EINVAL:
      throw Failure(ExitStatus::kNegative,
                    fmt::format("enclave {} of process {} has no EPC yet: it was opened and not created",
                                enclave_, target.pid));
    default:
      throw Failure(ExitStatus::kNegative,
                    fmt::format("process {}: {}", target.pid, std::strerror(answer.error)));
  }
  if (answer.count == 0) {
    throw Failure(ExitStatus::kNegative, fmt::format("process {} has no enclave", target.pid));
  }
  fmt::print("EPC lost: {} {} of process {}\n", answer.count, answer.count == 1 ? "enclave" : "enclaves",
             target.pid);
  return ExitStatus::kSuccess;
}

ExitStatus CtlVerb::run(const std::vector<std::string>&) {
  check_command();
  return lose_epc();
}

const Registered<CtlVerb> registered;

}  // namespace
}  // namespace enclume::cli
