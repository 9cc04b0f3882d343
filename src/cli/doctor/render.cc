// SPDX-License-Identifier: Apache-2.0
// The two faces of a Diagnosis.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/doctor/diagnosis.h"
#include "cli/text.h"

namespace enclume::cli {
namespace {

struct Look {
  std::string_view word;
  std::string_view colour;
};

Look look_of(const Finding& finding) {
  switch (finding.presence) {
    case Presence::kYes:
      return {"yes", "\x1b[32m"};
    case Presence::kPartly:
      return {"partly", "\x1b[33m"};
    case Presence::kNo:
      return {"no", finding.is_blocker ? "\x1b[1;31m" : "\x1b[33m"};
  }
  return {};
}

constexpr std::size_t kTitleWidth = 23;
constexpr std::size_t kIndent = 10;

void add_advice(std::string& out, std::string_view name, const std::string& text) {
  if (text.empty()) return;
  append_wrapped(out, fmt::format("{}: {}", name, text), kIndent);
}

}  // namespace

nlohmann::ordered_json to_json(const Diagnosis& diagnosis) {
  auto findings = nlohmann::ordered_json::array();
  for (const auto& finding : diagnosis.findings) {
    findings.push_back({{"id", finding.id},
                        {"title", finding.title},
                        {"presence", look_of(finding).word},
                        {"detail", finding.detail},
                        {"made_up_for_by", finding.made_up_for_by},
                        {"less_faithful", finding.less_faithful},
                        {"what_to_do", finding.what_to_do},
                        {"blocker", finding.is_blocker}});
  }
  return {
      {"can_run", diagnosis.can_run()}, {"runs_emulated", diagnosis.runs_emulated}, {"findings", findings}};
}

std::string to_text(const Diagnosis& diagnosis, bool has_colours) {
  std::string out;
  if (diagnosis.runs_emulated) {
    append_wrapped(out, "Note: this enclume itself runs under enclume run, and sees the emulated machine.",
                   0);
    out += '\n';
  }
  for (const auto& finding : diagnosis.findings) {
    const auto look = look_of(finding);
    out += fmt::format("{}{:<8}{}{:<{}} {}\n", has_colours ? look.colour : "", look.word,
                       has_colours ? "\x1b[0m" : "", finding.title, kTitleWidth, finding.detail);
    add_advice(out, "made up for by", finding.made_up_for_by);
    add_advice(out, "less faithful", finding.less_faithful);
    add_advice(out, "what to do", finding.what_to_do);
  }
  out += diagnosis.can_run() ? "\nenclume run works here.\n" : "\nenclume run cannot work here:\n";
  for (const auto& finding : diagnosis.findings) {
    if (finding.is_blocker) append_wrapped(out, fmt::format("{}: {}", finding.title, finding.detail), 2);
  }
  return out;
}

}  // namespace enclume::cli
