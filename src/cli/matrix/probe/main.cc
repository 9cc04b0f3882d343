// SPDX-License-Identifier: Apache-2.0
// enclume-matrix: carries out cells of the exception matrix and prints what it saw, one JSON object a line.
// An ordinary SGX program: `enclume matrix` runs it under the emulator, but it also runs by itself on a
// machine with SGX, and `enclume matrix --facts` compares what it printed there. Each cell has a process of
// its own, since some of them end it.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "cli/matrix/probe/attempt.h"

namespace enclume::cli::matrix::probe {
namespace {

constexpr unsigned kSeconds = 20;

struct Arguments {
  Design design = Design::Vdso;
  std::vector<std::string_view> cells;
};

int usage() {
  std::fputs("Usage: enclume-matrix [--design vdso|vdso-registers|per-mm|signals] [PLACE/CELL]...\n", stderr);
  return 2;
}

bool parse(int argc, char** argv, Arguments& out) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--design") {
      const auto design = i + 1 < argc ? kernel::exception_design(argv[++i]) : std::nullopt;
      if (!design) return false;
      out.design = *design;
    } else if (word.starts_with('-')) {
      return false;
    } else {
      out.cells.push_back(word);
    }
  }
  return true;
}

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) != 0;) {
    if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  return text;
}

nlohmann::json in_child(const Cell& cell, Design design) {
  int ends[2];
  if (pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  const pid_t child = fork();
  if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (child == 0) {
    close(ends[0]);
    alarm(kSeconds);
    std::string text;
    try {
      text = attempt(cell, design).dump();
    } catch (const std::exception& error) {
      text = nlohmann::json{{"failed", error.what()}}.dump();
    }
    const auto written = write(ends[1], text.data(), text.size());
    _exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(ends[1]);
  const std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return {{"killed", WTERMSIG(status)}};
  // A child whose host code ran in enclave mode may end in any way.
  auto facts = nlohmann::json::parse(text, nullptr, false);
  if (!facts.is_object()) return {{"failed", "the attempt ended without telling its facts"}};
  return facts;
}

int run(const Arguments& arguments) {
  for (const Cell& cell : all_cells()) {
    const std::string name = cell.name();
    const auto design = static_cast<std::size_t>(arguments.design);
    if (cell.who(design) == '-' || cell.row->needs == Needs::kNobody) continue;
    if (!arguments.cells.empty() && std::ranges::find(arguments.cells, name) == arguments.cells.end())
      continue;
    nlohmann::json facts = in_child(cell, arguments.design);
    facts["cell"] = name;
    facts["design"] = kernel::name_of(arguments.design);
    std::printf("%s\n", facts.dump().c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace enclume::cli::matrix::probe

int main(int argc, char** argv) {
  using namespace enclume::cli::matrix::probe;
  Arguments arguments;
  if (!parse(argc, argv, arguments)) return usage();
  try {
    return run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "enclume-matrix: %s\n", error.what());
    return 1;
  }
}
