// SPDX-License-Identifier: Apache-2.0
// `enclume mem PID`
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/mem/render.h"
#include "cli/target/target.h"
#include "cli/verb.h"

namespace enclume::cli {
namespace {

// Puts the text in the file's place at once, so that whoever shows it never sees half of it.
void replace_file(const std::string& name, const std::string& text) {
  const auto fresh = fmt::format("{}.{}.new", name, ::getpid());
  std::ofstream file(fresh, std::ios::binary);
  file << text;
  file.close();
  if (!file || std::rename(fresh.c_str(), name.c_str()) != 0) {
    const int error = errno;
    std::remove(fresh.c_str());
    throw Failure(ExitStatus::kInternal, fmt::format("cannot write {}: {}", name, std::strerror(error)));
  }
}

class MemVerb final : public Verb {
 public:
  const Manual& manual() const override;
  void add_options(CLI::App& app) override;
  ExitStatus run(const std::vector<std::string>& rest) override;

 private:
  void show(const Snapshot& snapshot) const;

  std::string pid_;
  bool json_ = false;
  std::string svg_;
  std::string html_;
  double watch_ = 0;  // seconds, 0: once
};

const Manual& MemVerb::manual() const {
  static const Manual manual{
      .name = "mem",
      .summary = "show the pages of a running program's enclaves",
      .synopsis = "mem [--json] [--svg FILE] [--html FILE] [--watch SECONDS] PID",
      .before_options =
          {{"DESCRIPTION",
            {{"",
              "Shows each enclave of process PID, which runs under Enclume: ranges of equal pages with type, "
              "permissions and state, by the machine's EPCM and the kernel's page table as they are at this "
              "moment. "
              "The process is not stopped, nor asked; it may be stopped, or in a debugger. It must be your "
              "own, or you "
              "root."},
             {"TYPE", "REG, TCS or TRIM."},
             {"PERM", "What the EPCM allows: r, w, x."},
             {"MAX", "What a mapping of the page may have at most."},
             {"STATE",
              "Nothing for a page that is in the EPC and in use; else, of these words: evicted (its "
              "ciphertext is in "
              "the backing store), untouched (in no page table: the next touch is a page fault), pending "
              "(added, and "
              "not accepted yet), modified (its type was changed, and not accepted yet), restricted (its "
              "permissions "
              "were, and not accepted yet), blocked (about to be evicted), lost (the EPC went away), thread "
              "N "
              "inside."}}}},
      .after_options =
          {{"EXAMPLES",
            {{"enclume mem 4711", ""},
             {"enclume mem --watch 0.5 $(pgrep -n app)", ""},
             {"enclume mem --html pages.html 4711", ""},
             {"enclume mem --json 4711 | jq '.enclaves[] | {number, epc_pages, evicted}'", ""}}},
           {"EXIT STATUS",
            {{"0", "Done. With --watch: the process has ended."},
             {"1", "There is no such process, it does not run under Enclume, or it may not be looked at."},
             {"2", "A bad command line."},
             {"125", "A file cannot be written."}}},
           {"SEE ALSO", {{"", "enclume-ctl(1), enclume-run(1), docs/memory.md"}}}},
  };
  return manual;
}

void MemVerb::add_options(CLI::App& app) {
  app.add_option("pid", pid_, "The process.")->type_name("");
  app.add_flag("--json", json_, "Print JSON; the keys stay the same from version to version.");
  app.add_option("--svg", svg_, "Write a map of the pages to FILE, as a picture, instead of text.")
      ->type_name("FILE");
  app.add_option("--html", html_, "The same as an HTML page. Pointing at a square tells what it is.")
      ->type_name("FILE");
  app.add_option("--watch", watch_, "Do it again every so many seconds, until the process ends.")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.05, 86400.0));
}

void MemVerb::show(const Snapshot& snapshot) const {
  if (!svg_.empty()) replace_file(svg_, to_svg(snapshot));
  if (!html_.empty()) replace_file(html_, to_html(snapshot));
  if (json_) {
    fmt::print("{}\n", to_json(snapshot).dump(watch_ > 0 ? -1 : 2));  // one line each time
  } else if (svg_.empty() && html_.empty()) {
    const bool redraws = watch_ > 0 && ::isatty(STDOUT_FILENO) == 1;
    fmt::print("{}{}", redraws ? "\033[H\033[J" : "", to_text(snapshot));
    if (watch_ > 0 && !redraws) fmt::print("\n");
  }
  std::fflush(stdout);
}

ExitStatus MemVerb::run(const std::vector<std::string>&) {
  if (pid_.empty()) {
    throw Failure(ExitStatus::kUsage,
                  fmt::format("mem: which process? Usage: enclume {}", manual().synopsis));
  }
  const Target target = find_target(pid_);
  show(take_snapshot(target.pid));
  while (watch_ > 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(watch_));
    if (has_ended(target)) break;
    if (std::ferror(stdout) != 0) break;
    show(take_snapshot(target.pid));
  }
  return ExitStatus::kSuccess;
}

const Registered<MemVerb> registered;

}  // namespace
}  // namespace enclume::cli
