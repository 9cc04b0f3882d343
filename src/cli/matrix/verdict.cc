// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "cli/matrix/compare.h"
#include "cli/matrix/words.h"

namespace enclume::cli::matrix {
namespace {

using kernel::ExceptionDesign;
using kernel::kExceptionDesigns;

// Whether the facts are what the row says of execution without what it needs.
bool is_as_natively(const Cell& cell, ExceptionDesign design, const nlohmann::json& facts) {
  for (const Row* row = cell.row->natively; row != nullptr; row = row->natively) {
    if (differences({row, cell.place}, design, facts).empty()) return true;
  }
  return false;
}

bool excused(const Cell& cell, ExceptionDesign design, const nlohmann::json& facts, const Machine& machine) {
  // A processor may have SGX1 only; the emulated one that the matrix runs on has SGX2.
  if (cell.row->needs == Needs::kSgx2) return machine.has_silicon && facts.contains("failed");
  if (machine.has_silicon) return false;
  switch (cell.row->needs) {
    case Needs::kStrict:
      return !machine.is_strict && is_as_natively(cell, design, facts);
    case Needs::kNoHypervisor:
      return machine.has_hypervisor && is_as_natively(cell, design, facts);
    case Needs::kSgx2:
    case Needs::kNothing:
    case Needs::kNobody:
      return false;
  }
  return false;
}

std::string_view mark(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAsExpected:
      return "";
    case Verdict::kDiffers:
      return " DIFFERS";
    case Verdict::kDeviates:
      return " ~";
    case Verdict::kNotTried:
      return "";
  }
  return "";
}

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAsExpected:
      return "as-expected";
    case Verdict::kDiffers:
      return "differs";
    case Verdict::kDeviates:
      return "deviates";
    case Verdict::kNotTried:
      return "not-tried";
  }
  return "";
}

std::string summary(const std::vector<Result>& results) {
  std::array<std::size_t, 4> count{};
  for (const Result& result : results) ++count.at(static_cast<std::size_t>(result.verdict));
  return fmt::format(
      "{} cells are as expected, {} differ, {} deviate for a known reason (~), {} cannot be tried.\n",
      count[0], count[1], count[2], count[3]);
}

}  // namespace

Result judge(const Cell& cell, ExceptionDesign design, nlohmann::json facts, const Machine& machine) {
  Result result{
      .cell = &cell, .design = design, .verdict = Verdict::kNotTried, .differences = {}, .facts = {}};
  if (cell.who(static_cast<std::size_t>(design)) == '-' || cell.row->needs == Needs::kNobody) return result;
  if (facts.is_null()) {
    result.differences = {"the probe says nothing of it"};
    result.verdict = Verdict::kDiffers;
    return result;
  }
  result.differences = differences(cell, design, facts);
  result.verdict = result.differences.empty()              ? Verdict::kAsExpected
                   : excused(cell, design, facts, machine) ? Verdict::kDeviates
                                                           : Verdict::kDiffers;
  result.facts = std::move(facts);
  return result;
}

std::string to_text(const std::vector<Result>& results) {
  std::string out;
  std::map<const Cell*, std::map<ExceptionDesign, const Result*>> by_cell;
  for (const Result& result : results) by_cell[result.cell][result.design] = &result;
  const Place* last = nullptr;
  for (const Cell& cell : all_cells()) {
    const auto found = by_cell.find(&cell);
    if (found == by_cell.end()) continue;
    if (last == nullptr || *last != cell.place) {
      out += fmt::format("{}{}\n  {:<22}", last != nullptr ? "\n" : "", title_of(cell.place), "");
      for (const auto design : kExceptionDesigns) out += fmt::format("{:<17}", kernel::name_of(design));
      out.erase(out.find_last_not_of(' ') + 1);
      out += '\n';
      last = &cell.place;
    }
    std::string line = fmt::format("  {:<22}", cell.row->id);
    std::string details;
    bool deviates = false;
    for (const auto design : kExceptionDesigns) {
      const auto result = found->second.find(design);
      if (result == found->second.end()) {
        line += fmt::format("{:<17}", "");
        continue;
      }
      const Result& r = *result->second;
      const char who = cell.who(static_cast<std::size_t>(design));
      // What is not tried stands in parentheses.
      const bool is_tried = r.verdict != Verdict::kNotTried || who == '-';
      line += fmt::format("{:<17}", is_tried ? fmt::format("{}{}", who_word(who), mark(r.verdict))
                                             : fmt::format("({})", who_word(who)));
      for (const std::string& difference : r.differences) {
        details += fmt::format("    {}/{} with {}: {}\n", matrix::name_of(cell.place), cell.row->id,
                               kernel::name_of(design), difference);
      }
      deviates = deviates || r.verdict == Verdict::kDeviates;
    }
    if (deviates) {
      details += fmt::format("    known: {}\n", cell.row->why);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n" + details;
  }
  return out + "\n" + summary(results);
}

nlohmann::json to_json(const std::vector<Result>& results) {
  nlohmann::json list = nlohmann::json::array();
  for (const Result& result : results) {
    list.push_back({{"cell", result.cell->name()},
                    {"design", kernel::name_of(result.design)},
                    {"verdict", name_of(result.verdict)},
                    {"differences", result.differences},
                    {"why", result.cell->row->why},
                    {"facts", result.facts}});
  }
  return list;
}

}  // namespace enclume::cli::matrix
