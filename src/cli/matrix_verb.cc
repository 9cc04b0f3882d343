// SPDX-License-Identifier: Apache-2.0
// `enclume matrix`: carries out the exception matrix and compares it with what is expected.
#include <cpuid.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "cli/file_descriptor.h"
#include "cli/matrix/row.h"
#include "cli/matrix/verdict.h"
#include "cli/verb.h"

namespace enclume::cli {
namespace {

namespace fs = std::filesystem;
using kernel::ExceptionDesign;
using matrix::Cell;
using nlohmann::json;

fs::path own_path() {
  std::error_code error;
  const auto self = fs::read_symlink("/proc/self/exe", error);
  if (error) {
    throw Failure(ExitStatus::kInternal, "cannot find my own path: /proc/self/exe: " + error.message());
  }
  return self;
}

// Beside this program in a build tree, in libexec when installed.
std::string probe_path(const fs::path& self) {
  std::error_code error;
  const std::array<fs::path, 2> candidates = {
      self.parent_path() / "enclume-matrix",
      self.parent_path().parent_path() / ENCLUME_LIBEXECDIR / "enclume-matrix"};
  for (const auto& candidate : candidates) {
    if (fs::exists(candidate, error)) return candidate.string();
  }
  throw Failure(
      ExitStatus::kInternal,
      fmt::format("the program that carries out the matrix is missing: no {}", candidates[0].string()));
}

// What `command` writes to standard output; its standard error is ours.
std::string output_of(const std::vector<std::string>& command) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) throw Failure(ExitStatus::kInternal, "cannot make a pipe");
  const FileDescriptor reader(ends[0]);
  std::string text;
  pid_t child = 0;
  {
    const FileDescriptor writer(ends[1]);
    child = ::fork();
    if (child < 0) throw Failure(ExitStatus::kInternal, "cannot start a process");
    if (child == 0) {
      ::dup2(writer.get(), STDOUT_FILENO);
      ::close(writer.get());
      ::close(reader.get());
      std::vector<char*> argv;
      for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
      argv.push_back(nullptr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  std::array<char, 65536> buffer{};
  for (ssize_t n = 0; (n = ::read(reader.get(), buffer.data(), buffer.size())) != 0;) {
    if (n > 0) text.append(buffer.data(), static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) {
    throw Failure(ExitStatus::kInternal, fmt::format("matrix: '{}' failed", fmt::join(command, " ")));
  }
  return text;
}

bool has_hypervisor() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid(1, eax, ebx, ecx, edx);
  return (ecx >> 31 & 1) != 0;
}

// Lines of the probe by design and cell.
using Facts = std::map<std::pair<std::string, std::string>, json>;
void add_lines(Facts& facts, std::istream& lines, std::string_view name) {
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    try {
      json object = json::parse(line);
      const std::pair key(object.at("design").get<std::string>(), object.at("cell").get<std::string>());
      facts[key] = std::move(object);
    } catch (const json::exception& error) {
      throw Failure(ExitStatus::kUsage,
                    fmt::format("matrix: {} is not what enclume-matrix prints: {}", name, error.what()));
    }
  }
}

template <typename Name>
std::string choices(const auto& values, Name name) {
  std::vector<std::string> names;
  for (const auto value : values) names.emplace_back(name(value));
  return fmt::format("{}", fmt::join(names, ", "));
}

class MatrixVerb final : public Verb {
 public:
  const Manual& manual() const override;
  void add_options(CLI::App& app) override {
    app.add_option("--design", designs_,
                   "Only this design; may be repeated. " +
                       choices(kernel::kExceptionDesigns, [](auto d) { return kernel::name_of(d); }) + ".")
        ->type_name("DESIGN");
    app.add_option("--place", places_,
                   "Only this place; may be repeated. " +
                       choices(matrix::kPlaces, [](auto p) { return matrix::name_of(p); }) + ".")
        ->type_name("PLACE");
    app.add_option("--vector", vectors_,
                   "Only cells of this vector, such as #PF; may be repeated. Case and # do not matter.")
        ->type_name("VECTOR");
    app.add_option("--cell", cells_, "Only this cell, such as opt-out/PF-tcs; may be repeated.")
        ->type_name("PLACE/CELL");
    app.add_option("--format", format_, "text, a table; json; or, with --expected, markdown. Default: text.")
        ->type_name("FORMAT");
    app.add_flag(
        "--strict", strict_,
        "Single-step the enclaves, as enclume run --strict does. What cannot be seen natively is not excused "
        "then.");
    app.add_flag("--expected", expected_, "Print what is expected, and run nothing.");
    app.add_option("--facts", facts_file_,
                   "Compare what enclume-matrix has printed to FILE, on a machine with SGX; run nothing. "
                   "Nothing is excused then.")
        ->type_name("FILE");
  }
  ExitStatus run(const std::vector<std::string>&) override;

 private:
  void check() const;
  [[nodiscard]] bool selected(const Cell& cell) const;
  [[nodiscard]] std::vector<ExceptionDesign> designs() const;
  [[nodiscard]] Facts gather(const std::vector<ExceptionDesign>& designs,
                             const std::vector<const Cell*>& cells) const;

  std::vector<std::string> designs_, places_, vectors_, cells_;
  std::string format_ = "text";
  std::string facts_file_;
  bool expected_ = false, strict_ = false;
};

const Manual& MatrixVerb::manual() const {
  static const Manual manual{
      .name = "matrix",
      .summary = "show who gets which exception, and check that it is so",
      .synopsis = "matrix [OPTIONS]",
      .before_options =
          {{"DESCRIPTION",
            {{"",
              "Carries out the exception matrix: each exception at each place, in an enclave and around it, "
              "in each "
              "of the four designs of docs/exception-designs.md, and compares what is to be seen with what "
              "the "
              "architecture and Linux's source demand: who got it, vector, error code, address, registers, "
              "the "
              "enclave's SSA frame, CSSA, signal and siginfo."},
             {"",
              "The table shows who got it. DIFFERS marks a cell that is not as expected, with the "
              "differences below it; ~ one that cannot be as expected on this machine, and is as it has to "
              "be "
              "then, for the reason given. With --strict nearly all are as expected."},
             {"",
              "The cells are carried out by enclume-matrix, an ordinary SGX program, under enclume run. On a "
              "machine with SGX, run it by itself for the designs that Linux has, vdso and signals, and "
              "compare what "
              "it prints with --facts. docs/exception-matrix.md is the matrix on paper."}}}},
      .after_options =
          {{"EXAMPLES",
            {{"enclume matrix", ""},
             {"enclume matrix --design vdso --place opt-in", ""},
             {"enclume matrix --vector PF --format json | jq '.[] | select(.verdict == \"differs\")'", ""},
             {"enclume matrix --strict --place opt-out", ""},
             {"enclume matrix --expected --format markdown", ""},
             {"enclume-matrix --design vdso > facts; enclume matrix --design vdso --facts facts", ""}}},
           {"EXIT STATUS",
            {{"0", "Every cell is as expected, or deviates for a known reason."},
             {"1", "A cell differs."},
             {"2", "A bad command line, or a file that is not from enclume-matrix."}}},
           {"SEE ALSO", {{"", "enclume-run(1), docs/exception-matrix.md, docs/exception-designs.md"}}}},
  };
  return manual;
}

std::string plain_vector(std::string text) {
  if (text.starts_with('#')) text.erase(0, 1);
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

void MatrixVerb::check() const {
  const auto refuse = [](std::string_view what, const std::string& word, const std::string& known) {
    throw Failure(ExitStatus::kUsage,
                  fmt::format("matrix: there is no {} '{}'; there are {}", what, word, known));
  };
  for (const auto& design : designs_) {
    if (!kernel::exception_design(design)) {
      refuse("design", design, choices(kernel::kExceptionDesigns, [](auto d) { return kernel::name_of(d); }));
    }
  }
  for (const auto& place : places_) {
    if (std::ranges::none_of(matrix::kPlaces, [&](auto p) { return matrix::name_of(p) == place; })) {
      refuse("place", place, choices(matrix::kPlaces, [](auto p) { return matrix::name_of(p); }));
    }
  }
  std::set<std::string> vectors;
  for (const Cell& cell : matrix::all_cells()) vectors.insert(plain_vector(std::string(cell.row->vector)));
  for (const auto& vector : vectors_) {
    if (!vectors.contains(plain_vector(vector)))
      refuse("vector", vector, fmt::format("{}", fmt::join(vectors, ", ")));
  }
  for (const auto& name : cells_) {
    if (std::ranges::none_of(matrix::all_cells(), [&](const Cell& cell) { return cell.name() == name; })) {
      refuse("cell", name, "those of 'enclume matrix --expected'");
    }
  }
  if (format_ != "text" && format_ != "json" && !(expected_ && format_ == "markdown")) {
    throw Failure(ExitStatus::kUsage,
                  fmt::format("matrix: no format '{}' here; see 'enclume help matrix'", format_));
  }
}

bool MatrixVerb::selected(const Cell& cell) const {
  const auto is_in = [](const std::vector<std::string>& list, const auto& matches) {
    return list.empty() || std::ranges::any_of(list, matches);
  };
  return is_in(places_, [&](const auto& place) { return place == matrix::name_of(cell.place); }) &&
         is_in(vectors_,
               [&](const auto& vector) {
                 return plain_vector(vector) == plain_vector(std::string(cell.row->vector));
               }) &&
         is_in(cells_, [&](const auto& name) { return name == cell.name(); });
}

std::vector<ExceptionDesign> MatrixVerb::designs() const {
  std::vector<ExceptionDesign> chosen;
  for (const auto design : kernel::kExceptionDesigns) {
    if (designs_.empty() || std::ranges::find(designs_, kernel::name_of(design)) != designs_.end()) {
      chosen.push_back(design);
    }
  }
  return chosen;
}

Facts MatrixVerb::gather(const std::vector<ExceptionDesign>& designs,
                         const std::vector<const Cell*>& cells) const {
  Facts facts;
  if (!facts_file_.empty()) {
    std::ifstream file(facts_file_);
    if (!file) {
      throw Failure(ExitStatus::kUsage,
                    fmt::format("matrix: cannot read {}: {}", facts_file_, std::strerror(errno)));
    }
    add_lines(facts, file, facts_file_);
    return facts;
  }
  const auto self = own_path();
  const auto probe = probe_path(self);
  for (const auto design : designs) {
    const std::string name(kernel::name_of(design));
    std::vector<std::string> command = {self.string(), "run", "--fixup=" + name, "--", probe,
                                        "--design",    name};
    if (strict_) command.insert(command.begin() + 2, "--strict");
    for (const Cell* cell : cells) command.push_back(cell->name());
    std::istringstream lines(output_of(command));
    add_lines(facts, lines, "the output");
  }
  return facts;
}

ExitStatus MatrixVerb::run(const std::vector<std::string>&) {
  check();
  if (expected_) {
    fmt::print("{}", format_ == "markdown" ? matrix::rows_to_markdown()
                     : format_ == "json"   ? matrix::rows_to_json().dump(2) + "\n"
                                           : matrix::rows_to_text());
    return ExitStatus::kSuccess;
  }
  std::vector<const Cell*> cells;
  for (const Cell& cell : matrix::all_cells()) {
    if (selected(cell)) cells.push_back(&cell);
  }
  const auto chosen = designs();
  Facts facts = gather(chosen, cells);
  const matrix::Machine machine{
      .has_silicon = !facts_file_.empty(), .has_hypervisor = has_hypervisor(), .is_strict = strict_};
  std::vector<matrix::Result> results;
  for (const auto design : chosen) {
    for (const Cell* cell : cells) {
      const std::pair key(std::string(kernel::name_of(design)), cell->name());
      results.push_back(
          matrix::judge(*cell, design, facts.contains(key) ? std::move(facts[key]) : json(), machine));
    }
  }
  fmt::print("{}", format_ == "json" ? matrix::to_json(results).dump(2) + "\n" : matrix::to_text(results));
  const bool differs = std::ranges::any_of(
      results, [](const matrix::Result& result) { return result.verdict == matrix::Verdict::kDiffers; });
  return differs ? ExitStatus::kNegative : ExitStatus::kSuccess;
}

const Registered<MatrixVerb> registered;

}  // namespace
}  // namespace enclume::cli
